//! The `[database]` section.

use std::path::PathBuf;

use serde::Deserialize;

use crate::error::Error;

/// Where the database is and how much of it one process may use.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `sqlite:/path/to/file.db` or `postgres://user@host/database`.
    pub url: Option<String>,
    /// A file that holds the URL, for one with a password in it.
    pub url_file: Option<PathBuf>,
    /// Connections to PostgreSQL, or readers of SQLite (which has one writer whatever this says).
    #[serde(default = "default_max_connections")]
    pub max_connections: u32,
    /// How long a request waits for a connection or for the write lock, in milliseconds.
    #[serde(default = "default_acquire_timeout_ms")]
    pub acquire_timeout_ms: u64,
    /// How long one statement may run on PostgreSQL, in milliseconds.
    #[serde(default = "default_statement_timeout_ms")]
    pub statement_timeout_ms: u64,
}

/// Two cores keep at most a handful of connections busy; more only add memory on the server.
const fn default_max_connections() -> u32 {
    16
}

/// Shorter than the 30 s request deadline, so that a caller hears why.
const fn default_acquire_timeout_ms() -> u64 {
    10_000
}

const fn default_statement_timeout_ms() -> u64 {
    30_000
}

impl Settings {
    /// Settings for `url` with the defaults for everything else.
    pub fn for_url(url: impl Into<String>) -> Self {
        Self {
            url: Some(url.into()),
            url_file: None,
            max_connections: default_max_connections(),
            acquire_timeout_ms: default_acquire_timeout_ms(),
            statement_timeout_ms: default_statement_timeout_ms(),
        }
    }

    /// The URL, from where it stands.
    ///
    /// # Errors
    /// [`Error::Settings`] when neither or both keys are set, or the file cannot be read.
    pub fn resolve_url(&self) -> Result<String, Error> {
        match (&self.url, &self.url_file) {
            (Some(url), None) => Ok(url.clone()),
            (None, Some(file)) => {
                std::fs::read_to_string(file).map(|text| text.trim().to_owned()).map_err(|error| {
                    Error::Settings(format!("cannot read database.url_file {}: {error}", file.display()))
                })
            }
            (Some(_), Some(_)) => {
                Err(Error::Settings("database.url and database.url_file are both set; keep one".to_owned()))
            }
            (None, None) => Err(Error::Settings(
                "database.url is missing; set it to sqlite:/path/file.db or postgres://user@host/database"
                    .to_owned(),
            )),
        }
    }
}
