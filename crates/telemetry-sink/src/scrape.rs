//! The scraper: reads each target's metrics and readiness at its interval.
//!
//! Each target has its own task, client and memory of the series it showed last. A series that is
//! missing from a scrape, and every series of a target that cannot be read, ends with a staleness
//! marker. Besides the target's own series it writes `up`, `probe_ready`,
//! `scrape_duration_seconds` and `scrape_samples_scraped`.
//!
//! Invariants: a scrape never outlives its interval by more than the client's deadline; a target's
//! answer and its number of series are bounded; a failing target costs the others nothing.

mod request;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use quintet_http::{Client, ClientError};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::config::Scrape;
use crate::ingest::exposition::{self, Format};
use crate::model::{Exemplar, Labels, LabelsBuilder, METRIC_NAME, MetricBatch, Sample, stale};
use crate::storage::Storage;

const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// What the last scrape of a target saw, for the fleet overview.
#[derive(Debug, Clone, Default)]
pub(crate) struct Health {
    pub(crate) up: bool,
    pub(crate) ready: bool,
    /// Why it is not ready.
    pub(crate) reason: String,
}

/// One target and its health.
pub(crate) struct Target {
    pub(crate) settings: Scrape,
    health: Mutex<Health>,
}

impl Target {
    pub(crate) fn new(settings: Scrape) -> Self {
        let health = Health { reason: "not scraped yet".to_owned(), ..Health::default() };
        Self { settings, health: Mutex::new(health) }
    }

    pub(crate) fn health(&self) -> Health {
        self.health.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn set_health(&self, health: Health) {
        let mut known = self.health.lock().unwrap_or_else(PoisonError::into_inner);
        if known.up != health.up {
            tracing::info!(
                target_name = self.settings.name,
                up = health.up,
                reason = health.reason,
                "scrape target changed"
            );
        }
        *known = health;
    }
}

/// Scrapes `target` until `shutdown`.
pub(crate) async fn run(target: Arc<Target>, storage: Arc<Storage>, shutdown: CancellationToken) {
    let interval = Duration::from_millis(target.settings.interval_ms);
    let client = match request::client(&target.settings, interval.min(MAX_TIMEOUT)) {
        Ok(client) => client,
        Err(reason) => {
            tracing::error!(target_name = target.settings.name, reason, "the target cannot be scraped");
            target.set_health(Health { reason, ..Health::default() });
            return;
        }
    };
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut scraper = Scraper { target, known: HashMap::new(), round: 0 };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => scraper.scrape(&client, &storage).await,
        }
    }
}

/// A series as the target writes it, parsed once.
struct Known {
    labels: Labels,
    round: u64,
}

struct Scraper {
    target: Arc<Target>,
    known: HashMap<Box<str>, Known>,
    round: u64,
}

#[derive(Deserialize)]
struct Readiness {
    #[serde(default)]
    checks: Vec<Check>,
}

#[derive(Deserialize)]
struct Check {
    name: String,
    ready: bool,
}

impl Scraper {
    async fn scrape(&mut self, client: &Client, storage: &Storage) {
        let started = Instant::now();
        let time = storage.clock().now().as_millisecond();
        let (metrics, ready) =
            tokio::join!(request::metrics(client, &self.target.settings), readiness(client));
        let took = started.elapsed().as_secs_f64();
        self.round += 1;
        let mut batch = MetricBatch::default();
        let read = metrics.and_then(|(body, format)| self.samples(&body, format, time, &mut batch));
        let count = batch.samples.len();
        if read.is_err() {
            batch = MetricBatch::default();
        }
        self.end_missing(time, read.is_ok(), &mut batch);
        self.report(time, took, count, read.is_ok(), ready.is_ok(), &mut batch);
        if let Err(error) = storage.append_metrics(&batch) {
            metrics::counter!("quintet_sink_scrapes_lost_total").increment(1);
            tracing::debug!(%error, "a scrape was not stored");
        }
        let failed = read.err().or_else(|| ready.err());
        let (up, ready) = (count > 0, failed.is_none());
        self.target.set_health(Health { up, ready, reason: failed.unwrap_or_default() });
    }

    fn samples<'a>(
        &mut self,
        body: &'a [u8],
        format: Format,
        time: i64,
        batch: &mut MetricBatch,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(body).map_err(|_| "the metrics are not UTF-8".to_owned())?;
        let (round, settings) = (self.round, &self.target.settings);
        let known = &mut self.known;
        let mut wrong = None;
        let mut observations = Vec::new();
        let MetricBatch { samples, metadata, .. } = batch;
        let sample = |line: exposition::Line<'a>| {
            let mut observe = |series: &Labels| {
                observations
                    .extend(line.exemplar.map(|text| (series.clone(), text, line.time.unwrap_or(time))));
            };
            if let Some(entry) = known.get_mut(line.series) {
                entry.round = round;
                let labels = entry.labels.clone();
                observe(&labels);
                samples.push(Sample { labels, time: line.time.unwrap_or(time), value: line.value });
                return;
            }
            if known.len() >= settings.sample_limit {
                wrong.get_or_insert("the target shows too many series");
                return;
            }
            let Some((name, labels)) = exposition::series(line.series) else {
                wrong.get_or_insert("a series is not in the Prometheus text format");
                return;
            };
            let labels = target_labels(settings, name, &labels);
            observe(&labels);
            samples.push(Sample {
                labels: labels.clone(),
                time: line.time.unwrap_or(time),
                value: line.value,
            });
            known.insert(line.series.into(), Known { labels, round });
        };
        exposition::read(text, format, sample, |meta| metadata.push(meta))
            .map_err(|error| error.to_string())?;
        for (series, text, time) in observations {
            match exemplar(series, text, time) {
                Some(exemplar) => batch.note(exemplar),
                // In the older format anything may stand there.
                None if format == Format::OpenMetrics => {
                    wrong.get_or_insert("an exemplar is not in the OpenMetrics format");
                }
                None => {}
            }
        }
        wrong.map_or(Ok(()), |wrong| Err(wrong.to_owned()))
    }

    /// Marks as ended what this round did not show; after a failed scrape that is everything.
    fn end_missing(&mut self, time: i64, succeeded: bool, batch: &mut MetricBatch) {
        let round = self.round;
        self.known.retain(|_, series| {
            let shown = succeeded && series.round == round;
            if !shown {
                batch.samples.push(Sample { labels: series.labels.clone(), time, value: stale() });
            }
            shown
        });
    }

    #[expect(clippy::cast_precision_loss, reason = "a scrape has far fewer than 2^53 samples")]
    fn report(&self, time: i64, took: f64, count: usize, up: bool, ready: bool, batch: &mut MetricBatch) {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        let own = [
            ("up", truth(up)),
            ("probe_ready", truth(up && ready)),
            ("scrape_duration_seconds", took),
            ("scrape_samples_scraped", count as f64),
        ];
        for (name, value) in own {
            let labels = target_labels(&self.target.settings, name, &[]);
            batch.samples.push(Sample { labels, time, value });
        }
    }
}

fn exemplar(series: Labels, text: &str, sampled: i64) -> Option<Exemplar> {
    let seen = exposition::exemplar(text)?;
    let labels = seen.labels.iter().map(|(name, value)| (*name, value.as_str())).collect();
    let (value, timed) = (seen.value, seen.time.is_some());
    Some(Exemplar { series, labels, value, time: seen.time.unwrap_or(sampled), timed })
}

/// The configured labels win, and what they displace is kept under `exported_`; the other way around where the
/// target is to be believed.
fn target_labels(settings: &Scrape, name: &str, labels: &[(&str, String)]) -> Labels {
    let mut builder = LabelsBuilder::new();
    let instance = settings.instance.as_deref().unwrap_or(&settings.name);
    let own = settings.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let own: Vec<_> = own.chain([("job", settings.name.as_str()), ("instance", instance)]).collect();
    for (label, value) in &own {
        builder.set(label, value);
    }
    for (label, value) in labels {
        if !own.iter().any(|(name, _)| name == label) || (settings.honor_labels && !value.is_empty()) {
            builder.set(label, value);
        } else {
            builder.set(&format!("exported_{label}"), value);
        }
    }
    builder.set(METRIC_NAME, name);
    builder.build()
}

async fn readiness(client: &Client) -> Result<(), String> {
    match client.get("/readyz").await {
        Ok(_) => Ok(()),
        Err(ClientError::Status { body, .. }) => Err(failing_checks(&body)),
        Err(error) => Err(reason(&error)),
    }
}

fn failing_checks(body: &[u8]) -> String {
    let checks = serde_json::from_slice::<Readiness>(body).map(|answer| answer.checks).unwrap_or_default();
    let failing: Vec<_> = checks.into_iter().filter(|check| !check.ready).map(|check| check.name).collect();
    if failing.is_empty() { "not ready".to_owned() } else { format!("not ready: {}", failing.join(", ")) }
}

fn reason(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

/// Scrapes a target once.
#[cfg(test)]
pub(crate) async fn once(settings: Scrape, storage: &Storage) -> Health {
    let client = request::client(&settings, MAX_TIMEOUT).unwrap();
    let target = Arc::new(Target::new(settings));
    let mut scraper = Scraper { target: Arc::clone(&target), known: HashMap::new(), round: 0 };
    scraper.scrape(&client, storage).await;
    target.health()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::RealDisk;

    fn scraper() -> Scraper {
        let mut settings = Scrape::new("core-api", "http://127.0.0.1:1".parse().unwrap());
        settings.instance = Some("a:1".into());
        Scraper { target: Arc::new(Target::new(settings)), known: HashMap::new(), round: 0 }
    }

    fn values(batch: &MetricBatch) -> Vec<String> {
        let show = |sample: &Sample| {
            let value =
                if crate::model::is_stale(sample.value) { "stale".into() } else { sample.value.to_string() };
            format!("{:?} {value}", sample.labels)
        };
        batch.samples.iter().map(show).collect()
    }

    #[test]
    fn target_labels_win_and_vanished_series_end() {
        let mut scraper = scraper();
        let mut batch = MetricBatch::default();
        scraper.round = 1;
        scraper.samples(b"a{job=\"x\"} 1\nb 2\n", Format::Prometheus, 10, &mut batch).unwrap();
        scraper.end_missing(10, true, &mut batch);
        assert_eq!(
            values(&batch),
            [
                r#"{__name__="a", exported_job="x", instance="a:1", job="core-api"} 1"#,
                r#"{__name__="b", instance="a:1", job="core-api"} 2"#,
            ]
        );
        let mut batch = MetricBatch::default();
        scraper.round = 2;
        scraper.samples(b"b 3\n", Format::Prometheus, 20, &mut batch).unwrap();
        scraper.end_missing(20, true, &mut batch);
        assert_eq!(
            values(&batch),
            [
                r#"{__name__="b", instance="a:1", job="core-api"} 3"#,
                r#"{__name__="a", exported_job="x", instance="a:1", job="core-api"} stale"#,
            ]
        );
    }

    #[test]
    fn configured_labels_win_unless_the_target_is_believed() {
        let mut scraper = scraper();
        let mut settings = scraper.target.settings.clone();
        settings.labels.insert("env".into(), "prod".into());
        settings.sample_limit = 2;
        scraper.target = Arc::new(Target::new(settings.clone()));
        let mut batch = MetricBatch::default();
        scraper.samples(b"a{env=\"dev\",job=\"x\"} 1\n", Format::Prometheus, 10, &mut batch).unwrap();
        settings.honor_labels = true;
        scraper.target = Arc::new(Target::new(settings));
        scraper.samples(b"b{env=\"dev\",job=\"\"} 1\n", Format::Prometheus, 10, &mut batch).unwrap();
        assert_eq!(
            values(&batch),
            [
                r#"{__name__="a", env="prod", exported_env="dev", exported_job="x", instance="a:1", job="core-api"} 1"#,
                r#"{__name__="b", env="dev", instance="a:1", job="core-api"} 1"#,
            ]
        );
        assert!(
            scraper
                .samples(b"c 1\n", Format::Prometheus, 10, &mut batch)
                .unwrap_err()
                .contains("too many series")
        );
    }

    #[test]
    fn exemplars_belong_to_their_lines_and_broken_ones_fail_the_scrape() {
        let mut scraper = scraper();
        let mut batch = MetricBatch::default();
        let page = b"# TYPE a counter\na_total 1 # {trace_id=\"ab\"} 0.5 7.5\na_total{b=\"c\"} 1 5 # {trace_id=\"cd\"} 1\n# EOF\n";
        for round in 1..=2 {
            batch = MetricBatch::default();
            scraper.samples(page, Format::OpenMetrics, round, &mut batch).unwrap();
        }
        let shown: Vec<_> = batch
            .exemplars
            .iter()
            .map(|seen| {
                format!("{:?} {:?} {} {} {}", seen.series, seen.labels, seen.value, seen.time, seen.timed)
            })
            .collect();
        assert_eq!(
            shown,
            [
                r#"{__name__="a_total", instance="a:1", job="core-api"} {trace_id="ab"} 0.5 7500 true"#,
                r#"{__name__="a_total", b="c", instance="a:1", job="core-api"} {trace_id="cd"} 1 5000 false"#,
            ]
        );
        for broken in ["a_total 1 # {trace_id=ab} 1\n# EOF\n", "a_total 1\n"] {
            let failed = scraper.samples(broken.as_bytes(), Format::OpenMetrics, 3, &mut batch);
            assert!(failed.unwrap_err().contains("format"), "{broken}");
        }
        scraper.samples(b"a_total 1 # any remark\n", Format::Prometheus, 3, &mut batch).unwrap();
    }

    #[tokio::test]
    async fn a_target_that_is_away_is_down_and_its_series_end() {
        let directory = tempfile::tempdir().unwrap();
        let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
        let mut scraper = scraper();
        let mut batch = MetricBatch::default();
        scraper
            .samples(b"b 2\n", Format::Prometheus, storage.clock().now().as_millisecond() - 1, &mut batch)
            .unwrap();
        storage.append_metrics(&batch).unwrap();
        let client = Client::new(scraper.target.settings.target.clone());
        scraper.scrape(&client, &storage).await;
        let health = scraper.target.health();
        assert!(!health.up && !health.ready && !health.reason.is_empty(), "{health:?}");
        let select = |name: &str| {
            storage
                .select_samples(&[crate::model::Matcher::equal(METRIC_NAME, name)], 0, i64::MAX, 10)
                .unwrap()
        };
        let found = select("up");
        assert_eq!(found[0].samples[0].1.to_bits(), 0.0f64.to_bits());
        let ended = select("b");
        assert!(crate::model::is_stale(ended[0].samples.last().unwrap().1));
    }
}
