//! Limits of a kind, and of a whole queue ([`queue`]): how many of its jobs run at once, in all processes, in one, for one partition key, and how often
//! runs may begin. And fairness: among the keys of a limited kind the one with the fewest runs is next.
//!
//! What runs is counted in the leases themselves. There is no counter that a killed worker could leave behind: its
//! places come back with its lease. A lease of a limited kind holds jobs of that kind alone and names their keys, so
//! that counting reads neither arguments nor leases of others. Rates are GCRA: one row for each kind, and for each key
//! that had runs, says at which instant the next run would be on time.
//!
//! Whoever claims jobs of a limited kind first locks the kind's row, so that no two see the same free place; claims of
//! other kinds know nothing of this. Nodes must agree on a kind's limits: each keeps those of its configuration.

mod candidates;
mod queue;
mod view;

use std::collections::HashMap;
use std::time::Duration;

use quintet_store::{Sql, Store, Tx, args};
use quintet_types::time::micros;

use crate::claim::{Claimant, claim_chosen};
use crate::error::Error;
use crate::job::Job;
use crate::lease;

pub(crate) use queue::Room;
pub use queue::{QueueLimitView, QueueLimits, queue_limits};
pub use view::{KeyRuns, LimitView, limits};

/// What a kind may use; what is not set is not limited.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Runs at once in one process.
    pub local: Option<u32>,
    /// Runs at once in all processes together.
    pub global: Option<u32>,
    /// Runs at once of jobs with one partition key, in all processes together.
    pub per_key: Option<u32>,
    /// How often runs may begin.
    pub rate: Option<Rate>,
    /// How often runs of jobs with one partition key may begin.
    pub rate_per_key: Option<Rate>,
}

impl Limits {
    /// Whether there is any.
    pub(crate) fn any(&self) -> bool {
        *self != Self::default()
    }

    /// These limits with whatever `other` sets in place of its own.
    pub(crate) fn replaced_by(self, other: &Self) -> Self {
        Self {
            local: other.local.or(self.local),
            global: other.global.or(self.global),
            per_key: other.per_key.or(self.per_key),
            rate: other.rate.or(self.rate),
            rate_per_key: other.rate_per_key.or(self.rate_per_key),
        }
    }
}

/// A rate that is kept on average; after a pause up to `burst` runs begin at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    runs: u32,
    per: Duration,
    burst: u32,
}

impl Rate {
    /// `runs` in every `per`, and as many at once.
    pub fn new(runs: u32, per: Duration) -> Self {
        Self { runs: runs.max(1), per, burst: runs.max(1) }
    }

    /// How many runs may begin at once after a pause.
    #[must_use]
    pub fn burst(self, burst: u32) -> Self {
        Self { burst: burst.max(1), ..self }
    }

    /// Microseconds between two runs.
    fn interval(self) -> i64 {
        i64::try_from(self.per.as_micros() / u128::from(self.runs)).unwrap_or(i64::MAX).max(1)
    }

    /// How far ahead of its time a run may begin, and one interval: what is left of it pays for the next ones.
    fn reach(self) -> i64 {
        self.interval().saturating_mul(i64::from(self.burst))
    }

    /// Runs that may begin at `now`, where the next would be on time at `due`.
    fn allowed(self, due: i64, now: i64) -> i64 {
        (now.saturating_add(self.reach()).saturating_sub(due.max(now)) / self.interval()).max(0)
    }

    /// When the next run is on time after `runs` began at `now`.
    fn after(self, due: i64, now: i64, runs: i64) -> i64 {
        due.max(now).saturating_add(self.interval().saturating_mul(runs))
    }
}

/// Takes up to `most` due jobs of one limited kind, from a queue that may have limits too.
pub(crate) async fn claim(
    claimant: Claimant<'_>,
    kind: &str,
    limits: &Limits,
    queue_limits: Option<&QueueLimits>,
    most: usize,
) -> Result<Vec<Job>, Error> {
    let Claimant { store, worker, queue, now } = claimant;
    // An idle queue costs one read, and neither a lock nor a transaction.
    if store.fetch_optional(ANY_DUE, args![queue, kind, now]).await?.is_none() {
        return Ok(Vec::new());
    }
    let mut tx = store.begin().await?;
    let room = Room::lock(&mut tx, claimant, queue_limits).await?;
    let due = lock(&mut tx, kind).await?;
    let runs = Runs::read(&mut tx, kind, worker).await?;
    let most = i64::try_from(most).unwrap_or(i64::MAX).min(room.free);
    let free = runs.free(limits, due, micros(now)).min(most);
    if free <= 0 {
        return Ok(Vec::new());
    }
    let ids = candidates::choose(&mut tx, claimant, kind, limits, &runs, free).await?;
    if ids.is_empty() {
        return Ok(Vec::new());
    }
    let jobs = claim_chosen(&mut tx, claimant, kind, ids).await?;
    if jobs.is_empty() {
        return Ok(Vec::new());
    }
    spend(&mut tx, kind, limits, due, &jobs, micros(now)).await?;
    room.spend(&mut tx, jobs.len()).await?;
    tx.commit().await?;
    Ok(jobs)
}

/// Bounded as the choice is (`candidates`).
const ANY_DUE: &str = "
    SELECT 1 AS due
    WHERE NOT EXISTS (SELECT 1 FROM jobs_paused WHERE jobs_paused.queue = $1)
      AND (EXISTS (SELECT 1 FROM jobs_ready
                   WHERE queue = $1 AND kind = $2 AND partition_key IS NOT NULL AND run_at <= $3)
           OR EXISTS (SELECT 1 FROM (SELECT kind, partition_key FROM jobs_ready WHERE queue = $1 AND run_at <= $3
                                     ORDER BY priority, run_at, id LIMIT 10000) AS next
                      WHERE kind = $2 AND partition_key IS NULL))";

/// Locks the kind until the transaction ends; when its next run is on time.
async fn lock(tx: &mut Tx, kind: &str) -> Result<i64, Error> {
    let sql = "INSERT INTO jobs_limits (kind, partition_key, next_at, served_at) VALUES ($1, '', 0, 0)
               ON CONFLICT (kind, partition_key) DO UPDATE SET next_at = jobs_limits.next_at RETURNING next_at";
    Ok(tx.fetch_one(sql, args![kind]).await?.get("next_at")?)
}

/// What runs of a kind.
#[derive(Debug, Default)]
pub(crate) struct Runs {
    total: i64,
    /// In the process that asks.
    here: i64,
    /// By partition key; jobs without one under the empty one.
    by_key: HashMap<String, i64>,
}

const RUNS: &str = "SELECT worker, partition_keys, ended FROM jobs_lease WHERE limited = $1";

impl Runs {
    async fn read(tx: &mut Tx, kind: &str, worker: &str) -> Result<Self, Error> {
        Self::count(&tx.fetch_all(RUNS, args![kind]).await?, worker)
    }

    fn count(leases: &[quintet_store::Row], worker: &str) -> Result<Self, Error> {
        let mut runs = Self::default();
        for lease in leases {
            let keys: Vec<Option<String>> = serde_json::from_str(&lease.get::<String>("partition_keys")?)?;
            let here = lease.get::<String>("worker")? == worker;
            let marks = lease.get::<String>("ended")?;
            for (key, _) in keys.into_iter().zip(marks.bytes()).filter(|(_, mark)| *mark == lease::RUNNING) {
                runs.total += 1;
                runs.here += i64::from(here);
                *runs.by_key.entry(key.unwrap_or_default()).or_default() += 1;
            }
        }
        Ok(runs)
    }

    /// How many more may begin, whatever their keys.
    fn free(&self, limits: &Limits, due: i64, now: i64) -> i64 {
        let left = |limit: Option<u32>, runs: i64| limit.map_or(i64::MAX, |limit| i64::from(limit) - runs);
        left(limits.global, self.total)
            .min(left(limits.local, self.here))
            .min(limits.rate.map_or(i64::MAX, |rate| rate.allowed(due, now)))
    }
}

const SERVED: Sql = Sql::one(
    "INSERT INTO jobs_limits (kind, partition_key, next_at, served_at) VALUES ($1, $2, $3, $4)
     ON CONFLICT (kind, partition_key) DO UPDATE SET
         next_at = CASE WHEN jobs_limits.next_at > $4 THEN jobs_limits.next_at ELSE $4 END + $3 - $4,
         served_at = $4",
);

/// Writes down what these runs use up of the rates, and that their keys were served.
async fn spend(
    tx: &mut Tx,
    kind: &str,
    limits: &Limits,
    due: i64,
    jobs: &[Job],
    now: i64,
) -> Result<(), Error> {
    let mut by_key: HashMap<&str, i64> = HashMap::new();
    for job in jobs {
        *by_key.entry(job.partition_key().unwrap_or_default()).or_default() += 1;
    }
    for (key, runs) in by_key {
        if !key.is_empty() {
            let next = limits.rate_per_key.map_or(now, |rate| rate.after(now, now, runs));
            tx.send(&SERVED, args![kind, key, next, now]).await?;
        }
    }
    let runs = i64::try_from(jobs.len()).unwrap_or(i64::MAX);
    let next = limits.rate.map_or(due, |rate| rate.after(due, now, runs));
    let sql = "UPDATE jobs_limits SET next_at = $2, served_at = $3 WHERE kind = $1 AND partition_key = ''";
    tx.send(sql, args![kind, next, now]).await?;
    Ok(())
}

const FORGET: Sql = Sql::per_dialect(
    "DELETE FROM jobs_limits WHERE (kind, partition_key) IN (
         SELECT kind, partition_key FROM jobs_limits
         WHERE partition_key <> '' AND served_at < $1 AND next_at < $1 LIMIT $2)
     RETURNING kind",
    // A key that is being served is in use, and waiting for it could be a deadlock.
    "DELETE FROM jobs_limits WHERE (kind, partition_key) IN (
         SELECT kind, partition_key FROM jobs_limits
         WHERE partition_key <> '' AND served_at < $1 AND next_at < $1 LIMIT $2 FOR UPDATE SKIP LOCKED)
     RETURNING kind",
);

/// Forgets keys that have no debt and were not served since `before`; a kind's own row stays.
pub(crate) async fn forget_keys(store: &Store, before: i64, most: i64) -> Result<usize, Error> {
    Ok(store.write_one(&FORGET, args![before, most]).await?.len())
}
