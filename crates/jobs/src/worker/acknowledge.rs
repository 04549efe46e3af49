//! Writing down what has ended, for many runs at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, mpsc};

use super::Worker;
use super::pace::Pace;
use crate::lease::{self, Ended};

/// Ended runs acknowledged in one transaction.
const ACKNOWLEDGE_BATCH: usize = 1_000;
/// Acknowledgements under way at the same time: while one waits for the disk the next is written.
pub(super) const ACKNOWLEDGERS: usize = 2;
/// Ended runs that wait for it; a run that ends while there are so many waits too.
pub(super) const MOST_UNACKNOWLEDGED: usize = 2 * ACKNOWLEDGERS * ACKNOWLEDGE_BATCH;
/// Between two acknowledgements. A run whose process dies before its own is repeated, so it must not be long.
const ACKNOWLEDGE_GAP: Duration = Duration::from_millis(20);

/// Runs that have ended and are not acknowledged.
pub(super) struct Ends {
    ended: mpsc::Receiver<Ended>,
    pace: Pace,
}

impl Ends {
    pub(super) fn new(ended: mpsc::Receiver<Ended>) -> Self {
        Self { ended, pace: Pace::new(ACKNOWLEDGE_GAP) }
    }

    /// Puts those of the next acknowledgement into `batch`; none when there will be no more.
    async fn next(&mut self, batch: &mut Vec<Ended>) {
        if self.ended.recv_many(batch, ACKNOWLEDGE_BATCH).await == 0 {
            return;
        }
        if batch.len() < ACKNOWLEDGE_BATCH {
            self.pace.turn().await;
        }
        while batch.len() < ACKNOWLEDGE_BATCH
            && let Ok(ended) = self.ended.try_recv()
        {
            batch.push(ended);
        }
    }
}

impl Worker {
    pub(super) async fn acknowledge_all(self: Arc<Self>, ends: Arc<Mutex<Ends>>) {
        let mut batch = Vec::with_capacity(ACKNOWLEDGE_BATCH);
        loop {
            ends.lock().await.next(&mut batch).await;
            if batch.is_empty() {
                return;
            }
            self.acknowledge(&batch).await;
            batch.clear();
        }
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
}
