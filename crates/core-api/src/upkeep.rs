//! What runs beside the requests: waiting for signing keys and forgetting old idempotency keys.

use std::sync::Arc;
use std::time::Duration;

use quintet_auth::Verifier;
use quintet_module::idempotency;
use quintet_service::ReadinessHandle;
use quintet_store::Store;
use quintet_types::SharedClock;
use tokio_util::sync::CancellationToken;

const PRUNE_INTERVAL: Duration = Duration::from_mins(10);

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
    while shutdown.run_until_cancelled(tokio::time::sleep(PRUNE_INTERVAL)).await.is_some() {
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
