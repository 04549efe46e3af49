//! What the parts of one connection tell each other.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// Shared by a connection's task, its bytes and (as an extension) its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    requested: AtomicBool,
    first_request: Notify,
    linger: AtomicBool,
    afterlife: Mutex<Option<Afterlife>>,
}

/// What goes on with a connection that leaves HTTP.
struct Afterlife(Pin<Box<dyn Future<Output = ()> + Send>>);

impl fmt::Debug for Afterlife {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Afterlife")
    }
}

impl Progress {
    /// A request head has arrived.
    pub(super) fn request_began(&self) {
        if !self.0.requested.swap(true, Ordering::Relaxed) {
            self.0.first_request.notify_one();
        }
    }

    /// Waits for the first request head.
    pub(super) async fn first_request(&self) {
        if !self.0.requested.load(Ordering::Relaxed) {
            self.0.first_request.notified().await;
        }
    }

    /// The connection ends with the client still sending.
    pub(crate) fn linger(&self) {
        self.0.linger.store(true, Ordering::Relaxed);
    }

    pub(super) fn must_linger(&self) -> bool {
        self.0.linger.load(Ordering::Relaxed)
    }

    /// Hands over what goes on with the connection after HTTP.
    pub(crate) fn leave_http(&self, tunnel: Pin<Box<dyn Future<Output = ()> + Send>>) {
        *self.0.afterlife.lock().unwrap_or_else(PoisonError::into_inner) = Some(Afterlife(tunnel));
    }

    /// Lives on as what a request left behind, if any did.
    pub(super) async fn afterlife(&self) {
        let tunnel = self.0.afterlife.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Afterlife(tunnel)) = tunnel {
            tunnel.await;
        }
    }
}
