//! The leases whose jobs this process has. It keeps these alive and no others: a lease that it does not know of, because
//! the answer to its claim was lost, must run out.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::job::Job;
use crate::lease::Ended;

/// Leases, each with how many of its jobs have not been acknowledged.
#[derive(Default)]
pub(super) struct Held(Mutex<HashMap<Arc<str>, usize>>);

impl Held {
    /// Jobs that were claimed.
    pub(super) fn begin(&self, jobs: &[Job]) {
        let mut open = self.open();
        for job in jobs {
            *open.entry(Arc::clone(&job.lease)).or_default() += 1;
        }
    }

    /// Jobs whose end was recorded or refused.
    pub(super) fn end(&self, ended: &[Ended]) {
        let mut open = self.open();
        for end in ended {
            if let Some(jobs) = open.get_mut(&end.job.lease) {
                *jobs -= 1;
                if *jobs == 0 {
                    open.remove(&end.job.lease);
                }
            }
        }
    }

    pub(super) fn leases(&self) -> Vec<String> {
        self.open().keys().map(|lease| (**lease).to_owned()).collect()
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Arc<str>, usize>> {
        // Nothing panics between two states of a map.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use async_trait::async_trait;
    use quintet_testkit::databases;
    use quintet_types::SystemClock;
    use tokio::sync::Notify;
    use tokio::task::JoinSet;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{Handler, HandlerError, NewJob, Settings, State, Worker, enqueue, lookup};

    #[derive(Default)]
    struct Noop(Notify);

    #[async_trait]
    impl Handler for Noop {
        fn kind(&self) -> &'static str {
            "noop"
        }

        async fn run(&self, _: &Job) -> Result<(), HandlerError> {
            self.0.notify_one();
            Ok(())
        }
    }

    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn jobs_of_a_claim_whose_answer_was_lost_run_though_the_worker_that_claimed_them_lives() {
        for database in databases().await {
            let (store, clock) = (&database.store, SystemClock::shared());
            store.migrate(&[&crate::MODULE]).await.unwrap();
            let mut tx = store.begin().await.unwrap();
            let id = enqueue(&mut tx, clock.as_ref(), NewJob::new("noop", &())).await.unwrap().id;
            tx.commit().await.unwrap();
            // Short, to wait less.
            let settings = Settings {
                lease: Duration::from_millis(300),
                poll: Duration::from_millis(20),
                ..Settings::default()
            };
            let handler = Arc::new(Noop::default());
            let worker = Arc::new(Worker::new(store.clone(), clock.clone(), settings, vec![handler.clone()]));
            assert_eq!(worker.claim("default", 1).await.unwrap().len(), 1);

            let stop = CancellationToken::new();
            let running = JoinSet::from_iter([worker.run(stop.clone())]);
            let ran = tokio::time::timeout(Duration::from_mins(1), handler.0.notified()).await;
            assert!(ran.is_ok(), "{}: nobody runs the job", database.name);
            stop.cancel();
            for result in running.join_all().await {
                result.unwrap();
            }
            let view = lookup(store, id).await.unwrap().unwrap();
            assert_eq!((view.state, view.attempt), (State::Completed, 2), "{}", database.name);
        }
    }
}
