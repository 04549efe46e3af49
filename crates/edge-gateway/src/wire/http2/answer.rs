//! The body of an answer over HTTP/2.

use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body::{Frame, SizeHint};
use tokio::task::JoinHandle;

use super::upload::Upload;
use super::{Pulse, WireError};

/// A body as it arrives.
pub(crate) struct Answer {
    stream: RecvStream,
    /// Bytes to come, where that is known; h2 holds the upstream to them.
    left: Option<u64>,
    /// All of the data has come, but maybe not its trailers.
    data_done: bool,
    pulse: Rc<Pulse>,
    /// Sends the rest of the request.
    upload: Option<JoinHandle<()>>,
}

impl Answer {
    pub(super) fn new(
        stream: RecvStream,
        headers: &HeaderMap,
        pulse: Rc<Pulse>,
        upload: Option<Upload>,
    ) -> Self {
        let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
        // Not among the tasks that drain waits for: those are the clients' connections, which this one reads from.
        let upload = upload.map(|upload| tokio::task::spawn_local(upload.run()));
        Self { stream, left: length, data_done: false, pulse, upload }
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, WireError>>> {
        if !self.data_done {
            match ready!(self.stream.poll_data(cx)) {
                Some(Ok(data)) => {
                    self.pulse.heard.set(true);
                    // Whoever asks has passed on what came before. It fails on a stream that has ended.
                    let _ = self.stream.flow_control().release_capacity(data.len());
                    self.left = self.left.map(|left| left.saturating_sub(data.len() as u64));
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
                Some(Err(error)) => return Poll::Ready(self.broken(error)),
                None => self.data_done = true,
            }
        }
        Poll::Ready(match ready!(self.stream.poll_trailers(cx)) {
            Ok(trailers) => trailers.map(|trailers| Ok(Frame::trailers(trailers))),
            Err(error) => self.broken(error),
        })
    }

    /// An upstream that has answered in full may reset the stream, which only means that it wants no more of the request
    /// (RFC 9113 section 8.1).
    fn broken<T>(&mut self, error: h2::Error) -> Option<Result<T, WireError>> {
        if error.is_reset() && error.reason() == Some(Reason::NO_ERROR) && self.left.unwrap_or(0) == 0 {
            self.data_done = true;
            return None;
        }
        Some(Err(WireError::Http2(error)))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.stream.is_end_stream()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.left {
            _ if self.is_end_stream() => SizeHint::with_exact(0),
            Some(left) => SizeHint::with_exact(left),
            None => SizeHint::default(),
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        // Nobody wants the rest of the answer, so the request is taken back as well.
        if let Some(upload) = self.upload.take()
            && !self.is_end_stream()
        {
            upload.abort();
        }
    }
}
