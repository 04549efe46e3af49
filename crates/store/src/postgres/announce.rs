//! Telling those who follow a channel that something was committed, once for many commits.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use deadpool_postgres::Pool;
use tokio::sync::mpsc;

use crate::error::Error;

/// Announces from a task of its own, which ends when the last clone is gone.
#[derive(Clone)]
pub(super) struct Announcer {
    /// What was committed since the last announcement; bounded by the number of channels in the program.
    pending: Arc<Mutex<BTreeSet<&'static str>>>,
    /// Holds one wake-up at most.
    wake: mpsc::Sender<()>,
}

impl Announcer {
    pub(super) fn start(pool: Pool) -> Self {
        let (wake, woken) = mpsc::channel(1);
        let pending = Arc::new(Mutex::new(BTreeSet::new()));
        // Not tied to a caller: it ends with the store, of which it holds the pool alone.
        tokio::runtime::Handle::current().spawn(announce(pool, Arc::clone(&pending), woken));
        Self { pending, wake }
    }

    pub(super) fn announce(&self, channels: &[&'static str]) {
        self.pending.lock().unwrap_or_else(PoisonError::into_inner).extend(channels);
        // A full channel has a wake-up in it that will see these.
        let _ = self.wake.try_send(());
    }
}

async fn announce(pool: Pool, pending: Arc<Mutex<BTreeSet<&'static str>>>, mut woken: mpsc::Receiver<()>) {
    while woken.recv().await.is_some() {
        let channels = std::mem::take(&mut *pending.lock().unwrap_or_else(PoisonError::into_inner));
        for channel in channels {
            if let Err(error) = tell(&pool, channel).await {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    channel,
                    "cannot announce a commit"
                );
            }
        }
    }
}

async fn tell(pool: &Pool, channel: &'static str) -> Result<(), Error> {
    let connection = pool.get().await?;
    let statement = connection.prepare_cached("SELECT pg_notify($1, '')").await?;
    connection.execute(&statement, &[&channel]).await?;
    Ok(())
}
