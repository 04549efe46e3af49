//! A group of rules and its state: evaluated at one time, one rule after the other, each seeing what those before it stored.
//!
//! A rule that fails stores nothing, keeps its series and alerts as they are and does not stop those after it.
//!
//! Invariants: a series that a rule no longer yields ends with a staleness marker; of two results with the same labels neither
//! is stored.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use super::alert::{Instance, Next, State};
use super::file::{ALERT_NAME, Alerting, GroupSpec, RuleSpec};
use super::template::{self, Found, Surroundings};
use crate::model::{Labels, METRIC_NAME, MetricBatch, Sample, stale};
use crate::promql::{self, Limits, Query, Source, Value};
use crate::storage::{AppendError, Storage, Stored};

pub(super) const ALERTS: &str = "ALERTS";
pub(super) const ALERTS_FOR_STATE: &str = "ALERTS_FOR_STATE";
const ALERT_STATE: &str = "alertstate";

/// Where rules read and write.
pub(crate) trait Database: Source + Send + Sync {
    fn append(&self, batch: &MetricBatch) -> Result<Stored, AppendError>;
}

impl Database for Storage {
    fn append(&self, batch: &MetricBatch) -> Result<Stored, AppendError> {
        self.append_metrics(batch)
    }
}

/// What an evaluation works with.
pub(crate) struct Scene<'a> {
    pub(crate) database: &'a dyn Database,
    pub(crate) max_samples: usize,
    /// How long one rule may take.
    pub(crate) timeout: Duration,
    pub(crate) external_labels: &'a BTreeMap<String, String>,
    pub(crate) external_url: &'a str,
}

impl Scene<'_> {
    fn limits(&self) -> Limits {
        Limits { max_samples: self.max_samples, deadline: Instant::now() + self.timeout }
    }

    pub(super) fn ask(&self, expr: &promql::Expr, time: i64) -> Result<Vec<Found>, String> {
        let answer = promql::evaluate(expr, Query::instant(time), self.database, self.limits());
        match answer.map_err(|error| error.to_string())?.value {
            Value::Scalar(values) => Ok(vec![(Labels::empty(), values.first().copied().unwrap_or(f64::NAN))]),
            Value::Vector(series) => Ok(series
                .into_iter()
                .filter_map(|series| Some((series.labels, series.values.first().copied().flatten()?)))
                .collect()),
            Value::Matrix(_) | Value::Text(_) => Err("the expression yields no instant vector".to_owned()),
        }
    }
}

/// A scene at a time, as templates see it.
struct Moment<'a> {
    scene: &'a Scene<'a>,
    time: i64,
}

impl Surroundings for Moment<'_> {
    fn query(&self, text: &str) -> Result<Vec<Found>, String> {
        let expr = promql::parse(text).map_err(|error| error.to_string())?;
        let mut found = self.scene.ask(&expr, self.time)?;
        found.sort_by(|left, right| left.0.cmp(&right.0));
        Ok(found)
    }

    fn external_url(&self) -> &str {
        self.scene.external_url
    }
}

/// How a rule's last evaluation went.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Health {
    /// Milliseconds since the epoch; none before the first.
    pub(crate) evaluated_at: Option<i64>,
    pub(crate) took: Duration,
    /// Whether the expression was answered, even if the results could not be stored.
    pub(crate) answered: bool,
    pub(crate) error: Option<String>,
}

/// A rule and what it remembers.
#[derive(Debug, Clone)]
pub(crate) struct Rule {
    pub(crate) spec: RuleSpec,
    pub(crate) health: Health,
    /// By the labels of the expression's result and of the rule.
    pub(crate) alerts: HashMap<Labels, Instance>,
    /// The series that it stored last.
    stored: HashSet<Labels>,
}

/// A group and what it remembers.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) spec: GroupSpec,
    /// Milliseconds.
    pub(crate) interval: i64,
    pub(crate) query_offset: i64,
    pub(crate) rules: Vec<Rule>,
    pub(crate) evaluated_at: Option<i64>,
    pub(crate) took: Duration,
    /// Whether alerts of before the start were looked for.
    pub(crate) restored: bool,
    /// Series of rules that went away with a reload; they end with the next evaluation.
    orphans: Vec<Labels>,
}

impl Group {
    pub(crate) fn new(spec: GroupSpec, default_interval: i64, default_offset: i64) -> Self {
        let rules = spec.rules.iter().cloned().map(|spec| Rule {
            spec,
            health: Health::default(),
            alerts: HashMap::new(),
            stored: HashSet::new(),
        });
        Self {
            interval: spec.interval.unwrap_or(default_interval).max(1),
            query_offset: spec.query_offset.unwrap_or(default_offset),
            rules: rules.collect(),
            evaluated_at: None,
            took: Duration::ZERO,
            restored: false,
            orphans: Vec::new(),
            spec,
        }
    }

    /// Takes over what an older version of this group remembers of the same rules.
    pub(crate) fn inherit(&mut self, older: Self) {
        self.evaluated_at = older.evaluated_at;
        self.took = older.took;
        self.restored = older.restored;
        self.orphans = older.orphans;
        let mut left: Vec<Option<Rule>> = older.rules.into_iter().map(Some).collect();
        for rule in &mut self.rules {
            let found =
                left.iter_mut().find(|one| one.as_ref().is_some_and(|one| one.spec.is_same(&rule.spec)));
            if let Some(known) = found.and_then(Option::take) {
                (rule.health, rule.alerts, rule.stored) = (known.health, known.alerts, known.stored);
            }
        }
        self.orphans.extend(left.into_iter().flatten().flat_map(|rule| rule.stored));
    }

    /// Every series that ends when the group goes away.
    pub(crate) fn series(&self) -> impl Iterator<Item = &Labels> {
        self.rules.iter().flat_map(|rule| &rule.stored).chain(&self.orphans)
    }

    /// Evaluates every rule at `time`. What was firing then and is over stays in `alerts` for a while.
    pub(crate) fn evaluate(&mut self, time: i64, scene: &Scene<'_>) {
        let started = Instant::now();
        let at = time - self.query_offset;
        let (limit, interval) = (self.spec.limit, self.interval);
        // Alerts are not restored before the rules have seen the present once.
        let restores = !std::mem::replace(&mut self.restored, true);
        for rule in &mut self.rules {
            let started = Instant::now();
            let samples = rule.evaluate(at, limit, restores.then_some(interval), scene);
            let answered = samples.is_ok();
            let stored = samples.and_then(|samples| rule.store(samples, at, scene.database));
            rule.health =
                Health { evaluated_at: Some(time), took: started.elapsed(), answered, error: stored.err() };
            metrics::counter!("quintet_sink_rule_evaluations_total", "kind" => rule.spec.kind()).increment(1);
            if let Some(error) = &rule.health.error {
                metrics::counter!("quintet_sink_rule_failures_total", "kind" => rule.spec.kind())
                    .increment(1);
                tracing::warn!(
                    group = self.spec.name,
                    rule = rule.spec.name,
                    error,
                    "a rule could not be evaluated"
                );
            }
        }
        let ended = std::mem::take(&mut self.orphans);
        let kept: HashSet<&Labels> = self.rules.iter().flat_map(|rule| &rule.stored).collect();
        end(ended.iter().filter(|labels| !kept.contains(labels)), at, scene.database);
        self.evaluated_at = Some(time);
        self.took = started.elapsed();
    }
}

/// Ends series with staleness markers.
pub(crate) fn end<'a>(series: impl Iterator<Item = &'a Labels>, time: i64, database: &dyn Database) {
    let samples: Vec<_> =
        series.map(|labels| Sample { labels: labels.clone(), time, value: stale() }).collect();
    if !samples.is_empty()
        && let Err(error) = database.append(&MetricBatch { samples, ..MetricBatch::default() })
    {
        tracing::debug!(%error, "the series of a rule could not be ended");
    }
}

impl Rule {
    /// The alerts that are pending or firing, by their labels.
    pub(crate) fn active(&self) -> impl Iterator<Item = &Instance> {
        let mut active: Vec<_> =
            self.alerts.values().filter(|alert| alert.state != State::Inactive).collect();
        active.sort_by(|left, right| left.labels.cmp(&right.labels));
        active.into_iter()
    }

    /// The state of its worst alert.
    pub(crate) fn state(&self) -> &'static str {
        let has = |state: State| self.alerts.values().any(|alert| alert.state == state);
        let worst = [State::Firing, State::Pending].into_iter().find(|state| has(*state));
        worst.unwrap_or(State::Inactive).as_str()
    }

    /// What is to be stored. As in Prometheus, a rule that fails ends no series: its alerts would be over, and what is built on
    /// its results with them.
    fn evaluate(
        &mut self,
        time: i64,
        limit: usize,
        restores: Option<i64>,
        scene: &Scene<'_>,
    ) -> Result<Vec<Sample>, String> {
        let found = scene.ask(&self.spec.expr, time)?;
        let Some(alerting) = self.spec.alerting.clone() else { return self.recorded(found, time, limit) };
        self.alerts_of(found, &alerting, time, limit, scene)?;
        if let Some(interval) = restores {
            super::restore::restore(self, &alerting, time, interval, scene);
        }
        Ok(self.alert_samples(time))
    }

    fn recorded(&self, found: Vec<Found>, time: i64, limit: usize) -> Result<Vec<Sample>, String> {
        if limit > 0 && found.len() > limit {
            return Err(format!("exceeded limit of {limit} with {} series", found.len()));
        }
        let mut samples = Vec::with_capacity(found.len());
        let mut known = HashSet::with_capacity(found.len());
        for (labels, value) in found {
            let mut builder = labels.to_builder();
            builder.set(METRIC_NAME, &self.spec.name);
            for (name, template) in &self.spec.labels {
                builder.set(name, template.text());
            }
            let labels = builder.build();
            if !known.insert(labels.clone()) {
                return Err(
                    "vector contains metrics with the same labelset after applying rule labels".to_owned()
                );
            }
            samples.push(Sample { labels, time, value });
        }
        Ok(samples)
    }

    fn alerts_of(
        &mut self,
        found: Vec<Found>,
        alerting: &Alerting,
        time: i64,
        limit: usize,
        scene: &Scene<'_>,
    ) -> Result<(), String> {
        let mut now = HashMap::with_capacity(found.len());
        for (labels, value) in found {
            let active = self.instance(&labels, value, alerting, time, scene);
            if now.insert(active.labels.clone(), active).is_some() {
                return Err(
                    "vector contains metrics with the same labelset after applying alert labels".to_owned()
                );
            }
        }
        for (labels, one) in &now {
            let known = self.alerts.entry(labels.clone()).or_insert_with(|| one.clone());
            if known.state == State::Inactive {
                *known = one.clone();
            }
            known.value = one.value;
            known.annotations.clone_from(&one.annotations);
            known.holds(alerting, time);
        }
        self.alerts.retain(|labels, active| {
            now.contains_key(labels) || active.is_over(alerting, time) == Next::Keep
        });
        let count = self.alerts.values().filter(|active| active.state != State::Inactive).count();
        if limit > 0 && count > limit {
            self.alerts.clear();
            return Err(format!("exceeded limit of {limit} with {count} alerts"));
        }
        Ok(())
    }

    /// The alert of one series of the result.
    pub(super) fn instance(
        &self,
        labels: &Labels,
        value: f64,
        alerting: &Alerting,
        time: i64,
        scene: &Scene<'_>,
    ) -> Instance {
        let own = labels.without_name();
        let (dot, variables) = template::alert_values(&own, value, scene.external_labels, scene.external_url);
        let moment = Moment { scene, time };
        let expand = |template: &template::Template| {
            let expanded = template.expand(&dot, &variables, &moment);
            expanded.unwrap_or_else(|error| format!("<error expanding template: {error}>"))
        };
        let mut builder = own.to_builder();
        for (name, template) in &self.spec.labels {
            builder.set(name, &expand(template));
        }
        builder.set(ALERT_NAME, &self.spec.name);
        let annotations =
            alerting.annotations.iter().map(|(name, template)| (name.clone(), expand(template))).collect();
        Instance::new(builder.build(), annotations, value, time)
    }

    #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch are far below 2^53")]
    fn alert_samples(&self, time: i64) -> Vec<Sample> {
        let current = self.alerts.values().filter(|active| active.state != State::Inactive);
        current
            .flat_map(|active| {
                let mut alerts = active.labels.to_builder();
                alerts.set(METRIC_NAME, ALERTS).set(ALERT_STATE, active.state.as_str());
                let mut since = active.labels.to_builder();
                since.set(METRIC_NAME, ALERTS_FOR_STATE);
                [
                    Sample { labels: alerts.build(), time, value: 1.0 },
                    Sample { labels: since.build(), time, value: active.active_at.div_euclid(1000) as f64 },
                ]
            })
            .collect()
    }

    /// Stores samples, and the end of what is no longer there.
    fn store(&mut self, mut samples: Vec<Sample>, time: i64, database: &dyn Database) -> Result<(), String> {
        let now: HashSet<Labels> = samples.iter().map(|sample| sample.labels.clone()).collect();
        let ended = self.stored.iter().filter(|labels| !now.contains(*labels));
        samples.extend(ended.map(|labels| Sample { labels: labels.clone(), time, value: stale() }));
        if samples.is_empty() {
            return Ok(());
        }
        let stored = database
            .append(&MetricBatch { samples, ..MetricBatch::default() })
            .map_err(|error| format!("cannot store the results: {error}"))?;
        self.stored = now;
        match stored.refused {
            0 => Ok(()),
            refused => Err(format!("{refused} series were refused because of the limits on series")),
        }
    }
}
