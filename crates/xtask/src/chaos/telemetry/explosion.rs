//! Somebody puts a request id into a label: millions of series that each come once.
//!
//! What must hold meanwhile: series that were there before go on to be taken and answered, new ones beyond the limit are refused
//! with a word for each sender, memory stays near the budget, and a kill at the worst moment costs a start of bounded length.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request};
use quintet_http::Client;
use quintet_types::Clock as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::sink::{MEMORY_BYTES, Sink};

const SENDERS: usize = 2;
const PER_REQUEST: usize = 5000;
/// Series that were there before.
const STEADY: usize = 200;
/// A sink whose memory is short for a moment asks to come again.
const ATTEMPTS: usize = 200;
const PAUSE: Duration = Duration::from_millis(50);
/// What a sink may hold in memory besides its budget: code, threads, buffers of requests being answered.
const BESIDES: u64 = 160 * 1024 * 1024;

/// What an explosion came to.
#[derive(Debug, Serialize)]
pub(super) struct Explosion {
    series_sent: usize,
    series_kept: u64,
    refused: u64,
    put_off: usize,
    seconds: f64,
    steady_samples: usize,
    slowest_question_ms: u128,
    peak_memory_bytes: u64,
    start_after_kill_ms: u128,
}

impl Explosion {
    pub(super) fn print(&self) {
        println!(
            "{} series sent in {:.1} s: {} kept, {} refused, {} requests put off; {} samples of steady series all there; slowest question {} ms, peak \
             memory {} MB, ready {} ms after a kill",
            self.series_sent,
            self.seconds,
            self.series_kept,
            self.refused,
            self.put_off,
            self.steady_samples,
            self.slowest_question_ms,
            self.peak_memory_bytes / 1_000_000,
            self.start_after_kill_ms
        );
    }
}

struct Asker {
    intake: Client,
    queries: Client,
    token: String,
    /// How often it was asked to come again.
    put_off: AtomicUsize,
}

impl Asker {
    /// Sends points of a gauge until they are answered for, as senders do; how many were rejected.
    async fn send(&self, points: Vec<Value>) -> anyhow::Result<u64> {
        let metric = json!({ "name": "explosion", "gauge": { "dataPoints": points } });
        let body = json!({ "resourceMetrics": [{ "scopeMetrics": [{ "metrics": [metric] }] }] });
        let body = Bytes::from(body.to_string());
        for _ in 0..ATTEMPTS {
            if let Some(rejected) = self.send_once(body.clone()).await? {
                return Ok(rejected);
            }
            self.put_off.fetch_add(1, Ordering::Relaxed);
            tokio::time::sleep(PAUSE).await;
        }
        anyhow::bail!("a batch was put off {ATTEMPTS} times")
    }

    /// Nothing where the sink asks to come again.
    async fn send_once(&self, body: Bytes) -> anyhow::Result<Option<u64>> {
        let request = Request::builder()
            .method(Method::POST)
            .uri("/v1/metrics")
            .header("content-type", "application/json")
            .body(body)?;
        let answer = self.intake.request(request).await?;
        let said = String::from_utf8_lossy(answer.body()).into_owned();
        // Memory that is short for a moment is said as such; a sender sends again.
        if answer.status() == http::StatusCode::SERVICE_UNAVAILABLE
            || answer.status() == http::StatusCode::TOO_MANY_REQUESTS
        {
            return Ok(None);
        }
        ensure!(answer.status().is_success(), "a batch was answered {}: {said}", answer.status());
        let said: Value = serde_json::from_str(&said)?;
        let rejected = said.pointer("/partialSuccess/rejectedDataPoints");
        Ok(Some(
            rejected.and_then(|count| count.as_u64().or_else(|| count.as_str()?.parse().ok())).unwrap_or(0),
        ))
    }

    /// The one number that a query comes to; 0 for none.
    async fn ask(&self, query: &str) -> anyhow::Result<u64> {
        let path = format!("/telemetry/prometheus/api/v1/query?query={query}");
        let request = Request::builder().uri(&path).header("authorization", format!("Bearer {}", self.token));
        let answer =
            self.queries.request(request.body(Bytes::new())?).await.context("ask while series explode")?;
        let body: Value = serde_json::from_slice(answer.body())?;
        ensure!(answer.status().is_success(), "{query}: {body}");
        let value = body.pointer("/data/result/0/value/1").and_then(Value::as_str);
        Ok(value.map(str::parse).transpose()?.unwrap_or(0))
    }
}

fn point(name: &str, number: usize, nanos: i128) -> Value {
    let attribute = json!({ "key": name, "value": { "stringValue": number.to_string() } });
    json!({ "timeUnixNano": nanos.to_string(), "asInt": "1", "attributes": [attribute] })
}

fn now() -> i128 {
    quintet_types::SystemClock.now().as_nanosecond()
}

pub(super) async fn play(sink: &mut Sink, token: String, series: usize) -> anyhow::Result<Explosion> {
    let intake = Client::new(sink.intake()).timeout(Duration::from_secs(30));
    let asker = Arc::new(Asker { intake, queries: sink.queries()?, token, put_off: AtomicUsize::new(0) });
    let steady = || (0..STEADY).map(|number| point("steady", number, now())).collect::<Vec<_>>();
    ensure!(asker.send(steady()).await? == 0, "the first series were refused");
    let mut steady_sent = 1;

    let (next, refused, mut senders) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)), JoinSet::new());
    let begun = Instant::now();
    for _ in 0..SENDERS {
        let (asker, next, refused) = (Arc::clone(&asker), Arc::clone(&next), Arc::clone(&refused));
        senders.spawn(async move {
            loop {
                let from = next.fetch_add(PER_REQUEST, Ordering::Relaxed);
                if from >= series {
                    return anyhow::Ok(());
                }
                let to = (from + PER_REQUEST).min(series);
                let points = (from..to).map(|number| point("request_id", number, now())).collect();
                let rejected = asker.send(points).await?;
                refused.fetch_add(usize::try_from(rejected)?, Ordering::Relaxed);
            }
        });
    }
    let mut slowest = Duration::ZERO;
    let mut ended = None;
    while ended.is_none() {
        tokio::select! {
            biased;
            done = senders.join_next() => match done {
                Some(done) => done??,
                None => ended = Some(begun.elapsed()),
            },
            () = tokio::time::sleep(Duration::from_millis(500)) => {
                ensure!(asker.send(steady()).await? == 0, "series that were there before were refused");
                steady_sent += 1;
                let asked = Instant::now();
                let found = asker.ask("count(explosion%7Bsteady!=%22%22%7D)").await?;
                slowest = slowest.max(asked.elapsed());
                ensure!(found == u64::try_from(STEADY)?, "{found} of {STEADY} steady series are answered");
            }
        }
    }
    let kept = asker.ask("count(explosion%7Brequest_id!=%22%22%7D)").await?;
    let peak_memory_bytes = sink.peak_memory()?;
    sink.kill()?;
    let killed = Instant::now();
    sink.start().await.context("after a kill while series exploded")?;
    let start_after_kill_ms = killed.elapsed().as_millis();
    let samples = asker.ask("sum(count_over_time(explosion%7Bsteady!=%22%22%7D%5B1h%5D))").await?;
    let expected = steady_sent * STEADY;
    ensure!(
        samples == u64::try_from(expected)?,
        "{samples} of {expected} samples of steady series are there after a kill"
    );
    let bound = u64::try_from(MEMORY_BYTES)? + BESIDES;
    ensure!(
        peak_memory_bytes <= bound,
        "the sink took {peak_memory_bytes} bytes of memory, more than {bound}"
    );
    Ok(Explosion {
        series_sent: series,
        series_kept: kept,
        refused: u64::try_from(refused.load(Ordering::Relaxed))?,
        put_off: asker.put_off.load(Ordering::Relaxed),
        seconds: ended.unwrap_or_default().as_secs_f64(),
        steady_samples: expected,
        slowest_question_ms: slowest.as_millis(),
        peak_memory_bytes,
        start_after_kill_ms,
    })
}
