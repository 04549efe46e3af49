//! The upstream behind the gateway: reads each request to its end and answers with a few bytes.

use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use tokio::net::{UnixListener, UnixStream};
use tokio_util::task::TaskTracker;

/// Larger than a client's receive buffer of slowhttptest, so that a client can take it slowly.
const LARGE: usize = 1 << 20;
/// Longer than a request of these suites takes; nothing is awaited without a bound.
const PATIENCE: Duration = Duration::from_mins(2);

/// Serves at this socket as long as the runtime lives.
pub(super) fn listen(tasks: &TaskTracker, path: &Path) -> anyhow::Result<()> {
    let listener = UnixListener::bind(path).context("bind the upstream")?;
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            connections.spawn(tokio::time::timeout(PATIENCE, serve(stream)));
        }
    });
    Ok(())
}

async fn serve(stream: UnixStream) {
    let service = hyper::service::service_fn(answer);
    // A request that the client broke off ends its connection with an error, which is what the suites are about.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let length = if request.uri().path() == "/large" { LARGE } else { 5 };
    let mut body = request.into_body();
    while let Some(Ok(_)) = body.frame().await {}
    Ok(Response::new(Full::new(Bytes::from(vec![b'x'; length]))))
}
