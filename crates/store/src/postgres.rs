//! PostgreSQL: a pool with deadlines on everything a statement can wait for.
//!
//! Statements are prepared once a connection, with the types of their arguments. Within a transaction they are
//! pipelined where the caller asks for it, see [`Transaction`].
//!
//! A transaction that has called NOTIFY takes a lock of the whole server when it commits and keeps it while it waits
//! for the disk, so that such transactions never share a flush. So announcements are made after the commit, by one
//! task, once for all that were committed since its last one. A process that dies in between has announced nothing;
//! who follows a channel polls as well.

mod announce;
mod tls;
mod transaction;
mod turns;
mod watch;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, PoolError, QueueMode, Runtime, Timeouts};
use futures_util::TryStreamExt as _;
use tokio_postgres::types::Type;
use tokio_postgres::{Config, Row, Statement};
use tokio_postgres_rustls::MakeRustlsConnect;

use self::announce::Announcer;
use crate::error::Error;
use crate::settings::Settings;
use crate::sql::{Dialect, Sql};
use crate::value::Value;

pub(crate) use transaction::{Asked, Transaction};
use turns::Turns;
pub(crate) use watch::Watch;

/// A transaction left open pins the oldest visible row and stops vacuum for every queue table.
const IDLE_IN_TRANSACTION_MS: u64 = 30_000;
/// A connection that nobody used for this long is given back to the server.
const IDLE_CONNECTION: Duration = Duration::from_mins(1);

pub(crate) struct Postgres {
    pool: Pool,
    config: Config,
    tls: MakeRustlsConnect,
    patience: Duration,
    turns: Arc<Turns>,
    announcer: Announcer,
    opened: Instant,
    /// Seconds after `opened` at which idle connections were last looked for.
    swept: AtomicU64,
}

impl Postgres {
    pub(crate) async fn connect(url: &str, settings: &Settings) -> Result<Self, Error> {
        let (mut config, tls) = tls::config(url)?;
        let patience = Duration::from_millis(settings.acquire_timeout_ms);
        // Every statement here is short, and the tables' statistics are stale: the planner takes milliseconds for minutes and would
        // compile them, which takes longer than all the rest. Whoever knows better says so in the URL's options.
        let given = config.get_options().map(|options| format!("{options} ")).unwrap_or_default();
        config
            .application_name("quintet")
            .options(format!(
                "-c jit=off {given}-c statement_timeout={} -c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_MS} \
                 -c lock_timeout={}",
                settings.statement_timeout_ms, settings.acquire_timeout_ms
            ))
            .connect_timeout(patience)
            .tcp_user_timeout(patience);
        let manager = Manager::from_config(config.clone(), tls.clone(), ManagerConfig::default());
        let timeouts = Timeouts { wait: Some(patience), create: Some(patience), recycle: Some(patience) };
        let pool = Pool::builder(manager)
            .max_size(usize::try_from(settings.max_connections.max(1)).unwrap_or(usize::MAX))
            .timeouts(timeouts)
            // The connection used last has its statements prepared; one that is not needed becomes idle and is closed.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| Error::Settings(format!("the pool of database connections: {error}")))?;
        let announcer = Announcer::start(pool.clone());
        let postgres = Self {
            pool,
            config,
            tls,
            patience,
            turns: Arc::default(),
            announcer,
            opened: Instant::now(),
            swept: AtomicU64::new(0),
        };
        // A wrong address or password is found here and not by the first request.
        drop(postgres.connection().await?);
        Ok(postgres)
    }

    async fn connection(&self) -> Result<Object, Error> {
        let connection = self.pool.get().await?;
        self.sweep();
        Ok(connection)
    }

    /// Closes connections that were idle for long; at most once in that time.
    fn sweep(&self) {
        let now = self.opened.elapsed().as_secs();
        let last = self.swept.load(Ordering::Relaxed);
        let due = now.saturating_sub(last) >= IDLE_CONNECTION.as_secs();
        if due && self.swept.compare_exchange(last, now, Ordering::Relaxed, Ordering::Relaxed).is_ok() {
            self.pool.retain(|_, metrics| metrics.last_used() < IDLE_CONNECTION);
        }
    }

    pub(crate) async fn fetch_all(&self, sql: &Sql, args: Vec<Value>) -> Result<Vec<Row>, Error> {
        let connection = self.connection().await?;
        let statement = prepare(&connection, sql, &args).await?;
        Ok(query(&connection, &statement, args).await?)
    }

    pub(crate) async fn begin(&self) -> Result<Transaction, Error> {
        self.open("BEGIN").await
    }

    pub(crate) async fn read(&self) -> Result<Transaction, Error> {
        self.open("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await
    }

    async fn open(&self, begin: &'static str) -> Result<Transaction, Error> {
        let connection = self.connection().await?;
        let announcer = self.announcer.clone();
        Ok(Transaction::begin(connection, Arc::clone(&self.turns), announcer, self.patience, begin).await)
    }

    pub(crate) async fn watch(&self, channel: &str) -> Result<Watch, Error> {
        Watch::open(&self.config, self.tls.clone(), channel).await
    }

    pub(crate) fn close(&self) {
        self.pool.close();
    }
}

async fn prepare(connection: &Object, sql: &Sql, args: &[Value]) -> Result<Statement, tokio_postgres::Error> {
    let types: Vec<Type> = args.iter().map(Value::postgres_type).collect();
    connection.prepare_typed_cached(sql.as_str(Dialect::Postgres), &types).await
}

async fn query(
    connection: &Object,
    statement: &Statement,
    args: Vec<Value>,
) -> Result<Vec<Row>, tokio_postgres::Error> {
    connection.query_raw(statement, args).await?.try_collect().await
}

impl From<PoolError> for Error {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(error) => error.into(),
            PoolError::Timeout(_) | PoolError::Closed => Self::Unavailable(Box::new(error)),
            PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Self::Database(Box::new(error)),
        }
    }
}
