//! Exemplars: single observations that lead from a series to the trace in which they were made.

use std::cmp::Ordering;

use super::Labels;

/// Characters that the names and values of an exemplar's labels may have together, by OpenMetrics.
pub(crate) const MAX_EXEMPLAR_CHARS: usize = 128;
/// Exemplars of one batch; the thousands of a larger one would lead to no other traces.
pub(crate) const MAX_BATCH_EXEMPLARS: usize = 10_000;

/// One observation of a series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Exemplar {
    /// Of the series that it belongs to.
    pub(crate) series: Labels,
    /// Its own, such as `trace_id`.
    pub(crate) labels: Labels,
    pub(crate) value: f64,
    /// Milliseconds since the Unix epoch.
    pub(crate) time: i64,
    /// Whether the sender said when it was; otherwise the time is that of the sample it came with.
    pub(crate) timed: bool,
}

impl Exemplar {
    /// The order in which a series takes its exemplars, as Prometheus has it.
    pub(crate) fn order(&self, other: &Self) -> Ordering {
        let by_value = || self.value.total_cmp(&other.value);
        self.time.cmp(&other.time).then_with(by_value).then_with(|| self.labels.cmp(&other.labels))
    }

    /// Whether it says what another one of its series says. One without a time of its own comes again with each scrape.
    pub(crate) fn repeats(&self, other: &Self) -> bool {
        let same_time = self.time == other.time || !(self.timed || other.timed);
        same_time && self.value.to_bits() == other.value.to_bits() && self.labels == other.labels
    }

    pub(crate) fn is_too_long(&self) -> bool {
        let chars = |text: &str| text.chars().count();
        self.labels.iter().map(|(name, value)| chars(name) + chars(value)).sum::<usize>() > MAX_EXEMPLAR_CHARS
    }
}
