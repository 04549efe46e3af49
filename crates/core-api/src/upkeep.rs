//! What runs beside the requests: readiness and forgetting old idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use quintet_auth::Verifier;
use quintet_module::idempotency;
use quintet_service::ReadinessHandle;
use quintet_store::Store;
use quintet_types::SharedClock;
use tokio_util::sync::CancellationToken;

/// Short enough that a gateway takes this instance out before many requests fail.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
const PRUNE_INTERVAL: Duration = Duration::from_mins(10);

/// Says again and again whether the database answers.
pub(crate) async fn probe(
    store: Store,
    set_ready: impl Fn(bool) + Send,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut before = None;
    loop {
        let answers = matches!(tokio::time::timeout(PROBE_TIMEOUT, store.ping()).await, Ok(Ok(())));
        if before.replace(answers) != Some(answers) {
            tracing::info!(answers, "database probed");
        }
        set_ready(answers);
        if paused(PROBE_INTERVAL, &shutdown).await {
            return Ok(());
        }
    }
}

/// Makes the readiness condition true once tokens can be verified. An outage of the identity
/// provider afterwards changes nothing: the keys stay.
pub(crate) async fn await_keys(
    verifier: Arc<Verifier>,
    readiness: ReadinessHandle,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    if shutdown.run_until_cancelled(verifier.loaded()).await.is_some() {
        readiness.set(true);
    }
    Ok(())
}

/// Forgets idempotency keys past their retention.
pub(crate) async fn prune_idempotency_keys(
    store: Store,
    clock: SharedClock,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    while !paused(PRUNE_INTERVAL, &shutdown).await {
        match idempotency::prune(&store, clock.now()).await {
            Ok(0) => {}
            Ok(removed) => tracing::info!(removed, "forgot old idempotency keys"),
            // The next round tries again; requests do not depend on it.
            Err(error) => {
                tracing::warn!(error = &error as &dyn std::error::Error, "cannot forget idempotency keys");
            }
        }
    }
    Ok(())
}

/// Waits; whether the process is to stop.
async fn paused(interval: Duration, shutdown: &CancellationToken) -> bool {
    shutdown.run_until_cancelled(tokio::time::sleep(interval)).await.is_none()
}
