//! The store itself: connections, reads, write transactions, change notification.

use std::any::Any;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use sqlx::Executor;

use crate::bulk::{Bulk, Column};
use crate::error::Error;
use crate::postgres::{self, Postgres};
use crate::row::{Inner as RowInner, Row};
use crate::settings::Settings;
use crate::sql::{Dialect, Sql};
use crate::sqlite::{Sqlite, WriteTx};
use crate::value::{Value, sqlite_query};
use crate::{migrate, sqlite};

/// A handle to the database; cheap to clone.
#[derive(Clone)]
pub struct Store(Arc<Backend>, Attached);

/// What the layer above wants at hand wherever it has a transaction.
type Attached = Option<Arc<dyn Any + Send + Sync>>;

enum Backend {
    Sqlite(Sqlite),
    Postgres(Box<Postgres>),
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Store").field(&self.dialect()).finish()
    }
}

impl Store {
    /// Connects as `settings` say.
    ///
    /// # Errors
    /// [`Error::Settings`] when the settings are wrong, [`Error::Unavailable`] when the server is
    /// not reachable.
    pub async fn connect(settings: &Settings) -> Result<Self, Error> {
        let url = settings.resolve_url()?;
        let backend = match url.split(':').next() {
            Some("sqlite") => Backend::Sqlite(Sqlite::connect(&url, settings).await?),
            Some("postgres" | "postgresql") => {
                Backend::Postgres(Box::new(Postgres::connect(&url, settings).await?))
            }
            _ => {
                return Err(Error::Settings(
                    "database.url must start with sqlite: or postgres:, such as sqlite:/var/lib/quintet/core.db"
                        .to_owned(),
                ));
            }
        };
        Ok(Self(Arc::new(backend), None))
    }

    /// The same database with `value`, which is then to be had from this handle, its clones, and every transaction they begin.
    /// One value: another replaces it. For what must hold for all that is written through a handle, so that who writes cannot
    /// forget it.
    #[must_use]
    pub fn attach(&self, value: Arc<dyn Any + Send + Sync>) -> Self {
        Self(Arc::clone(&self.0), Some(value))
    }

    /// What was attached, if it is a `T`.
    pub fn attached<T: Any>(&self) -> Option<&T> {
        self.1.as_ref()?.downcast_ref()
    }

    /// The dialect of the connected database.
    pub fn dialect(&self) -> Dialect {
        match *self.0 {
            Backend::Sqlite(_) => Dialect::Sqlite,
            Backend::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Brings the schemas of `modules` up to date; see [`crate::migrate`].
    pub async fn migrate(&self, modules: &[&'static migrate::Module]) -> Result<(), Error> {
        migrate::run(self, modules).await
    }

    /// Opens a write transaction.
    pub async fn begin(&self) -> Result<Tx, Error> {
        let inner = match &*self.0 {
            Backend::Sqlite(sqlite) => TxInner::Sqlite(Box::new(sqlite.begin().await?)),
            Backend::Postgres(postgres) => TxInner::Postgres(postgres.begin().await?),
        };
        Ok(Tx(inner, self.1.clone()))
    }

    /// Runs one statement in a transaction of its own, on PostgreSQL in one round trip; its rows once they are durable.
    /// One that returns no row must have changed nothing.
    pub async fn write_one(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        if let Backend::Postgres(postgres) = &*self.0 {
            return Ok(postgres_rows(postgres.fetch_all(&sql.into(), args).await?));
        }
        let mut tx = self.begin().await?;
        let rows = tx.fetch_all(sql, args).await?;
        if !rows.is_empty() {
            tx.commit().await?;
        }
        Ok(rows)
    }

    /// Opens a consistent, read-only view for several reads.
    pub async fn read(&self) -> Result<Snapshot, Error> {
        Ok(Snapshot(match &*self.0 {
            Backend::Sqlite(sqlite) => SnapshotInner::Sqlite(sqlite.readers.begin().await?),
            Backend::Postgres(postgres) => SnapshotInner::Postgres(postgres.read().await?),
        }))
    }

    /// Every row of a query, outside a transaction.
    pub async fn fetch_all(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = sql.into();
        match &*self.0 {
            Backend::Sqlite(sqlite) => sqlite_rows(sqlite_query(&sql, args).fetch_all(&sqlite.readers).await),
            Backend::Postgres(postgres) => Ok(postgres_rows(postgres.fetch_all(&sql, args).await?)),
        }
    }

    /// The first row of a query, outside a transaction.
    pub async fn fetch_optional(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Option<Row>, Error> {
        let sql = sql.into();
        match &*self.0 {
            Backend::Sqlite(sqlite) => {
                let row = sqlite_query(&sql, args).fetch_optional(&sqlite.readers).await?;
                Ok(row.map(|row| Row(RowInner::Sqlite(row))))
            }
            Backend::Postgres(postgres) => {
                let row = postgres.fetch_all(&sql, args).await?.into_iter().next();
                Ok(row.map(|row| Row(RowInner::Postgres(row))))
            }
        }
    }

    /// The one row of a query, outside a transaction; [`Error::RowMissing`] without one.
    pub async fn fetch_one(&self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Row, Error> {
        self.fetch_optional(sql, args).await?.ok_or(Error::RowMissing)
    }

    /// The rows that belong to `parents`, in one query, by the parent's `id`. The one argument of `sql` is the list
    /// of those ids; `parent` is the column of its rows that says whose they are.
    pub async fn fetch_children(
        &self,
        parents: &[Row],
        sql: impl Into<Sql>,
        parent: &'static str,
    ) -> Result<HashMap<String, Vec<Row>>, Error> {
        let ids = parents.iter().map(|row| row.get("id")).collect::<Result<Vec<String>, _>>()?;
        let mut children: HashMap<String, Vec<Row>> = HashMap::with_capacity(ids.len());
        for row in self.fetch_all(sql, crate::args![ids]).await? {
            children.entry(row.get(parent)?).or_default().push(row);
        }
        Ok(children)
    }

    /// Whether the database answers; for readiness.
    pub async fn ping(&self) -> Result<(), Error> {
        self.fetch_one("SELECT 1 AS one", Vec::new()).await.map(|_| ())
    }

    /// Begins to follow writes announced with [`Tx::notify`] on `channel`, also by other processes.
    pub async fn watch(&self, channel: &'static str) -> Result<Watch, Error> {
        Ok(Watch(match &*self.0 {
            Backend::Sqlite(sqlite) => {
                let connection = sqlite.readers.acquire().await?.detach();
                WatchInner::Sqlite(Box::new(sqlite::Watch::open(connection, &sqlite.log).await?))
            }
            Backend::Postgres(postgres) => WatchInner::Postgres(Box::new(postgres.watch(channel).await?)),
        }))
    }

    /// Closes every connection; for tests and orderly shutdown.
    pub async fn close(&self) {
        match &*self.0 {
            Backend::Sqlite(sqlite) => sqlite.readers.close().await,
            Backend::Postgres(postgres) => postgres.close(),
        }
    }
}

/// A write transaction; dropped without [`Tx::commit`] it leaves nothing behind.
pub struct Tx(TxInner, Attached);

enum TxInner {
    Sqlite(Box<WriteTx>),
    Postgres(postgres::Transaction),
}

impl std::fmt::Debug for Tx {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Tx").field(&self.dialect()).finish()
    }
}

impl Tx {
    /// What was attached to the store it is of ([`Store::attach`]), if it is a `T`.
    pub fn attached<T: Any + Send + Sync>(&self) -> Option<Arc<T>> {
        self.1.clone()?.downcast().ok()
    }

    /// The dialect of the database this transaction runs on.
    pub fn dialect(&self) -> Dialect {
        match self.0 {
            TxInner::Sqlite(_) => Dialect::Sqlite,
            TxInner::Postgres(_) => Dialect::Postgres,
        }
    }

    /// Runs a statement; the number of rows it changed.
    pub async fn execute(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<u64, Error> {
        let sql = sql.into();
        match &mut self.0 {
            TxInner::Sqlite(tx) => {
                let result = sqlite_query(&sql, args).execute(tx.connection()?).await;
                tx.observe(result).map(|done| done.rows_affected())
            }
            TxInner::Postgres(tx) => tx.execute(&sql, args).await,
        }
    }

    /// Runs a statement whose row count nobody needs. On PostgreSQL its answer is not waited for: should it fail,
    /// the next call of this transaction that waits, or the commit, returns the error. Use it for what is written
    /// while others wait for a row that this transaction has locked.
    pub async fn send(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<(), Error> {
        let sql = sql.into();
        match &mut self.0 {
            TxInner::Sqlite(_) => self.execute(sql, args).await.map(|_| ()),
            TxInner::Postgres(tx) => tx.send(&sql, args).await,
        }
    }

    /// Sends a query whose rows are wanted a little later, by [`Self::answer`]: on PostgreSQL the statements sent until
    /// then share one round trip. An error is returned as of [`Self::send`].
    pub async fn ask(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Asked, Error> {
        let sql = sql.into();
        match &mut self.0 {
            TxInner::Sqlite(_) => Ok(Asked(AskedInner::Answered(self.fetch_all(sql, args).await?))),
            TxInner::Postgres(tx) => Ok(Asked(AskedInner::Postgres(tx.ask(&sql, args).await?))),
        }
    }

    /// The rows of a query that this transaction has asked.
    pub async fn answer(&mut self, asked: Asked) -> Result<Vec<Row>, Error> {
        match (asked.0, &mut self.0) {
            (AskedInner::Answered(rows), _) => Ok(rows),
            (AskedInner::Postgres(asked), TxInner::Postgres(tx)) => {
                Ok(postgres_rows(tx.answer(asked).await?))
            }
            (AskedInner::Postgres(_), TxInner::Sqlite(_)) => {
                Err(Error::Database("the query belongs to another transaction".into()))
            }
        }
    }

    /// Waits in line, first come, first served, behind the transactions of this process that took a turn of this
    /// name and have not ended. For transactions that all change one row: on PostgreSQL those that wait for it are
    /// woken together whenever one ends. Take it before the first lock, or two transactions can wait for each other.
    /// On SQLite write transactions stand in line anyway.
    ///
    /// # Errors
    /// [`Error::Busy`] when the turn does not come within `database.acquire_timeout_ms`.
    pub async fn take_turn(&mut self, name: &'static str) -> Result<(), Error> {
        match &mut self.0 {
            TxInner::Sqlite(_) => Ok(()),
            TxInner::Postgres(tx) => tx.take_turn(name).await,
        }
    }

    /// Inserts many rows. Its answer is not waited for on PostgreSQL, as with [`Self::send`].
    pub async fn insert_many(&mut self, bulk: &Bulk, columns: Vec<Column>) -> Result<(), Error> {
        if bulk.check(&columns)? == 0 {
            return Ok(());
        }
        match &mut self.0 {
            TxInner::Sqlite(tx) => {
                for query in bulk.sqlite_queries(columns) {
                    let result = query.execute(tx.connection()?).await;
                    tx.observe(result)?;
                }
                Ok(())
            }
            TxInner::Postgres(tx) => {
                let columns = columns.into_iter().map(Value::from).collect();
                tx.send(&bulk.postgres(), columns).await
            }
        }
    }

    /// Every row of a query (or of a statement with RETURNING).
    pub async fn fetch_all(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = sql.into();
        match &mut self.0 {
            TxInner::Sqlite(tx) => {
                let result = sqlite_query(&sql, args).fetch_all(tx.connection()?).await;
                let rows = tx.observe(result)?;
                Ok(rows.into_iter().map(|row| Row(RowInner::Sqlite(row))).collect())
            }
            TxInner::Postgres(tx) => Ok(postgres_rows(tx.fetch_all(&sql, args).await?)),
        }
    }

    /// The first row of a query.
    pub async fn fetch_optional(
        &mut self,
        sql: impl Into<Sql>,
        args: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        // All rows are fetched so that a RETURNING statement always runs to its end.
        Ok(self.fetch_all(sql, args).await?.into_iter().next())
    }

    /// The one row of a query; [`Error::RowMissing`] without one.
    pub async fn fetch_one(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Row, Error> {
        self.fetch_optional(sql, args).await?.ok_or(Error::RowMissing)
    }

    /// Wakes those who [`Store::watch`] `channel` once this transaction is committed.
    #[expect(
        clippy::unused_async,
        reason = "what announces is this crate's matter; callers await as for any statement"
    )]
    pub async fn notify(&mut self, channel: &'static str) -> Result<(), Error> {
        // On SQLite followers see the file's change counter move.
        if let TxInner::Postgres(tx) = &mut self.0 {
            tx.announce(channel);
        }
        Ok(())
    }

    /// Makes the transaction durable.
    pub async fn commit(self) -> Result<(), Error> {
        match self.0 {
            TxInner::Sqlite(tx) => tx.commit().await,
            TxInner::Postgres(tx) => tx.commit().await,
        }
    }

    /// Runs several statements without arguments, as a migration holds them.
    pub(crate) async fn execute_script(&mut self, sql: &Sql) -> Result<(), Error> {
        match &mut self.0 {
            TxInner::Sqlite(tx) => {
                let script = sqlx::raw_sql(sql.text(Dialect::Sqlite));
                let result = tx.connection()?.execute(script).await;
                tx.observe(result).map(|_| ())
            }
            TxInner::Postgres(tx) => tx.execute_script(sql.as_str(Dialect::Postgres)).await,
        }
    }
}

/// A query that was sent; its rows come with [`Tx::answer`].
#[must_use = "a query that nobody wants the rows of is sent by `Tx::send`"]
pub struct Asked(AskedInner);

enum AskedInner {
    Answered(Vec<Row>),
    Postgres(postgres::Asked),
}

impl std::fmt::Debug for Asked {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Asked")
    }
}

/// A consistent, read-only view of the database.
pub struct Snapshot(SnapshotInner);

enum SnapshotInner {
    Sqlite(sqlx::Transaction<'static, sqlx::Sqlite>),
    Postgres(postgres::Transaction),
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Snapshot")
    }
}

impl Snapshot {
    /// Every row of a query.
    pub async fn fetch_all(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let sql = sql.into();
        match &mut self.0 {
            SnapshotInner::Sqlite(tx) => sqlite_rows(sqlite_query(&sql, args).fetch_all(&mut **tx).await),
            SnapshotInner::Postgres(tx) => Ok(postgres_rows(tx.fetch_all(&sql, args).await?)),
        }
    }

    /// The first row of a query.
    pub async fn fetch_optional(
        &mut self,
        sql: impl Into<Sql>,
        args: Vec<Value>,
    ) -> Result<Option<Row>, Error> {
        Ok(self.fetch_all(sql, args).await?.into_iter().next())
    }

    /// The one row of a query; [`Error::RowMissing`] without one.
    pub async fn fetch_one(&mut self, sql: impl Into<Sql>, args: Vec<Value>) -> Result<Row, Error> {
        self.fetch_optional(sql, args).await?.ok_or(Error::RowMissing)
    }
}

/// Follows writes of this and other processes; see [`Store::watch`].
pub struct Watch(WatchInner);

enum WatchInner {
    Sqlite(Box<sqlite::Watch>),
    Postgres(Box<postgres::Watch>),
}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

impl Watch {
    /// Waits for a write, at most `timeout`; whether there was one. It may be spurious and, after
    /// a lost connection, missing: callers poll as well.
    pub async fn changed(&mut self, timeout: Duration) -> Result<bool, Error> {
        match &mut self.0 {
            WatchInner::Sqlite(watch) => watch.changed(timeout).await,
            WatchInner::Postgres(watch) => watch.changed(timeout).await,
        }
    }
}

fn sqlite_rows(rows: Result<Vec<sqlx::sqlite::SqliteRow>, sqlx::Error>) -> Result<Vec<Row>, Error> {
    Ok(rows?.into_iter().map(|row| Row(RowInner::Sqlite(row))).collect())
}

fn postgres_rows(rows: Vec<tokio_postgres::Row>) -> Vec<Row> {
    rows.into_iter().map(|row| Row(RowInner::Postgres(row))).collect()
}
