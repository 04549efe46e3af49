use std::time::Duration;

use quintet_testkit::{FakeClock, databases};
use serde_json::json;

use super::*;
use crate::{NewJob, Policies, RemoteOutcome, RemoteWorker, Wanted, acknowledge, claim, note};

#[tokio::test]
async fn the_sweep_forgets_notes_whose_job_is_nowhere_and_no_others() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&crate::MODULE]).await.unwrap();
        let (policies, worker) = (Policies::default(), RemoteWorker::new("w"));
        let kinds = ["k".to_owned()];
        let wanted = Wanted { queue: "default", kinds: &kinds, limit: 3, hold: Duration::from_mins(1) };
        let mut tx = store.begin().await.unwrap();
        for _ in 0..3 {
            crate::enqueue(&mut tx, &clock, NewJob::new("k", &())).await.unwrap();
        }
        let gone = JobId::new();
        tx.execute("INSERT INTO jobs_notes (job_id) VALUES ($1)", args![gone]).await.unwrap();
        tx.commit().await.unwrap();
        let claimed = claim(store, &clock, &policies, &worker, wanted).await.unwrap().unwrap();
        let ids: Vec<JobId> = claimed.jobs.iter().map(Job::id).collect();
        let said = RemoteNote { checkpoint: Some(json!(1)), progress: None };
        let said: Vec<_> = ids.iter().map(|id| (*id, said.clone())).collect();
        note(store, &worker, &claimed.lease, &said).await.unwrap();
        // One waits again, one has ended, one runs.
        let ended = [
            (ids[0], RemoteOutcome::Snoozed(Duration::ZERO)),
            (ids[1], RemoteOutcome::Discarded("no".into())),
        ];
        acknowledge(store, &clock, &policies, &worker, &claimed.lease, &ended).await.unwrap();

        let mut sweep = Sweep::default();
        assert_eq!(sweep.turn(store).await.unwrap(), 1, "{}", database.name);
        let mut left = 0;
        for id in [ids[0], ids[1], ids[2], gone] {
            left += usize::from(shown(store, id).await.unwrap().is_some());
        }
        assert_eq!(left, 3, "{}", database.name);
        // It comes to the end, and begins anew.
        let mut tx = store.begin().await.unwrap();
        tx.execute("INSERT INTO jobs_notes (job_id) VALUES ($1)", args![gone]).await.unwrap();
        tx.commit().await.unwrap();
        let first = sweep.turn(store).await.unwrap();
        assert_eq!(first + sweep.turn(store).await.unwrap(), 1, "{}", database.name);
    }
}

#[test]
fn progress_is_written_once_however_often_the_same_is_said() {
    let unwritten = Unwritten::default();
    let say = |done| unwritten.say(Progress::new(done, None));
    assert_eq!(unwritten.fresh_progress(), None);
    say(1);
    say(2);
    assert_eq!(unwritten.fresh_progress(), Some(Progress::new(2, None)));
    say(2);
    assert_eq!(unwritten.fresh_progress(), None);
    assert_eq!(Progress::new(1, None).message(&"é".repeat(300)).message.unwrap().chars().count(), 200);
}
