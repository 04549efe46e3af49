//! What a query's answer says beside its value: warnings, and hints that something may not be meant so.
//!
//! The same message is given once, with the place that caused it first. Texts are Prometheus', because dashboards show and
//! match them.

use std::collections::BTreeMap;

use quintet_types::Timestamp;

use super::value::format_float;

/// Messages of each kind that one answer keeps. A query over thousands of metrics would repeat itself for each.
const MOST_KEPT: usize = 100;

/// Warnings and hints, without their places until the text of the query is known.
#[derive(Debug, Default)]
pub(crate) struct Annotations {
    warnings: BTreeMap<String, usize>,
    infos: BTreeMap<String, usize>,
    repairs: BTreeMap<String, Repair>,
}

/// Buckets whose counts fell although they are cumulative.
#[derive(Debug, Clone, Copy)]
pub(super) struct Repair {
    pub(super) at: usize,
    pub(super) first_millis: i64,
    pub(super) last_millis: i64,
    pub(super) smallest_bound: f64,
    pub(super) largest_bound: f64,
    pub(super) largest_fall: f64,
    pub(super) samples: u64,
}

impl Annotations {
    pub(super) fn warn(&mut self, at: usize, message: impl Into<String>) {
        keep(&mut self.warnings, at, message.into());
    }

    pub(super) fn inform(&mut self, at: usize, message: impl Into<String>) {
        keep(&mut self.infos, at, message.into());
    }

    /// Notes buckets of the metric that were made to rise.
    pub(super) fn repaired(&mut self, metric: &str, repair: Repair) {
        let full = self.repairs.len() >= MOST_KEPT;
        match self.repairs.get_mut(metric) {
            Some(known) => {
                known.first_millis = known.first_millis.min(repair.first_millis);
                known.last_millis = known.last_millis.max(repair.last_millis);
                known.smallest_bound = known.smallest_bound.min(repair.smallest_bound);
                known.largest_bound = known.largest_bound.max(repair.largest_bound);
                known.largest_fall = known.largest_fall.max(repair.largest_fall);
                known.samples += repair.samples;
            }
            None if !full => {
                self.repairs.insert(metric.to_owned(), repair);
            }
            None => {}
        }
    }

    /// The warnings, each with its line and column in the query.
    pub(crate) fn warnings(&self, query: &str) -> Vec<String> {
        self.warnings.iter().map(|(message, at)| shown("warning", message, query, *at)).collect()
    }

    /// The hints, each with its line and column in the query.
    pub(crate) fn infos(&self, query: &str) -> Vec<String> {
        let repairs = self.repairs.iter().map(|(metric, repair)| (repair.describe(metric), repair.at));
        let infos = self.infos.iter().map(|(message, at)| (message.clone(), *at));
        infos.chain(repairs).map(|(message, at)| shown("info", &message, query, at)).collect()
    }
}

fn keep(kept: &mut BTreeMap<String, usize>, at: usize, message: String) {
    if kept.len() < MOST_KEPT || kept.contains_key(&message) {
        kept.entry(message).or_insert(at);
    }
}

impl Repair {
    fn describe(&self, metric: &str) -> String {
        let of = if metric.is_empty() { String::new() } else { format!(" for metric name {metric:?}") };
        let (first, last) = (moment(self.first_millis), moment(self.last_millis));
        let (low, high) = (format_float(self.smallest_bound), format_float(self.largest_bound));
        format!(
            "input to histogram_quantile needed to be fixed for monotonicity (see \
             https://prometheus.io/docs/prometheus/latest/querying/functions/#histogram_quantile){of}, from buckets \
             {low} to {high}, with a max diff of {}, over {} samples from {first} to {last}",
            two_digits(self.largest_fall),
            self.samples
        )
    }
}

fn moment(millis: i64) -> String {
    // The seconds, as messages of Prometheus have them.
    Timestamp::from_second(millis.div_euclid(1000))
        .map_or_else(|_| millis.to_string(), |time| time.to_string())
}

/// Two significant digits.
fn two_digits(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return format_float(value);
    }
    #[expect(clippy::cast_possible_truncation, reason = "an exponent of a finite number")]
    let exponent = value.abs().log10().floor() as i32;
    let unit = 10f64.powi(exponent - 1);
    format_float((value / unit).round() * unit)
}

fn shown(kind: &str, message: &str, query: &str, at: usize) -> String {
    let before = query.get(..at).unwrap_or(query);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
    format!("PromQL {kind}: {message} ({line}:{column})")
}
