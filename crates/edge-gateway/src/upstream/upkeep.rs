//! What upstreams need besides requests: health checks, once for the process.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::health;
use crate::gateway::Gateway;

/// Starts what each upstream needs when it is first configured. The tasks end by themselves with their
/// upstream, and all of them with this future.
pub(crate) async fn upkeep(gateway: Arc<Gateway>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    loop {
        for upstream in &gateway.snapshot().upstreams {
            if let Some(checks) = &upstream.health
                && upstream.claim_upkeep()
            {
                tasks.spawn(health::run(Arc::downgrade(upstream), checks.clone()));
            }
        }
        // Those of upstreams that are gone are let go.
        while tasks.try_join_next().is_some() {}
        if shutdown.run_until_cancelled(gateway.installed()).await.is_none() {
            return Ok(());
        }
    }
}
