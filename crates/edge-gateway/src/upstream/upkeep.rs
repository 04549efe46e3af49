//! What upstreams need besides requests, once for the process: health checks, and the addresses of their names.

use std::sync::Arc;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::LocalPoolHandle;

use super::{Resolve, health, resolve};
use crate::gateway::Gateway;

/// Starts what each upstream needs when it is first configured. The tasks end by themselves with their
/// upstream, and all of them with this future.
pub(crate) async fn upkeep(
    gateway: Arc<Gateway>,
    resolver: impl Resolve,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut tasks = JoinSet::new();
    let mut checking: Option<LocalPoolHandle> = None;
    loop {
        for upstream in &gateway.snapshot().upstreams {
            if !upstream.claim_upkeep() {
                continue;
            }
            if upstream.has_names() {
                tasks.spawn(resolve::run(Arc::downgrade(upstream), resolver.clone()));
            }
            if let Some(checks) = &upstream.health {
                // One thread, and none where nothing is checked.
                let thread = checking.get_or_insert_with(|| LocalPoolHandle::new(1));
                tasks.spawn(health::run(Arc::downgrade(upstream), checks.clone(), thread.clone()));
            }
        }
        // Those of upstreams that are gone are let go.
        while tasks.try_join_next().is_some() {}
        if shutdown.run_until_cancelled(gateway.installed()).await.is_none() {
            return Ok(());
        }
    }
}
