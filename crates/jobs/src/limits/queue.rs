//! Limits of a whole queue: how many of its jobs run at once in all processes, of whatever kinds, and how often one begins.
//!
//! As with kinds, what runs is counted in the leases, and a lease is of one queue; whoever claims from a limited queue
//! first locks its row. The queue comes before the kind in every transaction, so that two of them cannot deadlock.

use quintet_store::{Store, Tx, args};
use quintet_types::time::micros;
use serde::Serialize;
use utoipa::ToSchema;

use super::Rate;
use super::view::RateView;
use crate::claim::Claimant;
use crate::error::Error;
use crate::policy::Policies;

/// What a queue may use; what is not set is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QueueLimits {
    /// Runs at once in all processes together.
    pub global: Option<u32>,
    /// How often runs may begin, in all processes together.
    pub rate: Option<Rate>,
}

impl QueueLimits {
    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }
}

/// What a queue has left, for the transaction that locked it.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    claimant: Claimant<'a>,
    rate: Option<Rate>,
    /// When the next run is on time.
    due: i64,
    /// Runs that may begin.
    pub(crate) free: i64,
}

impl<'a> Room<'a> {
    /// Locks the claimant's queue until the transaction ends, if it has limits.
    pub(crate) async fn lock(
        tx: &mut Tx,
        claimant: Claimant<'a>,
        limits: Option<&QueueLimits>,
    ) -> Result<Self, Error> {
        let Some(limits) = limits else { return Ok(Self { claimant, rate: None, due: 0, free: i64::MAX }) };
        let sql = "INSERT INTO jobs_queue_limits (queue, next_at) VALUES ($1, 0)
                   ON CONFLICT (queue) DO UPDATE SET next_at = jobs_queue_limits.next_at RETURNING next_at";
        let due = tx.fetch_one(sql, args![claimant.queue]).await?.get("next_at")?;
        let mut free = limits.rate.map_or(i64::MAX, |rate| rate.allowed(due, micros(claimant.now)));
        if let Some(global) = limits.global {
            let running: i64 = tx.fetch_one(RUNNING, args![claimant.queue]).await?.get("running")?;
            free = free.min(i64::from(global) - running);
        }
        Ok(Self { claimant, rate: limits.rate, due, free })
    }

    /// Writes down what `runs` use up of the rate.
    pub(crate) async fn spend(self, tx: &mut Tx, runs: usize) -> Result<(), Error> {
        let Some(rate) = self.rate else { return Ok(()) };
        let runs = i64::try_from(runs).unwrap_or(i64::MAX);
        let next = rate.after(self.due, micros(self.claimant.now), runs);
        let sql = "UPDATE jobs_queue_limits SET next_at = $2 WHERE queue = $1";
        Ok(tx.send(sql, args![self.claimant.queue, next]).await?)
    }
}

/// Places that are marked `0` (`lease::RUNNING`), in the leases of all who claim from the queue, with limits or without.
const RUNNING: &str = "
    SELECT CAST(coalesce(sum(length(ended) - length(replace(ended, '0', ''))), 0) AS BIGINT) AS running
    FROM jobs_lease WHERE queue = $1";

/// A queue's limits, and what of them is in use.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct QueueLimitView {
    /// The queue.
    pub queue: String,
    /// Runs at once in all processes together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub global_concurrency: Option<u32>,
    /// How often runs may begin.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate: Option<RateView>,
    /// Jobs that run.
    pub running: i64,
}

/// The limits in force here, by queue.
pub async fn queue_limits(store: &Store, policies: &Policies) -> Result<Vec<QueueLimitView>, Error> {
    let mut views = Vec::new();
    for (queue, limits) in policies.limited_queues() {
        views.push(QueueLimitView {
            queue: queue.to_owned(),
            global_concurrency: limits.global,
            rate: limits.rate.map(RateView::from),
            running: store.fetch_one(RUNNING, args![queue]).await?.get("running")?,
        });
    }
    views.sort_unstable_by(|one, other| one.queue.cmp(&other.queue));
    Ok(views)
}
