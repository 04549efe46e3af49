//! Serving one queue: claims, and a task for each run.
//!
//! A claim costs a round trip and a commit. A worker that claims only what it has free slots for stands still meanwhile: with
//! jobs of a millisecond, most of the time. So it claims ahead what it will start within [`AHEAD`] at the pace at which
//! runs have ended: hundreds of short jobs, and none of those that take long, which another worker may be free for.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::{CLAIM_BATCH, QueueSettings, Worker, gauges};
use crate::job::Job;
use crate::lease::{Ended, Outcome};

/// Between two claims of a queue that had no more than was claimed: jobs that are enqueued one by one start at once while
/// they are few, and share a claim when they are many.
const CLAIM_GAP: Duration = Duration::from_millis(10);
/// Claims after a pause that do not wait. Without them a job that by chance came right after another one on an idle queue
/// waited for nearly the whole gap: at 20 jobs a second every hundredth one for more than 9 ms.
const CLAIM_BURST: u32 = 4;
/// About how long a claimed job may wait for a slot: several times what a claim takes.
const AHEAD: Duration = Duration::from_millis(20);
/// The pace of runs is taken over no less than this.
const PACE_OVER: Duration = Duration::from_millis(2);

/// One queue's slots in this process, and what was claimed for them.
struct Slots {
    free: Arc<Semaphore>,
    busy: metrics::Gauge,
    /// Claimed jobs without a slot.
    waiting: AtomicUsize,
    /// Runs that have ended so far.
    ended: AtomicUsize,
    /// Told after each run.
    changed: Notify,
}

impl Slots {
    fn new(queue: &QueueSettings) -> Self {
        let concurrency = queue.concurrency.max(1);
        Self {
            free: Arc::new(Semaphore::new(concurrency)),
            busy: gauges::slots(&queue.name, concurrency),
            waiting: AtomicUsize::new(0),
            ended: AtomicUsize::new(0),
            changed: Notify::new(),
        }
    }

    /// How many jobs to claim now, which is none before about half of what is wanted ahead has gone.
    fn wanted(&self, ahead: usize) -> usize {
        let room = self.free.available_permits() + ahead;
        let wanted = room.saturating_sub(self.waiting.load(Ordering::Relaxed)).min(CLAIM_BATCH);
        if wanted > ahead / 2 { wanted } else { 0 }
    }
}

/// How many jobs to claim ahead.
struct Lookahead {
    /// Limits count what is claimed, so that those of a limited kind are not taken before they can run.
    never: bool,
    since: Instant,
    ended: usize,
    jobs: usize,
}

impl Lookahead {
    fn new(never: bool, now: Instant) -> Self {
        Self { never, since: now, ended: 0, jobs: 0 }
    }

    /// What will start within [`AHEAD`] if runs go on ending as they did since this was last asked.
    fn jobs(&mut self, ended: usize, now: Instant) -> usize {
        let over = now.saturating_duration_since(self.since);
        if !self.never && over >= PACE_OVER {
            let runs = u128::try_from(ended.wrapping_sub(self.ended)).unwrap_or_default();
            let jobs = runs * AHEAD.as_micros() / over.as_micros().max(1);
            self.jobs = usize::try_from(jobs).unwrap_or(CLAIM_BATCH).min(CLAIM_BATCH);
            (self.since, self.ended) = (now, ended);
        }
        self.jobs
    }
}

impl Worker {
    pub(super) async fn serve_queue(
        self: Arc<Self>,
        queue: QueueSettings,
        ended: mpsc::Sender<Ended>,
        announced: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let slots = Arc::new(Slots::new(&queue));
        // Nothing waits for this channel: no more is claimed than it holds.
        let (claimed, to_start) = mpsc::channel(queue.concurrency.max(1) + 2 * CLAIM_BATCH);
        let claims = async {
            let claiming = self.claim_for(&queue, &slots, claimed, announced);
            let _ = shutdown.run_until_cancelled(claiming).await;
        };
        let mut runs = JoinSet::new();
        tokio::join!(claims, self.start_runs(&mut runs, to_start, &slots, &ended, &shutdown));
        // Runs that do not end in time give their job back themselves when they see their deadline.
        let _ =
            tokio::time::timeout(self.settings.drain, async { while runs.join_next().await.is_some() {} })
                .await;
        runs.shutdown().await;
    }

    /// Claims as slots come free, for ever.
    async fn claim_for(
        &self,
        queue: &QueueSettings,
        slots: &Slots,
        claimed: mpsc::Sender<Job>,
        mut announced: watch::Receiver<()>,
    ) {
        let mut pace = Pace::new(CLAIM_GAP).burst(CLAIM_BURST);
        let limited = self.limited || self.policies.queue_limits(&queue.name).is_some();
        let mut lookahead = Lookahead::new(limited, Instant::now());
        loop {
            let ahead = lookahead.jobs(slots.ended.load(Ordering::Relaxed), Instant::now());
            let wanted = slots.wanted(ahead);
            if wanted == 0 {
                slots.changed.notified().await;
                continue;
            }
            // Marked as seen before the claim: a job enqueued during it wakes the next turn.
            announced.borrow_and_update();
            match self.claim(&queue.name, wanted).await {
                Ok(jobs) => {
                    self.held.begin(&jobs);
                    // One claim takes jobs of one limited kind, so that others may still be due.
                    let drained = jobs.is_empty() || (!self.limited && jobs.len() < wanted);
                    slots.waiting.fetch_add(jobs.len(), Ordering::Relaxed);
                    for job in jobs {
                        // The receiver lives as long as this.
                        let _ = claimed.send(job).await;
                    }
                    if drained {
                        let _ = tokio::time::timeout(self.settings.poll, announced.changed()).await;
                        pace.turn().await;
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        queue = queue.name,
                        error = &error as &dyn std::error::Error,
                        "cannot claim jobs"
                    );
                    tokio::time::sleep(self.settings.poll).await;
                }
            }
        }
    }

    /// Gives each claimed job a slot and a task, until there will be no more; those that have none at shutdown go back.
    async fn start_runs(
        self: &Arc<Self>,
        runs: &mut JoinSet<()>,
        mut claimed: mpsc::Receiver<Job>,
        slots: &Arc<Slots>,
        ended: &mpsc::Sender<Ended>,
        shutdown: &CancellationToken,
    ) {
        while let Some(job) = claimed.recv().await {
            while runs.try_join_next().is_some() {}
            let slot = shutdown.run_until_cancelled(Arc::clone(&slots.free).acquire_owned()).await;
            slots.waiting.fetch_sub(1, Ordering::Relaxed);
            // The semaphore is never closed.
            let Some(Ok(slot)) = slot else {
                drop(GiveBack { job: Some(job), ended: ended.clone() });
                continue;
            };
            let (worker, ended) = (Arc::clone(self), ended.clone());
            let slot = Slot { _permit: slot, _busy: gauges::Busy::enter(&slots.busy) };
            let slots = Arc::clone(slots);
            runs.spawn(async move {
                worker.run_and_report(job, ended, slot).await;
                slots.ended.fetch_add(1, Ordering::Relaxed);
                slots.changed.notify_one();
            });
        }
    }
}

/// A slot that is taken.
struct Slot {
    _permit: OwnedSemaphorePermit,
    _busy: gauges::Busy,
}

/// Sends a job back when its run is dropped before it ended (the drain deadline passed).
struct GiveBack {
    job: Option<Job>,
    ended: mpsc::Sender<Ended>,
}

impl Drop for GiveBack {
    fn drop(&mut self) {
        if let Some(job) = self.job.take() {
            let at = quintet_types::time::from_micros(job.record.run_at);
            let outcome = Outcome::Again { at, error: None, counts: false };
            // A full channel only means that the lease runs out instead.
            let _ = self.ended.try_send(Ended { job, outcome });
        }
    }
}

impl Worker {
    async fn run_and_report(&self, job: Job, ended: mpsc::Sender<Ended>, slot: Slot) {
        let mut guard = GiveBack { job: Some(job.clone()), ended: ended.clone() };
        let outcome = self.run_job(&job).await;
        guard.job = None;
        drop(slot);
        // The receiver lives until every sender is gone.
        let _ = ended.send(Ended { job, outcome }).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_jobs_are_claimed_ahead_long_ones_and_limited_ones_are_not() {
        let begun = Instant::now();
        let at = |millis| begun + Duration::from_millis(millis);
        let mut short = Lookahead::new(false, begun);
        assert_eq!(short.jobs(0, at(0)), 0, "nothing has ended yet");
        assert_eq!(short.jobs(100, at(10)), 200, "ten a millisecond");
        assert_eq!(short.jobs(105, at(11)), 200, "too early to tell");
        assert_eq!(short.jobs(110, at(20)), 20);
        assert_eq!(short.jobs(1_000_000, at(30)), CLAIM_BATCH);
        assert_eq!(short.jobs(1_000_001, at(60_000)), 0, "one a minute");
        assert_eq!(Lookahead::new(true, begun).jobs(100, at(10)), 0);
    }

    #[test]
    fn nothing_is_claimed_before_half_of_what_is_wanted_ahead_has_gone() {
        let slots = Slots::new(&QueueSettings::new("default", 10));
        assert_eq!(slots.wanted(0), 10);
        assert_eq!(slots.wanted(100), 110);
        let taken = Arc::clone(&slots.free).try_acquire_many_owned(10).unwrap();
        assert_eq!(slots.wanted(0), 0);
        slots.waiting.store(50, Ordering::Relaxed);
        assert_eq!(slots.wanted(100), 0);
        slots.waiting.store(49, Ordering::Relaxed);
        assert_eq!(slots.wanted(100), 51);
        drop(taken);
        slots.waiting.store(0, Ordering::Relaxed);
        assert_eq!(slots.wanted(CLAIM_BATCH), CLAIM_BATCH, "and not more than a claim takes");
    }
}
