//! Cancelling a whole batch, whether it is open, runs or has ended.
//!
//! It is sealed first, so that no more jobs come and it ends. Its jobs move between the queue and the leases meanwhile: a job
//! that is claimed after its turn among those that wait, or fails after its turn among those that run, would be passed over. So
//! both are looked at in one view of the database, again and again, until it shows none that waits and none that runs
//! and was not asked to stop.

use std::collections::BTreeSet;

use quintet_store::{Store, args};
use quintet_types::Clock;
use serde::Serialize;
use utoipa::ToSchema;

use super::{BatchId, seal_batch};
use crate::bulk::{MOST_CHANGED, cancel_waiting};
use crate::cancel::request_all;
use crate::error::Error;
use crate::job::Record;
use crate::lease::{CHANNEL, RUNNING};
use crate::search::Filter;

/// Views of one call; each later one is of what moved during the one before.
const MOST_VIEWS: usize = 20;

/// What [`cancel_batch`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
pub struct BatchCancelled {
    /// Jobs that waited and will not run.
    pub cancelled: u64,
    /// Jobs that run: their workers were asked to stop them.
    pub cancelling: usize,
    /// Whether it stopped at its bound and others are left.
    pub more: bool,
}

/// Seals a batch and cancels every job of it that has not ended, up to [`MOST_CHANGED`] that wait; nothing if there is no such
/// batch.
pub async fn cancel_batch(
    store: &Store,
    clock: &dyn Clock,
    batch: BatchId,
) -> Result<Option<BatchCancelled>, Error> {
    let mut tx = store.begin().await?;
    match seal_batch(&mut tx, clock, batch).await {
        Err(Error::BatchNotOpen { .. }) => return Ok(None),
        sealed => sealed?,
    };
    tx.commit().await?;
    let filter = Filter { member_of: Some(batch.to_string()), ..Filter::default() };
    let (mut cancelled, mut asked) = (0, BTreeSet::new());
    for _ in 0..MOST_VIEWS {
        let view = look(store, batch).await?;
        let fresh: Vec<String> = view.running.difference(&asked).cloned().collect();
        if !view.waiting && fresh.is_empty() {
            return Ok(Some(BatchCancelled { cancelled, cancelling: asked.len(), more: false }));
        }
        if !fresh.is_empty() {
            let mut tx = store.begin().await?;
            request_all(&mut tx, &fresh, clock.now()).await?;
            tx.notify(CHANNEL).await?;
            tx.commit().await?;
            asked.extend(fresh);
        }
        let left = u64::from(MOST_CHANGED).saturating_sub(cancelled);
        if left == 0 {
            break;
        }
        let most = u32::try_from(left).unwrap_or(MOST_CHANGED);
        cancelled += cancel_waiting(store, clock, &filter, most).await?.changed;
    }
    Ok(Some(BatchCancelled { cancelled, cancelling: asked.len(), more: true }))
}

/// The jobs of a batch that have not ended.
struct Open {
    waiting: bool,
    running: BTreeSet<String>,
}

async fn look(store: &Store, batch: BatchId) -> Result<Open, Error> {
    let id = batch.to_string();
    let mut snapshot = store.read().await?;
    let sql = "SELECT 1 AS waits FROM jobs_ready WHERE member_of = $1 LIMIT 1";
    let waiting = snapshot.fetch_optional(sql, args![&id]).await?.is_some();
    // An id has neither of the wildcards, but for the one in its prefix, which finds itself.
    let sql = "SELECT jobs, ended FROM jobs_lease WHERE jobs LIKE $1";
    let mut running = BTreeSet::new();
    for lease in snapshot.fetch_all(sql, args![format!("%{id}%")]).await? {
        let jobs: Vec<Record> = serde_json::from_str(&lease.get::<String>("jobs")?)?;
        let marks = lease.get::<String>("ended")?;
        let open = jobs.into_iter().zip(marks.bytes()).filter(|(_, mark)| *mark == RUNNING);
        let members = open.filter(|(job, _)| job.member_of.as_deref() == Some(&*id));
        running.extend(members.map(|(job, _)| job.id.to_string()));
    }
    Ok(Open { waiting, running })
}
