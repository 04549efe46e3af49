//! Whether the database answers, as `/readyz` says.

use std::time::Duration;

use quintet_service::Context;
use quintet_store::Store;
use tokio_util::sync::CancellationToken;

/// Short enough that a gateway takes this instance out before many requests fail.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);

/// Keeps the condition `database` of `/readyz` in step with `store` until the process drains.
pub fn watch(cx: &Context, store: Store) {
    let database = cx.readiness("database");
    cx.spawn("database probe", probe(store, move |ready| database.set(ready), cx.shutdown()));
}

/// Says again and again whether the database answers.
///
/// # Errors
/// None; the result is what [`Context::spawn`] asks of a task.
pub async fn probe(
    store: Store,
    set_ready: impl Fn(bool) + Send,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut before = None;
    loop {
        // A server that has gone without a word leaves its connections open, so the wait has an end of its own.
        let answers = matches!(tokio::time::timeout(PROBE_TIMEOUT, store.ping()).await, Ok(Ok(())));
        if before.replace(answers) != Some(answers) {
            tracing::info!(answers, "database probed");
        }
        set_ready(answers);
        if shutdown.run_until_cancelled(tokio::time::sleep(PROBE_INTERVAL)).await.is_none() {
            return Ok(());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use quintet_store::Settings;

    use super::*;

    #[tokio::test]
    async fn a_database_that_says_nothing_is_not_ready_however_patient_its_settings_are() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db");
        let settings = Settings {
            max_connections: 1,
            acquire_timeout_ms: 3_600_000,
            ..Settings::for_url(format!("sqlite:{}", path.display()))
        };
        let store = Store::connect(&settings).await.unwrap();
        // The only reader is taken, so a ping waits as long as the settings let it.
        let _taken = store.read().await.unwrap();
        let (shutdown, said) = (CancellationToken::new(), Arc::new(AtomicBool::new(true)));
        let record = {
            let (shutdown, said) = (shutdown.clone(), Arc::clone(&said));
            move |ready| {
                said.store(ready, Ordering::Relaxed);
                shutdown.cancel();
            }
        };
        let probed = tokio::time::timeout(Duration::from_mins(1), probe(store, record, shutdown)).await;
        probed.expect("the probe waits no longer than its own limit").unwrap();
        assert!(!said.load(Ordering::Relaxed));
    }
}
