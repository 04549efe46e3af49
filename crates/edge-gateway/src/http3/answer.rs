//! A request stream as it is written: the head of the answer, its body, its trailers.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_LENGTH, HeaderValue};
use http::{HeaderMap, Response, StatusCode};
use http_body::Body as _;
use quinn::{SendStream, WriteError};

use super::code::Code;
use super::session::Session;
use super::{frame, qpack};
use crate::body::ResponseBody;

/// The gateway's side of a request stream. Dropped before it is finished, it tells the client that the answer is not
/// whole.
pub(super) struct Answer {
    session: Rc<Session>,
    stream: SendStream,
    /// Among the answers of the connection.
    key: u64,
    finished: bool,
}

impl Answer {
    pub(super) fn new(session: Rc<Session>, stream: SendStream) -> Self {
        let key = session.state.worker.key();
        Self { session, stream, key, finished: false }
    }

    /// Ready when the client wants no answer any more, when it has all of it, or when the connection is gone.
    pub(super) fn settled(&self) -> impl Future<Output = ()> + 'static {
        let stopped = self.stream.stopped();
        async move { drop(stopped.await) }
    }

    /// Sends an interim answer.
    pub(super) async fn announce(&mut self, interim: &Response<()>) -> Result<(), WriteError> {
        self.head(interim.status(), interim.headers()).await
    }

    /// Sends an answer; `bodiless` is one to HEAD.
    pub(super) async fn send(
        &mut self,
        response: Response<ResponseBody>,
        bodiless: bool,
    ) -> Result<(), WriteError> {
        let (mut head, mut body) = response.into_parts();
        self.session.state.worker.add_date(&mut head.headers);
        add_length(&mut head.headers, head.status, &body);
        self.head(head.status, &head.headers).await?;
        if bodiless {
            return self.finish();
        }
        while !body.is_end_stream() {
            let Some(piece) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await else { break };
            let Ok(piece) = piece else {
                self.reset(Code::InternalError);
                return Ok(());
            };
            match piece.into_data() {
                Ok(data) if data.is_empty() => {}
                Ok(data) => self.frame(frame::DATA, data).await?,
                Err(other) => {
                    if let Ok(trailers) = other.into_trailers() {
                        self.trailers(&trailers).await?;
                    }
                }
            }
        }
        self.finish()
    }

    /// Answers without more ado that the request's head is too large; no request has been made of it.
    pub(super) async fn refuse_head(&mut self) -> Result<(), WriteError> {
        let headers = HeaderMap::from_iter([(CONTENT_LENGTH, HeaderValue::from_static("0"))]);
        self.head(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, &headers).await?;
        self.finish()
    }

    /// Ends the stream early.
    pub(super) fn reset(&mut self, code: Code) {
        self.finished = true;
        // The client may have ended it.
        let _ = self.stream.reset(code.into());
    }

    async fn head(&mut self, status: StatusCode, headers: &HeaderMap) -> Result<(), WriteError> {
        let mut block = BytesMut::with_capacity(512);
        qpack::encode_head(&mut block, status, headers);
        self.frame(frame::HEADERS, block.freeze()).await
    }

    async fn trailers(&mut self, trailers: &HeaderMap) -> Result<(), WriteError> {
        let mut block = BytesMut::new();
        qpack::encode_trailers(&mut block, trailers);
        self.frame(frame::HEADERS, block.freeze()).await
    }

    /// Writes a frame. While the client does not take it, the worker's sweep can see so.
    async fn frame(&mut self, kind: u64, payload: Bytes) -> Result<(), WriteError> {
        let mut head = BytesMut::with_capacity(16);
        frame::put_head(&mut head, kind, payload.len());
        let state = &self.session.state;
        let mut chunks = [head.freeze(), payload];
        let mut writing = pin!(self.stream.write_all_chunks(&mut chunks));
        let written = poll_fn(|cx| {
            let written = writing.as_mut().poll(cx);
            // Each time it is asked again, the client has taken something.
            state.answer_polled(self.key, written.is_ready());
            written
        });
        written.await
    }

    fn finish(&mut self) -> Result<(), WriteError> {
        self.finished = true;
        self.stream.finish().map_err(|_| WriteError::ClosedStream)
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.session.state.answer_ended(self.key);
        if !self.finished {
            self.reset(Code::InternalError);
        }
    }
}

/// Says how long an answer is, where that is known.
fn add_length(headers: &mut HeaderMap, status: StatusCode, body: &ResponseBody) {
    let has_body =
        status != StatusCode::NO_CONTENT && status != StatusCode::NOT_MODIFIED && !body.is_end_stream();
    if has_body
        && !headers.contains_key(CONTENT_LENGTH)
        && let Some(length) = body.size_hint().exact()
    {
        headers.insert(CONTENT_LENGTH, HeaderValue::from(length));
    }
}
