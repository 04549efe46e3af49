//! An HTTP/2 connection to an upstream, whose frames h2 reads and writes (RFC 9113).
//!
//! A connection has a task. A request is polled by whoever sends it: its body until the head of the answer is there,
//! then the answer. Only what is left of the body then has a task, because the client may read the answer only after it
//! has sent everything.

mod answer;
#[cfg(test)]
mod tests;
mod upload;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, RecvStream};
use http::header::{CONTENT_LENGTH, HeaderValue, TRANSFER_ENCODING};
use http::{HeaderMap, Method, Request, Response};
use http_body::Body as _;

pub(crate) use self::answer::Answer;
use self::upload::{Upload, UploadError};
use super::{Io, MAX_INTERIM, WireError};
use crate::body::RequestBody;
use crate::http1::Malformed;
use crate::interim::Interim;

/// Bytes of one answer that the gateway holds for a client that does not read.
const STREAM_WINDOW: u32 = 128 * 1024;
/// Bytes of one request that the gateway holds for an upstream that does not read.
const SEND_BUFFER: usize = 64 * 1024;
/// Bytes of the head of an answer.
const HEADER_LIST: u32 = 64 * 1024;
/// Requests at a time before the upstream has said how many it takes: the least that RFC 9113 section 6.5.2 recommends.
const STREAMS_AT_FIRST: usize = 100;

/// A connection; its last handle ends it.
pub(super) struct Http2 {
    /// Only looked at; requests are sent by its clones.
    sender: RefCell<SendRequest<Bytes>>,
    pulse: Rc<Pulse>,
}

/// What the connection's task has to know of its requests.
#[derive(Default)]
struct Pulse {
    /// Requests under way.
    streams: Cell<usize>,
    /// Something of an answer has come.
    heard: Cell<bool>,
}

impl Http2 {
    /// Shakes hands with bounds for up to `streams` requests at once. Also gives the connection's work, which ends with
    /// it: where a connection with requests is silent for `patience`, it is asked whether it lives, and has the same time to
    /// answer. `name` is the upstream's, for the log.
    pub(super) async fn handshake(
        io: Io,
        streams: usize,
        patience: Duration,
        name: String,
    ) -> Result<(Self, impl Future<Output = ()> + 'static), h2::Error> {
        let streams = u32::try_from(streams).unwrap_or(u32::MAX);
        let mut builder = Builder::new();
        builder
            .enable_push(false)
            .initial_max_send_streams(STREAMS_AT_FIRST)
            .initial_window_size(STREAM_WINDOW)
            .initial_connection_window_size(
                STREAM_WINDOW.saturating_mul(streams).min(i32::MAX.cast_unsigned()),
            )
            .max_send_buffer_size(SEND_BUFFER)
            .max_header_list_size(HEADER_LIST);
        let (sender, connection) = builder.handshake(io).await?;
        let pulse = Rc::new(Pulse::default());
        let work = work(connection, Rc::clone(&pulse), patience, name);
        Ok((Self { sender: RefCell::new(sender), pulse }, work))
    }

    /// Whether it takes no further requests: it has ended, or the upstream retires it (GOAWAY).
    pub(super) fn is_closed(&self) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        matches!(self.sender.borrow_mut().poll_ready(&mut cx), Poll::Ready(Err(_)))
    }

    /// Requests under way.
    pub(super) fn streams(&self) -> usize {
        self.pulse.streams.get()
    }

    /// Whether the upstream takes another request now; never more than `most` at a time.
    pub(super) fn has_place(&self, most: usize) -> bool {
        self.streams() < most.min(self.sender.borrow().current_max_send_streams())
    }

    /// Counts a request that is under way.
    pub(super) fn enter(&self) {
        self.pulse.streams.set(self.streams() + 1);
    }

    /// Counts one that is not any more.
    pub(super) fn leave(&self) {
        self.pulse.streams.set(self.streams() - 1);
    }

    /// Sends a request, all of which it takes, and waits for the head of the answer; `interim` gets the answers before
    /// it.
    ///
    /// # Errors
    ///
    /// [`WireError::Returned`] leaves the request whole.
    pub(super) async fn send(
        &self,
        request: &mut Request<RequestBody>,
        interim: &Interim,
    ) -> Result<Response<Answer>, WireError> {
        let mut sender = self.sender.borrow().clone();
        // Nothing else runs on this thread between this look and the sending.
        let mut cx = Context::from_waker(Waker::noop());
        if let Poll::Ready(Err(error)) = sender.poll_ready(&mut cx) {
            return Err(WireError::Returned(error));
        }
        let taken = std::mem::replace(request, Request::new(RequestBody::Empty));
        let (mut head, body) = taken.into_parts();
        announce_length(&head.method, &mut head.headers, &body);
        let bodiless = body.is_end_stream();
        let (mut answer, stream) = sender.send_request(Request::from_parts(head, ()), bodiless)?;
        let mut upload = (!bodiless).then(|| Upload::new(body, stream));
        let mut before = 0;
        let response = poll_fn(|cx| {
            match upload.as_mut().map(|upload| upload.poll(cx)) {
                Some(Poll::Ready(Err(UploadError::Body))) => {
                    return Poll::Ready(Err(WireError::Request));
                }
                // An upstream that has heard enough may still have answered.
                Some(Poll::Ready(Ok(()) | Err(UploadError::Stream))) => upload = None,
                Some(Poll::Pending) | None => {}
            }
            poll_head(&mut answer, &mut before, interim, cx)
        });
        let response = response.await?;
        self.pulse.heard.set(true);
        let (head, stream) = response.into_parts();
        let answer = Answer::new(stream, &head.headers, Rc::clone(&self.pulse), upload);
        Ok(Response::from_parts(head, answer))
    }
}

fn poll_head(
    answer: &mut ResponseFuture,
    before: &mut u32,
    interim: &Interim,
    cx: &mut Context<'_>,
) -> Poll<Result<Response<RecvStream>, WireError>> {
    while let Some(announced) = ready!(answer.poll_informational(cx)) {
        *before += 1;
        if *before > MAX_INTERIM {
            return Poll::Ready(Err(Malformed("too many interim answers").into()));
        }
        let (head, ()) = announced?.into_parts();
        interim.send(head.status, head.headers);
    }
    Pin::new(answer).poll(cx).map_err(WireError::Http2)
}

/// Says how long a body is that is sent whole (RFC 9110 section 8.6). One of unknown length ends with its stream, and is
/// announced by nothing (RFC 9113 section 8.2.2).
fn announce_length(method: &Method, headers: &mut HeaderMap, body: &RequestBody) {
    headers.remove(TRANSFER_ENCODING);
    let Some(length) = body.size_hint().exact() else { return };
    let means_something = !matches!(*method, Method::GET | Method::HEAD | Method::DELETE | Method::CONNECT);
    if (length > 0 || means_something) && !headers.contains_key(CONTENT_LENGTH) {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}

/// Reads and writes frames until the connection ends, or does not answer.
async fn work(mut connection: Connection<Io, Bytes>, pulse: Rc<Pulse>, patience: Duration, name: String) {
    // There is one to a connection, and nobody else has asked for it.
    let Some(pings) = connection.ping_pong() else { return };
    let mut silence = pin!(silence(pings, &pulse, patience));
    let ended = poll_fn(|cx| {
        if silence.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut connection).poll(cx).map(Some)
    });
    match ended.await {
        Some(Ok(())) => {}
        Some(Err(error)) => {
            let error = crate::proxy::chain(&error);
            tracing::debug!(upstream = name, error, "HTTP/2 connection ended");
        }
        None => tracing::debug!(upstream = name, "HTTP/2 connection does not answer"),
    }
}

/// Ready when the upstream owes answers and does not say that it lives.
async fn silence(mut pings: PingPong, pulse: &Pulse, patience: Duration) {
    loop {
        tokio::time::sleep(patience).await;
        if pulse.heard.take() || pulse.streams.get() == 0 {
            continue;
        }
        // One that has failed has ended the connection.
        if tokio::time::timeout(patience, pings.ping(Ping::opaque())).await.is_err() {
            return;
        }
    }
}
