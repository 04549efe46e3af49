//! The scraper: reads each target's metrics and readiness at its interval.
//!
//! Each target has its own task, client and memory of the series it showed last. A series that is
//! missing from a scrape, and every series of a target that cannot be read, ends with a staleness
//! marker. Besides the target's own series it writes `up`, `probe_ready` (of targets that have `/readyz`),
//! `scrape_duration_seconds`, `scrape_samples_scraped` and `scrape_samples_post_metric_relabeling`.
//!
//! Invariants: a scrape never outlives its interval by more than the client's deadline; a target's
//! answer and its number of series are bounded; a failing target costs the others nothing.

mod discovery;
pub(crate) mod request;
mod target;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quintet_http::{Client, ClientError};
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use self::discovery::follow;
pub(crate) use self::target::{Health, Target, Targets};
use crate::ingest::exposition::{self, Format};
use crate::model::{Exemplar, Labels, LabelsBuilder, METRIC_NAME, MetricBatch, Sample, stale};
use crate::relabel::{LabelMap, Steps};
use crate::storage::Storage;

const MAX_BODY: usize = 8 * 1024 * 1024;
const MAX_TIMEOUT: Duration = Duration::from_secs(10);

/// Scrapes `target` until `shutdown`, or until it is `gone`: then its series end.
pub(crate) async fn run(
    target: Arc<Target>,
    storage: Arc<Storage>,
    shutdown: CancellationToken,
    gone: CancellationToken,
) {
    let client = request::client(&target, target.interval.min(MAX_TIMEOUT));
    let ready = client.and_then(|client| Ok((client, Steps::new(&target.settings.metric_relabel)?)));
    let (client, steps) = match ready {
        Ok(ready) => ready,
        Err(reason) => {
            tracing::error!(target_name = target.settings.name, reason, "the target cannot be scraped");
            target.set_health(Health { reason, ..Health::default() });
            return;
        }
    };
    let mut ticks = tokio::time::interval(target.interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut scraper = Scraper { target, steps, known: HashMap::new(), round: 0 };
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => return,
            () = gone.cancelled() => return scraper.end(&storage),
            _ = ticks.tick() => scraper.scrape(&client, &storage).await,
        }
    }
}

/// A series as the target writes it, parsed once.
struct Known {
    /// None where relabelling drops it.
    labels: Option<Labels>,
    round: u64,
}

struct Scraper {
    target: Arc<Target>,
    steps: Steps,
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
        let (metrics, ready) = tokio::join!(request::metrics(client, &self.target), readiness(client));
        let took = started.elapsed().as_secs_f64();
        self.round += 1;
        let mut batch = MetricBatch::default();
        let read = metrics.and_then(|(body, format)| self.samples(&body, format, time, &mut batch));
        let kept = batch.samples.len();
        let failed = read.as_ref().err().cloned();
        let count = read.unwrap_or(0);
        let up = failed.is_none();
        if !up {
            batch = MetricBatch::default();
        }
        self.end_missing(time, up, &mut batch);
        let probed = ready.as_ref().map_or(Some(false), |ready| ready.then_some(true));
        self.report(time, took, (count, kept), (up, probed), &mut batch);
        if let Err(error) = storage.append_metrics(&batch) {
            metrics::counter!("quintet_sink_scrapes_lost_total").increment(1);
            tracing::debug!(%error, "a scrape was not stored");
        }
        let failed = failed.or_else(|| ready.err());
        let ready = failed.is_none();
        self.target.set_health(Health { up, ready, reason: failed.unwrap_or_default() });
    }

    /// Reads an answer; how many samples it has, those that relabelling drops included.
    fn samples<'a>(
        &mut self,
        body: &'a [u8],
        format: Format,
        time: i64,
        batch: &mut MetricBatch,
    ) -> Result<usize, String> {
        let text = std::str::from_utf8(body).map_err(|_| "the metrics are not UTF-8".to_owned())?;
        let (round, target, steps) = (self.round, &self.target, &self.steps);
        let settings = &target.settings;
        let mut count = 0;
        let known = &mut self.known;
        let mut wrong = None;
        let mut observations = Vec::new();
        let MetricBatch { samples, metadata, .. } = batch;
        let sample = |line: exposition::Line<'a>| {
            count += 1;
            let given = line.time.filter(|_| settings.honor_timestamps).unwrap_or(time);
            let mut store = |series: Option<Labels>| {
                let Some(labels) = series else { return };
                observations.extend(line.exemplar.map(|text| (labels.clone(), text, given)));
                samples.push(Sample { labels, time: given, value: line.value });
            };
            if let Some(entry) = known.get_mut(line.series) {
                entry.round = round;
                store(entry.labels.clone());
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
            let labels = relabelled(steps, target_labels(target, name, &labels));
            if labels.as_ref().is_some_and(|labels| labels.name().is_empty()) {
                wrong.get_or_insert("metric_relabel leaves a series without a name");
                return;
            }
            store(labels.clone());
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
        wrong.map_or(Ok(count), |wrong| Err(wrong.to_owned()))
    }

    /// Marks as ended what this round did not show; after a failed scrape that is everything.
    fn end_missing(&mut self, time: i64, succeeded: bool, batch: &mut MetricBatch) {
        let round = self.round;
        self.known.retain(|_, series| {
            let shown = succeeded && series.round == round;
            if !shown {
                let ended = series.labels.clone();
                batch.samples.extend(ended.map(|labels| Sample { labels, time, value: stale() }));
            }
            shown
        });
    }

    /// Ends everything that the target showed and that was said of it: nobody asks it again.
    fn end(&mut self, storage: &Storage) {
        let time = storage.clock().now().as_millisecond();
        let mut batch = MetricBatch::default();
        self.report(time, 0.0, (0, 0), (true, Some(true)), &mut batch);
        batch.samples.iter_mut().for_each(|sample| sample.value = stale());
        self.end_missing(time, false, &mut batch);
        if let Err(error) = storage.append_metrics(&batch) {
            tracing::debug!(%error, "the end of a target's series was not stored");
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "a scrape has far fewer than 2^53 samples")]
    fn report(
        &self,
        time: i64,
        took: f64,
        (count, kept): (usize, usize),
        (up, ready): (bool, Option<bool>),
        batch: &mut MetricBatch,
    ) {
        let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
        let own = [
            ("up", Some(truth(up))),
            ("probe_ready", ready.map(|ready| truth(up && ready))),
            ("scrape_duration_seconds", Some(took)),
            ("scrape_samples_scraped", Some(count as f64)),
            ("scrape_samples_post_metric_relabeling", Some(kept as f64)),
        ];
        for (name, value) in own {
            let Some(value) = value else { continue };
            let labels = target_labels(&self.target, name, &[]);
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

/// What relabelling makes of a series' labels; none where it drops them.
fn relabelled(steps: &Steps, labels: Labels) -> Option<Labels> {
    if steps.is_empty() {
        return Some(labels);
    }
    let mut map: LabelMap = labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let kept = steps.apply(&mut map);
    kept.then(|| map.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
}

/// The configured labels win, and what they displace is kept under `exported_`; the other way around where the
/// target is to be believed.
fn target_labels(target: &Target, name: &str, labels: &[(&str, String)]) -> Labels {
    let mut builder = LabelsBuilder::new();
    for (label, value) in &target.labels {
        builder.set(label, value);
    }
    for (label, value) in labels {
        if !target.labels.contains_key(*label) || (target.settings.honor_labels && !value.is_empty()) {
            builder.set(label, value);
        } else {
            builder.set(&format!("exported_{label}"), value);
        }
    }
    builder.set(METRIC_NAME, name);
    builder.build()
}

/// Whether a target says that it is ready; an error says why not. What has no `/readyz` is ready when it can be scraped.
async fn readiness(client: &Client) -> Result<bool, String> {
    match client.get("/readyz").await {
        Ok(_) => Ok(true),
        Err(ClientError::Status { status, .. }) if status == http::StatusCode::NOT_FOUND => Ok(false),
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
pub(crate) async fn once(settings: crate::config::Scrape, storage: &Storage) -> Health {
    let steps = Steps::new(&settings.metric_relabel).unwrap();
    let target = Arc::new(Target::fixed(settings).unwrap().unwrap());
    let client = request::client(&target, MAX_TIMEOUT).unwrap();
    let mut scraper = Scraper { target: Arc::clone(&target), steps, known: HashMap::new(), round: 0 };
    scraper.scrape(&client, storage).await;
    target.health()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Scrape;
    use crate::storage::disk::RealDisk;

    fn scraper() -> Scraper {
        let mut settings = Scrape::new("core-api", "http://127.0.0.1:1".parse().unwrap());
        settings.instance = Some("a:1".into());
        of(settings)
    }

    fn of(settings: Scrape) -> Scraper {
        let steps = Steps::new(&settings.metric_relabel).unwrap();
        let target = Arc::new(Target::fixed(settings).unwrap().unwrap());
        Scraper { target, steps, known: HashMap::new(), round: 0 }
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
        let mut settings = Scrape::clone(&scraper.target.settings);
        settings.labels.insert("env".into(), "prod".into());
        settings.sample_limit = 2;
        scraper.target = of(settings.clone()).target;
        let mut batch = MetricBatch::default();
        scraper.samples(b"a{env=\"dev\",job=\"x\"} 1\n", Format::Prometheus, 10, &mut batch).unwrap();
        settings.honor_labels = true;
        scraper.target = of(settings).target;
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

    #[test]
    fn series_are_relabelled_and_dropped_ones_stay_dropped_and_end_nothing() {
        let settings: Scrape = toml::from_str(
            r#"
            name = "a"
            target = "http://h:1"
            honor_timestamps = false
            [[metric_relabel]]
            source_labels = ["__name__"]
            regex = "go_.*"
            action = "drop"
            [[metric_relabel]]
            regex = "pod"
            action = "labeldrop"
            "#,
        )
        .unwrap();
        let mut scraper = of(settings);
        for round in 1..3 {
            scraper.round = round;
            let mut batch = MetricBatch::default();
            let count =
                scraper.samples(b"go_x 1\nb{pod=\"p\"} 2 99\n", Format::Prometheus, 10, &mut batch).unwrap();
            assert_eq!((count, batch.samples[0].time), (2, 10));
            assert_eq!(values(&batch), [r#"{__name__="b", instance="a", job="a"} 2"#]);
        }
        let mut batch = MetricBatch::default();
        scraper.round = 3;
        scraper.end_missing(20, true, &mut batch);
        assert_eq!(values(&batch), [r#"{__name__="b", instance="a", job="a"} stale"#]);
    }

    #[tokio::test]
    async fn a_target_that_is_gone_ends_all_its_series() {
        let directory = tempfile::tempdir().unwrap();
        let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
        let mut scraper = scraper();
        let mut batch = MetricBatch::default();
        let time = storage.clock().now().as_millisecond() - 1;
        scraper.samples(b"b 2\n", Format::Prometheus, time, &mut batch).unwrap();
        scraper.report(time, 0.1, (1, 1), (true, None), &mut batch);
        storage.append_metrics(&batch).unwrap();
        scraper.end(&storage);
        for name in ["b", "up", "scrape_samples_scraped"] {
            let matcher = crate::model::Matcher::equal(METRIC_NAME, name);
            let found = storage.select_samples(&[matcher], 0, i64::MAX, 10).unwrap();
            assert!(crate::model::is_stale(found[0].samples.last().unwrap().1), "{name}");
        }
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
        let client = Client::new(scraper.target.origin.clone());
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
