//! Pausing a queue: its jobs wait, those that run go on. A row in `jobs_paused`, which every claim looks at, so that a
//! pause holds on every node from its commit on and until it is taken back, whoever restarts meanwhile.

use quintet_store::{Store, args};
use quintet_types::{Clock, Timestamp};

use crate::error::Error;
use crate::lease::CHANNEL;

/// A queue that is paused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pause {
    /// The queue.
    pub queue: String,
    /// Since when.
    pub since: Timestamp,
    /// Who did it.
    pub by: String,
}

/// Pauses a queue; whether it was not paused before.
pub async fn pause(store: &Store, clock: &dyn Clock, queue: &str, by: &str) -> Result<bool, Error> {
    let mut tx = store.begin().await?;
    let paused = tx
        .execute(
            "INSERT INTO jobs_paused (queue, paused_at, paused_by) VALUES ($1, $2, $3) ON CONFLICT (queue) DO NOTHING",
            args![queue, clock.now(), by],
        )
        .await?;
    tx.commit().await?;
    Ok(paused > 0)
}

/// Lets a paused queue go on; whether it was paused.
pub async fn resume(store: &Store, queue: &str) -> Result<bool, Error> {
    let mut tx = store.begin().await?;
    let resumed = tx.execute("DELETE FROM jobs_paused WHERE queue = $1", args![queue]).await?;
    tx.notify(CHANNEL).await?;
    tx.commit().await?;
    Ok(resumed > 0)
}

/// The queues that are paused.
pub async fn paused(store: &Store) -> Result<Vec<Pause>, Error> {
    let rows = store.fetch_all("SELECT * FROM jobs_paused ORDER BY queue", args![]).await?;
    rows.iter()
        .map(|row| {
            Ok(Pause {
                queue: row.get("queue")?,
                since: row.timestamp("paused_at")?,
                by: row.get("paused_by")?,
            })
        })
        .collect()
}
