//! What is outside of the fleet: an issuer's keys, and the endpoint to which webhooks go.

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;
use xtask::issuer;

use super::ledger::{Entry, Ledger};
use super::node::Nodes;

/// Nothing is awaited without a bound.
const PATIENCE: Duration = Duration::from_mins(2);
const LARGEST: usize = 1 << 16;

pub(super) struct Receiver {
    pub(super) keys: String,
    pub(super) ledger: Arc<Ledger>,
    /// Known when the receiver's port is.
    pub(super) nodes: OnceLock<Arc<Nodes>>,
}

impl Receiver {
    /// Listens as long as the runtime lives; the port.
    pub(super) async fn listen(self: &Arc<Self>, tasks: &TaskTracker) -> anyhow::Result<u16> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the receiver")?;
        let port = listener.local_addr()?.port();
        let (receiver, connections) = (Arc::clone(self), tasks.clone());
        tasks.spawn(async move {
            while let Ok((stream, peer)) = listener.accept().await {
                let receiver = Arc::clone(&receiver);
                let service = hyper::service::service_fn(move |request| {
                    let receiver = Arc::clone(&receiver);
                    async move { Ok::<_, Infallible>(receiver.answer(request, peer).await) }
                });
                let io = TokioIo::new(stream);
                connections.spawn(async move {
                    // A worker that is killed breaks off what it said.
                    let served = hyper::server::conn::http1::Builder::new().serve_connection(io, service);
                    let _ = tokio::time::timeout(PATIENCE, served).await;
                });
            }
        });
        Ok(port)
    }

    async fn answer(&self, request: Request<Incoming>, peer: SocketAddr) -> Response<Full<Bytes>> {
        if request.uri().path() == "/identity/jwks.json" {
            return issuer::response(self.keys.clone());
        }
        let status = self.receive(request, peer).await.map_or(StatusCode::BAD_REQUEST, |()| StatusCode::OK);
        let mut response = Response::new(Full::default());
        *response.status_mut() = status;
        response
    }

    async fn receive(&self, request: Request<Incoming>, peer: SocketAddr) -> Option<()> {
        let message = request.headers().get("webhook-id")?.to_str().ok()?.to_owned();
        let body = Limited::new(request.into_body(), LARGEST).collect().await.ok()?.to_bytes();
        let body: Value = serde_json::from_slice(&body).ok()?;
        let event = body.pointer("/data/event")?.as_u64()?;
        self.ledger.add(Entry::Delivered { event, message });
        if body.pointer("/data/poison").is_some_and(|poison| *poison == Value::Bool(true)) {
            self.ledger.add(Entry::Fault { name: "poison" });
            self.nodes.get()?.kill_owner(peer.port()).ok()?;
        }
        Some(())
    }
}
