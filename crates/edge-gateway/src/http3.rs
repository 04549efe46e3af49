//! HTTP/3 (RFC 9114) over QUIC, of which quinn does the transport (RFC 9000, RFC 9001, RFC 9002).
//!
//! From below: [`listen`] makes the UDP sockets, [`routes`] and [`socket`] bring datagrams to the endpoint and process
//! that they are for, [`endpoint`] shakes hands under the limits, [`frame`], [`qpack`] and [`message`] read and write
//! what HTTP/3 is made of without doing any I/O, and [`control`], [`request`] and [`answer`](self::answer()) do what
//! streams are for. A connection's life is in [`crate::connection`].
//!
//! Nothing that a client sends is held beyond a bound: a head has one of its own, bodies are passed on as they come and
//! wait in QUIC's windows, frames of unknown types are skipped. 0-RTT is not offered: it can be replayed, and
//! upstreams do not know which requests came by it (RFC 8470).

mod answer;
mod code;
mod control;
mod endpoint;
mod frame;
mod ids;
mod listen;
mod message;
mod qpack;
mod request;
mod routes;
mod session;
mod socket;
mod stray;
mod varint;

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{Method, Response};
use quinn::{RecvStream, SendStream};

use self::answer::Answer;
pub(crate) use self::code::Code;
pub(crate) use self::control::{ALL, Control, read as read_control};
pub(crate) use self::endpoint::Endpoints;
pub(crate) use self::listen::{OwnSocket, bind, open, take};
use self::request::HeadError;
pub(crate) use self::request::RequestStream;
pub(crate) use self::session::Session;
use crate::body::{ClientBody, ResponseBody};
use crate::interim::Interim;

/// Serves one request.
pub(crate) async fn answer(session: Rc<Session>, send: SendStream, receive: RecvStream) {
    let mut answer = Answer::new(Rc::clone(&session), send);
    let mut settled = pin!(answer.settled());
    let mut stream = RequestStream::new(Rc::clone(&session), receive);
    let head = tokio::select! {
        biased;
        head = head_in_time(&session, &mut stream) => head,
        () = settled.as_mut() => return,
    };
    let request = match head {
        Ok(request) => request,
        Err(HeadError::TooLarge) => {
            stream.stop(Code::NoError);
            // A client that has left needs no answer.
            let _ = answer.refuse_head().await;
            return settled.await;
        }
        Err(HeadError::Stream(code)) => {
            stream.stop(code);
            return answer.reset(code);
        }
        Err(HeadError::Gone) => return,
    };
    let bodiless = request.method() == Method::HEAD;
    let request = request.map(|()| ClientBody::Http3(Box::new(stream)));
    let interim = Interim::queued();
    let mut handling =
        pin!(crate::handler::handle(Rc::clone(&session.state), Box::new(request), interim.clone()));
    let mut handled = None;
    let response = loop {
        let said = poll_fn(|cx| {
            if handled.is_none()
                && let Poll::Ready(response) = handling.as_mut().poll(cx)
            {
                handled = Some(response);
            }
            if let Some(announced) = interim.take() {
                return Poll::Ready(Said::Interim(announced));
            }
            match handled.take() {
                Some(response) => Poll::Ready(Said::Final(response)),
                // The client takes its request back; dropped unfinished, the exchange says so.
                None => settled.as_mut().poll(cx).map(|()| Said::Nothing),
            }
        });
        match said.await {
            Said::Interim(announced) => {
                if answer.announce(&announced).await.is_err() {
                    return;
                }
            }
            Said::Final(response) => break response,
            Said::Nothing => return,
        }
    };
    if answer.send(response, bodiless).await.is_ok() {
        // A connection that ends now would take what is on its way with it.
        settled.await;
    }
}

enum Said {
    Interim(Response<()>),
    Final(Response<ResponseBody>),
    Nothing,
}

/// What a request stream says: the head and trailers as text, and the body; None where it is malformed.
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) fn read_pieces(pieces: &[&[u8]]) -> Option<(Vec<String>, Vec<u8>)> {
    use bytes::Bytes;

    let bounds = message::Bounds { bytes: 4_096, lines: 32 };
    let mut decoder = frame::Decoder::new(bounds.bytes);
    let (mut heads, mut body) = (Vec::new(), Vec::new());
    for piece in pieces {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Some(frame) = decoder.next().ok()? {
            match frame {
                frame::Frame::Data(data) => body.extend_from_slice(&data),
                frame::Frame::Whole { kind: frame::HEADERS, payload } if heads.is_empty() => {
                    heads.push(format!("{:?}", message::request(payload, bounds).ok()?));
                }
                frame::Frame::Whole { kind: frame::HEADERS, payload } => {
                    heads.push(format!("{:?}", message::trailers(payload, bounds).ok()?));
                }
                frame::Frame::Whole { .. } => return None,
                frame::Frame::Unknown => {}
            }
        }
    }
    Some((heads, body))
}

/// Reads a request's head. A timer is needed only where it does not come in one piece.
async fn head_in_time(session: &Session, stream: &mut RequestStream) -> Result<http::Request<()>, HeadError> {
    let mut head = pin!(stream.head());
    if let Poll::Ready(head) = poll_fn(|cx| Poll::Ready(head.as_mut().poll(cx))).await {
        return head;
    }
    let limit = Duration::from_millis(session.state.worker.view().limits().header_read_timeout_ms);
    tokio::time::timeout(limit, head).await.unwrap_or(Err(HeadError::Stream(Code::RequestIncomplete)))
}
