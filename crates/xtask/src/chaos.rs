//! `cargo xtask chaos`: what is promised, held against what is there after things went wrong. [`telemetry`] does it to the
//! telemetry sink.
//!
//! `cargo xtask chaos worker`: real workers on a real database, under load, while things go wrong; then an account.
//!
//! Three worker processes share a SQLite file or a PostgreSQL server of this task's own. Clients enqueue over HTTP, workers
//! elsewhere claim and acknowledge over HTTP, the workers themselves deliver webhooks. Whoever does something writes it
//! down in a ledger that is not the queue's, and at the end the ledger is held against what was promised: no job lost, none
//! completed by two acknowledgements, none by one whose lease was over, no event told by two messages, no schedule fired
//! twice for one instant. A run may be repeated on crash; a receiver knows it by the message's id, and these are counted.
//!
//! The choices follow a seed, which is printed. What the machine makes of them does not.

mod database;
mod fault;
mod interruption;
mod ledger;
mod load;
pub(crate) mod lots;
mod node;
mod receiver;
mod report;
mod telemetry;

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use quintet_types::Clock as _;
use rustix::process::Signal;
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtask::issuer::Issuer;

use self::database::{Cluster, Database, Volume};
use self::fault::Fault;
use self::interruption::Interruption;
use self::ledger::Ledger;
use self::load::{Load, PLAIN};
use self::lots::Lots;
use self::node::{NODES, Nodes};
use self::receiver::Receiver;
use self::report::{Report, Told};
use crate::{process, workspace};

const CLIENTS: u64 = 2;
const WORKERS: u64 = 3;
/// Until everything that was promised has ended, when nothing goes wrong any more. Seconds do on a machine that is idle.
const SETTLE: Duration = Duration::from_mins(3);
/// Until the fleet is there, or works again.
const RECOVERY: Duration = Duration::from_mins(2);
/// How long faults go on in a short run.
const SHORT_SECONDS: u64 = 40;

/// Breaks things under load and holds the job queue or the telemetry sink to what it promised.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What is put under load.
    subject: Subject,
    /// How long faults go on, for each database.
    #[arg(long, default_value_t = 60)]
    pub(crate) seconds: u64,
    /// At most so many rounds of all faults, for each database.
    #[arg(long, default_value_t = 100)]
    pub(crate) rounds: u32,
    /// One round, which ends after 40 seconds even where faults are left, for each database; what tests run.
    #[arg(long, conflicts_with_all = ["seconds", "rounds"])]
    pub(crate) short: bool,
    /// Series that explode at the end of the telemetry sink's run.
    #[arg(long, default_value_t = 1_000_000, conflicts_with = "short")]
    pub(crate) explosion: usize,
    /// Repeats the choices of a run.
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Only this database.
    #[arg(long)]
    pub(crate) database: Option<Kind>,
    /// The directory of the program, instead of a build for tests. The static one knows no wrong clocks.
    #[arg(long)]
    pub(crate) bin_dir: Option<PathBuf>,
    /// Where the report goes.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, clap::ValueEnum)]
pub(crate) enum Subject {
    /// The job queue.
    Worker,
    /// The telemetry sink's storage: each round is a kill.
    Telemetry,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    Sqlite,
    Postgres,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "sqlite",
            Self::Postgres => "postgres",
        }
    }
}

impl Options {
    /// How long faults go on, and in how many rounds.
    fn bounds(&self) -> (Duration, u32) {
        if self.short {
            (Duration::from_secs(SHORT_SECONDS), 1)
        } else {
            (Duration::from_secs(self.seconds), self.rounds)
        }
    }
}

/// What faults are done to.
struct Scene {
    load: Arc<Load>,
    // Ends before its files go.
    database: Database,
    volume: Volume,
    poisons: u64,
}

/// Whether a worker can be given a wrong clock on this machine.
pub(crate) fn can_set_clocks() -> bool {
    node::faketime().is_some()
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let now = quintet_types::SystemClock.now().as_nanosecond();
    let seed = options.seed.unwrap_or_else(|| u64::try_from(now & 0xffff_ffff).unwrap_or_default());
    println!("seed {seed}: --seed {seed} makes the same choices");
    match options.subject {
        Subject::Worker => worker(options, seed),
        Subject::Telemetry => telemetry::run(options, seed),
    }
}

fn worker(options: &Options, seed: u64) -> anyhow::Result<()> {
    let program = if let Some(directory) = &options.bin_dir {
        std::path::absolute(directory)?.join("async-worker")
    } else {
        process::run(workspace::cargo().args(["build", "--locked", "--package", "async-worker"]))?;
        workspace::target().join("debug/async-worker")
    };
    ensure!(program.is_file(), "{} is not there", program.display());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut interruption = runtime.block_on(async { Interruption::listen() })?;
    let mut reports = Vec::new();
    for kind in [Kind::Sqlite, Kind::Postgres] {
        if options.database.is_none_or(|only| only == kind) {
            // On this very thread: a process whose death signal is tied to a thread lives as long as that.
            let report = runtime.block_on(one(options, &program, kind, seed, &mut interruption));
            reports.push(report.with_context(|| format!("on {}, with --seed {seed}", kind.name()))?);
        }
    }
    let json = options.json.clone().unwrap_or_else(|| workspace::target().join("chaos/worker.json"));
    if let Some(parent) = json.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let document = json!({ "seed": seed, "reports": reports });
    std::fs::write(&json, document.to_string()).with_context(|| format!("write {}", json.display()))?;
    reports.iter().for_each(Report::print);
    let violations: Vec<String> = reports.iter().flat_map(Report::violations).collect();
    ensure!(violations.is_empty(), "with --seed {seed}:\n{}", violations.join("\n"));
    Ok(())
}

async fn one(
    options: &Options,
    program: &Path,
    kind: Kind,
    seed: u64,
    interruption: &mut Interruption,
) -> anyhow::Result<Report> {
    let kept = workspace::target().join("chaos").join(kind.name());
    let _ = std::fs::remove_dir_all(&kept);
    std::fs::create_dir_all(&kept)?;
    // Short: the names of sockets have a limit.
    let directory = tempfile::Builder::new().prefix("quintet-chaos-").tempdir()?;
    if process::is_root() {
        // The server's user goes through it.
        std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    }
    let volume = Volume::make(directory.path().join("db"))?;
    let database = match kind {
        Kind::Sqlite => Database::Sqlite(volume.path.join("chaos.db")),
        Kind::Postgres => Database::Postgres(Cluster::create(&volume.path)?),
    };
    let ledger = Arc::new(Ledger::create(&kept.join("ledger.jsonl"))?);
    let (issuer, tasks) = (Issuer::new()?, TaskTracker::new());
    let receiver = Receiver { keys: issuer.keys(), ledger: ledger.clone(), nodes: OnceLock::new() };
    let receiver = Arc::new(receiver);
    let port = receiver.listen(&tasks).await?;
    let nodes = Arc::new(Nodes::prepare(program, directory.path(), &database.url(), port)?);
    let _ = receiver.nodes.set(nodes.clone());
    let token = issuer.token("chaos")?;
    let load = Arc::new(Load { nodes: nodes.clone(), ledger, token, settle: CancellationToken::new() });
    let mut scene = Scene { load, database, volume, poisons: 0 };
    let played = tokio::select! {
        played = play(options, &mut scene, kind, seed, port) => played,
        kept = nodes.keep() => Err(kept.err().unwrap_or_else(|| anyhow::anyhow!("the keeper ended"))),
        signal = interruption.wait() => Err(anyhow::anyhow!("ended by {signal}")),
    };
    // Whatever happened: before the database ends, its files go and their file system is unmounted.
    nodes.end();
    nodes.keep_logs(directory.path(), &kept);
    played.with_context(|| format!("logs and ledger are in {}", kept.display()))
}

async fn play(
    options: &Options,
    scene: &mut Scene,
    kind: Kind,
    seed: u64,
    receiver: u16,
) -> anyhow::Result<Report> {
    let load = scene.load.clone();
    start(&load, receiver).await?;
    let (stop, mut clients, mut workers) = (CancellationToken::new(), JoinSet::new(), JoinSet::new());
    for number in 0..CLIENTS {
        let load = load.clone();
        clients.spawn(async move { load.client(number, seed).await });
    }
    for number in 0..WORKERS {
        let (load, stop) = (load.clone(), stop.clone());
        workers.spawn(async move { load.worker(number, seed, stop).await });
    }
    let mut contests = JoinSet::new();
    contests.spawn(contest(load.clone(), seed));

    let possible = Fault::possible(scene);
    let faults = inject_all(options, scene, &possible, seed).await?;
    load.settle.cancel();
    let minutes_contested = contests.join_next().await.transpose()?.unwrap_or_default();
    while let Some(ended) = clients.join_next().await {
        ended??;
    }
    let lost = settle(&load).await?;
    stop.cancel();
    while let Some(ended) = workers.join_next().await {
        ended??;
    }
    let ticks = ticks(&load).await?;
    let left_out = Fault::of(kind).into_iter().filter(|fault| !possible.contains(fault)).map(Fault::name);
    let reached = |name: &str| faults.iter().any(|told| told.fault == name);
    let not_reached = possible.iter().map(|fault| fault.name()).filter(|name| !reached(name)).collect();
    Ok(Report {
        database: kind.name(),
        faults,
        account: load.ledger.account(),
        schedule_runs: ticks.len(),
        minutes_contested,
        poisons: scene.poisons,
        lost,
        fired_twice: ledger::fired_twice(&ticks),
        left_out: left_out.collect(),
        not_reached,
    })
}

/// Waits for the fleet and makes the endpoint of its webhooks.
async fn start(load: &Load, receiver: u16) -> anyhow::Result<()> {
    let endpoint = json!({ "url": format!("http://127.0.0.1:{receiver}/hook") });
    let begun = Instant::now();
    loop {
        let answer = load.post(0, "/jobs/v1/webhooks/endpoints", "endpoint", &endpoint).await;
        match answer {
            Ok((status, _)) if status.is_success() => return Ok(()),
            Ok((status, answer)) if begun.elapsed() > RECOVERY || status.is_client_error() => {
                bail!("the endpoint was not made: {status}: {answer}")
            }
            Err(error) if begun.elapsed() > RECOVERY => return Err(error.context("the workers do not serve")),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Rounds of all faults in an order of each round's own.
async fn inject_all(
    options: &Options,
    scene: &mut Scene,
    possible: &[Fault],
    seed: u64,
) -> anyhow::Result<Vec<Told>> {
    let (mut lots, mut told) = (Lots::new(seed, 1), Vec::new());
    let (begun, (limit, rounds)) = (Instant::now(), options.bounds());
    for _ in 0..rounds {
        let mut round = possible.to_vec();
        lots.shuffle(&mut round);
        for fault in round {
            // The first round of a run that is not short is whole, however slow the machine is.
            if begun.elapsed() > limit && (options.short || told.len() >= possible.len()) {
                return Ok(told);
            }
            told.push(inject(scene, fault, &mut lots, told.len()).await?);
        }
    }
    Ok(told)
}

async fn inject(scene: &mut Scene, fault: Fault, lots: &mut Lots, turn: usize) -> anyhow::Result<Told> {
    let before = scene.load.ledger.counts();
    println!("{}", fault.name());
    let begun = Instant::now();
    fault.inject(scene, lots).await.with_context(|| fault.name())?;
    let lasted = begun.elapsed();
    let begun = Instant::now();
    let load = &scene.load;
    let probe = [(json!({ "kind": PLAIN, "priority": -1 }), None)];
    let probing = async {
        let ids = load.enqueue(lots, &format!("probe-{turn}"), &probe).await?;
        while !ids.iter().all(|id| load.ledger.is_completed(id)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        anyhow::Ok(())
    };
    let probed = tokio::time::timeout(RECOVERY, probing).await;
    probed.with_context(|| format!("after {}, no job ran within {RECOVERY:?}", fault.name()))??;
    let after = load.ledger.counts();
    Ok(Told {
        fault: fault.name(),
        lasted,
        recovered: begun.elapsed(),
        enqueued: after.0 - before.0,
        finished: after.1 - before.1,
    })
}

/// At the beginning of each minute schedules are due, and some worker is about to fire them, or has just done so: one
/// dies then. How often.
async fn contest(load: Arc<Load>, seed: u64) -> u64 {
    let (mut lots, mut contested) = (Lots::new(seed, 2), 0);
    loop {
        let now = quintet_types::SystemClock.now().as_millisecond();
        let to_go = u64::try_from(60_000 - now.rem_euclid(60_000)).unwrap_or_default();
        let at = Duration::from_millis(to_go + u64::try_from(lots.below(1_200)).unwrap_or_default());
        if load.settle.run_until_cancelled(tokio::time::sleep(at)).await.is_none() {
            return contested;
        }
        load.nodes.signal(lots.below(NODES), Signal::KILL);
        contested += 1;
    }
}

/// Waits until everything that was promised has ended; what has not.
async fn settle(load: &Load) -> anyhow::Result<Vec<String>> {
    let mut open = load.ledger.promised();
    let begun = Instant::now();
    while !open.is_empty() && begun.elapsed() < SETTLE {
        let mut left = Vec::new();
        for (turn, (job, kind, event)) in open.into_iter().enumerate() {
            let told = event.is_none_or(|event| load.ledger.told(event));
            let known = if event.is_some() { told } else { load.ledger.is_completed(&job) };
            if known || (told && has_ended(load, turn, &job).await) {
                continue;
            }
            left.push((job, kind, event));
        }
        open = left;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    Ok(open.into_iter().map(|(job, kind, _)| format!("{job} ({kind})")).collect())
}

async fn has_ended(load: &Load, node: usize, job: &str) -> bool {
    let answer = load.get(node % NODES, &format!("/jobs/v1/jobs/{job}")).await;
    let state = answer.ok().and_then(|(_, job)| job.get("state")?.as_str().map(str::to_owned));
    state.is_some_and(|state| ["completed", "discarded", "cancelled"].contains(&&*state))
}

/// The schedules' jobs that ran: of which schedule, and in which minute by the clock of the node that fired it.
async fn ticks(load: &Load) -> anyhow::Result<Vec<(u64, String)>> {
    let mut ticks = Vec::new();
    for (job, schedule) in load.ledger.scheduled() {
        let (_, job) = load.get(0, &format!("/jobs/v1/jobs/{job}")).await?;
        let at = job.get("enqueued_at").and_then(|at| at.as_str()).context("a job without its time")?;
        ticks.push((schedule, at.chars().take("2026-03-01T12:00".len()).collect()));
    }
    Ok(ticks)
}
