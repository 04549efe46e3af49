//! The idle connections of one origin.
//!
//! Idle connections are at most [`MAX_IDLE`] and at most [`MAX_IDLE_TIME`] old, which is shorter
//! than our servers keep an idle connection: the client leaves first, so a request seldom meets a
//! connection that is being closed.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http_body_util::Full;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::{ClientError, connect};
use crate::origin::Origin;

const MAX_IDLE: usize = 32;
const MAX_IDLE_TIME: Duration = Duration::from_secs(5);
/// A connection just handed back needs one turn of its task before it takes a request.
const SETTLE_TIME: Duration = Duration::from_millis(10);
/// Answers with a head beyond this are broken.
const MAX_HEAD: usize = 64 * 1024;

/// A connection that is carrying a request.
pub(super) struct Lease {
    pub(super) sender: SendRequest<Full<Bytes>>,
}

struct Idle {
    sender: SendRequest<Full<Bytes>>,
    since: Instant,
}

pub(super) struct Pool {
    pub(super) origin: Origin,
    pub(super) host: HeaderValue,
    tls: Option<Arc<rustls::ClientConfig>>,
    filter: Option<connect::AddressFilter>,
    /// Oldest first. The lock is never held across an await or a panic.
    idle: Mutex<Vec<Idle>>,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("origin", &self.origin).finish_non_exhaustive()
    }
}

impl Pool {
    pub(super) fn new(
        origin: Origin,
        tls: Option<Arc<rustls::ClientConfig>>,
        filter: Option<connect::AddressFilter>,
    ) -> Self {
        let host = HeaderValue::from_str(&origin.authority())
            .unwrap_or_else(|_| HeaderValue::from_static("localhost"));
        Self { origin, host, tls, filter, idle: Mutex::default() }
    }

    /// The most recently used connection that still works, if any.
    pub(super) async fn reuse(&self) -> Option<Lease> {
        while let Some(mut sender) = self.pop() {
            if sender.is_closed() {
                continue;
            }
            if let Ok(Ok(())) = tokio::time::timeout(SETTLE_TIME, sender.ready()).await {
                return Some(Lease { sender });
            }
        }
        None
    }

    fn pop(&self) -> Option<SendRequest<Full<Bytes>>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let newest = idle.pop()?;
        if newest.since.elapsed() < MAX_IDLE_TIME {
            return Some(newest.sender);
        }
        // Everything below it is older still.
        idle.clear();
        None
    }

    /// Takes a connection back after its answer was read to the end.
    pub(super) fn keep(&self, lease: Lease) {
        if lease.sender.is_closed() {
            return;
        }
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let stale = idle.iter().take_while(|entry| entry.since.elapsed() >= MAX_IDLE_TIME).count();
        idle.drain(..stale);
        if idle.len() < MAX_IDLE {
            idle.push(Idle { sender: lease.sender, since: Instant::now() });
        }
    }

    /// Opens a new connection.
    pub(super) async fn dial(&self) -> Result<Lease, ClientError> {
        match connect::dial(&self.origin, self.tls.as_ref(), self.filter.as_ref()).await {
            Ok(connect::Dialled::Plain(stream)) => self.handshake(stream).await,
            Ok(connect::Dialled::Tls(stream)) => self.handshake(stream).await,
            Err(source) => Err(ClientError::Connect { origin: self.origin.clone(), source }),
        }
    }

    async fn handshake<S>(&self, stream: S) -> Result<Lease, ClientError>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (sender, connection) =
            http1::Builder::new().max_buf_size(MAX_HEAD).handshake(TokioIo::new(stream)).await.map_err(
                |source| ClientError::Protocol { origin: self.origin.clone(), source: source.into() },
            )?;
        #[expect(
            clippy::disallowed_methods,
            reason = "drives one connection and ends with it: dropping the sender closes the connection"
        )]
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "client connection ended");
            }
        });
        Ok(Lease { sender })
    }
}
