//! Keeping leases alive, rescuing abandoned ones, pruning the history.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quintet_store::{Sql, args};
use quintet_types::Timestamp;
use quintet_types::time::micros;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::error::Error;
use crate::notes::Sweep;
use crate::{batch, failures, lease, limits, notes, workflow};

/// Rows removed from the history in one transaction: a long one would hold the write lock.
const PRUNE_BATCH: i64 = 1000;
const PRUNE_INTERVAL: Duration = Duration::from_mins(1);
/// A partition key without a run for so long is as good as a new one.
const IDLE_KEY: Duration = Duration::from_hours(1);

/// Leases seen, with their beat and since when it has stood still.
type Seen = HashMap<String, (i64, Instant)>;

impl Worker {
    pub(super) async fn keep_leases(self: Arc<Self>, stop: CancellationToken) {
        // Three beats a lease: two may be late.
        let mut ticks = tokio::time::interval(self.settings.lease / 3);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut seen = Seen::new();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            if let Err(error) = self.beat_and_rescue(&mut seen).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot keep leases alive");
            }
        }
    }

    async fn beat_and_rescue(&self, seen: &mut Seen) -> Result<(), Error> {
        lease::keep_alive(&self.store, self.held.leases()).await?;
        let now = Instant::now();
        let beats = lease::beats(&self.store).await?;
        seen.retain(|id, _| beats.iter().any(|(lease, ..)| lease == id));
        for (id, beat, hold) in beats {
            let (known, since) = *seen.entry(id.clone()).or_insert((beat, now));
            if known != beat {
                seen.insert(id, (beat, now));
            } else if now.duration_since(since) >= self.settings.lease.max(hold) {
                let jobs = lease::rescue(&self.store, &self.policies, &id, beat, self.clock.now()).await?;
                tracing::warn!(lease = id, jobs, "rescued the jobs of a worker that stopped");
                metrics::counter!("quintet_jobs_rescued_total")
                    .increment(u64::try_from(jobs).unwrap_or(u64::MAX));
                seen.remove(&id);
            }
        }
        Ok(())
    }

    pub(super) async fn prune_history(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PRUNE_INTERVAL);
        let mut sweep = Sweep::default();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            for (state, keep) in [
                ("completed", self.settings.keep_completed),
                ("discarded", self.settings.keep_discarded),
                ("cancelled", self.settings.keep_discarded),
            ] {
                if let Err(error) = self.prune_state(state, keep).await {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot prune the job history");
                }
            }
            if let Err(error) = self.forget_keys().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot forget unique keys and partition keys"
                );
            }
            if let Err(error) = failures::prune(&self.store, self.oldest_failure()).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot prune the failures of jobs");
            }
            if let Err(error) = self.forget_groups().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot prune batches and workflows"
                );
            }
            if let Err(error) = sweep.turn(&self.store).await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot prune the notes of jobs");
            }
        }
    }

    /// Forgets unique keys whose period is over (nobody asks for them any more, because a key names its period), and
    /// partition keys that had no run lately.
    async fn forget_keys(&self) -> Result<(), Error> {
        let sql = "DELETE FROM jobs_unique WHERE unique_key IN (
                       SELECT unique_key FROM jobs_unique WHERE expires_at > 0 AND expires_at < $1
                       ORDER BY expires_at LIMIT $2)
                   RETURNING unique_key";
        while !self.store.write_one(sql, args![self.clock.now(), PRUNE_BATCH]).await?.is_empty() {}
        let idle = i64::try_from(IDLE_KEY.as_micros()).unwrap_or(i64::MAX);
        let before = micros(self.clock.now()).saturating_sub(idle);
        while limits::forget_keys(&self.store, before, PRUNE_BATCH).await? > 0 {}
        Ok(())
    }

    /// Batches and workflows are kept as long as dead letters, from which they could be redriven.
    async fn forget_groups(&self) -> Result<(), Error> {
        let keep = self.settings.keep_discarded.max(self.settings.keep_completed);
        let before = self.clock.now().checked_sub(keep).unwrap_or(Timestamp::MIN);
        while batch::prune(&self.store, before).await? {}
        while workflow::prune(&self.store, before).await? {}
        Ok(())
    }

    /// Failures are kept as long as any job that ended.
    fn oldest_failure(&self) -> Timestamp {
        let own = [true, false].into_iter().flat_map(|completed| self.policies.kept(completed));
        let keep = own
            .map(|(_, keep)| keep)
            .chain([self.settings.keep_completed, self.settings.keep_discarded])
            .max()
            .unwrap_or_default();
        self.clock.now().checked_sub(keep).unwrap_or(Timestamp::MIN)
    }

    /// Forgets what ended in `state` long ago: kinds with a time of their own after that, the rest after `keep`.
    async fn prune_state(&self, state: &'static str, keep: Duration) -> Result<(), Error> {
        let mut apart = Vec::new();
        for (kind, keep) in self.policies.kept(state == "completed") {
            self.prune(state, &[kind.to_owned()], true, keep).await?;
            apart.push(kind.to_owned());
        }
        self.prune(state, &apart, false, keep).await
    }

    /// Forgets jobs of these kinds, or of all but these.
    async fn prune(
        &self,
        state: &'static str,
        kinds: &[String],
        these: bool,
        keep: Duration,
    ) -> Result<(), Error> {
        let keep = i64::try_from(keep.as_micros()).unwrap_or(i64::MAX);
        let before = micros(self.clock.now()).saturating_sub(keep);
        let arguments = |limit: i64| args![state, before, kinds.to_vec(), these, limit];
        while self.store.fetch_optional(&OLD, arguments(1)).await?.is_some() {
            let mut tx = self.store.begin().await?;
            let gone = tx.fetch_all(&FORGET, arguments(PRUNE_BATCH)).await?;
            let gone = gone.iter().map(|row| row.get("id")).collect::<Result<_, _>>()?;
            notes::forget(&mut tx, gone).await?;
            tx.commit().await?;
        }
        Ok(())
    }
}

macro_rules! old {
    ($before:literal, $of_kinds:literal, $after:literal) => {
        concat!(
            $before,
            "SELECT id FROM jobs_history WHERE state = $1 AND finished_at < $2 AND ",
            $of_kinds,
            " = $4 ORDER BY finished_at LIMIT $5",
            $after
        )
    };
}

const OLD: Sql = Sql::per_dialect(
    old!("", "(kind IN (SELECT value FROM json_each($3)))", ""),
    old!("", "(kind = ANY($3))", ""),
);

const FORGET: Sql = Sql::per_dialect(
    old!(
        "DELETE FROM jobs_history WHERE id IN (",
        "(kind IN (SELECT value FROM json_each($3)))",
        ") RETURNING id"
    ),
    old!("DELETE FROM jobs_history WHERE id IN (", "(kind = ANY($3))", ") RETURNING id"),
);
