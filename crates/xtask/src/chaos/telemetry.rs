//! `cargo xtask chaos telemetry`: one telemetry sink under load that is killed again and again; then an account.
//!
//! Clients send logs, metrics and spans and write down what was acknowledged. Every second or so the sink is killed with
//! SIGKILL and started again, in the middle of whatever it does: its memory is so small that it writes parts out all the
//! time and merges them. At the end everything that was acknowledged must be there, and nothing twice. What was not
//! answered may be there once; nobody sends it again.
//!
//! Between kills the disk fails now and then ([`disk`]), and at the end series explode ([`explosion`]).

mod account;
mod client;
mod disk;
mod explosion;
mod sink;

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use xtask::issuer::{self, Issuer};

use self::account::Account;
use self::client::Client;
use self::disk::Failing;
use self::explosion::Explosion;
use self::sink::Sink;
use super::lots::Lots;
use super::{Interruption, Options};
use crate::{process, workspace};

const CLIENTS: u64 = 3;
/// One kill in so many comes after a failing disk.
const FAILING_IN_HUNDRED: usize = 25;
/// Series of an explosion in a short run.
const SHORT_EXPLOSION: usize = 100_000;
/// Kills of a short run.
const SHORT_ROUNDS: u32 = 8;
/// How long a sink may take to be ready again.
const RECOVERY: Duration = Duration::from_mins(1);

pub(super) fn run(options: &Options, seed: u64) -> anyhow::Result<()> {
    let program = if let Some(directory) = &options.bin_dir {
        std::path::absolute(directory)?.join("telemetry-sink")
    } else {
        process::run(workspace::cargo().args(["build", "--locked", "--package", "telemetry-sink"]))?;
        workspace::target().join("debug/telemetry-sink")
    };
    ensure!(program.is_file(), "{} is not there", program.display());
    let rounds = if options.short { SHORT_ROUNDS } else { options.rounds };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let mut interruption = runtime.block_on(async { Interruption::listen() })?;
    let series = if options.short { SHORT_EXPLOSION } else { options.explosion };
    let (account, explosion) = runtime.block_on(async {
        tokio::select! {
            played = both(&program, rounds, seed, series) => played,
            signal = interruption.wait() => Err(anyhow::anyhow!("ended by {signal}")),
        }
    })?;
    account.print();
    explosion.print();
    let json = options.json.clone().unwrap_or_else(|| workspace::target().join("chaos/telemetry.json"));
    if let Some(parent) = json.parent() {
        std::fs::create_dir_all(parent)?;
    }
    let document = json!({ "seed": seed, "reports": [account], "explosion": explosion });
    std::fs::write(&json, document.to_string()).with_context(|| format!("write {}", json.display()))?;
    let violations = account.violations();
    ensure!(violations.is_empty(), "with --seed {seed}:\n{}", violations.join("\n"));
    Ok(())
}

async fn both(
    program: &std::path::Path,
    rounds: u32,
    seed: u64,
    series: usize,
) -> anyhow::Result<(Account, Explosion)> {
    let account = play(program, rounds, seed).await?;
    let directory = tempfile::Builder::new().prefix("quintet-chaos-").tempdir()?;
    let issuer = Issuer::new()?;
    let port = issuer::listen(issuer.keys(), &TaskTracker::new()).await?;
    let mut sink = Sink::prepare(program, directory.path(), port)?;
    sink.start().await?;
    let explosion =
        explosion::play(&mut sink, issuer.token("chaos")?, series).await.context("explosion of series")?;
    Ok((account, explosion))
}

async fn play(program: &std::path::Path, rounds: u32, seed: u64) -> anyhow::Result<Account> {
    let directory = tempfile::Builder::new().prefix("quintet-chaos-").tempdir()?;
    let issuer = Issuer::new()?;
    let port = issuer::listen(issuer.keys(), &TaskTracker::new()).await?;
    let mut sink = Sink::prepare(program, directory.path(), port)?;
    sink.start().await?;

    let (stop, mut clients) = (CancellationToken::new(), JoinSet::new());
    for number in 0..CLIENTS {
        let client = Client::new(number, seed, sink.intake());
        let stop = stop.clone();
        clients.spawn(async move { client.send_until(stop).await });
    }
    let (mut lots, mut slowest, mut failures) = (Lots::new(seed, 7), Duration::ZERO, 0);
    for round in 0..rounds {
        let pause = 100 + u64::try_from(lots.below(900)).unwrap_or(0);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        // The first two fail in each way, so that a short run has seen both.
        if disk::is_possible() && (round < 2 || lots.in_hundred(FAILING_IN_HUNDRED)) {
            let what = if round % 2 == 0 { Failing::Syncs } else { Failing::Writes };
            disk::fail(sink.pid()?, &sink.data(), what).await?;
            disk::is_free(sink.pid()?).await?;
            failures += 1;
        }
        sink.kill()?;
        let begun = Instant::now();
        sink.start().await.with_context(|| format!("after kill {}", round + 1))?;
        slowest = slowest.max(begun.elapsed());
    }
    stop.cancel();
    let mut sent = Vec::new();
    while let Some(ended) = clients.join_next().await {
        sent.push(ended?);
    }
    let token = issuer.token("chaos")?;
    let found = account::read(&sink.queries(), &token, &sent).await;
    if found.is_err() {
        let kept = workspace::target().join("chaos/telemetry.log");
        let _ = std::fs::copy(sink.log(), &kept);
    }
    let mut account = found?;
    account.kills = rounds;
    account.failing_disks = failures;
    account.slowest_start_ms = u64::try_from(slowest.as_millis()).unwrap_or(u64::MAX);
    account.parts = parts(&directory.path().join("data/parts"));
    Ok(account)
}

/// Part files, so that a report shows that parts were written and merged.
fn parts(directory: &std::path::Path) -> usize {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    entries
        .map(|entry| entry.path())
        .map(|path| {
            if path.is_dir() {
                parts(&path)
            } else {
                usize::from(path.extension().is_some_and(|e| e == "parquet"))
            }
        })
        .sum()
}
