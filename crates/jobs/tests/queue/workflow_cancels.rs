//! Cancelling workflows and the jobs of workflows.

use std::sync::Arc;
use std::time::Duration;

use quintet_jobs::{
    After, Cancelled, NewJob, NewWorkflow, Policies, RemoteOutcome, RemoteWorker, State, Wanted, Worker,
    WorkflowCancelled, WorkflowState, acknowledge, cancel, cancel_workflow, claim, enqueue_workflow, lookup,
    redrive, workflow,
};
use quintet_store::args;
use quintet_testkit::{FakeClock, databases};
use quintet_types::SystemClock;
use tokio_util::sync::CancellationToken;

use super::workflows::{are, job, put, states};
use super::{Ledger, quick, until, worker};

#[tokio::test]
async fn a_workflow_is_cancelled_with_what_waits_is_blocked_and_runs() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("unwanted")
            .job("runs", NewJob::new("remote", &()), &[])
            .job("waits", job("ok"), &[])
            .job("blocked", job("ok"), &[After::end("waits")])
            .job("after", job("ok"), &[After::end("runs"), After::success("blocked")]);
        let flow = put(store, &clock, flow).await;
        let (policies, remote, kinds) = (Policies::default(), RemoteWorker::new("w"), ["remote".to_owned()]);
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
        let claimed = claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();
        let done = cancel_workflow(store, &clock, flow.id).await.unwrap();
        assert_eq!(done, Some(WorkflowCancelled { cancelled: 3, cancelling: 1 }), "{}", database.name);
        let asked = quintet_jobs::extend(store, &remote, &claimed.lease).await.unwrap();
        assert_eq!(asked, Some(vec![flow.jobs["runs"]]), "{}", database.name);
        let ended = [(flow.jobs["runs"], RemoteOutcome::Cancelled)];
        acknowledge(store, &clock, &policies, &remote, &claimed.lease, &ended).await.unwrap();
        assert!(
            states(store, &flow).await.values().all(|state| *state == State::Cancelled),
            "{}",
            database.name
        );
        let view = workflow(store, flow.id).await.unwrap().unwrap();
        assert_eq!((view.state, view.open), (WorkflowState::Failed, 0), "{}", database.name);
        let never = NewWorkflow::new("never").job("a", job("ok"), &[]);
        let mut tx = store.begin().await.unwrap();
        let never = enqueue_workflow(&mut tx, &clock, never).await.unwrap();
        drop(tx);
        assert_eq!(cancel_workflow(store, &clock, never.id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_blocked_job_that_somebody_cancels_takes_its_dependants_with_it() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("cut")
            .job("a", job("ok"), &[])
            .job("b", job("ok"), &[After::success("a")])
            .job("c", job("ok"), &[After::success("b")]);
        let flow = put(store, &clock, flow).await;
        assert_eq!(
            cancel(store, &clock, flow.jobs["b"]).await.unwrap(),
            Cancelled::Done,
            "{}",
            database.name
        );
        worker(store, clock.shared(), &Ledger::default()).run_until_idle().await.unwrap();
        let cut = [("a", State::Completed), ("b", State::Cancelled), ("c", State::Cancelled)];
        assert_eq!(states(store, &flow).await, are(&cut), "{}", database.name);
        // What somebody cancelled comes back when somebody wants it back, and so does what was cancelled for it.
        assert!(redrive(store, &clock, flow.jobs["b"]).await.unwrap());
        worker(store, clock.shared(), &Ledger::default()).run_until_idle().await.unwrap();
        assert!(
            states(store, &flow).await.values().all(|state| *state == State::Completed),
            "{}",
            database.name
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_job_that_is_blocked_again_after_it_was_cancelled_is_taken_out() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("cut").job("a", NewJob::new("nobody-runs-this", &()), &[]).job(
            "b",
            job("ok"),
            &[After::success("a")],
        );
        let flow = put(store, &clock, flow).await;
        // As it stands when a redrive comes between looking for the job and the request.
        let mut tx = store.begin().await.unwrap();
        let sql = "INSERT INTO jobs_cancel VALUES ($1, $2)";
        tx.execute(sql, args![flow.jobs["b"], SystemClock::shared().now()]).await.unwrap();
        tx.commit().await.unwrap();
        let stop = CancellationToken::new();
        let any = Arc::new(Worker::new(store.clone(), SystemClock::shared(), quick("any"), Vec::new()));
        let running = tokio::task::JoinSet::from_iter([any.run(stop.clone())]);
        let b = flow.jobs["b"];
        until("it is cancelled", async || lookup(store, b).await.unwrap().unwrap().state == State::Cancelled)
            .await;
        stop.cancel();
        for result in running.join_all().await {
            result.unwrap();
        }
        let cut = [("a", State::Ready), ("b", State::Cancelled)];
        assert_eq!(states(store, &flow).await, are(&cut), "{}", database.name);
    }
}
