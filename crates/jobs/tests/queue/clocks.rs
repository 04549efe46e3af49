//! Nodes whose clocks are wrong.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{Handler, HandlerError, Job, NewJob, Settings, State, Worker, lookup};
use quintet_store::{DatabaseClock, Dialect, Store};
use quintet_testkit::databases;
use quintet_types::{Clock, JobId, SharedClock, SystemClock, Timestamp};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{put, quick, until};

/// A machine whose clock is this much ahead.
struct Ahead(Duration);

impl Clock for Ahead {
    fn now(&self) -> Timestamp {
        SystemClock.now().checked_add(self.0).unwrap()
    }
}

const HOUR: Duration = Duration::from_hours(1);

/// Fails once and snoozes once, each for a moment.
struct Unsteady;

#[async_trait]
impl Handler for Unsteady {
    fn kind(&self) -> &'static str {
        "unsteady"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        match job.attempt() {
            1 => Err(HandlerError::retry_after("no", Duration::from_millis(10))),
            _ => Ok(()),
        }
    }
}

/// The clock that a program has on a machine whose own is ahead.
async fn clock(store: &Store) -> SharedClock {
    Arc::new(DatabaseClock::open(store, Arc::new(Ahead(HOUR))).await.unwrap())
}

fn worker(store: &Store, clock: SharedClock) -> Arc<Worker> {
    let settings = Settings { lease: Duration::from_secs(2), ..quick("clocks") };
    Arc::new(Worker::new(store.clone(), clock, settings, vec![Arc::new(Unsteady)]))
}

async fn ends(store: &Store, worker: Arc<Worker>, id: JobId, attempt: i64) {
    let stop = CancellationToken::new();
    let running = JoinSet::from_iter([worker.run(stop.clone())]);
    until("the job has ended", async || {
        let view = lookup(store, id).await.unwrap().unwrap();
        view.state == State::Completed && view.attempt == attempt
    })
    .await;
    stop.cancel();
    for result in running.join_all().await {
        result.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_node_an_hour_ahead_enqueues_and_retries_is_due_for_the_others_at_once() {
    for database in databases().await {
        let store = &database.store;
        // On SQLite all of them have the clock of one machine.
        if store.dialect() == Dialect::Sqlite {
            continue;
        }
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (ahead, right) = (clock(store).await, SystemClock::shared());
        let id = put(store, &ahead, NewJob::new("unsteady", &())).await;
        ends(store, worker(store, right.clone()), id, 2).await;

        let id = put(store, &right, NewJob::new("unsteady", &())).await;
        // The retry is its own as well where it comes before the queue is found empty.
        let runs = worker(store, ahead.clone()).run_until_idle().await.unwrap();
        assert!(matches!(runs, 1 | 2), "{runs}");
        ends(store, worker(store, right.clone()), id, 2).await;

        // Nor does it begin early what is due later.
        let soon = right.now().checked_add(HOUR / 2).unwrap();
        put(store, &right, NewJob::new("unsteady", &()).run_at(soon)).await;
        assert_eq!(worker(store, ahead).run_until_idle().await.unwrap(), 0);
    }
}
