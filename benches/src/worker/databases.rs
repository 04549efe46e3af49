//! An empty database for each load: on the server, or in a file of its own.

use std::path::PathBuf;

use anyhow::Context as _;
use quintet_store::{Settings, Sql, Store};
use serde_json::{Map, Value, json};

use super::plan::Database;

/// What of the server's configuration decides the figures.
const TELLING: [&str; 8] = [
    "server_version",
    "fsync",
    "synchronous_commit",
    "full_page_writes",
    "wal_sync_method",
    "shared_buffers",
    "max_wal_size",
    "checkpoint_timeout",
];

pub(super) struct Databases {
    runtime: tokio::runtime::Runtime,
    server: String,
    admin: Store,
    directory: tempfile::TempDir,
    made: usize,
}

impl Databases {
    pub(super) fn open(server: &str) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let server = server.trim_end_matches('/').to_owned();
        let mut settings = Settings::for_url(format!("{server}/postgres"));
        settings.max_connections = 1;
        settings.statement_timeout_ms = 600_000;
        let admin =
            runtime.block_on(Store::connect(&settings)).context("connect to the PostgreSQL server")?;
        let directory = tempfile::tempdir().context("make a directory for SQLite")?;
        Ok(Self { runtime, server, admin, directory, made: 0 })
    }

    /// An empty one's URL.
    pub(super) fn make(&mut self, database: Database) -> anyhow::Result<String> {
        self.made += 1;
        let name = format!("bench_{}_{}", std::process::id(), self.made);
        match database {
            Database::Sqlite => Ok(format!("sqlite:{}", self.file(&name).display())),
            Database::Postgres => {
                self.tell(&format!("CREATE DATABASE {name}"))?;
                Ok(format!("{}/{name}", self.server))
            }
        }
    }

    /// The same start for every load: statistics are there, and no checkpoint of what came before is left to do.
    pub(super) fn settle(&self, url: &str) -> anyhow::Result<()> {
        if url.starts_with("sqlite:") {
            return Ok(());
        }
        self.runtime.block_on(async {
            let mut settings = Settings::for_url(url);
            settings.max_connections = 1;
            let store = Store::connect(&settings).await?;
            store.fetch_all("VACUUM ANALYZE", Vec::new()).await?;
            store.fetch_all("CHECKPOINT", Vec::new()).await?;
            store.close().await;
            anyhow::Ok(())
        })
    }

    pub(super) fn remove(&self, url: &str) -> anyhow::Result<()> {
        let Some(name) = url.rsplit('/').next() else { return Ok(()) };
        if url.starts_with("sqlite:") {
            for end in ["", "-wal", "-shm"] {
                let _ = std::fs::remove_file(self.directory.path().join(format!("{name}{end}")));
            }
            return Ok(());
        }
        self.tell(&format!("DROP DATABASE {name} WITH (FORCE)"))
    }

    pub(super) fn configuration(&self) -> anyhow::Result<Value> {
        let mut told = Map::new();
        for name in TELLING {
            let rows = self.runtime.block_on(
                self.admin
                    .fetch_all(Sql::dynamic(format!("SELECT current_setting('{name}') AS it")), Vec::new()),
            )?;
            let value: Option<String> = rows.first().map(|row| row.get("it")).transpose()?;
            told.insert(name.to_owned(), json!(value));
        }
        Ok(Value::Object(told))
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.db"))
    }

    fn tell(&self, sql: &str) -> anyhow::Result<()> {
        self.runtime
            .block_on(self.admin.fetch_all(Sql::dynamic(sql), Vec::new()))
            .with_context(|| sql.to_owned())
            .map(|_| ())
    }
}
