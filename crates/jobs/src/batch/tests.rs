use std::time::Duration;

use quintet_testkit::{FakeClock, databases};
use serde_json::json;

use super::*;

#[tokio::test]
async fn a_batch_is_forgotten_some_time_after_its_end_and_not_before() {
    for database in databases().await {
        let (store, clock) = (&database.store, FakeClock::default());
        store.migrate(&[&crate::MODULE]).await.unwrap();
        let mut tx = store.begin().await.unwrap();
        let open = open_batch(&mut tx, &clock, NewBatch::new(&clock, "open")).await.unwrap();
        let job = NewJob::new("k", &json!({})).batch(open);
        let job = crate::enqueue(&mut tx, &clock, job).await.unwrap().id;
        let ended = open_batch(&mut tx, &clock, NewBatch::new(&clock, "ended")).await.unwrap();
        seal_batch(&mut tx, &clock, ended).await.unwrap();
        tx.commit().await.unwrap();
        let there = async |id| batch(store, id).await.unwrap().is_some();
        assert!(!prune(store, clock.now()).await.unwrap());
        assert!(there(open).await && there(ended).await, "{}", database.name);
        clock.advance(Duration::from_secs(1));
        assert!(!prune(store, clock.now()).await.unwrap());
        assert!(there(open).await && !there(ended).await, "{}", database.name);

        // One that ended and whose dead letter was redriven has not ended.
        let mut tx = store.begin().await.unwrap();
        seal_batch(&mut tx, &clock, open).await.unwrap();
        tx.commit().await.unwrap();
        crate::cancel(store, &clock, job).await.unwrap();
        assert!(crate::redrive(store, &clock, job).await.unwrap());
        clock.advance(Duration::from_secs(1));
        assert!(!prune(store, clock.now()).await.unwrap());
        assert!(there(open).await, "{}", database.name);
    }
}
