//! What a worker hears from elsewhere, and from the calendar: cancelled jobs, paused queues, schedules that are due.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quintet_types::JobId;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::error::Error;
use crate::job::Job;
use crate::notes::{self, Progress};
use crate::{cancel, cron, pause};

/// How often schedules are looked at; a cron expression means minutes.
const SCHEDULE_INTERVAL: Duration = Duration::from_secs(1);
/// How often the progress of runs is written, however often they say it.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// The jobs that run in this process, by id.
#[derive(Default)]
pub(super) struct Running(Mutex<HashMap<JobId, Job>>);

impl Running {
    /// Lists a job until the returned guard is dropped.
    pub(super) fn enter(&self, job: &Job) -> Listed<'_> {
        self.jobs().insert(job.id(), job.clone());
        Listed { running: self, id: job.id() }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, Job>> {
        // Nothing panics between two states of a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, id: JobId) {
        if let Some(job) = self.jobs().get(&id) {
            job.cancellation.cancel();
        }
    }

    /// The runs that have got on since this was last asked, and how far they are.
    fn progress(&self) -> Vec<(Job, Progress)> {
        let jobs = self.jobs();
        jobs.values().filter_map(|job| Some((job.clone(), job.unwritten.fresh_progress()?))).collect()
    }
}

/// A job's entry in [`Running`].
pub(super) struct Listed<'a> {
    running: &'a Running,
    id: JobId,
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.running.jobs().remove(&self.id);
    }
}

impl Worker {
    /// Reads the requests every poll interval; the table is empty nearly always.
    pub(super) async fn follow_cancellations(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(self.settings.poll);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            match cancel::settle(&self.store, self.clock.now()).await {
                Ok(open) => open.into_iter().for_each(|id| self.running.cancel(id)),
                Err(error) => {
                    tracing::warn!(error = &error as &dyn std::error::Error, "cannot read cancellations");
                }
            }
            if let Err(error) = self.show_pauses().await {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "cannot read which queues are paused"
                );
            }
        }
    }

    /// Writes how far the runs of this process are, of all of them in one statement.
    pub(super) async fn follow_progress(self: Arc<Self>, stop: CancellationToken) {
        let mut ticks = tokio::time::interval(PROGRESS_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop.run_until_cancelled(ticks.tick()).await.is_some() {
            let said = self.running.progress();
            let said: Vec<(&Job, Progress)> = said.iter().map(|(job, said)| (job, said.clone())).collect();
            if said.is_empty() {
                continue;
            }
            if let Err(error) = notes::write_progress(&self.store, &said).await {
                // What a run says next, or its end, is written anyway.
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot write how far jobs are");
            }
        }
    }

    /// Claims see for themselves that a queue is paused; this is for the metric.
    async fn show_pauses(&self) -> Result<(), Error> {
        let paused = pause::paused(&self.store).await?;
        for queue in &self.settings.queues {
            let is_paused = paused.iter().any(|pause| pause.queue == queue.name);
            metrics::gauge!("quintet_jobs_queue_paused", "queue" => queue.name.clone()).set(if is_paused {
                1.0
            } else {
                0.0
            });
        }
        Ok(())
    }

    /// Enqueues what the calendar asks for, until shutdown.
    pub(super) async fn follow_schedules(self: Arc<Self>, stop: CancellationToken) {
        let schedules = &self.settings.schedules;
        if schedules.is_empty() {
            return;
        }
        let mut ticks = tokio::time::interval(SCHEDULE_INTERVAL);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut registered = false;
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = stop.cancelled() => return,
            }
            let looked = async {
                if !registered {
                    cron::register(&self.store, self.clock.as_ref(), schedules).await?;
                    registered = true;
                }
                cron::fire_due(&self.store, self.clock.as_ref(), schedules).await
            };
            if let Err(error) = looked.await {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot follow the schedules");
            }
        }
    }
}
