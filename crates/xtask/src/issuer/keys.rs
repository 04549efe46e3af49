//! The issuer's keys where those under test fetch them.

use std::convert::Infallible;
use std::net::Ipv4Addr;

use anyhow::Context as _;
use bytes::Bytes;
use http::Response;
use http_body_util::Full;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

/// Answers every request with the key set as long as the runtime lives; the port on loopback.
pub async fn listen(keys: String, tasks: &TaskTracker) -> anyhow::Result<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the issuer")?;
    let port = listener.local_addr()?.port();
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let keys = keys.clone();
            let service = hyper::service::service_fn(move |_| {
                let answer = response(keys.clone());
                async move { Ok::<_, Infallible>(answer) }
            });
            let io = TokioIo::new(stream);
            connections.spawn(async move {
                let _ = hyper::server::conn::http1::Builder::new().serve_connection(io, service).await;
            });
        }
    });
    Ok(port)
}

/// The key set as it is answered.
pub fn response(keys: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(keys)));
    response.headers_mut().insert("content-type", http::HeaderValue::from_static("application/json"));
    response
}
