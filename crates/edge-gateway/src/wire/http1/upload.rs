//! A request on its way into its connection: what is left of the head, then the body in its framing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::Request;
use http_body::Body as _;
use tokio::io::AsyncWrite as _;

use super::{head, scratch, write_zero};
use crate::body::RequestBody;
use crate::wire::{Io, WireError};

/// Bytes taken from the client that the upstream has not taken yet, at most, and one piece more.
const MOST_PENDING: usize = 64 * 1024;
/// Pieces of one write.
const SLICES: usize = 16;

/// How a request's body is framed (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
}

/// What has not been written of a request.
#[derive(Debug, Default)]
pub(super) struct Sending {
    pending: VecDeque<Bytes>,
    /// Bytes in `pending`.
    size: usize,
    body: Option<RequestBody>,
    framing: Framing,
    /// Written, but maybe not flushed.
    dirty: bool,
}

impl Sending {
    /// Begins a request: takes its body, and writes its head if there is none.
    ///
    /// # Errors
    ///
    /// Nothing was written, and the request is whole.
    pub(super) fn begin(
        &mut self,
        io: &mut Io,
        request: &mut Request<RequestBody>,
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        scratch::output(|out| {
            self.framing = head::write(request, out);
            if !matches!(self.framing, Framing::None | Framing::Length(0)) {
                // The head goes out together with what there is of the body.
                self.push(Bytes::copy_from_slice(out));
                self.body = Some(std::mem::replace(request.body_mut(), RequestBody::Empty));
                return Ok(());
            }
            let written = match Pin::new(io).poll_write(cx, out) {
                Poll::Ready(Ok(0)) => return Err(write_zero()),
                Poll::Ready(written) => written?,
                Poll::Pending => 0,
            };
            self.dirty = true;
            if let Some(rest) = out.get(written..).filter(|rest| !rest.is_empty()) {
                self.push(Bytes::copy_from_slice(rest));
            }
            Ok(())
        })
    }

    /// Whether the upstream has all of the request.
    pub(super) fn is_complete(&self) -> bool {
        self.body.is_none() && self.pending.is_empty() && !self.dirty
    }

    /// Writes as much as can be; ready when all has been.
    pub(super) fn poll(&mut self, io: &mut Io, cx: &mut Context<'_>) -> Poll<Result<(), WireError>> {
        while !self.is_complete() {
            self.fill(cx)?;
            if self.pending.is_empty() {
                if self.dirty {
                    ready!(Pin::new(&mut *io).poll_flush(cx)).map_err(WireError::Io)?;
                    self.dirty = false;
                }
                if self.body.is_some() {
                    return Poll::Pending;
                }
                continue;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut used = 0;
            for (slice, piece) in slices.iter_mut().zip(&self.pending) {
                *slice = IoSlice::new(piece);
                used += 1;
            }
            let slices = slices.get(..used).unwrap_or_default();
            let written =
                ready!(Pin::new(&mut *io).poll_write_vectored(cx, slices)).map_err(WireError::Io)?;
            if written == 0 {
                return Poll::Ready(Err(WireError::Io(write_zero())));
            }
            self.dirty = true;
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    /// Takes from the client what there is and there is room for.
    fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), WireError> {
        while self.size < MOST_PENDING
            && let Some(body) = &mut self.body
        {
            match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => {
                    self.body = None;
                    match self.framing {
                        Framing::Chunked => self.push(Bytes::from_static(b"0\r\n\r\n")),
                        // The upstream would take the next request for the rest of this one.
                        Framing::Length(left) if left != 0 => return Err(WireError::Request),
                        Framing::None | Framing::Length(_) => {}
                    }
                }
                Poll::Ready(Some(Err(_))) => {
                    self.body = None;
                    return Err(WireError::Request);
                }
                Poll::Ready(Some(Ok(frame))) => {
                    // Trailers end here: the upstream was not told of them (RFC 9110 section 6.5.1).
                    let Ok(data) = frame.into_data() else { continue };
                    self.frame(data)?;
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, data: Bytes) -> Result<(), WireError> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Chunked => {
                self.push(format!("{:x}\r\n", data.len()).into());
                self.push(data);
                self.push(Bytes::from_static(b"\r\n"));
            }
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(WireError::Request)?;
                self.push(data);
            }
            Framing::None => return Err(WireError::Request),
        }
        Ok(())
    }

    fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        self.pending.push_back(piece);
    }

    fn advance(&mut self, mut written: usize) {
        self.size -= written;
        while let Some(first) = self.pending.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }
}
