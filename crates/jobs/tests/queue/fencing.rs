//! A worker that lost its lease while a handler ran, and what it still says about the job (INV-5).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{Handler, HandlerError, Job, NewJob, QueueSettings, Settings, State, Worker, lookup};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::databases;
use quintet_types::SystemClock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{put, quick, until};

/// What the handler of the worker without a lease does when it goes on.
#[derive(Debug, Clone, Copy)]
enum Late {
    Done,
    Retry,
    Discard,
    CompleteIn,
}

/// Runs that go on when the test says so; the first ends as `late` says, later ones succeed.
struct Held {
    late: Late,
    store: Store,
    runs: AtomicUsize,
    first: Gate,
    second: Gate,
}

#[derive(Default)]
struct Gate {
    entered: Notify,
    open: Notify,
}

impl Gate {
    async fn pass(&self) {
        self.entered.notify_one();
        self.open.notified().await;
    }
}

#[async_trait]
impl Handler for Held {
    fn kind(&self) -> &'static str {
        "held"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        if self.runs.fetch_add(1, Ordering::SeqCst) > 0 {
            self.second.pass().await;
            return Ok(());
        }
        self.first.pass().await;
        match self.late {
            Late::Done => Ok(()),
            Late::Retry => Err(HandlerError::retry("too late")),
            Late::Discard => Err(HandlerError::discard("too late")),
            Late::CompleteIn => {
                let mut tx = self.store.begin().await?;
                job.complete_in(&mut tx).await?;
                Ok(tx.commit().await?)
            }
        }
    }
}

/// How many rows a table of the queue has.
async fn rows(store: &Store, count: &'static str) -> i64 {
    store.fetch_one(count, args![]).await.unwrap().get("n").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_worker_says_after_it_lost_its_lease_changes_nothing() {
    for late in [Late::Done, Late::Retry, Late::Discard, Late::CompleteIn] {
        for database in databases().await {
            lose_the_lease_and_say(late, &database.store, &database.url).await;
        }
    }
}

async fn lose_the_lease_and_say(late: Late, store: &Store, url: &str) {
    store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
    let clock = SystemClock::shared();
    let (first, second) = (Gate::default(), Gate::default());
    let handler = Arc::new(Held { late, store: store.clone(), runs: AtomicUsize::new(0), first, second });
    let id = put(store, &clock, NewJob::new("held", &())).await;
    // It lives, but for the length of this test shows no sign of life; one slot, so that it does not take the job
    // a second time; a drain that waits for its run.
    let stale = Settings {
        lease: Duration::from_hours(1),
        queues: vec![QueueSettings::new("default", 1)],
        drain: Duration::from_mins(1),
        ..quick("stale")
    };
    let stop_stale = CancellationToken::new();
    let elsewhere = Store::connect(&Database::for_url(url)).await.unwrap();
    let stale = Arc::new(Worker::new(elsewhere, clock.clone(), stale, vec![handler.clone()]));
    let stale = JoinSet::from_iter([stale.run(stop_stale.clone())]);
    handler.first.entered.notified().await;

    let rescuing =
        Settings { lease: Duration::from_millis(300), drain: Duration::from_mins(1), ..quick("rescuer") };
    let stop = CancellationToken::new();
    let rescuer = Arc::new(Worker::new(store.clone(), clock, rescuing, vec![handler.clone()]));
    let rescuer = JoinSet::from_iter([rescuer.run(stop.clone())]);
    handler.second.entered.notified().await;

    stop_stale.cancel();
    handler.first.open.notify_one();
    // A worker has ended only when everything its runs said has been written or refused.
    for result in stale.join_all().await {
        result.unwrap();
    }
    let view = lookup(store, id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt), (State::Running, 2), "{url}, {late:?}: the rescuer runs it");
    assert_eq!(rows(store, "SELECT COUNT(*) AS n FROM jobs_history").await, 0, "{url}, {late:?}");
    assert_eq!(rows(store, "SELECT COUNT(*) AS n FROM jobs_ready").await, 0, "{url}, {late:?}");

    handler.second.open.notify_one();
    until("the rescuer's run is recorded", async || {
        lookup(store, id).await.unwrap().unwrap().state == State::Completed
    })
    .await;
    stop.cancel();
    for result in rescuer.join_all().await {
        result.unwrap();
    }
    let view = lookup(store, id).await.unwrap().unwrap();
    assert_eq!((view.state, view.attempt), (State::Completed, 2), "{url}, {late:?}");
    assert_eq!(rows(store, "SELECT COUNT(*) AS n FROM jobs_history").await, 1, "{url}, {late:?}");
    assert_eq!(handler.runs.load(Ordering::SeqCst), 2, "{url}, {late:?}");
}
