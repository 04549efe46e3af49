//! Cancelling a batch.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    BatchCancelled, BatchId, BatchState, Error, Handler, HandlerError, Job, NewBatch, NewJob, Policies,
    RemoteOutcome, RemoteWorker, State, Wanted, Worker, acknowledge, batch, cancel_batch, claim, enqueue,
    enqueue_many, lookup, open_batch, seal_batch, search,
};
use quintet_store::Store;
use quintet_testkit::{FakeClock, databases};
use quintet_types::{Clock, SharedClock, SystemClock};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::{quick, until};

async fn opened(store: &Store, clock: &dyn Clock, jobs: usize, sealed: bool) -> BatchId {
    let mut tx = store.begin().await.unwrap();
    let new = NewBatch::new(clock, "many")
        .on_success(NewJob::new("succeeded", &()))
        .on_failure(NewJob::new("failed", &()))
        .on_end(NewJob::new("ended", &()));
    let id = open_batch(&mut tx, clock, new).await.unwrap();
    let members =
        (0..jobs).map(|turn| NewJob::new("member", &turn).max_attempts(u16::MAX).batch(id)).collect();
    enqueue_many(&mut tx, clock, members).await.unwrap();
    if sealed {
        seal_batch(&mut tx, clock, id).await.unwrap();
    }
    tx.commit().await.unwrap();
    id
}

/// The kinds of the jobs that wait.
async fn waiting(store: &Store) -> Vec<String> {
    let filter = quintet_jobs::Filter { state: Some(State::Ready), ..quintet_jobs::Filter::default() };
    let found = search(store, &filter, None, 100).await.unwrap().jobs;
    let mut kinds: Vec<String> = found.into_iter().map(|view| view.kind).collect();
    kinds.sort_unstable();
    kinds
}

#[tokio::test]
async fn jobs_that_wait_are_cancelled_those_that_run_are_asked_and_the_callbacks_come_as_they_are_due() {
    for sealed in [false, true] {
        for database in databases().await {
            let (store, clock) = (&database.store, FakeClock::default());
            let name = format!("{}, sealed: {sealed}", database.name);
            store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
            let id = opened(store, &clock, 5, sealed).await;
            let mut tx = store.begin().await.unwrap();
            let other = enqueue(&mut tx, &clock, NewJob::new("other", &())).await.unwrap().id;
            tx.commit().await.unwrap();
            let (policies, remote, kinds) =
                (Policies::default(), RemoteWorker::new("w"), ["member".to_owned()]);
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 2, hold: Duration::from_secs(9) };
            let claimed = claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();

            let done = cancel_batch(store, &clock, id).await.unwrap().unwrap();
            assert_eq!(done, BatchCancelled { cancelled: 3, cancelling: 2, more: false }, "{name}");
            assert_eq!(waiting(store).await, ["failed", "other"], "{name}");
            let mut tx = store.begin().await.unwrap();
            let late = enqueue(&mut tx, &clock, NewJob::new("member", &()).batch(id)).await;
            assert!(matches!(late, Err(Error::BatchNotOpen { .. })), "{name}");
            drop(tx);

            let asked = quintet_jobs::extend(store, &remote, &claimed.lease).await.unwrap().unwrap();
            let mut running: Vec<_> = claimed.jobs.iter().map(Job::id).collect();
            running.sort_unstable();
            assert_eq!(
                asked
                    .iter()
                    .copied()
                    .collect::<std::collections::BTreeSet<_>>()
                    .into_iter()
                    .collect::<Vec<_>>(),
                running,
                "{name}"
            );
            // One that ends well all the same has completed.
            let ends = [(running[0], RemoteOutcome::Completed), (running[1], RemoteOutcome::Cancelled)];
            acknowledge(store, &clock, &policies, &remote, &claimed.lease, &ends).await.unwrap();
            let view = batch(store, id).await.unwrap().unwrap();
            assert_eq!((view.state, view.completed, view.cancelled), (BatchState::Failed, 1, 4), "{name}");
            assert_eq!(waiting(store).await, ["ended", "failed", "other"], "{name}");
            assert_eq!(lookup(store, other).await.unwrap().unwrap().state, State::Ready, "{name}");
            let again = cancel_batch(store, &clock, id).await.unwrap().unwrap();
            assert_eq!(again, BatchCancelled { cancelled: 0, cancelling: 0, more: false }, "{name}");
            let unknown = BatchId::generate(&clock, &quintet_types::SystemEntropy);
            assert_eq!(cancel_batch(store, &clock, unknown).await.unwrap(), None, "{name}");
        }
    }
}

/// Fails always, at once.
struct Failing;

#[async_trait]
impl Handler for Failing {
    fn kind(&self) -> &'static str {
        "member"
    }

    async fn run(&self, _: &Job) -> Result<(), HandlerError> {
        Err(HandlerError::retry_after("no", Duration::ZERO))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn jobs_that_go_to_and_fro_between_queue_and_workers_are_all_cancelled() {
    for database in databases().await {
        let (store, clock): (_, SharedClock) = (&database.store, SystemClock::shared());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let id = opened(store, clock.as_ref(), 300, true).await;
        let stop = CancellationToken::new();
        let worker = Worker::new(store.clone(), clock.clone(), quick("fro"), vec![Arc::new(Failing)]);
        let running = JoinSet::from_iter([Arc::new(worker).run(stop.clone())]);
        until("some have run", async || {
            !quintet_jobs::search(
                store,
                &quintet_jobs::Filter { error: Some("no".to_owned()), ..quintet_jobs::Filter::default() },
                None,
                1,
            )
            .await
            .unwrap()
            .jobs
            .is_empty()
        })
        .await;
        until("nothing is left", async || {
            !cancel_batch(store, clock.as_ref(), id).await.unwrap().unwrap().more
        })
        .await;
        until("all have ended", async || {
            let view = batch(store, id).await.unwrap().unwrap();
            view.cancelled == 300
        })
        .await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
    }
}
