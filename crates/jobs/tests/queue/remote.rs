//! Workers elsewhere: how long their leases are held.

use std::sync::Arc;
use std::time::Duration;

use quintet_jobs::{NewJob, Policies, RemoteWorker, Settings, State, Wanted, Worker, claim, extend, lookup};
use quintet_testkit::{FakeClock, databases};
use quintet_types::SystemClock;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{put, quick, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_given_to_others_after_the_time_its_worker_asked_for() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (clock, elsewhere) = (SystemClock::shared(), RemoteWorker::new("elsewhere"));
        let mut leases = Vec::new();
        for hold in [Duration::from_hours(1), Duration::from_millis(10)] {
            let id = put(store, &clock, NewJob::new("remote", &())).await;
            let kinds = ["remote".to_owned()];
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold };
            let claimed = claim(store, clock.as_ref(), &Policies::default(), &elsewhere, wanted).await;
            leases.push((id, claimed.unwrap().unwrap().lease));
        }
        // Short, to wait less.
        let rescuing = Settings { lease: Duration::from_millis(300), ..quick("rescuer") };
        let stop = CancellationToken::new();
        let rescuer = Arc::new(Worker::new(store.clone(), clock, rescuing, Vec::new()));
        let running = JoinSet::from_iter([rescuer.run(stop.clone())]);
        let [(patient, held), (hasty, lost)] = <[_; 2]>::try_from(leases).unwrap();
        until("the shorter lease is over", async || {
            lookup(store, hasty).await.unwrap().unwrap().state == State::Ready
        })
        .await;
        assert_eq!(lookup(store, patient).await.unwrap().unwrap().state, State::Running);
        assert_eq!(extend(store, &elsewhere, &held).await.unwrap(), Some(Vec::new()), "{}", database.name);
        assert_eq!(extend(store, &elsewhere, &lost).await.unwrap(), None, "{}", database.name);
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_a_node_with_a_clock_ahead_has_rescued_are_due_for_all() {
    for database in databases().await {
        let store = &database.store;
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let (right, ahead) = (FakeClock::default(), FakeClock::default());
        ahead.advance(Duration::from_hours(1));
        let id = put(store, &right.shared(), NewJob::new("remote", &())).await;
        let kinds = ["remote".to_owned()];
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_millis(10) };
        let (elsewhere, policies) = (RemoteWorker::new("elsewhere"), Policies::default());
        let again = async || claim(store, &right, &policies, &elsewhere, wanted).await.unwrap();
        assert!(again().await.is_some());

        let rescuing = Settings { lease: Duration::from_millis(300), ..quick("rescuer") };
        let stop = CancellationToken::new();
        let rescuer = Arc::new(Worker::new(store.clone(), ahead.shared(), rescuing, Vec::new()));
        let running = JoinSet::from_iter([rescuer.run(stop.clone())]);
        until("the job is rescued", async || lookup(store, id).await.unwrap().unwrap().state == State::Ready)
            .await;
        assert!(again().await.is_some(), "{}: it waits for the rescuer's hour", database.name);
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
    }
}
