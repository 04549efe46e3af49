//! What the queue promises, on both databases.

#![expect(clippy::unwrap_used, clippy::panic, reason = "helpers shared by the tests below")]

#[path = "queue/batch_cancels.rs"]
mod batch_cancels;
#[path = "queue/batches.rs"]
mod batches;
#[path = "queue/clocks.rs"]
mod clocks;
#[path = "queue/failures.rs"]
mod failures;
#[path = "queue/fencing.rs"]
mod fencing;
#[path = "queue/limits.rs"]
mod limits;
#[path = "queue/notes.rs"]
mod notes;
#[path = "queue/operate.rs"]
mod operate;
#[path = "queue/policies.rs"]
mod policies;
#[path = "queue/queue_limits.rs"]
mod queue_limits;
#[path = "queue/remote.rs"]
mod remote;
#[path = "queue/schedules.rs"]
mod schedules;
#[path = "queue/sealed.rs"]
mod sealed;
#[path = "queue/storage.rs"]
mod storage;
#[path = "queue/unique.rs"]
mod unique;
#[path = "queue/workflow_cancels.rs"]
mod workflow_cancels;
#[path = "queue/workflows.rs"]
mod workflows;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Filter, Handler, HandlerError, Job, JobView, NewJob, QueueSettings, Settings, State, Worker, enqueue,
    lookup, queues, redrive, search,
};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::{JobId, SharedClock, SystemClock};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

#[derive(Clone, Default)]
struct Ledger(Arc<std::sync::Mutex<Vec<(JobId, i64)>>>);

impl Ledger {
    fn runs(&self) -> Vec<(JobId, i64)> {
        self.0.lock().unwrap().clone()
    }
}

/// Notes each run, then does what its arguments say.
struct Scripted(Ledger);

#[async_trait]
impl Handler for Scripted {
    fn kind(&self) -> &'static str {
        "scripted"
    }

    fn timeout(&self) -> Duration {
        Duration::from_millis(200)
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.0.0.lock().unwrap().push((job.id(), job.attempt()));
        match job.args::<String>()?.as_str() {
            "fail" => Err(HandlerError::retry("the far side is down")),
            "discard" => Err(HandlerError::discard("the address does not exist")),
            "panic" => panic!("a bug"),
            "hang" => std::future::pending().await,
            "no database" => Err(quintet_store::Error::Unavailable("too many clients already".into()).into()),
            "snooze once" if self.0.runs().len() == 1 => Err(HandlerError::Snooze(Duration::from_mins(5))),
            _ => Ok(()),
        }
    }
}

fn worker(store: &Store, clock: SharedClock, ledger: &Ledger) -> Worker {
    Worker::new(store.clone(), clock, Settings::default(), vec![Arc::new(Scripted(ledger.clone()))])
}

async fn put(store: &Store, clock: &SharedClock, job: NewJob) -> JobId {
    let mut tx = store.begin().await.unwrap();
    let enqueued = enqueue(&mut tx, clock.as_ref(), job).await.unwrap();
    tx.commit().await.unwrap();
    enqueued.id
}

async fn ended(store: &Store, state: State) -> Vec<JobView> {
    let filter = Filter { state: Some(state), ..Filter::default() };
    search(store, &filter, None, 10).await.unwrap().jobs
}

#[tokio::test]
async fn a_job_exists_only_if_its_transaction_commits() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let mut tx = database.store.begin().await.unwrap();
        enqueue(&mut tx, clock.as_ref(), NewJob::new("scripted", &"ok")).await.unwrap();
        drop(tx);
        let kept = put(&database.store, &clock, NewJob::new("scripted", &"ok")).await;
        let worker = worker(&database.store, clock, &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1, "{}", database.name);
        assert_eq!(ledger.runs(), [(kept, 1)]);
        let view = lookup(&database.store, kept).await.unwrap().unwrap();
        assert_eq!(view.state, State::Completed);
    }
}

#[tokio::test]
async fn a_database_out_of_reach_uses_up_no_attempt() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let id = put(&database.store, &clock, NewJob::new("scripted", &"no database").max_attempts(2)).await;
        let worker = worker(&database.store, clock, &ledger);
        for run in 1..=4 {
            assert_eq!(worker.run_until_idle().await.unwrap(), 1, "{}: run {run}", database.name);
            let view = lookup(&database.store, id).await.unwrap().unwrap();
            assert_eq!(view.state, State::Ready, "{}: run {run}", database.name);
            let error = view.last_error.unwrap();
            assert!(error.contains("too many clients already"), "{error}");
            fake.advance(Duration::from_hours(7));
        }
        assert!(ledger.runs().iter().all(|run| *run == (id, 1)), "{:?}", ledger.runs());
    }
}

#[tokio::test]
async fn a_failing_job_is_tried_again_later_and_ends_as_a_dead_letter_that_can_be_redriven() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let id = put(&database.store, &clock, NewJob::new("scripted", &"fail").max_attempts(3)).await;
        let worker = worker(&database.store, clock.clone(), &ledger);
        for attempt in 1..=3 {
            worker.run_until_idle().await.unwrap();
            assert_eq!(ledger.runs().len(), attempt, "{}", database.name);
            let view = lookup(&database.store, id).await.unwrap().unwrap();
            assert_eq!(view.last_error.as_deref(), Some("the far side is down"));
            fake.advance(Duration::from_hours(7));
        }
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        let view = lookup(&database.store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt), (State::Discarded, 3));
        let names = queues(&database.store, &["default".to_owned()], clock.as_ref()).await.unwrap();
        assert_eq!((names[0].discarded, names[0].ready), (1, 0));

        assert!(redrive(&database.store, clock.as_ref(), id).await.unwrap());
        assert!(!redrive(&database.store, clock.as_ref(), id).await.unwrap());
        worker.run_until_idle().await.unwrap();
        assert_eq!(ledger.runs().last(), Some(&(id, 1)));
    }
}

#[tokio::test]
async fn a_discard_a_panic_and_a_hang_are_each_job_s_own_failure() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        for script in ["discard", "panic", "hang", "ok"] {
            put(&database.store, &clock, NewJob::new("scripted", &script).max_attempts(1)).await;
        }
        // Arguments the handler cannot read will not become readable.
        put(&database.store, &clock, NewJob::new("scripted", &7)).await;
        worker(&database.store, clock, &ledger).run_until_idle().await.unwrap();
        let errors: Vec<_> = ended(&database.store, State::Discarded)
            .await
            .into_iter()
            .map(|view| view.last_error.unwrap())
            .collect();
        assert_eq!(errors.len(), 4, "{}: {errors:?}", database.name);
        assert!(errors.iter().any(|error| error == "panicked: a bug"));
        assert!(errors.iter().any(|error| error.contains("did not end within 0.2 s")));
        assert!(errors.iter().any(|error| error.contains("invalid type: integer")));
        assert_eq!(ended(&database.store, State::Completed).await.len(), 1);
    }
}

#[tokio::test]
async fn a_snooze_does_not_use_up_an_attempt_and_a_delayed_job_waits() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let at = clock.now().checked_add(Duration::from_mins(1)).unwrap();
        put(&database.store, &clock, NewJob::new("scripted", &"snooze once").run_at(at).max_attempts(1))
            .await;
        let worker = worker(&database.store, clock, &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        fake.advance(Duration::from_mins(1));
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        fake.advance(Duration::from_mins(5));
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
        let attempts: Vec<_> = ledger.runs().into_iter().map(|(_, attempt)| attempt).collect();
        assert_eq!(attempts, [1, 1], "{}", database.name);
    }
}

#[tokio::test]
async fn a_unique_key_admits_one_job_until_it_ends() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let first = put(&database.store, &clock, NewJob::new("scripted", &"ok").unique_key("daily")).await;
        let second = put(&database.store, &clock, NewJob::new("scripted", &"ok").unique_key("daily")).await;
        assert_eq!(first, second, "{}", database.name);
        let worker = worker(&database.store, clock.clone(), &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
        let third = put(&database.store, &clock, NewJob::new("scripted", &"ok").unique_key("daily")).await;
        assert_ne!(first, third);
    }
}

#[tokio::test]
async fn lower_priority_numbers_run_first_and_equals_in_order() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let mut expected = Vec::new();
        for priority in [5, 1, 1, -3] {
            fake.advance(Duration::from_millis(1));
            expected.push((
                priority,
                put(&database.store, &clock, NewJob::new("scripted", &"ok").priority(priority)).await,
            ));
        }
        expected.sort();
        worker(&database.store, clock, &ledger).run_until_idle().await.unwrap();
        let ran: Vec<_> = ledger.runs().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ran, expected.into_iter().map(|(_, id)| id).collect::<Vec<_>>(), "{}", database.name);
    }
}

/// Completes its job in the transaction of its effect, then fails anyway.
struct CompletesInside(Store);

#[async_trait]
impl Handler for CompletesInside {
    fn kind(&self) -> &'static str {
        "inside"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let mut tx = self.0.begin().await?;
        tx.execute("INSERT INTO effects VALUES ($1)", args![job.id()]).await?;
        job.complete_in(&mut tx).await?;
        tx.commit().await?;
        Err(HandlerError::retry("after the commit"))
    }
}

#[tokio::test]
async fn a_job_completed_in_its_effects_transaction_does_not_run_again() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        tx.execute("CREATE TABLE effects (id TEXT)", args![]).await.unwrap();
        tx.commit().await.unwrap();
        let clock = FakeClock::default().shared();
        let id = put(store, &clock, NewJob::new("inside", &())).await;
        let handler = Arc::new(CompletesInside(store.clone()));
        let worker = Worker::new(store.clone(), clock, Settings::default(), vec![handler]);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        assert_eq!(lookup(store, id).await.unwrap().unwrap().state, State::Completed, "{}", database.name);
        let effects = store.fetch_all("SELECT id FROM effects", args![]).await.unwrap();
        assert_eq!(effects.len(), 1);
    }
}

/// Hangs in its first run, notes every run.
struct HangsOnce {
    runs: AtomicUsize,
    started: Notify,
}

#[async_trait]
impl Handler for HangsOnce {
    fn kind(&self) -> &'static str {
        "hangs-once"
    }

    async fn run(&self, _job: &Job) -> Result<(), HandlerError> {
        let run = self.runs.fetch_add(1, Ordering::SeqCst);
        self.started.notify_one();
        if run == 0 { std::future::pending().await } else { Ok(()) }
    }
}

fn quick(name: &str) -> Settings {
    Settings {
        name: name.to_owned(),
        queues: vec![QueueSettings::new("default", 4)],
        poll: Duration::from_millis(50),
        drain: Duration::from_millis(100),
        ..Settings::default()
    }
}

async fn until(what: &str, mut done: impl AsyncFnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    while !done().await {
        assert!(tokio::time::Instant::now() < deadline, "timed out waiting until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_job_of_a_worker_that_died_is_rescued_by_another() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = SystemClock::shared();
        let handler = Arc::new(HangsOnce { runs: AtomicUsize::new(0), started: Notify::new() });
        let id = put(&database.store, &clock, NewJob::new("hangs-once", &())).await;
        // A worker that dies without a word: its tasks are aborted, its lease stays.
        let doomed = Store::connect(&Database::for_url(&database.url)).await.unwrap();
        let dying = Arc::new(Worker::new(doomed, clock.clone(), quick("dying"), vec![handler.clone()]));
        let runtime = std::thread::spawn({
            let handler = Arc::clone(&handler);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let run = dying.run(CancellationToken::new());
                    tokio::select! { _ = run => {}, () = handler.started.notified() => {} }
                });
                runtime.shutdown_background();
            }
        });
        runtime.join().unwrap();
        assert_eq!(
            lookup(&database.store, id).await.unwrap().unwrap().state,
            State::Running,
            "{}",
            database.name
        );

        // Short, to wait less. Elsewhere a lease outlasts any pause of a busy machine.
        let rescuing = Settings { lease: Duration::from_millis(300), ..quick("rescuer") };
        let stop = CancellationToken::new();
        let rescuer = Arc::new(Worker::new(database.store.clone(), clock, rescuing, vec![handler.clone()]));
        let running = tokio::task::JoinSet::from_iter([rescuer.run(stop.clone())]);
        until("the rescued job is done", async || {
            lookup(&database.store, id).await.unwrap().unwrap().state == State::Completed
        })
        .await;
        let view = lookup(&database.store, id).await.unwrap().unwrap();
        assert_eq!(view.attempt, 2, "the attempt that died counts");
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn drain_gives_unfinished_jobs_back_at_once() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = SystemClock::shared();
        let handler = Arc::new(HangsOnce { runs: AtomicUsize::new(0), started: Notify::new() });
        let id = put(&database.store, &clock, NewJob::new("hangs-once", &())).await;
        let stop = CancellationToken::new();
        let worker =
            Arc::new(Worker::new(database.store.clone(), clock, quick("draining"), vec![handler.clone()]));
        let running = tokio::task::JoinSet::from_iter([worker.run(stop.clone())]);
        handler.started.notified().await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        let view = lookup(&database.store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt), (State::Ready, 0), "{}", database.name);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_workers_run_every_job_once() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = SystemClock::shared();
        let ledger = Ledger::default();
        let mut expected = Vec::new();
        let mut tx = database.store.begin().await.unwrap();
        for _ in 0..300 {
            expected.push(enqueue(&mut tx, clock.as_ref(), NewJob::new("scripted", &"ok")).await.unwrap().id);
        }
        tx.commit().await.unwrap();
        let stop = CancellationToken::new();
        let mut running = tokio::task::JoinSet::new();
        for name in ["one", "two"] {
            let store = Store::connect(&Database::for_url(&database.url)).await.unwrap();
            let handlers: Vec<Arc<dyn Handler>> = vec![Arc::new(Scripted(ledger.clone()))];
            running
                .spawn(Arc::new(Worker::new(store, clock.clone(), quick(name), handlers)).run(stop.clone()));
        }
        until("the queue is empty", async || {
            database
                .store
                .fetch_one("SELECT count(*) AS n FROM jobs_history", args![])
                .await
                .unwrap()
                .get::<i64>("n")
                .unwrap()
                == 300
        })
        .await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        let mut ran: Vec<_> = ledger.runs().into_iter().map(|(id, _)| id).collect();
        ran.sort();
        expected.sort();
        assert_eq!(ran, expected, "{}", database.name);
    }
}
