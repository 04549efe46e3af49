//! What the parts of one connection tell each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

/// Shared by a connection's task, its bytes and (as an extension) its requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    requested: AtomicBool,
    first_request: Notify,
    linger: AtomicBool,
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
}
