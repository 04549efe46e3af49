//! A request's body from client to upstream, and what others know of it while it runs.

use std::cell::{Cell, OnceCell};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::pace::{MinRate, Pace};
use super::{BodyError, ClientBody};
use crate::connection::ConnectionState;
use crate::mirror::Copy;
use crate::proxy::Kept;

/// How an upload is getting on; shared by the body, which its reader owns, and the proxy.
#[derive(Debug)]
pub(crate) struct Upload {
    connection: Rc<ConnectionState>,
    limit: u64,
    received: Cell<u64>,
    phase: Cell<UploadPhase>,
    /// Gets what passes, where the route is mirrored.
    copy: OnceCell<Copy>,
    /// What has passed, where it may have to be sent again.
    kept: OnceCell<Kept>,
    /// None where the client may take its time.
    pace: Option<Pace>,
    /// Reserved of the client's memory.
    window: usize,
}

impl Drop for Upload {
    fn drop(&mut self) {
        self.connection.close_window(self.window);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UploadPhase {
    Running,
    Complete,
    TooLarge,
    TooSlow,
    /// The client went away or sent rubbish.
    Failed,
}

impl Upload {
    /// `window` was reserved by [`ConnectionState::open_window`].
    pub(crate) fn new(
        connection: Rc<ConnectionState>,
        window: usize,
        limit: u64,
        min_rate: Option<MinRate>,
    ) -> Self {
        Self {
            window,
            connection,
            limit,
            received: Cell::new(0),
            phase: Cell::new(UploadPhase::Running),
            copy: OnceCell::new(),
            kept: OnceCell::new(),
            pace: min_rate.map(Pace::new),
        }
    }

    /// The answer has begun: how fast the client goes on is between it and the upstream.
    pub(crate) fn answered(&self) {
        if let Some(pace) = &self.pace {
            pace.end();
        }
    }

    /// Gives a copy of the body to a mirror; before the first piece has passed.
    pub(crate) fn copy_to(&self, copy: Copy) {
        // There is one mirror to a route.
        let _ = self.copy.set(copy);
    }

    /// Keeps the body while it has no more than so many bytes; before the first piece has passed.
    pub(crate) fn keep(&self, room: usize) {
        // A request has one body.
        let _ = self.kept.set(Kept::new(room, Arc::clone(self.connection.account())));
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.get()
    }

    pub(crate) fn phase(&self) -> UploadPhase {
        self.phase.get()
    }

    pub(crate) fn received(&self) -> u64 {
        self.received.get()
    }

    fn complete(&self) {
        if self.phase.get() == UploadPhase::Running {
            self.phase.set(UploadPhase::Complete);
            if let Some(copy) = self.copy.get() {
                copy.send();
            }
        }
    }
}

/// A request's body towards the upstream.
#[derive(Debug)]
pub(crate) enum RequestBody {
    Empty,
    /// Held in memory, as copies of small requests are.
    Whole(Bytes),
    Stream {
        incoming: ClientBody,
        upload: Rc<Upload>,
    },
}

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let (incoming, upload) = match self.get_mut() {
            Self::Stream { incoming, upload } => (incoming, upload),
            Self::Whole(bytes) if !bytes.is_empty() => {
                return Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes)))));
            }
            Self::Empty | Self::Whole(_) => return Poll::Ready(None),
        };
        let frame = match (Pin::new(&mut *incoming).poll_frame(cx), &upload.pace) {
            (Poll::Ready(frame), None) => frame,
            (Poll::Pending, None) => return Poll::Pending,
            (Poll::Ready(frame), Some(pace)) => {
                pace.arrived();
                frame
            }
            (Poll::Pending, Some(pace)) => {
                if !pace.is_missed(upload.received.get(), cx) {
                    return Poll::Pending;
                }
                upload.phase.set(UploadPhase::TooSlow);
                return Poll::Ready(Some(Err(BodyError::TooSlow)));
            }
        };
        Poll::Ready(match frame {
            None => {
                upload.complete();
                None
            }
            Some(Err(error)) => {
                upload.phase.set(UploadPhase::Failed);
                Some(Err(BodyError::Client(error)))
            }
            Some(Ok(frame)) => {
                let length = frame.data_ref().map_or(0, |data| data.remaining() as u64);
                upload.received.set(upload.received.get().saturating_add(length));
                if upload.received.get() > upload.limit {
                    upload.phase.set(UploadPhase::TooLarge);
                    return Poll::Ready(Some(Err(BodyError::TooLarge)));
                }
                if let (Some(copy), Some(data)) = (upload.copy.get(), frame.data_ref()) {
                    copy.push(data);
                }
                if let Some(kept) = upload.kept.get() {
                    frame.data_ref().map_or_else(|| kept.give_up(), |data| kept.push(data));
                }
                // Nobody asks again once a body of known length has been read.
                if incoming.is_end_stream() {
                    upload.complete();
                }
                Some(Ok(frame))
            }
        })
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Empty => true,
            Self::Whole(bytes) => bytes.is_empty(),
            Self::Stream { incoming, .. } => incoming.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Empty => SizeHint::with_exact(0),
            Self::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Self::Stream { incoming, .. } => incoming.size_hint(),
        }
    }
}
