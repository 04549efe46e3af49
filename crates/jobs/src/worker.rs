//! Runs jobs: claims what is due as slots come free, keeps its leases alive, rescues others'.
//!
//! Tasks of a running worker: one loop for each queue (claims, starts runs), one that
//! acknowledges ended runs in batches, one that keeps leases alive and rescues abandoned ones, one
//! that prunes the history, one that follows writes so that an enqueued job starts at once.
//! Everything between them is bounded: a queue claims no more than its free slots, and ended runs
//! wait in a bounded channel.

mod control;
mod gauges;
mod held;
mod run;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quintet_store::Store;
use quintet_types::SharedClock;
use tokio::sync::{Mutex, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::claim::{self, Claimant};
use crate::cron::Schedule;
use crate::error::Error;
use crate::handler::Handler;
use crate::lease::{self, CHANNEL, Ended, Outcome};
use crate::policy::{Policies, Policy};

pub(crate) use run::finished;

/// Ended runs acknowledged in one transaction.
const ACKNOWLEDGE_BATCH: usize = 1_000;
/// Acknowledgements under way at the same time: while one waits for the disk the next is written.
const ACKNOWLEDGERS: usize = 2;
/// Jobs claimed in one transaction, however many slots are free.
const CLAIM_BATCH: usize = 1_000;

/// One queue and how many of its jobs run at once.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The queue's name.
    pub name: String,
    /// Jobs that run at the same time in this process.
    pub concurrency: usize,
}

/// How a worker behaves.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Names this node in leases; a random part is added for each process.
    pub name: String,
    /// The queues to serve.
    pub queues: Vec<QueueSettings>,
    /// After this long without a sign of life a worker's jobs are given to others.
    pub lease: Duration,
    /// How often the queue is read even if nothing was announced (delayed jobs become due).
    pub poll: Duration,
    /// How long runs may go on after shutdown was asked for; then they go back to the queue.
    pub drain: Duration,
    /// How long a handler may go on after its job was cancelled, before it is dropped.
    pub cancel_grace: Duration,
    /// How long completed jobs stay in the history; zero: they are never written there.
    pub keep_completed: Duration,
    /// How long dead letters and cancelled jobs stay in the history.
    pub keep_discarded: Duration,
    /// Policies that stand in place of what handlers state, by kind.
    pub policies: HashMap<String, Policy>,
    /// Jobs that are enqueued by the calendar.
    pub schedules: Vec<Schedule>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            queues: vec![QueueSettings { name: "default".to_owned(), concurrency: 16 }],
            lease: Duration::from_secs(10),
            poll: Duration::from_millis(500),
            drain: Duration::from_secs(8),
            cancel_grace: Duration::from_secs(5),
            keep_completed: Duration::from_hours(24),
            keep_discarded: Duration::from_hours(24 * 14),
            policies: HashMap::new(),
            schedules: Vec::new(),
        }
    }
}

/// A process's part in running the queue.
pub struct Worker {
    store: Store,
    clock: SharedClock,
    settings: Settings,
    instance: String,
    handlers: HashMap<&'static str, Arc<dyn Handler>>,
    kinds: Vec<String>,
    running: control::Running,
    held: held::Held,
    policies: Arc<Policies>,
    announce: watch::Sender<()>,
}

impl std::fmt::Debug for Worker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Worker")
            .field("instance", &self.instance)
            .field("kinds", &self.kinds)
            .finish_non_exhaustive()
    }
}

impl Worker {
    /// A worker that runs jobs of its handlers' kinds; jobs of other kinds wait for another worker.
    pub fn new(
        store: Store,
        clock: SharedClock,
        settings: Settings,
        handlers: Vec<Arc<dyn Handler>>,
    ) -> Self {
        let random = quintet_types::id::encode(quintet_types::id::draw_from_system());
        let instance = format!("{}.{random}", settings.name);
        let kinds = handlers.iter().map(|handler| handler.kind().to_owned()).collect();
        for handler in &handlers {
            for queue in &settings.queues {
                // A counter that first appears at one hides its first event from `rate`.
                run::finished(&queue.name, handler.kind(), "completed").increment(0);
            }
        }
        let policies = Arc::new(Policies::new(&handlers, &settings.policies));
        let handlers = handlers.into_iter().map(|handler| (handler.kind(), handler)).collect();
        Self {
            store,
            clock,
            settings,
            instance,
            handlers,
            kinds,
            running: control::Running::default(),
            held: held::Held::default(),
            policies,
            announce: watch::Sender::new(()),
        }
    }

    /// Runs jobs until `shutdown`, then lets running ones end (up to the drain time) and puts the
    /// rest back.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), Error> {
        let (ended, to_acknowledge) = mpsc::channel(2 * ACKNOWLEDGERS * ACKNOWLEDGE_BATCH);
        let announced = self.announce.subscribe();
        // Upkeep outlives the queues: leases are kept alive until the last run is acknowledged.
        let upkeep_stop = CancellationToken::new();
        let upkeep = TaskTracker::new();
        upkeep.spawn(Arc::clone(&self).follow_writes(upkeep_stop.clone()));
        upkeep.spawn(Arc::clone(&self).keep_leases(upkeep_stop.clone()));
        upkeep.spawn(Arc::clone(&self).follow_cancellations(upkeep_stop.clone()));
        upkeep.spawn(Arc::clone(&self).follow_progress(upkeep_stop.clone()));
        upkeep.spawn(Arc::clone(&self).follow_schedules(shutdown.clone()));
        upkeep.spawn(Arc::clone(&self).prune_history(upkeep_stop.clone()));
        upkeep.spawn(Arc::clone(&self).show_depth(shutdown.clone()));
        let acknowledger = TaskTracker::new();
        let to_acknowledge = Arc::new(Mutex::new(to_acknowledge));
        for _ in 0..ACKNOWLEDGERS {
            acknowledger.spawn(Arc::clone(&self).acknowledge_all(Arc::clone(&to_acknowledge)));
        }

        let queues = TaskTracker::new();
        for queue in self.settings.queues.clone() {
            queues.spawn(Arc::clone(&self).serve_queue(
                queue,
                ended.clone(),
                announced.clone(),
                shutdown.clone(),
            ));
        }
        drop(ended);
        queues.close();
        queues.wait().await;
        // The last sender is gone, so the acknowledger ends once it has written everything.
        acknowledger.close();
        acknowledger.wait().await;
        upkeep_stop.cancel();
        upkeep.close();
        upkeep.wait().await;
        Ok(())
    }

    /// Runs every due job, and those they enqueue, until none is due; how many ran.
    pub async fn run_until_idle(&self) -> Result<usize, Error> {
        let mut count = 0;
        loop {
            let mut ended = Vec::new();
            for queue in &self.settings.queues {
                for job in self.claim(&queue.name, CLAIM_BATCH).await? {
                    let outcome = self.run_job(&job).await;
                    ended.push(Ended { job, outcome });
                }
            }
            if ended.is_empty() {
                return Ok(count);
            }
            count += ended.len();
            lease::acknowledge(&self.store, &ended, &|kind| self.keeps_completed(kind), self.clock.now())
                .await?;
        }
    }

    /// The names of the queues this worker serves.
    pub fn queue_names(&self) -> Vec<String> {
        self.settings.queues.iter().map(|queue| queue.name.clone()).collect()
    }

    /// Changes whenever something was written that may be a job, while the worker runs.
    pub fn announcements(&self) -> watch::Receiver<()> {
        self.announce.subscribe()
    }

    /// The policies in force.
    pub fn policies(&self) -> Arc<Policies> {
        Arc::clone(&self.policies)
    }

    async fn claim(&self, queue: &str, limit: usize) -> Result<Vec<crate::Job>, Error> {
        let claimant = Claimant { store: &self.store, worker: &self.instance, queue, now: self.clock.now() };
        claim::claim(claimant, &self.policies, &self.kinds, limit).await
    }

    async fn serve_queue(
        self: Arc<Self>,
        queue: QueueSettings,
        ended: mpsc::Sender<Ended>,
        mut announced: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let slots = Arc::new(Semaphore::new(queue.concurrency.max(1)));
        let busy = gauges::slots(&queue.name, queue.concurrency.max(1));
        let mut runs = JoinSet::new();
        while !shutdown.is_cancelled() {
            while runs.try_join_next().is_some() {}
            // Marked as seen before the claim: a job enqueued during it wakes the next turn.
            announced.borrow_and_update();
            let claimed = tokio::select! {
                claimed = self.claim_into_free_slots(&queue.name, &slots) => claimed,
                () = shutdown.cancelled() => break,
            };
            match claimed {
                Ok(jobs) if jobs.is_empty() => {
                    tokio::select! {
                        _ = tokio::time::timeout(self.settings.poll, announced.changed()) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
                Ok(jobs) => {
                    for (job, slot) in jobs {
                        let (worker, ended) = (Arc::clone(&self), ended.clone());
                        let busy = gauges::Busy::enter(&busy);
                        runs.spawn(async move { worker.run_and_report(job, ended, (slot, busy)).await });
                    }
                }
                Err(error) => {
                    tracing::warn!(
                        queue = queue.name,
                        error = &error as &dyn std::error::Error,
                        "cannot claim jobs"
                    );
                    tokio::select! {
                        () = tokio::time::sleep(self.settings.poll) => {}
                        () = shutdown.cancelled() => {}
                    }
                }
            }
        }
        // Runs that do not end in time give their job back themselves when they see their deadline.
        let _ =
            tokio::time::timeout(self.settings.drain, async { while runs.join_next().await.is_some() {} })
                .await;
        runs.shutdown().await;
    }

    /// Waits for a free slot and claims as many jobs as there are free slots.
    async fn claim_into_free_slots(
        &self,
        queue: &str,
        slots: &Arc<Semaphore>,
    ) -> Result<Vec<(crate::Job, tokio::sync::OwnedSemaphorePermit)>, Error> {
        // The semaphore is never closed.
        let Ok(first) = Arc::clone(slots).acquire_owned().await else { return Ok(Vec::new()) };
        let mut permits = vec![first];
        while permits.len() < CLAIM_BATCH
            && let Ok(permit) = Arc::clone(slots).try_acquire_owned()
        {
            permits.push(permit);
        }
        let jobs = self.claim(queue, permits.len()).await?;
        self.held.begin(&jobs);
        Ok(jobs.into_iter().zip(permits).collect())
    }

    async fn acknowledge_all(self: Arc<Self>, ended: Arc<Mutex<mpsc::Receiver<Ended>>>) {
        let mut batch = Vec::with_capacity(ACKNOWLEDGE_BATCH);
        while ended.lock().await.recv_many(&mut batch, ACKNOWLEDGE_BATCH).await > 0 {
            self.acknowledge(&batch).await;
            batch.clear();
        }
    }

    /// Whether the history keeps completed jobs of this kind at all.
    fn keeps_completed(&self, kind: &str) -> bool {
        !self.policies.keep_completed(kind).unwrap_or(self.settings.keep_completed).is_zero()
    }

    /// Writes a batch down, trying until it succeeds: giving up would run the jobs again.
    async fn acknowledge(&self, batch: &[Ended]) {
        let mut delay = Duration::from_millis(50);
        loop {
            match lease::acknowledge(&self.store, batch, &|kind| self.keeps_completed(kind), self.clock.now())
                .await
            {
                Ok(lost) => {
                    self.held.end(batch);
                    for job in lost {
                        tracing::warn!(job.id = %job, "a job ended after its lease was lost; it runs again elsewhere");
                        metrics::counter!("quintet_jobs_lost_leases_total").increment(1);
                    }
                    return;
                }
                Err(error) => {
                    tracing::warn!(
                        jobs = batch.len(),
                        error = &error as &dyn std::error::Error,
                        "cannot acknowledge jobs, trying again"
                    );
                    tokio::time::sleep(delay).await;
                    delay = (delay * 2).min(Duration::from_secs(2));
                }
            }
        }
    }

    async fn follow_writes(self: Arc<Self>, stop: CancellationToken) {
        while !stop.is_cancelled() {
            let followed = async {
                let mut watch = self.store.watch(CHANNEL).await?;
                loop {
                    if watch.changed(self.settings.poll).await? {
                        self.announce.send_replace(());
                    }
                }
            };
            let result: Result<(), Error> = tokio::select! {
                result = followed => result,
                () = stop.cancelled() => return,
            };
            if let Err(error) = result {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot follow the queue, polling");
            }
            tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
                () = stop.cancelled() => {}
            }
        }
    }
}

/// Sends a job back when its run is dropped before it ended (the drain deadline passed).
struct GiveBack {
    job: Option<crate::Job>,
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
    async fn run_and_report(
        &self,
        job: crate::Job,
        ended: mpsc::Sender<Ended>,
        slot: (tokio::sync::OwnedSemaphorePermit, gauges::Busy),
    ) {
        let mut guard = GiveBack { job: Some(job.clone()), ended: ended.clone() };
        let outcome = self.run_job(&job).await;
        guard.job = None;
        drop(slot);
        // The receiver lives until every sender is gone.
        let _ = ended.send(Ended { job, outcome }).await;
    }
}
