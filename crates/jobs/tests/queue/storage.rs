//! What the queue writes, and what it does not.

use std::time::Duration;

use quintet_jobs::{NewJob, Settings, State, Worker, enqueue_many, lookup};
use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use std::sync::Arc;

use super::{Ledger, Scripted, put, worker};

async fn rows(store: &Store, count: &'static str) -> i64 {
    store.fetch_one(count, args![]).await.unwrap().get("n").unwrap()
}

const HISTORY: &str = "SELECT COUNT(*) AS n FROM jobs_history";

#[tokio::test]
async fn a_worker_that_keeps_nothing_writes_history_for_dead_letters_alone() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let done = NewJob::new("scripted", &"ok").unique_key("one at a time");
        let done = put(&database.store, &clock, done).await;
        let dead = put(&database.store, &clock, NewJob::new("scripted", &"discard")).await;
        let settings = Settings { keep_completed: Duration::ZERO, ..Settings::default() };
        let handler = Arc::new(Scripted(ledger.clone()));
        let worker = Worker::new(database.store.clone(), clock.clone(), settings, vec![handler]);
        assert_eq!(worker.run_until_idle().await.unwrap(), 2, "{}", database.name);
        assert!(lookup(&database.store, done).await.unwrap().is_none(), "{}", database.name);
        let view = lookup(&database.store, dead).await.unwrap().unwrap();
        assert_eq!(view.state, State::Discarded);
        assert_eq!(rows(&database.store, HISTORY).await, 1);
        assert_eq!(rows(&database.store, "SELECT COUNT(*) AS n FROM jobs_lease").await, 0);
        assert_eq!(rows(&database.store, "SELECT COUNT(*) AS n FROM jobs_unique").await, 0);
    }
}

#[tokio::test]
async fn many_jobs_are_enqueued_together_and_all_run_in_their_order() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let mut tx = database.store.begin().await.unwrap();
        // More than one statement's worth, the last of them first.
        let jobs = (0..1_137i16).rev().map(|turn| NewJob::new("scripted", &"ok").priority(turn)).collect();
        let enqueued = enqueue_many(&mut tx, clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
        assert!(enqueued.iter().all(|job| !job.duplicate), "{}", database.name);
        let worker = worker(&database.store, clock, &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 1_137, "{}", database.name);
        let ran: Vec<_> = ledger.runs().into_iter().map(|(id, _)| id).collect();
        let wanted: Vec<_> = enqueued.iter().rev().map(|job| job.id).collect();
        assert_eq!(ran, wanted, "{}", database.name);
        assert_eq!(rows(&database.store, HISTORY).await, 1_137);
    }
}

#[tokio::test]
async fn of_many_jobs_with_one_unique_key_the_first_is_enqueued() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let keyed = |key: &str| NewJob::new("scripted", &"ok").unique_key(key);
        let held = put(&database.store, &clock, keyed("held")).await;
        let mut tx = database.store.begin().await.unwrap();
        let jobs = vec![keyed("new"), keyed("held"), keyed("new"), NewJob::new("scripted", &"ok")];
        let answers = enqueue_many(&mut tx, clock.as_ref(), jobs).await.unwrap();
        tx.commit().await.unwrap();
        let duplicate: Vec<bool> = answers.iter().map(|job| job.duplicate).collect();
        assert_eq!(duplicate, [false, true, true, false], "{}", database.name);
        assert_eq!((answers[1].id, answers[2].id), (held, answers[0].id), "{}", database.name);
        assert_eq!(rows(&database.store, "SELECT COUNT(*) AS n FROM jobs_ready").await, 3);
    }
}
