//! Jobs of which there is one at a time.

use std::sync::Arc;
use std::time::Duration;

use quintet_jobs::{
    Conflict, Enqueued, Error, NewJob, State, Unique, UniqueStates, cancel, enqueue, enqueue_many, lookup,
};
use quintet_store::{Settings as Database, Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::SharedClock;
use serde_json::json;
use tokio::sync::Barrier;
use tokio::task::JoinSet;

use super::{Ledger, worker};

/// Its members stand in another order than those of a JSON value.
#[derive(serde::Serialize)]
struct Reversed {
    to: &'static str,
    options: Options,
}

#[derive(serde::Serialize)]
struct Options {
    y: [u8; 2],
    x: u8,
}

async fn put(store: &Store, clock: &SharedClock, job: NewJob) -> Enqueued {
    let mut tx = store.begin().await.unwrap();
    let enqueued = enqueue(&mut tx, clock.as_ref(), job).await.unwrap();
    tx.commit().await.unwrap();
    enqueued
}

#[tokio::test]
async fn jobs_are_the_same_by_their_arguments_or_by_some_of_them_or_by_their_kind() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let args = [
            json!({"to": "a", "options": {"x": 1, "y": [1, 2]}}),
            json!({"to": "a", "options": {"x": 1, "y": [2, 1]}}),
            json!({"to": "b", "options": null}),
        ];
        for (unique, same) in [
            (Unique::by_args(), [false, false, false]),
            (Unique::by_arg_keys(["to"]), [false, true, false]),
            (Unique::by_kind(), [false, true, true]),
            (Unique::by_key("k"), [false, true, true]),
        ] {
            let kind = format!("{unique:?}");
            for (args, same) in args.iter().zip(same) {
                let job = || NewJob::new(&kind, args).unique(unique.clone());
                assert_eq!(put(store, &clock, job()).await.duplicate, same, "{}: {kind}", database.name);
                assert!(put(store, &clock, job()).await.duplicate, "{}: {kind}", database.name);
            }
        }
        // The order of an object's members means nothing.
        let by_args = Unique::by_args();
        let reversed = Reversed { to: "a", options: Options { y: [1, 2], x: 1 } };
        let again = NewJob::new(format!("{by_args:?}"), &reversed).unique(by_args);
        assert!(put(store, &clock, again).await.duplicate, "{}", database.name);
    }
}

#[tokio::test]
async fn a_period_admits_one_job_each_and_all_states_count_those_that_ended() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (fake, ledger) = (FakeClock::default(), Ledger::default());
        let clock = fake.shared();
        let hour = Duration::from_hours(1);
        let unfinished = || NewJob::new("scripted", &"ok").unique(Unique::by_args().period(hour));
        let all = || {
            let unique = Unique::by_kind().period(hour).states(UniqueStates::All);
            NewJob::new("scripted", &"ok").unique(unique)
        };
        let worker = worker(store, clock.clone(), &ledger);
        for (turn, expected) in [(0, [false, false]), (1, [false, true])] {
            let duplicates =
                [put(store, &clock, unfinished()).await.duplicate, put(store, &clock, all()).await.duplicate];
            assert_eq!(duplicates, expected, "{}: turn {turn}", database.name);
            worker.run_until_idle().await.unwrap();
        }
        fake.advance(hour);
        assert!(!put(store, &clock, unfinished()).await.duplicate);
        assert!(!put(store, &clock, all()).await.duplicate, "{}", database.name);
        fake.advance(hour);
        // Another period, whether the first one's job has ended or not.
        assert!(!put(store, &clock, unfinished()).await.duplicate, "{}", database.name);

        let mut tx = store.begin().await.unwrap();
        let forever = Unique::by_kind().states(UniqueStates::All);
        for unique in [forever, Unique::by_kind().period(Duration::ZERO)] {
            let refused =
                enqueue(&mut tx, clock.as_ref(), NewJob::new("scripted", &"ok").unique(unique)).await;
            assert!(matches!(refused, Err(Error::UniquePeriod)), "{}", database.name);
        }
    }
}

#[tokio::test]
async fn a_job_that_counts_only_while_it_waits_admits_another_once_it_runs() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let reindex = || {
            let unique = Unique::by_kind().states(UniqueStates::Waiting);
            NewJob::new("reindex", &()).unique(unique)
        };
        let first = put(store, &clock, reindex()).await;
        assert_eq!(put(store, &clock, reindex()).await.id, first.id);
        let elsewhere = quintet_jobs::RemoteWorker::new("w");
        let hold = Duration::from_mins(1);
        let kinds = ["reindex".to_owned()];
        let policies = quintet_jobs::Policies::default();
        let wanted = quintet_jobs::Wanted { queue: "default", kinds: &kinds, limit: 9, hold };
        let claimed = quintet_jobs::claim(store, clock.as_ref(), &policies, &elsewhere, wanted).await;
        let claimed = claimed.unwrap().unwrap();
        let second = put(store, &clock, reindex()).await;
        assert!(!second.duplicate, "{}", database.name);
        assert_eq!(put(store, &clock, reindex()).await.id, second.id, "{}", database.name);
        // The end of the first one does not free the second one's key.
        let outcome = [(first.id, quintet_jobs::RemoteOutcome::Completed)];
        let refused =
            quintet_jobs::acknowledge(store, clock.as_ref(), &policies, &elsewhere, &claimed.lease, &outcome);
        assert!(refused.await.unwrap().is_empty());
        assert_eq!(put(store, &clock, reindex()).await.id, second.id, "{}", database.name);
    }
}

#[tokio::test]
async fn a_job_that_others_rely_on_is_not_claimed_before_their_transaction_has_ended() {
    for database in databases().await {
        if database.name == "sqlite" {
            // One writer at a time: a claim waits for the transaction.
            continue;
        }
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, ledger) = (FakeClock::default().shared(), Ledger::default());
        let unique = Unique::by_kind().states(UniqueStates::Waiting);
        let job = || NewJob::new("scripted", &"ok").unique(unique.clone());
        put(store, &clock, job()).await;
        let mut tx = store.begin().await.unwrap();
        assert!(enqueue(&mut tx, clock.as_ref(), job()).await.unwrap().duplicate);
        let worker = worker(store, clock.clone(), &ledger);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0);
        tx.commit().await.unwrap();
        assert_eq!(worker.run_until_idle().await.unwrap(), 1);
    }
}

#[tokio::test]
async fn the_job_that_waits_gets_the_arguments_or_the_time_of_a_second_one() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let later = clock.now().checked_add(Duration::from_mins(5)).unwrap();
        for (many, conflict, args, waits) in [
            (false, Conflict::Keep, "first", 0),
            (false, Conflict::ReplaceArgs, "second", 0),
            (false, Conflict::Reschedule, "first", 300),
            (false, Conflict::Replace, "second", 300),
            (true, Conflict::Keep, "first", 0),
            (true, Conflict::ReplaceArgs, "second", 0),
            (true, Conflict::Reschedule, "first", 300),
            (true, Conflict::Replace, "second", 300),
        ] {
            let said = format!("{}: {conflict:?} {many}", database.name);
            let unique = Unique::by_kind().on_conflict(conflict);
            let kind = format!("{conflict:?} {many}");
            let first = NewJob::new(&kind, &"first").unique(unique.clone());
            let second = NewJob::new(&kind, &"second").unique(unique).run_at(later);
            let (first, second) = if many {
                let mut tx = store.begin().await.unwrap();
                let answers = enqueue_many(&mut tx, clock.as_ref(), vec![first, second]).await.unwrap();
                tx.commit().await.unwrap();
                (answers[0], answers[1])
            } else {
                (put(store, &clock, first).await, put(store, &clock, second).await)
            };
            let replaced = conflict != Conflict::Keep;
            assert_eq!(second, Enqueued { id: first.id, duplicate: true, replaced }, "{said}");
            let view = lookup(store, first.id).await.unwrap().unwrap();
            let waited = view.run_at.unwrap().duration_since(view.enqueued_at).as_secs();
            assert_eq!((view.args, waited), (Some(args.into()), waits), "{said}");
        }
        // A key may be shared by kinds, but not the arguments.
        let keyed = |kind: &str| {
            NewJob::new(kind, &kind).unique(Unique::by_key("k").on_conflict(Conflict::ReplaceArgs))
        };
        put(store, &clock, keyed("one")).await;
        let other = put(store, &clock, keyed("two")).await;
        assert_eq!((other.duplicate, other.replaced), (true, false), "{}", database.name);
    }
}

#[tokio::test]
async fn a_cancelled_job_frees_its_key_unless_it_is_held_for_its_period() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let hour = Unique::by_kind().period(Duration::from_hours(1));
        for (unique, held) in [(hour.clone(), false), (hour.states(UniqueStates::All), true)] {
            let kind = format!("{unique:?}");
            let job = || NewJob::new(&kind, &()).unique(unique.clone());
            let first = put(store, &clock, job()).await;
            cancel(store, clock.as_ref(), first.id).await.unwrap();
            assert_eq!(lookup(store, first.id).await.unwrap().unwrap().state, State::Cancelled);
            assert_eq!(put(store, &clock, job()).await.duplicate, held, "{}", database.name);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_processes_that_enqueue_the_same_job_at_once_one_makes_it() {
    for database in databases().await {
        database.store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let clock = FakeClock::default().shared();
        let start = Arc::new(Barrier::new(8));
        let mut enqueuing = JoinSet::new();
        for turn in 0..8 {
            // Its own connections, as another process has.
            let store = Store::connect(&Database::for_url(&database.url)).await.unwrap();
            let (clock, start) = (clock.clone(), Arc::clone(&start));
            enqueuing.spawn(async move {
                let job = || NewJob::new("report", &json!({"day": 1})).unique(Unique::by_args());
                start.wait().await;
                let mut tx = store.begin().await.unwrap();
                let answer = if turn % 2 == 0 {
                    enqueue(&mut tx, clock.as_ref(), job()).await.unwrap()
                } else {
                    enqueue_many(&mut tx, clock.as_ref(), vec![job(), job()]).await.unwrap()[0]
                };
                tx.commit().await.unwrap();
                answer
            });
        }
        let answers = enqueuing.join_all().await;
        let made = answers.iter().filter(|answer| !answer.duplicate).count();
        assert_eq!(made, 1, "{}: {answers:?}", database.name);
        assert!(answers.iter().all(|answer| answer.id == answers[0].id), "{}", database.name);
        let rows = database.store.fetch_one("SELECT count(*) AS n FROM jobs_ready", args![]).await.unwrap();
        assert_eq!(rows.get::<i64>("n").unwrap(), 1, "{}", database.name);
    }
}
