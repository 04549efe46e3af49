//! graphile_worker of crates.io under one load, as `cargo xtask bench worker` asks for it; `../peer.js` says what is said
//! in which order.
//!
//! Settings: those of its own benchmark of throughput (`benches/perf_test.rs` of 0.14) where jobs may be taken in
//! batches, with as many jobs at once as the load says: a local queue of 5,000, completions written every 5 ms, a poll
//! every 5 ms. Elsewhere its defaults, with which an announcement wakes it; a drain one by one is its `run_once`. Its
//! defaults too for runtime and client (tokio, sqlx). The allocator is ours, because it is worth some percent.

use std::io::Write as _;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use graphile_worker::{
    IntoTaskHandlerResult, JobSpec, LocalQueueConfig, RawJobSpec, TaskHandler, Worker, WorkerContext,
    WorkerOptions, WorkerUtils,
};
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use sqlx::postgres::PgPoolOptions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SCHEMA: &str = "graphile_worker";
/// Jobs enqueued in one statement before a drain.
const FILL: usize = 10_000;
const SETTLE: Duration = Duration::from_millis(500);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Task {
    Drain,
    Mixed,
    Enqueue,
    Pickup,
}

#[derive(Debug, Clone, Deserialize)]
struct Load {
    task: Task,
    url: String,
    jobs: usize,
    concurrency: usize,
    batched: bool,
    clients: usize,
    handler_ms: u64,
    rate: u32,
}

/// What the handlers saw.
#[derive(Debug)]
struct Seen {
    total: usize,
    begun: AtomicUsize,
    first: OnceLock<Instant>,
    all: tokio::sync::Notify,
    turns: Mutex<Vec<Option<Instant>>>,
    pause: Duration,
}

#[derive(Debug, Clone)]
struct Runs(Arc<Seen>);

#[derive(Debug, Default, Clone, Serialize, Deserialize)]
struct Noop {
    turn: Option<usize>,
}

impl TaskHandler for Noop {
    const IDENTIFIER: &'static str = "noop";

    async fn run(self, context: WorkerContext) -> impl IntoTaskHandlerResult {
        let runs = context.get_ext::<Runs>().ok_or("the extension is missing")?;
        let seen = &runs.0;
        let before = seen.begun.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            let _ = seen.first.set(Instant::now());
        }
        if let Some(turn) = self.turn
            && let Some(began) = seen.turns.lock().unwrap_or_else(PoisonError::into_inner).get_mut(turn)
        {
            *began = Some(Instant::now());
        }
        if !seen.pause.is_zero() {
            tokio::time::sleep(seen.pause).await;
        }
        if before + 1 == seen.total {
            seen.all.notify_one();
        }
        Ok::<(), &'static str>(())
    }
}

struct Peer {
    load: Load,
    pool: PgPool,
    utils: WorkerUtils,
    seen: Arc<Seen>,
}

struct Working {
    worker: Arc<Worker>,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Working {
    async fn stop(self) -> anyhow::Result<()> {
        self.worker.request_shutdown();
        self.task.await?
    }
}

impl Peer {
    async fn open(load: Load) -> anyhow::Result<Self> {
        let most = u32::try_from(load.clients.max(12) + 4)?;
        let pool = PgPoolOptions::new().max_connections(most).connect(&load.url).await?;
        let utils = WorkerUtils::new(pool.clone(), SCHEMA);
        utils.migrate().await?;
        let seen = Arc::new(Seen {
            total: load.jobs,
            begun: AtomicUsize::new(0),
            first: OnceLock::new(),
            all: tokio::sync::Notify::new(),
            turns: Mutex::new(vec![None; load.jobs]),
            pause: Duration::from_millis(load.handler_ms),
        });
        Ok(Self { load, pool, utils, seen })
    }

    async fn work(&self) -> anyhow::Result<Working> {
        let mut options = WorkerOptions::default()
            .pg_pool(self.pool.clone())
            .schema(SCHEMA)
            .concurrency(self.load.concurrency)
            .listen_os_shutdown_signals(false)
            .add_extension(Runs(Arc::clone(&self.seen)))
            .define_job::<Noop>();
        if self.load.batched {
            let tick = Duration::from_millis(5);
            options = options
                .poll_interval(tick)
                .complete_job_batch_delay(tick)
                .local_queue(LocalQueueConfig::default().with_size(5_000));
        }
        let worker = Arc::new(options.init().await?);
        let running = Arc::clone(&worker);
        // Where jobs are there and are taken one by one, `run` takes one at each poll and `run_once` one after the other.
        let once = self.load.task == Task::Drain && !self.load.batched;
        let task = tokio::spawn(async move {
            if once {
                running.run_once().await?
            } else {
                running.run().await?
            }
            Ok(())
        });
        Ok(Working { worker, task })
    }

    async fn enqueue(&self, job: Noop) -> anyhow::Result<()> {
        self.utils.add_job(job, JobSpec::default()).await?;
        Ok(())
    }

    /// `clients` loops that each enqueue one job in a transaction of its own after the other.
    async fn clients(&self) -> anyhow::Result<()> {
        let left = AtomicUsize::new(self.load.jobs);
        let client = async || {
            while left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1)).is_ok()
            {
                self.enqueue(Noop::default()).await?;
            }
            anyhow::Ok(())
        };
        futures_util::future::try_join_all((0..self.load.clients).map(|_| client())).await?;
        Ok(())
    }

    async fn until_empty(&self) -> anyhow::Result<()> {
        let any = "SELECT EXISTS (SELECT FROM graphile_worker._private_jobs)";
        while sqlx::query_scalar::<_, bool>(any).fetch_one(&self.pool).await? {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<serde_json::Value> {
        for begin in (0..self.load.jobs).step_by(FILL) {
            let some = FILL.min(self.load.jobs - begin);
            let job = RawJobSpec {
                identifier: Noop::IDENTIFIER.to_owned(),
                payload: serde_json::json!({}),
                spec: JobSpec::default(),
            };
            self.utils.add_raw_jobs(&vec![job; some]).await?;
        }
        go()?;
        let working = self.work().await?;
        self.seen.all.notified().await;
        self.until_empty().await?;
        let took = self.seen.first.get().context("no job began")?.elapsed();
        working.stop().await?;
        Ok(seconds(took))
    }

    async fn mixed(&self) -> anyhow::Result<serde_json::Value> {
        let working = self.work().await?;
        tokio::time::sleep(SETTLE).await;
        go()?;
        let begun = Instant::now();
        self.clients().await?;
        self.seen.all.notified().await;
        self.until_empty().await?;
        let took = begun.elapsed();
        working.stop().await?;
        Ok(seconds(took))
    }

    async fn enqueueing(&self) -> anyhow::Result<serde_json::Value> {
        go()?;
        let begun = Instant::now();
        self.clients().await?;
        Ok(seconds(begun.elapsed()))
    }

    async fn pickup(&self) -> anyhow::Result<serde_json::Value> {
        let working = self.work().await?;
        tokio::time::sleep(SETTLE).await;
        go()?;
        let mut committed = Vec::with_capacity(self.load.jobs);
        let mut random = Random(0x9e37_79b9_7f4a_7c15);
        for turn in 0..self.load.jobs {
            tokio::time::sleep(random.gap(self.load.rate)).await;
            self.enqueue(Noop { turn: Some(turn) }).await?;
            committed.push(Instant::now());
        }
        self.seen.all.notified().await;
        working.stop().await?;
        let begun = self.seen.turns.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let late: Vec<f64> = committed
            .iter()
            .zip(begun)
            .filter_map(|(at, begun)| Some(begun?.saturating_duration_since(*at).as_secs_f64() * 1000.0))
            .collect();
        Ok(serde_json::json!({ "latencies_ms": late }))
    }
}

/// xorshift64: the moments of the jobs need no better.
struct Random(u64);

impl Random {
    /// An exponentially distributed pause, as between the events of a Poisson process.
    fn gap(&mut self, rate: u32) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        let even = ((self.0 >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        Duration::from_secs_f64(-even.ln() / f64::from(rate))
    }
}

fn seconds(took: Duration) -> serde_json::Value {
    serde_json::json!({ "seconds": took.as_secs_f64() })
}

fn say(what: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}")?;
    Ok(out.flush()?)
}

fn wait_for_line() -> anyhow::Result<()> {
    std::io::stdin().read_line(&mut String::new())?;
    Ok(())
}

fn go() -> anyhow::Result<()> {
    say(&serde_json::json!({ "ready": true }))?;
    wait_for_line()
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let load = std::env::args().nth(1).context("give the load as JSON")?;
    let peer = Peer::open(serde_json::from_str(&load)?).await?;
    let answer = match peer.load.task {
        Task::Drain => peer.drain().await?,
        Task::Mixed => peer.mixed().await?,
        Task::Enqueue => peer.enqueueing().await?,
        Task::Pickup => peer.pickup().await?,
    };
    say(&answer)?;
    wait_for_line()
}
