//! The five together: what they weigh, what they hold in memory when idle, how fast each is ready,
//! and how long an authenticated order takes through TLS, gateway, core-api and database.
//!
//! The load is open loop: an order's latency counts from the moment it was due, so that a slow answer
//! cannot hide the ones that had to wait behind it.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, ensure};
use e2e::fleet::{BINARIES, Fleet, Settings, bin_dir};
use e2e::shop::Shop;
use http::StatusCode;
use quintet_http::Origin;
use quintet_http::client::Client;
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::report::Report;
use crate::usage;

/// Long enough for what starting allocated to be given back.
const SETTLE: Duration = Duration::from_secs(10);
const READY_WITHIN: Duration = Duration::from_secs(20);
/// Starts of each binary; the median counts.
const STARTS: usize = 5;
const MEGABYTE: f64 = 1e6;

pub(crate) async fn measure(rate: u32, seconds: u32, database: Option<&str>) -> anyhow::Result<Report> {
    let mut report = Report::new();
    report
        .row(json!({ "what": "database", "kind": if database.is_some() { "postgresql" } else { "sqlite" } }));
    sizes(&mut report)?;
    let settings = Settings::default();
    let fleet = match database {
        Some(url) => settings.database(url),
        None => settings,
    }
    .start()?;
    tokio::time::sleep(SETTLE).await;
    memory(&fleet, "idle", Some(150.0), &mut report)?;
    load(&fleet, rate, seconds, &mut report).await?;
    memory(&fleet, "after the load", None, &mut report)?;
    fleet.down()?;
    starts(&fleet, &mut report).await?;
    Ok(report)
}

fn sizes(report: &mut Report) -> anyhow::Result<()> {
    let directory = bin_dir()?;
    let mut total = 0.0;
    for binary in BINARIES {
        let path = directory.join(binary);
        let bytes = std::fs::metadata(&path).with_context(|| format!("look at {}", path.display()))?.len();
        let megabytes = to_f64(bytes) / MEGABYTE;
        report.row(json!({ "what": "size", "binary": binary, "megabytes": megabytes }));
        total += megabytes;
    }
    report.at_most("size of the five, MB", total, 70.0);
    Ok(())
}

fn memory(fleet: &Fleet, when: &str, bar: Option<f64>, report: &mut Report) -> anyhow::Result<()> {
    let mut total = 0.0;
    for binary in BINARIES {
        let pid = fleet.process(binary).with_context(|| format!("{binary} does not run"))?;
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read /proc")?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        let kilobytes: f64 =
            line.split_whitespace().nth(1).context("no VmRSS")?.parse().context("no VmRSS")?;
        let megabytes = kilobytes * 1024.0 / MEGABYTE;
        report.row(
            json!({ "what": "resident memory", "when": when, "binary": binary, "megabytes": megabytes }),
        );
        total += megabytes;
    }
    if let Some(bar) = bar {
        report.at_most(format!("resident memory of the five, {when}, MB"), total, bar);
    }
    Ok(())
}

async fn load(fleet: &Fleet, rate: u32, seconds: u32, report: &mut Report) -> anyhow::Result<()> {
    let shop = Arc::new(Shop::open(&fleet.signed_in().await?, "bench", 10_000_000).await?);
    let warm_up = rate * seconds.div_ceil(10);
    let count = rate * seconds;
    let begun = Instant::now();
    let mut orders = JoinSet::new();
    let mut before = None;
    for turn in 0..warm_up + count {
        if turn == warm_up {
            before = Some(Used::now(fleet)?);
        }
        let due = begun + Duration::from_secs(1) * turn / rate;
        tokio::time::sleep_until(due).await;
        let shop = Arc::clone(&shop);
        orders.spawn(async move {
            let answer = shop.order(&format!("bench-{turn:08}")).await;
            (turn, due.elapsed(), answer.is_ok_and(|answer| answer.status == StatusCode::CREATED))
        });
    }
    let mut latencies = Vec::new();
    let mut failed = 0u64;
    while let Some(order) = orders.join_next().await {
        let (turn, latency, accepted) = order?;
        if turn < warm_up {
            continue;
        }
        failed += u64::from(!accepted);
        latencies.push(latency.as_secs_f64() * 1000.0);
    }
    if let Some(before) = before {
        Used::now(fleet)?.since(&before, count, report);
    }
    latencies.sort_by(f64::total_cmp);
    let quantile = |of: f64| latencies.get(index(of, latencies.len())).copied().unwrap_or_default();
    report.row(json!({
        "what": "orders through the gateway",
        "rate_per_second": rate,
        "orders": latencies.len(),
        "failed": failed,
        "p50_ms": quantile(0.5),
        "p90_ms": quantile(0.9),
        "p99_ms": quantile(0.99),
        "max_ms": latencies.last(),
    }));
    report.at_most("orders that failed", to_f64(failed), 0.0);
    report.at_most(format!("p99 of an order at {rate}/s, ms"), quantile(0.99), 8.0);
    Ok(())
}

/// Processor time so far. Not that of a database server, which is only in the machine's.
struct Used {
    at: Instant,
    each: Vec<(&'static str, Duration)>,
    machine: Duration,
}

impl Used {
    fn now(fleet: &Fleet) -> anyhow::Result<Self> {
        let mut each = vec![("load", usage::cpu(&[std::process::id()])?.total())];
        for binary in BINARIES {
            let pid = fleet.process(binary).with_context(|| format!("{binary} does not run"))?;
            let pid = u32::try_from(pid).context("a process has a number above zero")?;
            each.push((binary, usage::cpu(&[pid])?.total()));
        }
        Ok(Self { at: Instant::now(), each, machine: usage::machine()? })
    }

    fn since(&self, earlier: &Self, orders: u32, report: &mut Report) {
        let milliseconds = |time: Duration| time.as_secs_f64() * 1000.0 / f64::from(orders);
        for ((name, now), (_, before)) in self.each.iter().zip(&earlier.each) {
            let used = milliseconds(now.saturating_sub(*before));
            report.row(json!({ "what": "processor time of an order", "of": name, "milliseconds": used }));
        }
        let used = self.machine.saturating_sub(earlier.machine);
        report.row(json!({
            "what": "processor time of an order",
            "of": "the machine, whoever used it",
            "milliseconds": milliseconds(used),
            "cores_busy": used.as_secs_f64() / (self.at - earlier.at).as_secs_f64(),
        }));
    }
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among at most a few million"
)]
fn index(quantile: f64, count: usize) -> usize {
    (((count as f64) * quantile).ceil() as usize).saturating_sub(1)
}

#[expect(clippy::cast_precision_loss, reason = "counts and sizes far below 2^52")]
fn to_f64(number: u64) -> f64 {
    number as f64
}

/// Starts each binary by itself, in an order in which each finds what it needs, on the data of the fleet.
async fn starts(fleet: &Fleet, report: &mut Report) -> anyhow::Result<()> {
    let directory = bin_dir()?;
    let mut milliseconds = vec![Vec::new(); BINARIES.len()];
    for _ in 0..STARTS {
        let mut running = Vec::new();
        for (binary, times) in BINARIES.iter().zip(&mut milliseconds) {
            let (child, took) = start(&directory, binary, fleet).await?;
            times.push(took.as_secs_f64() * 1000.0);
            running.push(child);
        }
        for child in running.iter_mut().rev() {
            stop(child)?;
        }
    }
    let mut slowest = 0f64;
    for (binary, times) in BINARIES.iter().zip(&mut milliseconds) {
        times.sort_by(f64::total_cmp);
        let median = times.get(STARTS / 2).copied().unwrap_or_default();
        report
            .row(json!({ "what": "exec to ready", "binary": binary, "median_ms": median, "all_ms": times }));
        slowest = slowest.max(median);
    }
    report.at_most("exec to ready of the slowest, ms", slowest, 200.0);
    Ok(())
}

/// Starts one of the five on a fleet's data and waits until it is ready; how long that took.
pub(crate) async fn start(
    directory: &Path,
    binary: &str,
    fleet: &Fleet,
) -> anyhow::Result<(Child, Duration)> {
    let admin = Client::new(Origin::Unix(fleet.data().join(format!("run/{binary}.admin.sock"))));
    let begun = Instant::now();
    let child = Command::new(directory.join(binary))
        .arg("--config")
        .arg(fleet.data().join(format!("config/{binary}.toml")))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .with_context(|| format!("start {binary}"))?;
    while admin.get("/readyz").await.is_err() {
        ensure!(begun.elapsed() < READY_WITHIN, "{binary} was not ready within {READY_WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok((child, begun.elapsed()))
}

/// Asks a process to stop and waits until it has.
pub(crate) fn stop(child: &mut Child) -> anyhow::Result<()> {
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(Pid::from_raw)
        .context("a process has a number above zero")?;
    rustix::process::kill_process(pid, Signal::TERM).context("ask it to stop")?;
    child.wait().context("wait for it")?;
    Ok(())
}
