//! Metrics that the sink passes on, in the engines that get them: Prometheus and VictoriaMetrics.
//!
//! Prometheus is killed in the middle and comes back later, so that part of what it gets was held for it. What each answers for
//! the raw samples must be what the sink itself answers.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::servers::{self, Server};
use super::{encoded, series};
use crate::chaos::lots::Lots;

/// Until everything that is passed on is there.
const ARRIVES: Duration = Duration::from_mins(1);
/// VictoriaMetrics keeps decimals of about 15 digits and not the bits of a double.
const CLOSE: f64 = 1e-12;
/// The made-up series and none of what the sink watches besides.
const SELECTOR: &str = "{__name__=~\"requests_total|cpu_seconds_total|latency_seconds_.+|temperature_celsius|memory_bytes|build_info|seldom|odd|signs\"}";

type Samples = BTreeMap<String, Vec<(f64, f64)>>;

/// What arrived: samples in the sink, and those of each engine that are the same.
pub(super) async fn run(
    sink: &Path,
    prometheus: &Path,
    victoria_metrics: &Path,
    keys: u16,
    token: &str,
    (lots, end): (&mut Lots, i64),
) -> anyhow::Result<usize> {
    let directory = tempfile::Builder::new().prefix("quintet-handover-").tempdir()?;
    let port = servers::free_port()?;
    let first = Server::prometheus_at(prometheus, directory.path(), port).await?;
    let (victoria, url) = Server::victoria_metrics(victoria_metrics, directory.path()).await?;
    let target = |name: &str, url: &str| json!({ "name": name, "url": url, "keep": [SELECTOR] });
    let forward = json!({ "remote_write": [
        target("prometheus", &format!("http://127.0.0.1:{port}/api/v1/write")),
        target("victoria-metrics", &format!("{url}/api/v1/write")),
    ]});
    let ours = Server::sink_with(sink, directory.path(), keys, token.to_owned(), &forward).await?;

    let series = series::generate(lots, end);
    let requests = series::requests(&series, end);
    let (before, after) = requests.split_at(requests.len() / 2);
    for body in before {
        ours.write(body).await?;
    }
    arrived(&ours, &first, end).await.context("before Prometheus is killed")?;
    drop(first);
    for body in after {
        ours.write(body).await?;
    }
    arrived(&ours, &victoria, end).await.context("VictoriaMetrics, while Prometheus is away")?;
    let again = Server::prometheus_at(prometheus, directory.path(), port).await?;
    arrived(&ours, &again, end).await.context("Prometheus, once it is back")?;

    let expected = samples(&ours, end).await?;
    let total = expected.values().map(Vec::len).sum();
    ensure!(total > 0, "the sink answers no samples");
    same(&expected, &samples(&again, end).await?, 0.0).context("Prometheus")?;
    // A block of its has one power of ten: beside 10¹⁵ a number around one loses what is behind its third decimal.
    let plain = |samples: Samples| {
        let mut numbers = numbers(samples);
        numbers.retain(|labels, _| !labels.contains("\"__name__\":\"odd\""));
        numbers
    };
    let theirs = plain(samples(&victoria, end).await?);
    same(&plain(expected), &theirs, CLOSE).context("VictoriaMetrics")?;
    Ok(total)
}

/// VictoriaMetrics answers no sample that is not a number.
fn numbers(mut samples: Samples) -> Samples {
    for series in samples.values_mut() {
        series.retain(|(_, value)| !value.is_nan());
    }
    samples
}

fn question(end: i64) -> String {
    let query = format!("{SELECTOR}[{}s]", series::SPAN / 1000 + 600);
    format!("query={}&time={}&nocache=1", encoded(&query), end / 1000 + 60)
}

/// Raw samples by their series' labels.
async fn samples(server: &Server, end: i64) -> anyhow::Result<Samples> {
    let answer = server.ask("query", question(end)).await?;
    let result = answer.pointer("/data/result").and_then(Value::as_array);
    let mut found = Samples::new();
    for series in result.with_context(|| format!("no samples: {answer}"))? {
        let labels = series.get("metric").and_then(Value::as_object).context("a series without labels")?;
        let labels: BTreeMap<_, _> = labels.iter().collect();
        let values = series.get("values").and_then(Value::as_array).context("a series without samples")?;
        let values = values.iter().filter_map(|value| {
            let number = match value.get(1)?.as_str()? {
                "+Inf" => f64::INFINITY,
                "-Inf" => f64::NEG_INFINITY,
                text => text.parse().ok()?,
            };
            Some((value.get(0)?.as_f64()?, number))
        });
        found.insert(serde_json::to_string(&labels)?, values.collect());
    }
    Ok(found)
}

async fn arrived(ours: &Server, theirs: &Server, end: i64) -> anyhow::Result<()> {
    let count = |samples: &Samples| samples.values().map(Vec::len).sum::<usize>();
    let wanted = count(&numbers(samples(ours, end).await?));
    let begun = Instant::now();
    loop {
        let found = samples(theirs, end).await.map_or(0, |found| count(&numbers(found)));
        if found >= wanted {
            return Ok(());
        }
        ensure!(begun.elapsed() < ARRIVES, "{found} of {wanted} samples arrived within {ARRIVES:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Holds the samples of an engine against the sink's; values may be apart by such a part of themselves.
fn same(ours: &Samples, theirs: &Samples, apart: f64) -> anyhow::Result<()> {
    for (labels, ours) in ours {
        let theirs = theirs.get(labels).with_context(|| format!("{labels} did not arrive"))?;
        ensure!(ours.len() == theirs.len(), "{labels}: {} samples here, {} there", ours.len(), theirs.len());
        for ((time, value), (their_time, their_value)) in ours.iter().zip(theirs) {
            let is_equal = value.total_cmp(their_value).is_eq()
                || (value.is_nan() && their_value.is_nan())
                || (value - their_value).abs() <= apart * value.abs();
            let is_then = (time - their_time).abs() < 5e-4;
            ensure!(
                is_equal && is_then,
                "{labels}: {value} at {time} here, {their_value} at {their_time} there"
            );
        }
    }
    ensure!(ours.len() == theirs.len(), "{} series here, {} there", ours.len(), theirs.len());
    Ok(())
}
