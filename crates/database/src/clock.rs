//! The time that all processes on one database agree on.

use std::time::Duration;

use quintet_service::{Context, StartError};
use quintet_store::{DatabaseClock, Store};
use quintet_types::SharedClock;
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

use crate::exit::start_error;

/// Machines' oscillators part by some microseconds a second.
const ADJUST_INTERVAL: Duration = Duration::from_secs(5);
/// A database that does not answer is reported by the readiness.
const ADJUST_TIMEOUT: Duration = Duration::from_secs(2);
/// A step of the database's clock that somebody should know of.
const STEP: Duration = Duration::from_secs(1);

/// The clock of `store`'s database, kept in step with it until the process drains.
///
/// # Errors
/// When the database does not answer.
pub async fn clock(cx: &Context, store: &Store) -> Result<SharedClock, StartError> {
    let clock = DatabaseClock::open(store, cx.clock()).await.map_err(start_error)?;
    cx.spawn("database clock", follow(clock.clone(), cx.shutdown()));
    Ok(Arc::new(clock))
}

async fn follow(clock: DatabaseClock, shutdown: CancellationToken) -> anyhow::Result<()> {
    while shutdown.run_until_cancelled(tokio::time::sleep(ADJUST_INTERVAL)).await.is_some() {
        match tokio::time::timeout(ADJUST_TIMEOUT, clock.adjust()).await {
            Ok(Ok(off)) if off >= STEP => {
                let seconds = off.as_secs_f64();
                tracing::warn!(seconds, "the database's clock was set, or this machine slept");
            }
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "cannot read the database's clock");
            }
            Err(_elapsed) => tracing::debug!("the database did not say its time"),
        }
    }
    Ok(())
}
