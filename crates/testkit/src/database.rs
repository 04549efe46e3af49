//! Empty databases of a test's own.

use anyhow::{Context, bail};
use quintet_store::{Settings, Sql, Store};

/// An empty database and the store connected to it.
#[derive(Debug)]
pub struct TestDatabase {
    /// `sqlite` or `postgres`, to name in an assertion.
    pub name: &'static str,
    /// The connected store.
    pub store: Store,
    /// The URL, to connect again as another process would.
    pub url: String,
    /// Keeps the SQLite file's directory until the test ends.
    _directory: Option<tempfile::TempDir>,
}

/// One empty database of each kind that is there.
///
/// # Panics
/// When a database cannot be made, and on CI when PostgreSQL is missing.
#[expect(clippy::expect_used, reason = "test support: without its databases a test cannot go on")]
pub async fn databases() -> Vec<TestDatabase> {
    let mut databases = vec![sqlite().await.expect("a SQLite database in a temporary directory")];
    databases.extend(postgres().await.expect("a database on the server that QUINTET_TEST_POSTGRES names"));
    databases
}

async fn sqlite() -> anyhow::Result<TestDatabase> {
    let directory = tempfile::tempdir()?;
    let url = format!("sqlite:{}", directory.path().join("test.db").display());
    let store = Store::connect(&Settings::for_url(&url)).await?;
    Ok(TestDatabase { name: "sqlite", store, url, _directory: Some(directory) })
}

#[expect(
    clippy::disallowed_methods,
    reason = "test support has no configuration file to take the server from"
)]
async fn postgres() -> anyhow::Result<Option<TestDatabase>> {
    let Ok(server) = std::env::var("QUINTET_TEST_POSTGRES") else {
        if std::env::var("CI").is_ok() {
            bail!("QUINTET_TEST_POSTGRES is not set; on CI both databases are tested (run cargo xtask test)");
        }
        return Ok(None);
    };
    let name = format!("test_{}", quintet_types::id::encode(quintet_types::id::draw_from_system()));
    let mut settings = Settings::for_url(format!("{server}/postgres"));
    settings.max_connections = 1;
    let admin = Store::connect(&settings).await.context("connect to the test server")?;
    admin
        .fetch_all(Sql::dynamic(format!("CREATE DATABASE {name}")), Vec::new())
        .await
        .context("create a database")?;
    admin.close().await;
    let url = format!("{server}/{name}");
    let store = Store::connect(&Settings::for_url(&url)).await?;
    Ok(Some(TestDatabase { name: "postgres", store, url, _directory: None }))
}
