//! PostgreSQL: a pool with deadlines on everything a statement can wait for.

use std::str::FromStr;
use std::time::Duration;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};

use crate::error::Error;
use crate::settings::Settings;

/// A transaction left open pins the oldest visible row and stops vacuum for every queue table.
const IDLE_IN_TRANSACTION_MS: u64 = 30_000;

pub(crate) async fn connect(url: &str, settings: &Settings) -> Result<PgPool, Error> {
    // The URL may hold a password, so it is in no message.
    let options = PgConnectOptions::from_str(url)
        .map_err(|_| {
            Error::Settings("database.url is not a PostgreSQL URL (postgres://user@host/database)".to_owned())
        })?
        .application_name("quintet")
        .options([
            ("statement_timeout", settings.statement_timeout_ms.to_string()),
            ("idle_in_transaction_session_timeout", IDLE_IN_TRANSACTION_MS.to_string()),
            ("lock_timeout", settings.acquire_timeout_ms.to_string()),
        ])
        .log_statements(tracing::log::LevelFilter::Off)
        .log_slow_statements(tracing::log::LevelFilter::Off, Duration::ZERO);
    let pool = PgPoolOptions::new()
        .max_connections(settings.max_connections.max(1))
        .acquire_timeout(Duration::from_millis(settings.acquire_timeout_ms))
        .idle_timeout(Duration::from_mins(1))
        .connect_with(options)
        .await?;
    Ok(pool)
}
