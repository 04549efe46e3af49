//! Serving one queue: claims as slots come free, and a task for each run.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::pace::Pace;
use super::{CLAIM_BATCH, QueueSettings, Worker, gauges};
use crate::error::Error;
use crate::lease::{Ended, Outcome};

/// Between two claims of a queue that had no more than was claimed: jobs that are enqueued one by one start at once while
/// they are few, and share a claim when they are many.
const CLAIM_GAP: Duration = Duration::from_millis(10);
/// Claims after a pause that do not wait. Without them a job that by chance came right after another one on an idle queue
/// waited for nearly the whole gap: at 20 jobs a second every hundredth one for more than 9 ms.
const CLAIM_BURST: u32 = 4;

/// What a claim took.
#[derive(Default)]
struct Claimed {
    jobs: Vec<(crate::Job, tokio::sync::OwnedSemaphorePermit)>,
    /// The queue had no more that was due.
    drained: bool,
}

impl Worker {
    pub(super) async fn serve_queue(
        self: Arc<Self>,
        queue: QueueSettings,
        ended: mpsc::Sender<Ended>,
        mut announced: watch::Receiver<()>,
        shutdown: CancellationToken,
    ) {
        let slots = Arc::new(Semaphore::new(queue.concurrency.max(1)));
        let busy = gauges::slots(&queue.name, queue.concurrency.max(1));
        let mut runs = JoinSet::new();
        let mut pace = Pace::new(CLAIM_GAP).burst(CLAIM_BURST);
        while !shutdown.is_cancelled() {
            while runs.try_join_next().is_some() {}
            // Marked as seen before the claim: a job enqueued during it wakes the next turn.
            announced.borrow_and_update();
            let claimed = tokio::select! {
                claimed = self.claim_into_free_slots(&queue.name, &slots) => claimed,
                () = shutdown.cancelled() => break,
            };
            match claimed {
                Ok(Claimed { jobs, drained }) => {
                    for (job, slot) in jobs {
                        let (worker, ended) = (Arc::clone(&self), ended.clone());
                        let busy = gauges::Busy::enter(&busy);
                        runs.spawn(async move { worker.run_and_report(job, ended, (slot, busy)).await });
                    }
                    let more_may_be_due = async {
                        if drained {
                            let _ = tokio::time::timeout(self.settings.poll, announced.changed()).await;
                            pace.turn().await;
                        }
                    };
                    tokio::select! {
                        () = more_may_be_due => {}
                        () = shutdown.cancelled() => {}
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
    async fn claim_into_free_slots(&self, queue: &str, slots: &Arc<Semaphore>) -> Result<Claimed, Error> {
        // The semaphore is never closed.
        let Ok(first) = Arc::clone(slots).acquire_owned().await else { return Ok(Claimed::default()) };
        let mut permits = vec![first];
        while permits.len() < CLAIM_BATCH
            && let Ok(permit) = Arc::clone(slots).try_acquire_owned()
        {
            permits.push(permit);
        }
        let jobs = self.claim(queue, permits.len()).await?;
        self.held.begin(&jobs);
        // One claim takes jobs of one limited kind, so that others may still be due.
        let drained = jobs.is_empty() || (!self.limited && jobs.len() < permits.len());
        Ok(Claimed { jobs: jobs.into_iter().zip(permits).collect(), drained })
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
