//! The telemetry sink beside VictoriaMetrics and Prometheus: what it costs to take data in, and what it takes to keep it.
//!
//! All get the same requests, made before the clock starts: Prometheus remote write, a scrape of every series at a time.
//! Processor time is the server's own, from the first request until some seconds after the last, when merging in the
//! background has settled. Bytes are those of the data directory after the server was told to write out what memory
//! holds: VictoriaMetrics by its own call, the sink by a graceful stop. Prometheus keeps two hours in memory and its log,
//! so that its bytes are not comparable and are left out. Loki is not in Debian stable; logs and spans stand alone.
//!
//! [`queries`] has how the questions of dashboards are asked.

mod data;
mod queries;
mod server;
mod shop;
mod wire;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use bytes::Bytes;
use http::{Method, Request};
use quintet_http::Client;
use serde_json::json;

use self::data::{Batch, Shape};
use self::server::{Peer, Server};
use crate::report::Report;
use crate::usage;

/// Merging and syncing go on for a while after the last request.
const SETTLE: Duration = Duration::from_secs(10);
/// Requests at a time, each on a connection of its own.
const SENDERS: usize = 2;

/// What to measure.
#[derive(Debug, clap::Args)]
pub(crate) struct Choice {
    /// Series in each scrape.
    #[arg(long, default_value_t = 10_000)]
    series: usize,
    /// Scrapes, 15 seconds apart.
    #[arg(long, default_value_t = 240)]
    scrapes: usize,
    /// Log lines, and spans, in thousands.
    #[arg(long, default_value_t = 1000)]
    records: usize,
    /// Interleaved rounds; the median counts.
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// Measure only these.
    #[arg(long, value_delimiter = ',', value_enum)]
    only: Vec<Part>,
    #[command(flatten)]
    queries: queries::Choice,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Taking samples in.
    Samples,
    /// Taking log lines in.
    Logs,
    /// Taking spans in.
    Spans,
    /// Answering the questions of dashboards.
    Queries,
}

/// What one server needed for one load.
#[derive(Debug, Clone, Copy)]
struct Figures {
    cpu: Duration,
    elapsed: Duration,
    peak_bytes: u64,
    disk_bytes: Option<u64>,
}

impl Figures {
    fn cpu_seconds_per_million(&self, items: usize) -> f64 {
        self.cpu.as_secs_f64() * 1e6 / count(items)
    }

    fn bytes_per_item(&self, items: usize) -> Option<f64> {
        self.disk_bytes.map(|bytes| count(usize::try_from(bytes).unwrap_or(usize::MAX)) / count(items))
    }
}

#[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
fn count(items: usize) -> f64 {
    items as f64
}

pub(crate) fn measure(choice: &Choice) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(all(choice))
}

async fn all(choice: &Choice) -> anyhow::Result<Report> {
    let mut report = Report::new();
    let wanted = |part: Part| choice.only.is_empty() || choice.only.contains(&part);
    if wanted(Part::Samples) {
        samples(choice, &mut report).await?;
    }
    let items = choice.records * 1000;
    if wanted(Part::Logs) {
        let logs = one(Peer::Sink, &data::logs(items)).await.context("logs")?;
        tell(&mut report, Peer::Sink.name(), "log lines", logs, items);
        report.at_most_or(
            "processor time of a log line, to Loki's",
            Err("Debian stable has no Loki".to_owned()),
            0.5,
        );
    }
    if wanted(Part::Spans) {
        let spans = one(Peer::Sink, &data::spans(items)).await.context("spans")?;
        tell(&mut report, Peer::Sink.name(), "spans", spans, items);
        let per_core = count(items) / spans.cpu.as_secs_f64();
        report.at_least_or("spans a second and core", Ok(per_core), 100_000.0);
    }
    if wanted(Part::Queries) {
        queries::measure(&choice.queries, &mut report).await.context("queries")?;
    }
    Ok(report)
}

async fn samples(choice: &Choice, report: &mut Report) -> anyhow::Result<()> {
    let shape = Shape { series: choice.series, scrapes: choice.scrapes };
    println!("{} series, {} scrapes, {} samples", shape.series, shape.scrapes, shape.samples());
    let samples = data::samples(shape)?;
    let mut measured = Vec::new();
    for peer in Peer::ALL {
        let mut rounds = Vec::new();
        for _ in 0..choice.rounds.max(1) {
            rounds.push(one(peer, &samples).await.with_context(|| peer.name())?);
        }
        rounds.sort_by_key(|figures| figures.cpu);
        let median = rounds.get(rounds.len() / 2).copied().context("no round")?;
        tell(report, peer.name(), "samples", median, shape.samples());
        measured.push((peer, median));
    }
    hold(report, &measured, shape.samples());
    Ok(())
}

fn hold(report: &mut Report, measured: &[(Peer, Figures)], items: usize) {
    let of = |wanted: Peer| measured.iter().find(|(peer, _)| *peer == wanted).map(|(_, figures)| figures);
    let missing = || "not measured".to_owned();
    let (ours, peer) = (of(Peer::Sink), of(Peer::VictoriaMetrics));
    let cpu = ours.zip(peer).map(|(ours, peer)| ours.cpu.as_secs_f64() / peer.cpu.as_secs_f64());
    report.at_most_or("processor time of a sample, to VictoriaMetrics'", cpu.ok_or_else(missing), 1.0);
    let bytes = ours
        .zip(peer)
        .and_then(|(ours, peer)| Some(ours.bytes_per_item(items)? / peer.bytes_per_item(items)?));
    report.at_most_or("bytes of a sample, to VictoriaMetrics'", bytes.ok_or_else(missing), 1.0);
    let memory = ours.zip(peer).map(|(ours, peer)| {
        let bytes = |figures: &Figures| count(usize::try_from(figures.peak_bytes).unwrap_or(usize::MAX));
        bytes(ours) / bytes(peer)
    });
    report.at_most_or("peak memory, to VictoriaMetrics'", memory.ok_or_else(missing), 1.0);
}

fn tell(report: &mut Report, who: &str, what: &str, figures: Figures, items: usize) {
    report.row(json!({
        "server": who,
        "items": what,
        "count": items,
        "cpu_seconds_per_million": figures.cpu_seconds_per_million(items),
        "items_per_second": count(items) / figures.elapsed.as_secs_f64(),
        "peak_memory_bytes": figures.peak_bytes,
        "bytes_per_item": figures.bytes_per_item(items),
    }));
}

/// Sends a load to a fresh server.
async fn one(peer: Peer, batches: &[Batch]) -> anyhow::Result<Figures> {
    let directory = tempfile::Builder::new().prefix("quintet-bench-").tempdir()?;
    let mut server = Server::start(peer, directory.path(), None).await?;
    let before = usage::cpu(&usage::family(server.pid()))?;
    let begun = Instant::now();
    let senders = (0..SENDERS).map(|sender| send(&server, batches, sender));
    futures_util::future::try_join_all(senders).await?;
    let elapsed = begun.elapsed();
    tokio::time::sleep(SETTLE).await;
    let peak_bytes = server.peak_memory()?;
    let before_end = usage::cpu(&usage::family(server.pid()))?;
    // What is written out at the end belongs to the cost, too.
    let flushed = server.write_out().await?;
    let cpu = flushed.unwrap_or(before_end).since(before).total();
    Ok(Figures { cpu, elapsed, peak_bytes, disk_bytes: server.disk_bytes()? })
}

/// The batches of a sender's shards, in their order.
async fn send(server: &Server, batches: &[Batch], sender: usize) -> anyhow::Result<()> {
    let client: Client = server.intake()?;
    for batch in batches.iter().filter(|batch| batch.shard % SENDERS == sender) {
        deliver(&client, server.name(), batch).await?;
    }
    Ok(())
}

/// Sends a batch until it is taken.
async fn deliver(client: &Client, to: &str, batch: &Batch) -> anyhow::Result<()> {
    // A server that is busy says so; the sender waits as any would.
    for attempt in 0.. {
        let mut request = Request::builder().method(Method::POST).uri(batch.signal.path());
        for (name, value) in batch.signal.headers() {
            request = request.header(*name, *value);
        }
        let body: Bytes = batch.body.clone();
        let answer = client.request(request.body(body)?).await.context("send a batch")?;
        if answer.status().is_success() {
            break;
        }
        let text = String::from_utf8_lossy(answer.body()).into_owned();
        anyhow::ensure!(attempt < 100, "{to} refused a batch: {} {text}", answer.status());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}
