//! A process's database: opened at its start, watched until its end.
//!
//! It stands between `quintet-store`, which knows nothing of processes, and `quintet-service`, which knows nothing of
//! databases, so that every binary ends with the same exit code for the same failure and means the
//! same by `database` in `/readyz`.

mod clock;
mod exit;
mod readiness;

use quintet_service::StartError;
use quintet_store::{Module, Settings, Store};

pub use self::clock::clock;
pub use self::exit::start_error;
pub use self::readiness::{probe, watch};

/// Connects as `settings` say and brings the schemas of `modules` up to date.
///
/// # Errors
/// What [`start_error`] makes of the store's.
pub async fn open(settings: &Settings, modules: &[&'static Module]) -> Result<Store, StartError> {
    let store = Store::connect(settings).await.map_err(start_error)?;
    store.migrate(modules).await.map_err(start_error)?;
    Ok(store)
}
