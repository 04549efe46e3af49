//! Our queue under one load, in a process of its own: a worker as the shipped one runs it, with its telemetry.

use std::io::{BufRead as _, Write as _};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use async_trait::async_trait;
use quintet_jobs::{
    Handler, HandlerError, Job, NewJob, QueueSettings, Settings, Worker, enqueue, enqueue_many,
};
use quintet_memory as _;
use quintet_store::Store;
use quintet_types::{Entropy as _, SharedClock, SystemClock, SystemEntropy};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::load::{Answer, Load, Task};

/// Jobs enqueued in one transaction before a drain.
const FILL: usize = 2_000;
const KIND: &str = "noop";
const SETTLE: Duration = Duration::from_millis(500);

/// The hidden verb that [`super::queue`] starts; see `benches/peers/peer.js` for what is said in which order.
pub(crate) fn drive(load: &str) -> anyhow::Result<()> {
    let load: Load = serde_json::from_str(load).context("read the load")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let null = std::fs::File::create("/dev/null").context("open /dev/null")?;
        let settings = quintet_telemetry::Settings::default();
        let _telemetry = quintet_telemetry::init_with(
            "async-worker",
            env!("CARGO_PKG_VERSION"),
            &settings,
            SystemClock::shared(),
            Box::new(null),
        )?;
        let driver = Driver::open(load).await?;
        let answer = driver.run().await?;
        say(&serde_json::to_value(answer)?)?;
        wait_for_line()
    })
}

fn say(what: &serde_json::Value) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{what}").context("answer")?;
    out.flush().context("answer")
}

fn wait_for_line() -> anyhow::Result<()> {
    std::io::stdin().lock().read_line(&mut String::new()).context("read the word to go on")?;
    Ok(())
}

fn go() -> anyhow::Result<()> {
    say(&serde_json::json!({ "ready": true }))?;
    wait_for_line()
}

struct Driver {
    load: Load,
    store: Store,
    clock: SharedClock,
    runs: Arc<Runs>,
}

/// What the handlers saw.
struct Runs {
    total: usize,
    begun: AtomicUsize,
    first: Mutex<Option<Instant>>,
    all: Notify,
    /// When each turn of [`Task::Pickup`] began.
    turns: Mutex<Vec<Option<Instant>>>,
}

struct Noop {
    runs: Arc<Runs>,
    task: Task,
    pause: Duration,
    store: Store,
}

#[async_trait]
impl Handler for Noop {
    fn kind(&self) -> &'static str {
        KIND
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let before = self.runs.begun.fetch_add(1, Ordering::Relaxed);
        if before == 0 {
            *lock(&self.runs.first) = Some(Instant::now());
        }
        if self.task == Task::Pickup {
            let turn: usize = job.args()?;
            if let Some(began) = lock(&self.runs.turns).get_mut(turn) {
                *began = Some(Instant::now());
            }
        }
        if !self.pause.is_zero() {
            tokio::time::sleep(self.pause).await;
        }
        if self.task == Task::Complete {
            let mut tx = self.store.begin().await?;
            job.complete_in(&mut tx).await?;
            tx.commit().await?;
        }
        if before + 1 == self.runs.total {
            self.runs.all.notify_one();
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Driver {
    async fn open(load: Load) -> anyhow::Result<Self> {
        let mut settings = quintet_store::Settings::for_url(&load.url);
        settings.max_connections = u32::try_from(load.clients.max(12) + 4)?;
        let store = Store::connect(&settings).await?;
        store.migrate(&[&quintet_jobs::MODULE]).await?;
        let runs = Runs {
            total: load.jobs,
            begun: AtomicUsize::new(0),
            first: Mutex::new(None),
            all: Notify::new(),
            turns: Mutex::new(vec![None; load.jobs]),
        };
        Ok(Self { load, store, clock: SystemClock::shared(), runs: Arc::new(runs) })
    }

    async fn run(&self) -> anyhow::Result<Answer> {
        match self.load.task {
            Task::Drain | Task::Complete => self.drain().await,
            Task::Mixed => self.mixed().await,
            Task::Enqueue => self.enqueue().await,
            Task::Pickup => self.pickup().await,
        }
    }

    async fn drain(&self) -> anyhow::Result<Answer> {
        for begin in (0..self.load.jobs).step_by(FILL) {
            let some = FILL.min(self.load.jobs - begin);
            let mut tx = self.store.begin().await?;
            let jobs = (0..some).map(|_| NewJob::new(KIND, &())).collect();
            enqueue_many(&mut tx, self.clock.as_ref(), jobs).await?;
            tx.commit().await?;
        }
        go()?;
        let working = self.work();
        self.runs.all.notified().await;
        self.until_empty().await?;
        let first = lock(&self.runs.first).context("no job began")?;
        let seconds = first.elapsed().as_secs_f64();
        working.stop().await?;
        Ok(Answer { seconds: Some(seconds), ..Answer::default() })
    }

    async fn mixed(&self) -> anyhow::Result<Answer> {
        let working = self.work();
        tokio::time::sleep(SETTLE).await;
        go()?;
        let begun = Instant::now();
        self.clients().await?;
        self.runs.all.notified().await;
        self.until_empty().await?;
        let seconds = begun.elapsed().as_secs_f64();
        working.stop().await?;
        Ok(Answer { seconds: Some(seconds), ..Answer::default() })
    }

    async fn enqueue(&self) -> anyhow::Result<Answer> {
        go()?;
        let begun = Instant::now();
        self.clients().await?;
        Ok(Answer { seconds: Some(begun.elapsed().as_secs_f64()), ..Answer::default() })
    }

    async fn pickup(&self) -> anyhow::Result<Answer> {
        let working = self.work();
        tokio::time::sleep(SETTLE).await;
        go()?;
        let mut committed = Vec::with_capacity(self.load.jobs);
        for turn in 0..self.load.jobs {
            tokio::time::sleep(gap(self.load.rate)).await;
            put(&self.store, &self.clock, NewJob::new(KIND, &turn)).await?;
            committed.push(Instant::now());
        }
        self.runs.all.notified().await;
        let begun = lock(&self.runs.turns).clone();
        working.stop().await?;
        let late = |(at, begun): (&Instant, Option<Instant>)| {
            begun.map(|begun| begun.saturating_duration_since(*at).as_secs_f64() * 1000.0)
        };
        let latencies_ms = committed.iter().zip(begun).filter_map(late).collect();
        Ok(Answer { latencies_ms, ..Answer::default() })
    }

    /// Each client enqueues one job in a transaction of its own after the other.
    async fn clients(&self) -> anyhow::Result<()> {
        let left = Arc::new(AtomicUsize::new(self.load.jobs));
        let mut clients = JoinSet::new();
        for _ in 0..self.load.clients {
            let (store, clock, left) = (self.store.clone(), self.clock.clone(), Arc::clone(&left));
            clients.spawn(async move {
                while left
                    .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                    .is_ok()
                {
                    put(&store, &clock, NewJob::new(KIND, &())).await?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(client) = clients.join_next().await {
            client??;
        }
        Ok(())
    }

    fn work(&self) -> Working {
        let keep = if self.load.history { Settings::default().keep_completed } else { Duration::ZERO };
        let settings = Settings {
            queues: vec![QueueSettings::new("default", self.load.concurrency)],
            keep_completed: keep,
            ..Settings::default()
        };
        let noop = Noop {
            runs: Arc::clone(&self.runs),
            task: self.load.task,
            pause: Duration::from_millis(self.load.handler_ms),
            store: self.store.clone(),
        };
        let worker =
            Arc::new(Worker::new(self.store.clone(), self.clock.clone(), settings, vec![Arc::new(noop)]));
        let stop = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(worker.run(stop.clone()));
        Working { stop, task }
    }

    async fn until_empty(&self) -> anyhow::Result<()> {
        let left = "SELECT (SELECT count(*) FROM jobs_ready) + (SELECT count(*) FROM jobs_lease) AS n";
        while self.store.fetch_one(left, Vec::new()).await?.get::<i64>("n")? > 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }
}

/// A running worker.
struct Working {
    stop: CancellationToken,
    task: JoinSet<Result<(), quintet_jobs::Error>>,
}

impl Working {
    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.task.join_next().await {
            ended??;
        }
        Ok(())
    }
}

async fn put(store: &Store, clock: &SharedClock, job: NewJob) -> anyhow::Result<()> {
    let mut tx = store.begin().await?;
    enqueue(&mut tx, clock.as_ref(), job).await?;
    Ok(tx.commit().await?)
}

/// An exponentially distributed pause, as between the events of a Poisson process.
#[expect(clippy::cast_precision_loss, reason = "a random number, cut to 53 bits")]
fn gap(rate: u32) -> Duration {
    let mut random = [0u8; 8];
    SystemEntropy.fill(&mut random);
    let even = ((u64::from_be_bytes(random) >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
    Duration::from_secs_f64(-even.ln() / f64::from(rate))
}
