//! Tells runs of this process that their job was cancelled, wherever somebody said so.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use quintet_types::JobId;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::Worker;
use crate::cancel;
use crate::job::Job;

/// The jobs that run in this process, by id.
#[derive(Default)]
pub(super) struct Running(Mutex<HashMap<JobId, CancellationToken>>);

impl Running {
    /// Lists a job until the returned guard is dropped.
    pub(super) fn enter(&self, job: &Job) -> Listed<'_> {
        self.jobs().insert(job.id(), job.cancellation.clone());
        Listed { running: self, id: job.id() }
    }

    fn jobs(&self) -> std::sync::MutexGuard<'_, HashMap<JobId, CancellationToken>> {
        // Nothing panics between two states of a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cancel(&self, id: JobId) {
        if let Some(token) = self.jobs().get(&id) {
            token.cancel();
        }
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
        }
    }
}
