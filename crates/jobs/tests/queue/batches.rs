//! Batches: what they count, and what they enqueue when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use quintet_jobs::{
    BatchId, BatchState, BatchView, Error, Filter, NewBatch, NewJob, RemoteOutcome, RemoteWorker, Settings,
    State, Wanted, Worker, acknowledge, batch, batches, cancel, enqueue, enqueue_many, lookup, open_batch,
    redrive, seal_batch, search,
};
use quintet_store::{Dialect, Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::JobId;
use serde_json::json;

use super::{Ledger, until, worker};

/// Opens a batch with all callbacks and these jobs in it.
async fn open(store: &Store, clock: &FakeClock, scripts: &[&str]) -> (BatchId, Vec<JobId>) {
    let mut tx = store.begin().await.unwrap();
    let callback = |on: &str| NewJob::new("callback", &json!({"on": on}));
    let new = NewBatch::new(clock, "import")
        .on_success(callback("success"))
        .on_failure(callback("failure"))
        .on_end(callback("end"));
    let id = open_batch(&mut tx, clock, new).await.unwrap();
    let jobs = scripts.iter().map(|script| NewJob::new("scripted", script).max_attempts(1).batch(id));
    let jobs = enqueue_many(&mut tx, clock, jobs.collect()).await.unwrap();
    tx.commit().await.unwrap();
    (id, jobs.iter().map(|job| job.id).collect())
}

async fn seal(store: &Store, clock: &FakeClock, id: BatchId) -> bool {
    let mut tx = store.begin().await.unwrap();
    let sealed = seal_batch(&mut tx, clock, id).await.unwrap();
    tx.commit().await.unwrap();
    sealed
}

async fn seen(store: &Store, id: BatchId) -> BatchView {
    batch(store, id).await.unwrap().unwrap()
}

/// The callbacks in the queue, by what they are for, with how many there are.
async fn called(store: &Store) -> BTreeMap<String, usize> {
    let waiting = Filter { kind: Some("callback".to_owned()), ..Filter::default() };
    let mut called = BTreeMap::new();
    for job in search(store, &waiting, None, 100).await.unwrap().jobs {
        let args = lookup(store, job.id).await.unwrap().unwrap().args.unwrap();
        *called.entry(args.get("on").unwrap().as_str().unwrap().to_owned()).or_default() += 1;
    }
    called
}

fn once(on: &[&str]) -> BTreeMap<String, usize> {
    on.iter().map(|on| ((*on).to_owned(), 1)).collect()
}

#[tokio::test]
async fn a_batch_ends_with_its_last_job_and_calls_back_once() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, _) = open(store, &clock, &["ok", "ok"]).await;
        let ledger = Ledger::default();
        worker(store, clock.shared(), &ledger).run_until_idle().await.unwrap();
        let view = seen(store, id).await;
        assert_eq!((view.state, view.jobs, view.completed, view.open), (BatchState::Open, 2, 2, 0));
        assert_eq!(called(store).await, once(&[]), "{}: it could still get jobs", database.name);

        let mut tx = store.begin().await.unwrap();
        let job = NewJob::new("scripted", &"ok").batch(id);
        let last = enqueue(&mut tx, &clock, job).await.unwrap().id;
        tx.commit().await.unwrap();
        assert!(seal(store, &clock, id).await);
        assert!(!seal(store, &clock, id).await, "{}: it is sealed", database.name);
        assert_eq!(seen(store, id).await.state, BatchState::Running);
        assert_eq!(called(store).await, once(&[]), "{}", database.name);
        assert_eq!(lookup(store, last).await.unwrap().unwrap().member_of, Some(id.to_string()));

        worker(store, clock.shared(), &ledger).run_until_idle().await.unwrap();
        let view = seen(store, id).await;
        assert_eq!((view.state, view.jobs, view.completed, view.open), (BatchState::Succeeded, 3, 3, 0));
        assert_eq!(called(store).await, once(&["end", "success"]), "{}", database.name);
        for callback in view.callbacks.iter().filter(|callback| callback.enqueued_at.is_some()) {
            let job = lookup(store, callback.job).await.unwrap().unwrap();
            assert_eq!(job.args.unwrap().get("batch"), Some(&json!(id)), "{}", database.name);
        }
        let found = Filter { member_of: Some(id.to_string()), ..Filter::default() };
        assert_eq!(search(store, &found, None, 10).await.unwrap().jobs.len(), 3, "{}", database.name);
        assert_eq!(batches(store, None, 10).await.unwrap().batches.len(), 1);
    }
}

#[tokio::test]
async fn the_first_failure_calls_back_at_once_and_a_redrive_that_completes_it_is_a_success() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, jobs) = open(store, &clock, &["discard", "ok", "ok"]).await;
        cancel(store, &clock, jobs[1]).await.unwrap();
        assert_eq!(called(store).await, once(&["failure"]), "{}", database.name);
        worker(store, clock.shared(), &Ledger::default()).run_until_idle().await.unwrap();
        seal(store, &clock, id).await;
        let view = seen(store, id).await;
        assert_eq!((view.completed, view.discarded, view.cancelled), (1, 1, 1), "{}", database.name);
        assert_eq!(view.state, BatchState::Failed, "{}", database.name);
        assert_eq!(called(store).await, once(&["end", "failure"]), "{}", database.name);

        // Somebody mended what made it fail.
        let mut tx = store.begin().await.unwrap();
        tx.execute("UPDATE jobs_history SET args = '\"ok\"' WHERE id = $1", args![jobs[0]]).await.unwrap();
        tx.commit().await.unwrap();
        for job in &jobs[..2] {
            assert!(redrive(store, &clock, *job).await.unwrap());
        }
        assert_eq!((seen(store, id).await.state, seen(store, id).await.open), (BatchState::Running, 2));
        worker(store, clock.shared(), &Ledger::default()).run_until_idle().await.unwrap();
        assert_eq!(seen(store, id).await.state, BatchState::Succeeded, "{}", database.name);
        assert_eq!(called(store).await, once(&["end", "failure", "success"]), "{}", database.name);
    }
}

#[tokio::test]
async fn a_batch_that_is_sealed_or_unknown_gets_no_jobs_and_an_empty_one_ends_at_once() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, _) = open(store, &clock, &[]).await;
        seal(store, &clock, id).await;
        assert_eq!(called(store).await, once(&["end", "success"]), "{}", database.name);
        for id in [id, NewBatch::new(&clock, "never opened").id()] {
            let mut tx = store.begin().await.unwrap();
            let job = NewJob::new("scripted", &"ok").batch(id);
            let error = enqueue(&mut tx, &clock, job).await.unwrap_err();
            assert!(matches!(error, Error::BatchNotOpen { .. }), "{}: {error}", database.name);
        }
        let mut tx = store.begin().await.unwrap();
        let unique = NewBatch::new(&clock, "n").on_end(NewJob::new("k", &()).unique_key("u"));
        let error = open_batch(&mut tx, &clock, unique).await.unwrap_err();
        assert!(matches!(error, Error::UniqueMember { .. }), "{}: {error}", database.name);
    }
}

/// As many groups as workers, all in one batch: each is one acknowledgement, and any of them may be the last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn acknowledgements_at_the_same_time_count_every_job_and_one_of_them_calls_back() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, _) = open(store, &clock, &["ok"; 60]).await;
        seal(store, &clock, id).await;
        let policies = Arc::new(quintet_jobs::Policies::default());
        let kinds = ["scripted".to_owned()];
        let mut acknowledging = tokio::task::JoinSet::new();
        for turn in 0..6 {
            let remote = RemoteWorker::new(&format!("w{turn}"));
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 10, hold: Duration::from_mins(1) };
            let claimed =
                quintet_jobs::claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();
            let (store, clock, policies) = (store.clone(), clock.shared(), policies.clone());
            acknowledging.spawn(async move {
                let ended: Vec<_> =
                    claimed.jobs.iter().map(|job| (job.id(), RemoteOutcome::Completed)).collect();
                acknowledge(&store, clock.as_ref(), &policies, &remote, &claimed.lease, &ended).await.unwrap()
            });
        }
        assert!(acknowledging.join_all().await.iter().all(Vec::is_empty), "{}", database.name);
        let view = seen(store, id).await;
        assert_eq!((view.completed, view.state), (60, BatchState::Succeeded), "{}", database.name);
        assert_eq!(called(store).await, once(&["end", "success"]), "{}", database.name);
    }
}

#[tokio::test]
async fn a_job_keeps_its_batch_through_retries_and_a_repeated_end_counts_once() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, _) = open(store, &clock, &["snooze once"]).await;
        seal(store, &clock, id).await;
        let (ledger, settings) = (Ledger::default(), Settings::default());
        let handler = Arc::new(super::Scripted(ledger.clone()));
        let worker = Worker::new(store.clone(), clock.shared(), settings, vec![handler]);
        worker.run_until_idle().await.unwrap();
        assert_eq!(seen(store, id).await.open, 1, "{}", database.name);
        clock.advance(Duration::from_hours(1));
        let policies = quintet_jobs::Policies::default();
        let (kinds, remote) = (["scripted".to_owned()], RemoteWorker::new("w"));
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
        let claimed = quintet_jobs::claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();
        assert_eq!(claimed.jobs[0].batch(), Some(id), "{}", database.name);
        let ended = [(claimed.jobs[0].id(), RemoteOutcome::Completed)];
        for refused in [0, 1] {
            let answer =
                acknowledge(store, &clock, &policies, &remote, &claimed.lease, &ended).await.unwrap();
            assert_eq!(answer.len(), refused, "{}", database.name);
        }
        assert_eq!(seen(store, id).await.completed, 1, "{}", database.name);
        assert_eq!(lookup(store, claimed.jobs[0].id()).await.unwrap().unwrap().state, State::Completed);
    }
}

/// On SQLite there is one writer, and nothing to hold up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_adds_jobs_holds_up_the_seal_and_no_end() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        if store.dialect() == Dialect::Sqlite {
            continue;
        }
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (id, _) = open(store, &clock, &["ok"]).await;
        let mut adding = store.begin().await.unwrap();
        enqueue(&mut adding, &clock, NewJob::new("scripted", &"ok").batch(id)).await.unwrap();
        // It would wait for ever if it had to.
        worker(store, clock.shared(), &Ledger::default()).run_until_idle().await.unwrap();
        assert_eq!(seen(store, id).await.completed, 1, "{}", database.name);
        let (sealer, sealers_clock) = (store.clone(), clock.clone());
        let sealing =
            tokio::task::JoinSet::from_iter([async move { seal(&sealer, &sealers_clock, id).await }]);
        until("the seal waits for the addition", async || {
            let sql = "SELECT count(*) AS n FROM pg_stat_activity
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
            store.fetch_one(sql, args![]).await.unwrap().get::<i64>("n").unwrap() > 0
        })
        .await;
        adding.commit().await.unwrap();
        assert_eq!(sealing.join_all().await, [true]);
        let view = seen(store, id).await;
        assert_eq!((view.jobs, view.open), (2, 1), "{}: the addition was waited for", database.name);
    }
}
