//! Request collapsing: one request fetches an answer, the others wait for it.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::{Cache, Key, Scope};

/// An answer that is being fetched.
#[derive(Debug, Default)]
pub(crate) struct Flight {
    landed: CancellationToken,
}

/// Who fetches.
#[derive(Debug)]
pub(crate) enum Turn {
    /// This request, for all others.
    Fetch(Guard),
    /// Another one does.
    Wait(Arc<Flight>),
    /// Each request for itself: the answer could not be stored lately.
    Alone,
}

/// The duty to fetch; those who wait go on when it is dropped.
#[derive(Debug)]
pub(crate) struct Guard {
    cache: Arc<Cache>,
    key: Key,
    scope: Scope,
    flight: Arc<Flight>,
}

impl Flight {
    /// Waits for the end of the flight, whatever it brought. False where it takes longer than `patience`.
    pub(crate) async fn wait(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.landed.cancelled()).await.is_ok()
    }
}

impl Guard {
    pub(super) fn new(cache: &Arc<Cache>, key: &Key, scope: Scope, flight: Arc<Flight>) -> Self {
        Self { cache: Arc::clone(cache), key: key.clone(), scope, flight }
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        // First out of the books, so that none who goes on finds the flight again.
        self.cache.land(&self.key, self.scope, &self.flight);
        self.flight.landed.cancel();
    }
}
