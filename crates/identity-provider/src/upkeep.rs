//! What happens without anybody asking: signing keys are rotated, expired rows deleted, idle memory
//! given back.
//!
//! A failure is logged and tried again at the next turn; nothing here is worth ending the process.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::app::App;
use crate::app::Shared;
use crate::factors::passkeys;
use crate::grants;
use crate::mail::tokens;

/// Keys made by another node are known after at most this long, well within their publication lead.
const KEYS_EVERY: Duration = Duration::from_secs(30);

/// Rows are pruned in every tenth turn.
const PRUNE_TURNS: u32 = 10;

/// Runs until `shutdown`.
pub(crate) async fn run(app: Shared, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(KEYS_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut turn = 0u32;
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        app.passwords.release_idle();
        if let Err(error) = app.keys.maintain(app.now()).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "signing keys could not be maintained");
        }
        if turn.is_multiple_of(PRUNE_TURNS) {
            prune(&app).await;
        }
        turn = turn.wrapping_add(1);
    }
}

async fn prune(app: &App) {
    let pruned = async {
        Ok::<_, quintet_store::Error>(
            grants::prune(&app.store, app.now()).await?
                + passkeys::prune(&app.store, app.now()).await?
                + tokens::prune(&app.store, app.now()).await?,
        )
    };
    match pruned.await {
        Ok(deleted) => metrics::counter!("quintet_identity_pruned_rows_total").increment(deleted),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "expired rows could not be deleted");
        }
    }
}
