//! Leaving HTTP: a handler answers 101 and goes on with the connection's bytes (RFC 9110 section 7.8), in HTTP/1.1 only.
//!
//! Invariants: the connection's own task carries the tunnel, so it keeps its place among the connections, a drain waits for it
//! and dropping the server ends it. A drain does not tell a tunnel to end: whoever makes one hands it what it needs to know.

use std::fmt;
use std::future::Future;

use http::Extensions;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

use crate::server::Progress;

/// The bytes of a connection that has left HTTP.
pub type Tunnel = TokioIo<hyper::upgrade::Upgraded>;

/// The right to take over the connection of a request that asked for another protocol.
pub struct Upgrade {
    switched: OnUpgrade,
    connection: Progress,
}

impl fmt::Debug for Upgrade {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Upgrade").finish_non_exhaustive()
    }
}

impl Upgrade {
    /// Takes it out of a request's extensions. Only requests of HTTP/1.1 with `Connection: upgrade` on a listener of
    /// [`crate::serve`] have one.
    pub fn take(extensions: &mut Extensions) -> Option<Self> {
        let connection = extensions.get::<Progress>()?.clone();
        let switched = extensions.remove::<OnUpgrade>()?;
        Some(Self { switched, connection })
    }

    /// What is done with the connection once an answer with the status 101 has been sent. With any other answer, or when the client
    /// leaves before, it is dropped uncalled.
    pub fn then<F>(self, carry: impl FnOnce(Tunnel) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send,
    {
        let switched = self.switched;
        self.connection.leave_http(Box::pin(async move {
            match switched.await {
                Ok(bytes) => carry(TokioIo::new(bytes)).await,
                Err(error) => tracing::debug!(%error, "a connection did not leave HTTP"),
            }
        }));
    }
}
