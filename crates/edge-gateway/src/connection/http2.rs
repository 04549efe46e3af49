//! HTTP/2 on a client's connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;

use http::Request;
use hyper::body::Incoming;
use hyper::rt::Executor;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::{ConnectionState, until_drain};
use crate::body::ClientBody;
use crate::client_io::ClientIo;
use crate::interim::Interim;
use crate::worker::Worker;

/// Per stream and connection, so that one client cannot make the gateway hold much.
pub(crate) const STREAM_WINDOW: u32 = 256 * 1024;
pub(crate) const CONNECTION_WINDOW: u32 = 1024 * 1024;
const SEND_BUFFER: usize = 64 * 1024;
/// Streams that a client may reset before it is cut off (CVE-2023-44487, CVE-2025-8671).
const RESETS: usize = 50;

/// Serves a connection to its end.
pub(super) async fn serve(
    state: &Rc<ConnectionState>,
    io: TokioIo<ClientIo<Box<TlsStream<TcpStream>>>>,
) -> Result<(), hyper::Error> {
    let view = state.worker.view();
    let limits = view.limits();
    let service_state = Rc::clone(state);
    let service = service_fn(move |request: Request<Incoming>| {
        let state = Rc::clone(&service_state);
        async move {
            Ok::<_, Infallible>(
                crate::handler::handle(state, request.map(ClientBody::Hyper), Interim::none()).await,
            )
        }
    });
    let connection = hyper::server::conn::http2::Builder::new(LocalExecutor(Rc::clone(&state.worker)))
        .max_concurrent_streams(limits.h2_streams)
        .max_header_list_size(limits.header_bytes)
        .max_pending_accept_reset_streams(RESETS)
        .max_local_error_reset_streams(RESETS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_send_buf_size(SEND_BUFFER)
        .serve_connection(io, service);
    let mut connection = pin!(connection);
    if let Some(outcome) = until_drain(state, connection.as_mut()).await {
        return outcome;
    }
    connection.as_mut().graceful_shutdown();
    connection.await
}

/// Runs hyper's HTTP/2 streams on this worker, counted so that drain waits for them.
#[derive(Clone)]
struct LocalExecutor(Rc<Worker>);

impl<F: Future<Output = ()> + 'static> Executor<F> for LocalExecutor {
    fn execute(&self, future: F) {
        self.0.tasks.spawn_local(future);
    }
}
