//! What callers and the readiness probe see when the database is out of reach.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::apis;
use crate::upkeep;

#[tokio::test]
async fn without_a_database_requests_are_503_and_the_probe_says_no() {
    for api in apis().await {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let shutdown = CancellationToken::new();
        let record = {
            let (seen, shutdown) = (seen.clone(), shutdown.clone());
            move |ready| {
                seen.lock().unwrap().push(ready);
                shutdown.cancel();
            }
        };
        let probe = |record| {
            tokio::time::timeout(
                Duration::from_secs(10),
                upkeep::probe(api.store.clone(), record, shutdown.clone()),
            )
        };
        probe(record.clone()).await.unwrap().unwrap();
        api.store.close().await;
        probe(record).await.unwrap().unwrap();
        assert_eq!(*seen.lock().unwrap(), [true, false], "{}", api.name);

        let refused = api.get("/api/v1/users").await;
        assert_eq!(refused.header("retry-after"), "2");
        refused.refused(503, "unavailable");
    }
}
