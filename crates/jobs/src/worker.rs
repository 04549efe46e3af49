//! Runs jobs: claims what is due as slots come free, keeps its leases alive, rescues others'.
//!
//! Tasks of a running worker: one loop for each queue (claims, starts runs), one that
//! acknowledges ended runs in batches, one that keeps leases alive and rescues abandoned ones, one
//! that prunes the history, one that follows writes so that an enqueued job starts at once.
//! Everything between them is bounded: a queue claims what it has slots for or will have at once, and ended runs
//! wait in a bounded channel.

mod acknowledge;
mod control;
mod gauges;
mod held;
mod meters;
mod pace;
mod queue;
mod run;
mod upkeep;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quintet_store::Store;
use quintet_types::SharedClock;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::acknowledge::{ACKNOWLEDGERS, Ends, MOST_UNACKNOWLEDGED};
use crate::claim::{self, Claimant};
use crate::cron::Schedule;
use crate::error::Error;
use crate::handler::Handler;
use crate::lease::{self, CHANNEL, Ended};
use crate::limits::QueueLimits;
use crate::policy::{Policies, Policy};

pub(crate) use meters::finished;

/// Jobs claimed in one transaction, however many slots are free.
const CLAIM_BATCH: usize = 1_000;

/// One queue and how many of its jobs run at once.
#[derive(Debug, Clone)]
pub struct QueueSettings {
    /// The queue's name.
    pub name: String,
    /// Jobs that run at the same time in this process.
    pub concurrency: usize,
    /// What all processes may use together.
    pub limits: QueueLimits,
}

impl QueueSettings {
    /// A queue that all processes together may use as much as they can.
    pub fn new(name: impl Into<String>, concurrency: usize) -> Self {
        Self { name: name.into(), concurrency, limits: QueueLimits::default() }
    }
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
            queues: vec![QueueSettings::new("default", 16)],
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
    /// Whether any of its kinds has limits.
    limited: bool,
    running: control::Running,
    held: held::Held,
    meters: meters::Meters,
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
        let kinds: Vec<String> = handlers.iter().map(|handler| handler.kind().to_owned()).collect();
        let meters = meters::Meters::new(settings.queues.iter().map(|queue| queue.name.as_str()), &kinds);
        let policies = Arc::new(Policies::new(&handlers, &settings.policies, &settings.queues));
        let handlers = handlers.into_iter().map(|handler| (handler.kind(), handler)).collect();
        let limited = kinds.iter().any(|kind| policies.limits(kind).is_some());
        Self {
            store,
            clock,
            settings,
            instance,
            handlers,
            kinds,
            limited,
            running: control::Running::default(),
            held: held::Held::default(),
            meters,
            policies,
            announce: watch::Sender::new(()),
        }
    }

    /// Runs jobs until `shutdown`, then lets running ones end (up to the drain time) and puts the
    /// rest back.
    pub async fn run(self: Arc<Self>, shutdown: CancellationToken) -> Result<(), Error> {
        let (ended, to_acknowledge) = mpsc::channel(MOST_UNACKNOWLEDGED);
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
        let to_acknowledge = Arc::new(Mutex::new(Ends::new(to_acknowledge)));
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

    /// Whether the history keeps completed jobs of this kind at all.
    fn keeps_completed(&self, kind: &str) -> bool {
        !self.policies.keep_completed(kind).unwrap_or(self.settings.keep_completed).is_zero()
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
