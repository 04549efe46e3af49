//! The failed runs of a job, as an operator reads them.

use std::time::Duration;

use quintet_jobs::{Filter, NewJob, Settings, State, delete_dead, failures, lookup, redrive};
use quintet_testkit::{FakeClock, databases};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{Ledger, put, until, worker};

#[tokio::test]
async fn every_failed_run_leaves_its_error_and_a_redrive_keeps_what_was_before() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let id = put(store, &clock, NewJob::new("scripted", &"fail").max_attempts(2)).await;
        let fine = put(store, &clock, NewJob::new("scripted", &"ok")).await;
        let worker = worker(store, clock.clone(), &ledger);
        for _ in 0..2 {
            worker.run_until_idle().await.unwrap();
            fake.advance(Duration::from_mins(1));
        }
        let runs = failures(store, id).await.unwrap();
        let attempts: Vec<i64> = runs.iter().map(|run| run.attempt).collect();
        assert_eq!(attempts, [1, 2], "{}", database.name);
        assert!(runs.iter().all(|run| run.error.contains("the far side is down") && !run.worker.is_empty()));
        assert!(runs.iter().all(|run| run.started_at <= run.ended_at));
        assert_eq!(failures(store, fine).await.unwrap(), []);

        assert!(redrive(store, clock.as_ref(), id).await.unwrap());
        worker.run_until_idle().await.unwrap();
        let attempts: Vec<i64> = failures(store, id).await.unwrap().iter().map(|run| run.attempt).collect();
        assert_eq!(attempts, [1, 2, 1], "{}", database.name);
    }
}

#[tokio::test]
async fn a_deleted_dead_letter_takes_its_errors_with_it() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let gone = put(store, &clock, NewJob::new("scripted", &"discard")).await;
        let kept = put(store, &clock, NewJob::new("scripted", &"discard")).await;
        worker(store, clock.clone(), &ledger).run_until_idle().await.unwrap();
        assert_eq!(lookup(store, gone).await.unwrap().unwrap().state, State::Discarded);
        let chosen = Filter { ids: vec![gone], ..Filter::default() };
        assert_eq!(delete_dead(store, clock.as_ref(), &chosen, 10).await.unwrap().changed, 1);
        assert_eq!(failures(store, gone).await.unwrap(), [], "{}", database.name);
        assert_eq!(failures(store, kept).await.unwrap().len(), 1, "{}", database.name);
    }
}

#[tokio::test]
async fn failures_go_when_jobs_that_ended_with_them_would_have_gone() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let worker = std::sync::Arc::new(worker(store, clock.clone(), &ledger));
        let old = put(store, &clock, NewJob::new("scripted", &"discard")).await;
        worker.run_until_idle().await.unwrap();
        fake.advance(Settings::default().keep_discarded + Duration::from_secs(1));
        let recent = put(store, &clock, NewJob::new("scripted", &"discard")).await;
        worker.run_until_idle().await.unwrap();
        let stop = CancellationToken::new();
        let mut tasks = JoinSet::new();
        tasks.spawn({
            let (worker, stop) = (worker.clone(), stop.clone());
            async move { worker.run(stop).await }
        });
        until("the old failure is forgotten", async || failures(store, old).await.unwrap().is_empty()).await;
        assert_eq!(failures(store, recent).await.unwrap().len(), 1, "{}", database.name);
        stop.cancel();
        tasks.join_next().await.unwrap().unwrap().unwrap();
    }
}
