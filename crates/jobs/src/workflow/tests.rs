use std::time::Duration;

use quintet_store::{Store, args};
use quintet_testkit::{FakeClock, databases};
use quintet_types::Timestamp;

use super::*;
use crate::notes::Sweep;
use crate::{Policies, RemoteOutcome, RemoteWorker, Wanted, acknowledge, claim};

async fn rows(store: &Store) -> i64 {
    let sql = "SELECT (SELECT count(*) FROM jobs_workflows) + (SELECT count(*) FROM jobs_workflow_jobs)
                   + (SELECT count(*) FROM jobs_workflow_edges) + (SELECT count(*) FROM jobs_notes) AS n";
    store.fetch_one(sql, args![]).await.unwrap().get("n").unwrap()
}

#[tokio::test]
async fn a_workflow_that_ended_is_forgotten_whole_with_its_results_and_one_that_runs_is_not() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&crate::MODULE]).await.unwrap();
        let job = || NewJob::new("k", &());
        let flow = NewWorkflow::new("n").job("a", job(), &[]).job("b", job(), &[After::success("a")]);
        let mut tx = store.begin().await.unwrap();
        enqueue_workflow(&mut tx, &clock, flow).await.unwrap();
        tx.commit().await.unwrap();
        let (policies, worker, kinds) = (Policies::default(), RemoteWorker::new("w"), ["k".to_owned()]);
        for _ in 0..2 {
            assert!(!prune(store, Timestamp::MAX).await.unwrap());
            assert_eq!(Sweep::default().turn(store).await.unwrap(), 0, "{}", database.name);
            assert!(rows(store).await >= 4, "{}", database.name);
            let wanted = Wanted { queue: "default", kinds: &kinds, limit: 1, hold: Duration::from_mins(1) };
            let claimed = claim(store, &clock, &policies, &worker, wanted).await.unwrap().unwrap();
            let ended = [(claimed.jobs[0].id(), RemoteOutcome::CompletedWith(1.into()))];
            acknowledge(store, &clock, &policies, &worker, &claimed.lease, &ended).await.unwrap();
            let mut tx = store.begin().await.unwrap();
            // Its history is forgotten before it.
            tx.execute("DELETE FROM jobs_history", args![]).await.unwrap();
            tx.commit().await.unwrap();
        }
        assert_eq!(rows(store).await, 1 + 2 + 1 + 2, "{}", database.name);
        assert!(!prune(store, clock.now()).await.unwrap());
        assert_eq!(rows(store).await, 1 + 2 + 1 + 2, "{}: not yet", database.name);
        clock.advance(Duration::from_secs(1));
        assert!(!prune(store, clock.now()).await.unwrap());
        assert_eq!(Sweep::default().turn(store).await.unwrap(), 2, "{}", database.name);
        assert_eq!(rows(store).await, 0, "{}", database.name);
    }
}
