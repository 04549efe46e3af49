//! HTTP/2 on a client's connection.

use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::time::Instant;

use http::{Request, Response};
use quintet_http2::{Config, Connection, Error, RequestBody};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{ConnectionState, until_drain};
use crate::body::{ClientBody, ResponseBody};
use crate::client_io::ClientIo;
use crate::config::Limits;
use crate::interim::Interim;

/// Per stream and connection, so that one client cannot make the gateway hold much.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before it is cut off (CVE-2023-44487, CVE-2025-8671).
const RESETS: usize = 50;

/// Serves a connection to its end.
pub(super) async fn serve(
    state: &Rc<ConnectionState>,
    io: ClientIo<Box<TlsStream<TcpStream>>>,
) -> Result<(), Error> {
    let config = config(state.worker.view().limits());
    let handler_state = Rc::clone(state);
    let handler = move |request, interim| answer(Rc::clone(&handler_state), request, interim);
    let mut connection = pin!(Connection::new(io, config, handler));
    if let Some(outcome) = until_drain(state, connection.as_mut()).await {
        return outcome;
    }
    connection.graceful_shutdown();
    connection.await
}

fn config(limits: &Limits) -> Config {
    Config {
        max_streams: limits.h2_streams,
        header_bytes: limits.header_bytes,
        stream_window: STREAM_WINDOW,
        connection_window: CONNECTION_WINDOW,
        send_buffer: SEND_BUFFER,
        resets: RESETS,
        now: Instant::now,
    }
}

async fn answer(
    state: Rc<ConnectionState>,
    request: Request<RequestBody>,
    informational: quintet_http2::Interim,
) -> Response<ResponseBody> {
    let interim = Interim::queued();
    let worker = Rc::clone(&state.worker);
    let request = Box::new(request.map(ClientBody::Http2));
    let mut answer = pin!(crate::handler::handle(state, request, interim.clone()));
    let mut answer = poll_fn(|cx| {
        let answered = answer.as_mut().poll(cx);
        while let Some(interim) = interim.take() {
            let (head, ()) = interim.into_parts();
            informational.send(head.status, head.headers);
        }
        answered
    })
    .await;
    worker.add_date(answer.headers_mut());
    answer
}
