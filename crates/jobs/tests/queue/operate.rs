//! What an operator does to jobs: cancelling, searching, redriving and deleting many.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Cancelled, Changed, Filter, Handler, HandlerError, Job, NewJob, Settings, State, Worker, cancel,
    cancel_waiting, delete_dead, lookup, redrive, redrive_dead, search,
};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::{JobId, SharedClock, SystemClock};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Ledger, put, quick, until, worker};

#[tokio::test]
async fn a_waiting_job_that_is_cancelled_does_not_run_and_frees_its_unique_key() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let id = put(store, &clock, NewJob::new("scripted", &"ok").unique_key("daily")).await;
        assert_eq!(cancel(store, clock.as_ref(), id).await.unwrap(), Cancelled::Done, "{}", database.name);
        let again = cancel(store, clock.as_ref(), id).await.unwrap();
        assert_eq!(again, Cancelled::Ended(State::Cancelled));
        assert_eq!(cancel(store, clock.as_ref(), JobId::new()).await.unwrap(), Cancelled::Unknown);
        let worker = worker(store, clock.clone(), &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        let view = lookup(store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt, view.started_at), (State::Cancelled, 0, None));
        let next = put(store, &clock, NewJob::new("scripted", &"ok").unique_key("daily")).await;
        assert_ne!(id, next);
        // Somebody changed their mind.
        assert!(redrive(store, clock.as_ref(), id).await.unwrap());
        assert_eq!(worker.run_until_idle().await.unwrap(), 2);
    }
}

/// What a handler does when its job is cancelled.
#[derive(Debug, Clone, Copy)]
enum Manner {
    /// Ends by itself, well.
    Finishes,
    /// Ends by itself, with an error.
    GivesUp,
    /// Takes no notice.
    Ignores,
}

struct Cancellable {
    manner: Manner,
    started: Notify,
    runs: AtomicUsize,
}

#[async_trait]
impl Handler for Cancellable {
    fn kind(&self) -> &'static str {
        "cancellable"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        self.started.notify_one();
        job.cancellation().cancelled().await;
        match self.manner {
            Manner::Finishes => Ok(()),
            Manner::GivesUp => Err(HandlerError::retry("stopped half way")),
            Manner::Ignores => std::future::pending().await,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_job_is_told_from_another_process_and_dropped_after_its_grace() {
    for (manner, expected, error) in [
        (Manner::Finishes, State::Completed, None),
        (Manner::GivesUp, State::Cancelled, Some("stopped half way")),
        (Manner::Ignores, State::Cancelled, Some("did not stop when it was cancelled")),
    ] {
        for database in databases().await {
            database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
            let view = cancel_while_it_runs(&database.store, &database.url, manner).await;
            assert_eq!(view.state, expected, "{}, {manner:?}", database.name);
            assert_eq!(view.last_error.as_deref(), error, "{}, {manner:?}", database.name);
        }
    }
}

async fn cancel_while_it_runs(store: &Store, url: &str, manner: Manner) -> quintet_jobs::JobView {
    let clock = SystemClock::shared();
    let handler = Arc::new(Cancellable { manner, started: Notify::new(), runs: AtomicUsize::new(0) });
    let id = put(store, &clock, NewJob::new("cancellable", &())).await;
    let settings = Settings { cancel_grace: Duration::from_millis(50), ..quick("running") };
    let stop = CancellationToken::new();
    let worker = Arc::new(Worker::new(store.clone(), clock.clone(), settings, vec![handler.clone()]));
    let running = JoinSet::from_iter([worker.run(stop.clone())]);
    handler.started.notified().await;

    // The operator's process has its own connection and knows nothing of the worker.
    let elsewhere = Store::connect(&Database::for_url(url)).await.unwrap();
    assert_eq!(cancel(&elsewhere, clock.as_ref(), id).await.unwrap(), Cancelled::Asked);
    until("the job has ended", async || lookup(store, id).await.unwrap().unwrap().finished_at.is_some())
        .await;
    until("the request is forgotten", async || requests(store).await == 0).await;
    stop.cancel();
    for result in running.join_all().await {
        result.unwrap();
    }
    assert_eq!(handler.runs.load(Ordering::SeqCst), 1);
    lookup(store, id).await.unwrap().unwrap()
}

async fn requests(store: &Store) -> i64 {
    store.fetch_one("SELECT count(*) AS n FROM jobs_cancel", args![]).await.unwrap().get("n").unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_came_back_into_the_queue_after_it_was_cancelled_is_taken_out() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = SystemClock::shared();
        let id = put(store, &clock, NewJob::new("nobody-runs-this", &())).await;
        // As it stands when a run fails between the request and its reading.
        let mut tx = store.begin().await.unwrap();
        tx.execute("INSERT INTO jobs_cancel VALUES ($1, $2)", args![id, clock.now()]).await.unwrap();
        tx.commit().await.unwrap();
        let stop = CancellationToken::new();
        let worker = Arc::new(Worker::new(store.clone(), clock, quick("any"), Vec::new()));
        let running = JoinSet::from_iter([worker.run(stop.clone())]);
        until("the job is cancelled", async || {
            lookup(store, id).await.unwrap().unwrap().state == State::Cancelled
        })
        .await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        assert_eq!(requests(store).await, 0, "{}", database.name);
    }
}

/// Dead letters of two kinds, three of `scripted` and one of `other`; the fourth of `scripted` waits.
async fn four_dead_and_one_waiting(store: &Store, fake: &FakeClock) -> Vec<JobId> {
    store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
    let clock: SharedClock = fake.shared();
    let mut ids = Vec::new();
    for script in ["discard", "fail", "discard", "fail"] {
        fake.advance(Duration::from_secs(1));
        ids.push(put(store, &clock, NewJob::new("scripted", &script).max_attempts(1)).await);
    }
    worker(store, clock.clone(), &Ledger::default()).run_until_idle().await.unwrap();
    fake.advance(Duration::from_secs(1));
    ids.push(put(store, &clock, NewJob::new("scripted", &"ok").queue("slow")).await);
    ids
}

#[tokio::test]
async fn a_search_finds_jobs_by_what_it_asks_for_in_pages_of_the_newest_first() {
    for database in databases().await {
        let (store, fake) = (&database.store, FakeClock::default());
        let ids = four_dead_and_one_waiting(store, &fake).await;
        let found = async |filter: Filter| -> Vec<JobId> {
            let page = search(store, &filter, None, 10).await.unwrap();
            assert_eq!(page.next, None);
            page.jobs.into_iter().map(|view| view.id).collect()
        };
        let all = Filter::default;
        let newest_first = |places: &[usize]| places.iter().map(|place| ids[*place]).collect::<Vec<_>>();
        assert_eq!(found(all()).await, newest_first(&[4, 3, 2, 1, 0]), "{}", database.name);
        assert_eq!(found(Filter { kind: Some("other".into()), ..all() }).await, []);
        assert_eq!(found(Filter { queue: Some("slow".into()), ..all() }).await, newest_first(&[4]));
        let down = Filter { error: Some("FAR side".into()), ..all() };
        assert_eq!(found(down).await, newest_first(&[3, 1]));
        // Not a pattern: these characters stand for themselves.
        assert_eq!(found(Filter { error: Some("_ar%".into()), ..all() }).await, []);
        let second = lookup(store, ids[1]).await.unwrap().unwrap().enqueued_at;
        let third = lookup(store, ids[2]).await.unwrap().unwrap().enqueued_at;
        let between = Filter { enqueued_from: Some(second), enqueued_before: Some(third), ..all() };
        assert_eq!(found(between).await, newest_first(&[1]));
        let chosen = Filter { ids: vec![ids[0], ids[4]], state: Some(State::Discarded), ..all() };
        assert_eq!(found(chosen).await, newest_first(&[0]));

        let mut pages = Vec::new();
        let mut cursor = None;
        loop {
            let page = search(store, &all(), cursor, 2).await.unwrap();
            pages.push(page.jobs.into_iter().map(|view| view.id).collect::<Vec<_>>());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages.concat(), newest_first(&[4, 3, 2, 1, 0]), "{}", database.name);
        assert!(pages.iter().all(|page| page.len() <= 2));
    }
}

#[tokio::test]
async fn a_bulk_action_changes_what_its_filter_means_up_to_its_bound() {
    for database in databases().await {
        let (store, fake) = (&database.store, FakeClock::default());
        let ids = four_dead_and_one_waiting(store, &fake).await;
        let down = Filter { error: Some("far side".into()), ..Filter::default() };
        let done = redrive_dead(store, &fake, &down, 1).await.unwrap();
        assert_eq!(done, Changed { changed: 1, more: true }, "{}", database.name);
        assert_eq!(lookup(store, ids[1]).await.unwrap().unwrap().state, State::Ready);
        let done = redrive_dead(store, &fake, &down, 10).await.unwrap();
        assert_eq!(done, Changed { changed: 1, more: false });

        let one = Filter { ids: vec![ids[0]], ..Filter::default() };
        assert_eq!(delete_dead(store, &fake, &one, 10).await.unwrap().changed, 1);
        assert!(lookup(store, ids[0]).await.unwrap().is_none());
        // A job that waits is no dead letter.
        let waiting = Filter { state: Some(State::Ready), ..Filter::default() };
        assert_eq!(delete_dead(store, &fake, &waiting, 10).await.unwrap().changed, 0);

        let slow = Filter { queue: Some("slow".into()), ..Filter::default() };
        assert_eq!(cancel_waiting(store, &fake, &slow, 10).await.unwrap().changed, 1);
        assert_eq!(lookup(store, ids[4]).await.unwrap().unwrap().state, State::Cancelled);
        assert_eq!(lookup(store, ids[2]).await.unwrap().unwrap().state, State::Discarded);
    }
}
