//! What was acknowledged, held against what the sink answers.

use std::collections::{BTreeMap, HashMap};

use anyhow::Context as _;
use bytes::Bytes;
use http::Request;
use quintet_http::Client;
use serde::Serialize;
use serde_json::Value;

/// Lines and spans of a batch.
pub(super) const LINES: usize = 10;
pub(super) const SPANS: usize = 2;
/// Batches whose lines one question asks for.
const BATCHES_ASKED: usize = 200;

/// What one client sent: for each batch and signal, whether it was acknowledged.
pub(super) struct Sent {
    client: u64,
    /// Milliseconds since the Unix epoch.
    start: i64,
    pub(super) logs: Vec<bool>,
    pub(super) spans: Vec<bool>,
    pub(super) samples: Vec<bool>,
}

impl Sent {
    pub(super) fn new(client: u64, start: i64) -> Self {
        Self { client, start, logs: Vec::new(), spans: Vec::new(), samples: Vec::new() }
    }

    pub(super) fn next(&self) -> usize {
        self.logs.len()
    }

    /// Nanoseconds: no two lines of a client share theirs.
    pub(super) fn line_time(&self, batch: usize, line: usize) -> i64 {
        self.start * 1_000_000 + i64::try_from(batch * LINES + line).unwrap_or(0) * 1000
    }

    /// Milliseconds: no two samples of a client share theirs.
    pub(super) fn sample_time(&self, batch: usize) -> i64 {
        self.start + i64::try_from(batch).unwrap_or(0)
    }

    pub(super) fn line_name(&self, batch: usize, line: usize) -> String {
        format!("{}/{batch}/{line}", self.client)
    }

    pub(super) fn trace(&self, batch: usize) -> String {
        format!("{:016x}{:016x}", self.client + 1, batch + 1)
    }
}

/// What was found.
#[derive(Debug, Default, Serialize)]
pub(super) struct Account {
    pub(super) kills: u32,
    /// How often the disk answered EIO for a while.
    pub(super) failing_disks: u32,
    pub(super) slowest_start_ms: u64,
    pub(super) parts: usize,
    acknowledged: BTreeMap<&'static str, usize>,
    unanswered: BTreeMap<&'static str, usize>,
    lost: Vec<String>,
    doubled: Vec<String>,
}

impl Account {
    fn hold(&mut self, signal: &'static str, name: &str, acknowledged: bool, found: usize, each: usize) {
        let counts = if acknowledged { &mut self.acknowledged } else { &mut self.unanswered };
        *counts.entry(signal).or_default() += each;
        if acknowledged && found < each {
            self.lost.push(format!("{signal} {name}: {found} of {each}"));
        }
        if found > each {
            self.doubled.push(format!("{signal} {name}: {found} instead of {each}"));
        }
    }

    pub(super) fn violations(&self) -> Vec<String> {
        let lists = [("acknowledged items lost", &self.lost), ("items there twice", &self.doubled)];
        let found = lists.into_iter().filter(|(_, list)| !list.is_empty());
        found
            .map(|(what, list)| {
                let some: Vec<_> = list.iter().take(5).cloned().collect();
                format!("{} {what}: {}", list.len(), some.join("; "))
            })
            .collect()
    }

    pub(super) fn print(&self) {
        println!(
            "killed {} times, a failing disk {} times, ready again after {} ms at most, {} parts at the end",
            self.kills, self.failing_disks, self.slowest_start_ms, self.parts
        );
        for (signal, count) in &self.acknowledged {
            let unanswered = self.unanswered.get(signal).copied().unwrap_or(0);
            println!("{signal:<8} {count:>8} acknowledged, {unanswered:>6} not answered");
        }
        println!("acknowledged and lost {}, there twice {}", self.lost.len(), self.doubled.len());
    }
}

struct Questions<'a> {
    http: &'a Client,
    token: &'a str,
}

impl Questions<'_> {
    async fn ask(&self, path: String) -> anyhow::Result<Option<Value>> {
        let request = Request::builder().uri(&path).header("authorization", format!("Bearer {}", self.token));
        let answer = self.http.request(request.body(Bytes::new())?).await.with_context(|| path.clone())?;
        if answer.status() == http::StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let text = String::from_utf8_lossy(answer.body());
        anyhow::ensure!(answer.status().is_success(), "{path}: {}: {text}", answer.status());
        serde_json::from_str(&text).map(Some).with_context(|| path)
    }
}

/// Asks for everything that was sent.
pub(super) async fn read(
    http: &anyhow::Result<Client>,
    token: &str,
    sent: &[Sent],
) -> anyhow::Result<Account> {
    let http = http.as_ref().map_err(|error| anyhow::anyhow!("{error:#}"))?;
    let questions = Questions { http, token };
    let mut account = Account::default();
    for client in sent {
        lines(&questions, client, &mut account).await?;
        spans(&questions, client, &mut account).await?;
        samples(&questions, client, &mut account).await?;
    }
    Ok(account)
}

async fn lines(questions: &Questions<'_>, sent: &Sent, account: &mut Account) -> anyhow::Result<()> {
    let mut found: HashMap<String, usize> = HashMap::new();
    for from in (0..sent.logs.len()).step_by(BATCHES_ASKED) {
        let (start, end) = (sent.line_time(from, 0), sent.line_time(from + BATCHES_ASKED, 0));
        let query = format!("%7Bservice_name%3D%22chaos-{}%22%7D", sent.client);
        let path = format!(
            "/telemetry/loki/api/v1/query_range?query={query}&start={start}&end={end}&limit=5000&direction=forward"
        );
        let answer = questions.ask(path).await?.context("the log API is not there")?;
        let streams = answer.pointer("/data/result").and_then(Value::as_array);
        let values =
            streams.into_iter().flatten().filter_map(|stream| stream.get("values")?.as_array()).flatten();
        for line in values.filter_map(|value| value.get(1)?.as_str()) {
            *found.entry(line.split(' ').next().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    for (batch, acknowledged) in sent.logs.iter().enumerate() {
        for line in 0..LINES {
            let name = sent.line_name(batch, line);
            account.hold("logs", &name, *acknowledged, found.get(&name).copied().unwrap_or(0), 1);
        }
    }
    Ok(())
}

async fn spans(questions: &Questions<'_>, sent: &Sent, account: &mut Account) -> anyhow::Result<()> {
    for (batch, acknowledged) in sent.spans.iter().enumerate() {
        let trace = sent.trace(batch);
        let answer = questions.ask(format!("/telemetry/jaeger/api/traces/{trace}")).await?;
        let spans = answer.as_ref().and_then(|answer| answer.pointer("/data/0/spans")?.as_array());
        account.hold("spans", &trace, *acknowledged, spans.map_or(0, Vec::len), SPANS);
    }
    Ok(())
}

async fn samples(questions: &Questions<'_>, sent: &Sent, account: &mut Account) -> anyhow::Result<()> {
    let query = format!("chaos_batch%7Bjob%3D%22chaos-{}%22%7D%5B1h%5D", sent.client);
    let end = sent.sample_time(sent.samples.len()) / 1000 + 1;
    let path = format!("/telemetry/prometheus/api/v1/query?query={query}&time={end}");
    let answer = questions.ask(path).await?.context("the metrics API is not there")?;
    let mut found: HashMap<String, usize> = HashMap::new();
    let values = answer.pointer("/data/result/0/values").and_then(Value::as_array);
    for value in values.into_iter().flatten().filter_map(|value| value.get(1)?.as_str()) {
        *found.entry(value.to_owned()).or_default() += 1;
    }
    for (batch, acknowledged) in sent.samples.iter().enumerate() {
        let name = batch.to_string();
        account.hold("samples", &name, *acknowledged, found.get(&name).copied().unwrap_or(0), 1);
    }
    Ok(())
}
