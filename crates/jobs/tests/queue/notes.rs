//! What runs write down: results, checkpoints, progress.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    Handler, HandlerError, Job, MOST_NOTE_BYTES, NewJob, Notes, Policies, Progress, RemoteNote,
    RemoteOutcome, RemoteWorker, Settings, State, Wanted, Worker, acknowledge, claim, delete_dead, lookup,
    note, redrive,
};
use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::{JobId, SystemClock};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{put, quick, until};

/// Answers with its arguments, in the way that they say.
struct Answers(Store);

#[async_trait]
impl Handler for Answers {
    fn kind(&self) -> &'static str {
        "answers"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let args: Value = job.args()?;
        job.set_progress(Progress::new(1, Some(2)).message("half way"));
        job.set_result(&args)?;
        let how = args.get("how").and_then(Value::as_str);
        if how == Some("inside") {
            let mut tx = self.0.begin().await?;
            job.complete_in(&mut tx).await?;
            tx.commit().await?;
            return Err(HandlerError::retry("after the commit"));
        }
        if how == Some("fail") { Err(HandlerError::retry("no")) } else { Ok(()) }
    }
}

fn answering(store: &Store, clock: &FakeClock, keep_completed: Duration) -> Worker {
    let settings = Settings { keep_completed, ..Settings::default() };
    Worker::new(store.clone(), clock.shared(), settings, vec![Arc::new(Answers(store.clone()))])
}

async fn notes(store: &Store, id: JobId) -> Notes {
    lookup(store, id).await.unwrap().unwrap().notes
}

async fn rows(store: &Store) -> i64 {
    store.fetch_one("SELECT count(*) AS n FROM jobs_notes", args![]).await.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn a_result_is_kept_with_the_job_that_completed_and_with_no_other() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let mut ids = Vec::new();
        for how in ["return", "inside", "fail"] {
            let job = NewJob::new("answers", &json!({"how": how})).max_attempts(1);
            ids.push(put(store, &clock.shared(), job).await);
        }
        answering(store, &clock, Duration::from_hours(1)).run_until_idle().await.unwrap();
        let progress = Some(Progress::new(1, Some(2)).message("half way"));
        for (id, how) in [(ids[0], "return"), (ids[1], "inside")] {
            let expected =
                Notes { result: Some(json!({"how": how})), progress: progress.clone(), checkpoint: None };
            assert_eq!(notes(store, id).await, expected, "{}: {how}", database.name);
        }
        assert_eq!(notes(store, ids[2]).await, Notes { progress, ..Notes::default() }, "{}", database.name);
        assert_eq!(
            delete_dead(store, &clock, &quintet_jobs::Filter::default(), 10).await.unwrap().changed,
            1
        );
        assert_eq!(rows(store).await, 2, "{}: what a deleted job wrote goes with it", database.name);
    }
}

#[tokio::test]
async fn a_job_that_the_history_does_not_keep_leaves_no_result() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        put(store, &clock.shared(), NewJob::new("answers", &json!({}))).await;
        answering(store, &clock, Duration::ZERO).run_until_idle().await.unwrap();
        assert_eq!(rows(store).await, 0, "{}", database.name);
    }
}

#[tokio::test]
async fn a_result_that_is_too_large_makes_a_dead_letter_that_says_so() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let text = "x".repeat(MOST_NOTE_BYTES);
        let id = put(store, &clock.shared(), NewJob::new("answers", &json!({"text": text}))).await;
        answering(store, &clock, Duration::from_hours(1)).run_until_idle().await.unwrap();
        let view = lookup(store, id).await.unwrap().unwrap();
        assert_eq!((view.state, view.attempt, view.notes.result), (State::Discarded, 1, None));
        let error = view.last_error.unwrap();
        assert!(error.contains("has 65547 bytes of JSON, the limit is 65536"), "{}: {error}", database.name);
    }
}

/// Counts to three, one in each run, and fails after each but the last.
struct Counts(Store);

#[async_trait]
impl Handler for Counts {
    fn kind(&self) -> &'static str {
        "counts"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let counted = job.checkpoint::<i64>(&self.0).await?.unwrap_or(0) + 1;
        job.save_checkpoint(&self.0, &counted).await?;
        if counted < 3 { Err(HandlerError::discard("on the way")) } else { Ok(job.set_result(&counted)?) }
    }
}

#[tokio::test]
async fn a_run_goes_on_where_the_last_one_said_also_after_a_redrive() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let id = put(store, &clock.shared(), NewJob::new("counts", &())).await;
        let handler = Arc::new(Counts(store.clone()));
        let worker = Worker::new(store.clone(), clock.shared(), Settings::default(), vec![handler]);
        for counted in 1..=3 {
            worker.run_until_idle().await.unwrap();
            assert_eq!(notes(store, id).await.checkpoint, Some(json!(counted)), "{}", database.name);
            assert_eq!(redrive(store, &clock, id).await.unwrap(), counted < 3);
        }
        assert_eq!(notes(store, id).await.result, Some(json!(3)), "{}", database.name);
    }
}

/// Two workers elsewhere that get the same job, one after the other; the lease of the first is taken away as a rescue does.
#[tokio::test]
async fn the_checkpoint_of_a_run_that_lost_its_lease_is_refused() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let id = put(store, &clock.shared(), NewJob::new("remote", &())).await;
        let (policies, kinds) = (Policies::default(), ["remote".to_owned()]);
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
        let (stale, heir) = (RemoteWorker::new("stale"), RemoteWorker::new("heir"));
        let said = |value: Value| {
            let progress = Some(Progress::new(1, None));
            [(id, RemoteNote { checkpoint: Some(value), progress })]
        };
        let first = claim(store, &clock, &policies, &stale, wanted).await.unwrap().unwrap();
        assert!(first.notes.is_empty());
        assert_eq!(note(store, &stale, &first.lease, &said(json!("first"))).await.unwrap(), []);
        assert_eq!(note(store, &heir, &first.lease, &said(json!("not its lease"))).await.unwrap(), [id]);
        let snoozed = [(id, RemoteOutcome::Snoozed(Duration::ZERO))];
        assert_eq!(acknowledge(store, &clock, &policies, &stale, &first.lease, &snoozed).await.unwrap(), []);

        let second = claim(store, &clock, &policies, &heir, wanted).await.unwrap().unwrap();
        assert_eq!(second.notes[&id].checkpoint, Some(json!("first")), "{}", database.name);
        assert_eq!(note(store, &stale, &first.lease, &said(json!("stale"))).await.unwrap(), [id]);
        assert_eq!(notes(store, id).await.checkpoint, Some(json!("first")), "{}", database.name);
        // The handler of a run in this process says the same by an error.
        let error = first.jobs[0].save_checkpoint(store, &"stale").await.unwrap_err();
        assert!(matches!(error, quintet_jobs::Error::LeaseLost { job } if job == id), "{error}");
        second.jobs[0].save_checkpoint(store, &"second").await.unwrap();
        assert_eq!(notes(store, id).await.checkpoint, Some(json!("second")), "{}", database.name);
        let large = said(json!("x".repeat(MOST_NOTE_BYTES)));
        assert!(note(store, &heir, &second.lease, &large).await.is_err(), "{}", database.name);

        let done = [(id, RemoteOutcome::CompletedWith(json!({"sum": 42})))];
        assert_eq!(acknowledge(store, &clock, &policies, &heir, &second.lease, &done).await.unwrap(), []);
        assert_eq!(notes(store, id).await.result, Some(json!({"sum": 42})), "{}", database.name);
    }
}

/// Says how far it is, then waits for the test.
struct Slow {
    runs: AtomicUsize,
    goes_on: Notify,
}

#[async_trait]
impl Handler for Slow {
    fn kind(&self) -> &'static str {
        "slow"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.runs.fetch_add(1, Ordering::SeqCst);
        for done in 0..1000 {
            job.set_progress(Progress::new(done, Some(1000)));
        }
        self.goes_on.notified().await;
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_run_said_last_is_seen_while_it_goes_on() {
    for database in databases().await {
        let (store, clock) = (&database.store, SystemClock::shared());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let id = put(store, &clock, NewJob::new("slow", &())).await;
        let handler = Arc::new(Slow { runs: AtomicUsize::new(0), goes_on: Notify::new() });
        let stop = CancellationToken::new();
        let worker = Arc::new(Worker::new(store.clone(), clock, quick("slow"), vec![handler.clone()]));
        let running = JoinSet::from_iter([worker.run(stop.clone())]);
        let last = Some(Progress::new(999, Some(1000)));
        until("the progress is seen", async || notes(store, id).await.progress == last).await;
        assert_eq!(lookup(store, id).await.unwrap().unwrap().state, State::Running, "{}", database.name);
        handler.goes_on.notify_one();
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        assert_eq!(handler.runs.load(Ordering::SeqCst), 1);
    }
}
