//! Workflows: what runs after what, and what becomes of the rest when something fails.

#![expect(clippy::indexing_slicing, reason = "helpers shared by the tests below")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use quintet_jobs::{
    After, EnqueuedWorkflow, Error, Filter, Handler, HandlerError, Job, NewJob, NewWorkflow, Policies,
    RemoteOutcome, RemoteWorker, Settings, State, Wanted, Worker, WorkflowError, WorkflowState, acknowledge,
    claim, enqueue_workflow, lookup, redrive, redrive_dead, remote_dependencies, search, workflow, workflows,
};
use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use serde_json::json;

use super::{Ledger, worker};

pub(super) fn job(script: &str) -> NewJob {
    NewJob::new("scripted", &script).max_attempts(1)
}

pub(super) async fn put(store: &Store, clock: &FakeClock, workflow: NewWorkflow) -> EnqueuedWorkflow {
    let mut tx = store.begin().await.unwrap();
    let enqueued = enqueue_workflow(&mut tx, clock, workflow).await.unwrap();
    tx.commit().await.unwrap();
    enqueued
}

/// The states of a workflow's jobs by their names.
pub(super) async fn states(store: &Store, of: &EnqueuedWorkflow) -> BTreeMap<String, State> {
    let view = workflow(store, of.id).await.unwrap().unwrap();
    let states: BTreeMap<String, State> =
        view.graph.iter().map(|job| (job.name.clone(), job.state)).collect();
    for (name, state) in &states {
        // What the graph says is what the job says itself.
        assert_eq!(lookup(store, of.jobs[name]).await.unwrap().unwrap().state, *state, "{name}");
    }
    states
}

pub(super) fn are(expected: &[(&str, State)]) -> BTreeMap<String, State> {
    expected.iter().map(|(name, state)| ((*name).to_owned(), *state)).collect()
}

async fn mend(store: &Store, of: &EnqueuedWorkflow, name: &str) {
    let mut tx = store.begin().await.unwrap();
    let sql = "UPDATE jobs_history SET args = '\"ok\"' WHERE id = $1";
    assert_eq!(tx.execute(sql, args![of.jobs[name]]).await.unwrap(), 1);
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn a_job_waits_unseen_by_claims_until_all_that_it_comes_after_have_completed() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("diamond")
            .job("last", job("ok"), &[After::success("left"), After::success("right")])
            .job("left", job("ok"), &[After::success("first")])
            .job("right", job("ok").queue("slow"), &[After::success("first")])
            .job("first", job("ok"), &[]);
        let flow = put(store, &clock, flow).await;
        let begin = [
            ("first", State::Ready),
            ("last", State::Blocked),
            ("left", State::Blocked),
            ("right", State::Blocked),
        ];
        assert_eq!(states(store, &flow).await, are(&begin), "{}", database.name);
        let found =
            Filter { state: Some(State::Blocked), member_of: Some(flow.id.to_string()), ..Filter::default() };
        assert_eq!(search(store, &found, None, 10).await.unwrap().jobs.len(), 3, "{}", database.name);

        let ledger = Ledger::default();
        worker(store, clock.shared(), &ledger).run_until_idle().await.unwrap();
        let ran: Vec<_> = ledger.runs().into_iter().map(|(id, _)| id).collect();
        assert_eq!(
            ran,
            [flow.jobs["first"], flow.jobs["left"]],
            "{}: one waits for the slow queue",
            database.name
        );
        let middle = [
            ("first", State::Completed),
            ("last", State::Blocked),
            ("left", State::Completed),
            ("right", State::Ready),
        ];
        assert_eq!(states(store, &flow).await, are(&middle), "{}", database.name);
        let mut tx = store.begin().await.unwrap();
        tx.execute("UPDATE jobs_ready SET queue = 'default'", args![]).await.unwrap();
        tx.commit().await.unwrap();
        worker(store, clock.shared(), &ledger).run_until_idle().await.unwrap();
        assert!(
            states(store, &flow).await.values().all(|state| *state == State::Completed),
            "{}",
            database.name
        );
        let view = workflow(store, flow.id).await.unwrap().unwrap();
        assert_eq!((view.state, view.open, view.ended_at.is_some()), (WorkflowState::Succeeded, 0, true));
        let levels: Vec<_> = view.graph.iter().map(|job| (&*job.name, job.level)).collect();
        assert_eq!(levels, [("first", 0), ("left", 1), ("right", 1), ("last", 2)]);
        assert_eq!(workflows(store, None, 10).await.unwrap().workflows.len(), 1);
    }
}

#[tokio::test]
async fn a_failure_cancels_what_cannot_do_without_and_a_redrive_brings_that_back() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("fails")
            .job("a", job("discard"), &[])
            .job("b", job("ok"), &[After::success("a")])
            .job("c", job("ok"), &[After::success("b")])
            .job("clean up", job("ok"), &[After::end("c")]);
        let flow = put(store, &clock, flow).await;
        let ledger = Ledger::default();
        let worker = worker(store, clock.shared(), &ledger);
        worker.run_until_idle().await.unwrap();
        let failed = [
            ("a", State::Discarded),
            ("b", State::Cancelled),
            ("c", State::Cancelled),
            ("clean up", State::Completed),
        ];
        assert_eq!(states(store, &flow).await, are(&failed), "{}", database.name);
        let view = workflow(store, flow.id).await.unwrap().unwrap();
        assert_eq!((view.state, view.open, view.failed), (WorkflowState::Failed, 0, 3), "{}", database.name);
        let error = lookup(store, flow.jobs["b"]).await.unwrap().unwrap().last_error.unwrap();
        assert_eq!(error, format!("{}, which it waits for, did not complete", flow.jobs["a"]));

        mend(store, &flow, "a").await;
        assert!(redrive(store, &clock, flow.jobs["a"]).await.unwrap());
        let again = [
            ("a", State::Ready),
            ("b", State::Blocked),
            ("c", State::Blocked),
            ("clean up", State::Completed),
        ];
        assert_eq!(states(store, &flow).await, are(&again), "{}", database.name);
        let view = workflow(store, flow.id).await.unwrap().unwrap();
        assert_eq!((view.state, view.open, view.ended_at), (WorkflowState::Running, 3, None));
        worker.run_until_idle().await.unwrap();
        assert!(
            states(store, &flow).await.values().all(|state| *state == State::Completed),
            "{}",
            database.name
        );
        assert_eq!(ledger.runs().len(), 5, "{}: what had run did not run again", database.name);
        assert_eq!(workflow(store, flow.id).await.unwrap().unwrap().state, WorkflowState::Succeeded);
    }
}

#[tokio::test]
async fn a_job_with_two_failed_dependencies_comes_back_with_the_second() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("two").job("a", job("discard"), &[]).job("b", job("discard"), &[]).job(
            "both",
            job("ok"),
            &[After::success("a"), After::success("b")],
        );
        let flow = put(store, &clock, flow).await;
        let worker = worker(store, clock.shared(), &Ledger::default());
        worker.run_until_idle().await.unwrap();
        for name in ["a", "b"] {
            mend(store, &flow, name).await;
        }
        redrive(store, &clock, flow.jobs["a"]).await.unwrap();
        worker.run_until_idle().await.unwrap();
        let half = [("a", State::Completed), ("b", State::Discarded), ("both", State::Cancelled)];
        assert_eq!(states(store, &flow).await, are(&half), "{}", database.name);
        redrive(store, &clock, flow.jobs["b"]).await.unwrap();
        let whole = [("a", State::Completed), ("b", State::Ready), ("both", State::Blocked)];
        assert_eq!(states(store, &flow).await, are(&whole), "{}", database.name);
        worker.run_until_idle().await.unwrap();
        assert!(
            states(store, &flow).await.values().all(|state| *state == State::Completed),
            "{}",
            database.name
        );
    }
}

#[tokio::test]
async fn a_redriven_job_waits_for_a_dependency_that_failed_too() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let flow = NewWorkflow::new("order").job("a", job("discard"), &[]).job(
            "b",
            job("ok"),
            &[After::success("a")],
        );
        let flow = put(store, &clock, flow).await;
        let worker = worker(store, clock.shared(), &Ledger::default());
        worker.run_until_idle().await.unwrap();
        // All cancelled jobs at once, as an operator does who does not look.
        let cancelled = Filter { state: Some(State::Cancelled), ..Filter::default() };
        assert_eq!(redrive_dead(store, &clock, &cancelled, 10).await.unwrap().changed, 1);
        assert_eq!(worker.run_until_idle().await.unwrap(), 0, "{}", database.name);
        let waits = [("a", State::Discarded), ("b", State::Blocked)];
        assert_eq!(states(store, &flow).await, are(&waits), "{}", database.name);
        mend(store, &flow, "a").await;
        redrive(store, &clock, flow.jobs["a"]).await.unwrap();
        assert_eq!(worker.run_until_idle().await.unwrap(), 2, "{}", database.name);
        assert_eq!(workflow(store, flow.id).await.unwrap().unwrap().state, WorkflowState::Succeeded);
    }
}

#[tokio::test]
async fn a_workflow_that_cannot_be_is_refused_and_leaves_nothing() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let cycle = NewWorkflow::new("cycle").job("a", job("ok"), &[After::success("b")]).job(
            "b",
            job("ok"),
            &[After::end("a")],
        );
        let unique = NewWorkflow::new("unique").job("a", job("ok").unique_key("k"), &[]);
        let mut tx = store.begin().await.unwrap();
        let error = enqueue_workflow(&mut tx, &clock, cycle).await.unwrap_err();
        assert!(matches!(error, Error::Workflow(WorkflowError::Cycle(_))), "{}: {error}", database.name);
        let error = enqueue_workflow(&mut tx, &clock, unique).await.unwrap_err();
        assert!(matches!(error, Error::UniqueMember { .. }), "{}: {error}", database.name);
        tx.commit().await.unwrap();
        assert!(workflows(store, None, 10).await.unwrap().workflows.is_empty(), "{}", database.name);
    }
}

/// Adds up the results of what it waited for, and one.
struct Sums(Store);

#[async_trait]
impl Handler for Sums {
    fn kind(&self) -> &'static str {
        "sums"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let before = job.dependencies(&self.0).await?;
        let sum: i64 = before.iter().filter_map(|job| job.result.as_ref()?.as_i64()).sum();
        Ok(job.set_result(&(sum + 1))?)
    }
}

#[tokio::test]
async fn a_job_reads_the_results_of_those_it_waited_for_also_where_no_history_is_kept() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let sums = || NewJob::new("sums", &());
        let flow = NewWorkflow::new("sum")
            .job("a", sums(), &[])
            .job("b", sums(), &[])
            .job("c", sums(), &[After::success("a"), After::success("b")])
            .job("d", NewJob::new("remote", &()), &[After::success("c"), After::end("a")]);
        let flow = put(store, &clock, flow).await;
        let settings = Settings { keep_completed: Duration::ZERO, ..Settings::default() };
        let handler = Arc::new(Sums(store.clone()));
        let worker = Worker::new(store.clone(), clock.shared(), settings, vec![handler]);
        assert_eq!(worker.run_until_idle().await.unwrap(), 3, "{}", database.name);
        let (policies, remote, kinds) = (Policies::default(), RemoteWorker::new("w"), ["remote".to_owned()]);
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
        let claimed = claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();
        assert_eq!(claimed.jobs[0].workflow(), Some(flow.id));
        let read = async |worker: &RemoteWorker, after: &str| {
            remote_dependencies(store, worker, &claimed.lease, flow.jobs["d"], after).await.unwrap()
        };
        let found = read(&remote, "").await.unwrap();
        let found: Vec<_> = found.into_iter().map(|job| (job.name, job.result.unwrap())).collect();
        assert_eq!(found, [("a".to_owned(), json!(1)), ("c".to_owned(), json!(3))], "{}", database.name);
        assert_eq!(read(&remote, "a").await.unwrap().len(), 1, "{}", database.name);
        assert_eq!(read(&RemoteWorker::new("other"), "").await, None, "{}", database.name);
    }
}

/// Each dependency ends in an acknowledgement of its own, all of them at the same time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_ends_at_the_same_time_one_releases_the_job_that_waits_for_all() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&quintet_jobs::MODULE]).await.unwrap();
        let names: Vec<String> = (0..8).map(|place| format!("part {place}")).collect();
        let all: Vec<After> = names.iter().map(After::success).collect();
        let mut flow = NewWorkflow::new("fan in").job("whole", job("ok"), &all);
        for name in &names {
            flow = flow.job(name, NewJob::new("remote", &()), &[]);
        }
        let flow = put(store, &clock, flow).await;
        let (policies, kinds) = (Arc::new(Policies::default()), ["remote".to_owned()]);
        let mut acknowledging = tokio::task::JoinSet::new();
        for name in &names {
            let whole = lookup(store, flow.jobs["whole"]).await.unwrap().unwrap();
            assert_eq!(whole.state, State::Blocked, "{}", database.name);
            let remote = RemoteWorker::new(name);
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
            let claimed = claim(store, &clock, &policies, &remote, wanted).await.unwrap().unwrap();
            let (store, clock, policies) = (store.clone(), clock.shared(), policies.clone());
            acknowledging.spawn(async move {
                let ended = [(claimed.jobs.first().unwrap().id(), RemoteOutcome::Completed)];
                acknowledge(&store, clock.as_ref(), &policies, &remote, &claimed.lease, &ended).await.unwrap()
            });
        }
        assert!(acknowledging.join_all().await.iter().all(Vec::is_empty), "{}", database.name);
        assert_eq!(states(store, &flow).await["whole"], State::Ready, "{}", database.name);
        let ledger = Ledger::default();
        worker(store, clock.shared(), &ledger).run_until_idle().await.unwrap();
        assert_eq!(ledger.runs().len(), 1, "{}", database.name);
        assert_eq!(workflow(store, flow.id).await.unwrap().unwrap().state, WorkflowState::Succeeded);
    }
}
