//! What dashboards ask, of the sink, VictoriaMetrics and Prometheus in turn.
//!
//! All three get a day of a fleet's series ([`Shop`]) at the same time, settle, and are asked the same twenty questions over and over:
//! one question of one server at a time, the servers in turn, so that what disturbs the machine disturbs all. The time is from
//! sending the request to having read the answer. VictoriaMetrics keeps answers of range queries and reuses them, which a dashboard
//! whose window moves on sees only in part; it is asked not to (`nocache=1`), so that all three work the answer out.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::{Method, Request};
use quintet_http::Client;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use xtask::issuer::{self, Issuer};

use super::data::{self, SCRAPE_MILLIS};
use super::server::{Peer, Reader, Server};
use super::shop::{SERIES, Shop};
use super::{count, deliver};
use crate::report::Report;

const HOUR: i64 = 3600;
/// Writing out and merging of a day of samples goes on for a while.
const SETTLE: Duration = Duration::from_secs(30);

/// How much is asked.
#[derive(Debug, clap::Args)]
pub(super) struct Choice {
    /// Machines with a hundred series each.
    #[arg(long, default_value_t = 100)]
    machines: usize,
    /// Hours of samples, 15 seconds apart.
    #[arg(long, default_value_t = 24)]
    hours: u32,
    /// How often each question is asked of each server, after once that does not count.
    #[arg(long, default_value_t = 20)]
    repeat: usize,
}

/// A question: over which window, and how far apart the points of the answer are.
#[derive(Debug, Clone, Copy)]
enum Question {
    /// At the end of the data.
    Now(&'static str),
    Hour(&'static str),
    SixHours(&'static str),
    Day(&'static str),
    /// By the hour.
    DayByHour(&'static str),
    /// The values of a label.
    Values(&'static str),
    /// The series of a matcher.
    Series(&'static str),
}

use Question::{Day, DayByHour, Hour, Now, Series, SixHours, Values};

const QUESTIONS: [(&str, Question); 20] = [
    ("requests", Day("sum(rate(http_requests_total[5m]))")),
    ("requests by code", SixHours("sum by (code) (rate(http_requests_total[5m]))")),
    (
        "share of errors",
        Hour("sum(rate(http_requests_total{code=~\"5..\"}[5m])) / sum(rate(http_requests_total[5m]))"),
    ),
    (
        "p99 of requests",
        SixHours("histogram_quantile(0.99, sum by (le) (rate(http_request_duration_seconds_bucket[5m])))"),
    ),
    (
        "p95 by route",
        Hour("histogram_quantile(0.95, sum by (le, route) (rate(http_request_duration_seconds_bucket[5m])))"),
    ),
    (
        "mean duration",
        SixHours(
            "sum(rate(http_request_duration_seconds_sum[5m])) / sum(rate(http_request_duration_seconds_count[5m]))",
        ),
    ),
    (
        "busy processors by machine",
        Day("100 - 100 * avg by (instance) (rate(node_cpu_seconds_total{mode=\"idle\"}[5m]))"),
    ),
    ("processors by mode", Hour("sum by (mode) (rate(node_cpu_seconds_total[1m]))")),
    ("memory used", Day("1 - node_memory_MemAvailable_bytes / node_memory_MemTotal_bytes")),
    ("fullest disks", SixHours("topk(5, 1 - node_filesystem_avail_bytes / node_filesystem_size_bytes)")),
    (
        "network of a machine",
        SixHours("rate(node_network_receive_bytes_total{instance=\"10.0.0.7:9100\"}[5m])"),
    ),
    ("load of a machine", Day("node_load1{instance=\"10.0.0.7:9100\"}")),
    ("machines up", Now("sum(up)")),
    ("machines up over the day", Day("count by (job) (up == 1)")),
    ("busiest processes", Hour("topk(5, sum by (instance) (rate(process_cpu_seconds_total[5m])))")),
    ("memory of processes", Hour("process_resident_memory_bytes")),
    ("longest queues", SixHours("max by (queue) (queue_depth)")),
    ("jobs of each hour", DayByHour("sum by (state) (increase(jobs_total[1h]))")),
    ("machines to choose from", Values("instance")),
    ("series of a job", Series("{job=\"shop\",instance=\"10.0.0.7:9100\"}")),
];

impl Question {
    /// The end of the path and the form, for data that ends at this second.
    fn form(self, end: i64) -> (String, Vec<(&'static str, String)>) {
        let range = |query: &str, hours: i64, step: i64| {
            // On the step, as Grafana asks.
            let end = end - end.rem_euclid(step);
            let form = vec![
                ("query", query.to_owned()),
                ("start", (end - hours * HOUR).to_string()),
                ("end", end.to_string()),
                ("step", step.to_string()),
                ("nocache", "1".to_owned()),
            ];
            ("query_range".to_owned(), form)
        };
        let window = || vec![("start", (end - HOUR).to_string()), ("end", end.to_string())];
        match self {
            Now(query) => {
                let form =
                    vec![("query", query.to_owned()), ("time", end.to_string()), ("nocache", "1".to_owned())];
                ("query".to_owned(), form)
            }
            Hour(query) => range(query, 1, 15),
            SixHours(query) => range(query, 6, 30),
            Day(query) => range(query, 24, 120),
            DayByHour(query) => range(query, 24, HOUR),
            // The sink watches itself as well, which the others do not.
            Values(label) => {
                let mut form = window();
                form.push(("match[]", "{job=\"shop\"}".to_owned()));
                (format!("label/{label}/values"), form)
            }
            Series(matcher) => {
                let mut form = window();
                form.push(("match[]", matcher.to_owned()));
                ("series".to_owned(), form)
            }
        }
    }

    fn method(self) -> Method {
        // VictoriaMetrics and Prometheus take the values of a label by GET alone.
        if matches!(self, Values(_)) { Method::GET } else { Method::POST }
    }
}

/// A server that is asked.
struct Asked {
    server: Server,
    client: Client,
    api: &'static str,
    token: Option<String>,
    /// For each question, how long each answer took.
    times: Vec<Vec<Duration>>,
}

impl Asked {
    async fn start(peer: Peer, directory: &std::path::Path, reader: &Reader) -> anyhow::Result<Self> {
        let directory = directory.join(peer.name());
        std::fs::create_dir(&directory)?;
        let server = Server::start(peer, &directory, Some(reader)).await?;
        let (client, api) = server.questions()?;
        let token = (peer == Peer::Sink).then(|| reader.token.clone());
        Ok(Self { server, client, api, token, times: vec![Vec::new(); QUESTIONS.len()] })
    }

    /// Asks, reads the answer whole and counts what is in it.
    async fn ask(&self, question: Question, end: i64) -> anyhow::Result<(Duration, usize)> {
        let (path, form) = question.form(end);
        let form = serde_urlencoded::to_string(&form)?;
        let mut request = Request::builder().method(question.method());
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        let request = if question.method() == Method::GET {
            request.uri(format!("{}/{path}?{form}", self.api)).body(Bytes::new())?
        } else {
            let form_type = "application/x-www-form-urlencoded";
            request.uri(format!("{}/{path}", self.api)).header("content-type", form_type).body(form.into())?
        };
        let begun = Instant::now();
        let answer = self.client.request(request).await?;
        let took = begun.elapsed();
        let body: Value = serde_json::from_slice(answer.body()).context("the answer is no JSON")?;
        let found = body.pointer("/data/result").or_else(|| body.get("data")).and_then(Value::as_array);
        let (name, said) = (self.server.name(), answer.status());
        ensure!(said.is_success(), "{name} answered {path} with {said}: {body}");
        Ok((took, found.map_or(0, Vec::len)))
    }
}

pub(super) async fn measure(choice: &Choice, report: &mut Report) -> anyhow::Result<()> {
    let tasks = TaskTracker::new();
    let issuer = Issuer::new()?;
    let keys = issuer::listen(issuer.keys(), &tasks).await?;
    let reader = Reader { keys, token: issuer.token("bench")? };
    let directory = tempfile::Builder::new().prefix("quintet-bench-").tempdir()?;
    let mut asked = Vec::new();
    for peer in Peer::ALL {
        asked.push(Asked::start(peer, directory.path(), &reader).await.with_context(|| peer.name())?);
    }
    let end = fill(choice, &asked).await?;
    tokio::time::sleep(SETTLE).await;
    for round in 0..=choice.repeat {
        for (at, (name, question)) in QUESTIONS.iter().enumerate() {
            let mut answers = Vec::new();
            for one in &mut asked {
                let (took, found) = one.ask(*question, end).await.with_context(|| *name)?;
                answers.push(found);
                if let Some(times) = one.times.get_mut(at).filter(|_| round > 0) {
                    times.push(took);
                }
            }
            // Not what the suite is for, but figures of wrong answers would be worth nothing.
            // Which of two equal ones is among the top is for each to choose, and VictoriaMetrics' rates differ a little.
            let ranked = matches!(question, Hour(query) | SixHours(query) if query.starts_with("topk"));
            let same = answers.iter().all(|found| *found > 0 && (ranked || Some(found) == answers.first()));
            ensure!(same, "{name}: the answers have {answers:?} series");
        }
    }
    tell(&asked, report)
}

/// Sends a day to all of them; the second of its end.
async fn fill(choice: &Choice, asked: &[Asked]) -> anyhow::Result<i64> {
    let mut shop = Shop::new(choice.machines);
    debug_assert_eq!(shop.series(), choice.machines * SERIES);
    let end = data::now_millis();
    let scrapes = i64::from(choice.hours) * HOUR * 1000 / SCRAPE_MILLIS;
    println!("{} series, {scrapes} scrapes for each of {} servers", shop.series(), asked.len());
    let intakes = asked
        .iter()
        .map(|one| Ok((one.server.intake()?, one.server.name())))
        .collect::<anyhow::Result<Vec<_>>>()?;
    for back in (0..scrapes).rev() {
        let batches = shop.scrape(end - back * SCRAPE_MILLIS)?;
        let all = intakes.iter().map(|(client, name)| {
            let batches = &batches;
            async move {
                for batch in batches {
                    deliver(client, name, batch).await?;
                }
                anyhow::Ok(())
            }
        });
        futures_util::future::try_join_all(all).await?;
    }
    Ok(end / 1000)
}

fn tell(asked: &[Asked], report: &mut Report) -> anyhow::Result<()> {
    let mut whole: Vec<Vec<f64>> = Vec::new();
    for one in asked {
        let mut all = Vec::new();
        for ((name, _), times) in QUESTIONS.iter().zip(&one.times) {
            let times = sorted(times);
            report.row(json!({
                "server": one.server.name(),
                "question": name,
                "p50_ms": quantile(&times, 50),
                "p99_ms": quantile(&times, 99),
            }));
            all.extend(times);
        }
        all.sort_by(f64::total_cmp);
        report.row(json!({
            "server": one.server.name(),
            "question": "all twenty",
            "p50_ms": quantile(&all, 50),
            "p99_ms": quantile(&all, 99),
            "peak_memory_bytes": one.server.peak_memory()?,
        }));
        whole.push(all);
    }
    let Some((ours, peers)) = whole.split_first() else { return Ok(()) };
    for (peer, times) in asked.iter().skip(1).zip(peers) {
        let peer = peer.server.name();
        let total = |times: &[f64]| times.iter().sum::<f64>();
        report.at_most(format!("time of all twenty questions, to {peer}'s"), total(ours) / total(times), 1.0);
        for percent in [50, 99] {
            let ratio = quantile(ours, percent) / quantile(times, percent);
            report.at_most(format!("p{percent} of the questions, to {peer}'s"), ratio, 1.0);
        }
    }
    report.setup(
        "questions",
        json!({ "asked_each": asked.first().and_then(|one| Some(count(one.times.first()?.len()))) }),
    );
    Ok(())
}

fn sorted(times: &[Duration]) -> Vec<f64> {
    let mut times: Vec<f64> = times.iter().map(|time| time.as_secs_f64() * 1000.0).collect();
    times.sort_by(f64::total_cmp);
    times
}

/// The nearest rank; 0 of nothing.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(rank).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_stands_on_its_step() {
        let (path, form) = Day("up").form(1_700_000_037);
        assert_eq!(path, "query_range");
        let end = form.iter().find(|(name, _)| *name == "end").unwrap();
        assert_eq!(end.1, "1699999920");
    }

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let times = [1.0, 2.0, 3.0, 4.0];
        assert_eq!((quantile(&times, 50), quantile(&times, 99), quantile(&[], 50)), (2.0, 4.0, 0.0));
    }
}
