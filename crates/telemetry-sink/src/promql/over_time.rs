//! Functions over the samples of a range, one value for each window.

use super::eval::Window;
use super::rate::{extrapolated, last_two};
use super::statistics::{mean, quantile, regression, sum, variance};

/// What a range function computes from one window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum RangeOp {
    Rate,
    Increase,
    Delta,
    Irate,
    Idelta,
    Deriv,
    Changes,
    Resets,
    Avg,
    Sum,
    Min,
    Max,
    Count,
    First,
    Last,
    Mad,
    Present,
    Stddev,
    Stdvar,
    TimeOfFirst,
    TimeOfLast,
    TimeOfMin,
    TimeOfMax,
}

impl RangeOp {
    /// Whether the result is still a sample of the metric.
    pub(super) fn keeps_name(self) -> bool {
        matches!(self, Self::First | Self::Last)
    }

    /// Whether the range should hold a counter.
    pub(super) fn wants_counter(self) -> bool {
        matches!(self, Self::Rate | Self::Increase)
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn apply(op: RangeOp, window: &Window<'_>) -> Option<f64> {
    let samples = window.samples;
    let values = || samples.iter().map(|(_, value)| *value);
    let (first_time, first) = samples.first()?;
    let (last_time, last) = samples.last()?;
    match op {
        RangeOp::Rate => extrapolated(window, true, true),
        RangeOp::Increase => extrapolated(window, true, false),
        RangeOp::Delta => extrapolated(window, false, false),
        RangeOp::Irate => last_two(samples, true),
        RangeOp::Idelta => last_two(samples, false),
        // Near the values, which keeps the digits that a time since 1970 would cost.
        RangeOp::Deriv => regression(samples, *first_time).map(|(slope, _)| slope),
        RangeOp::Changes => Some(pairs(samples, |before, after| !same(before, after))),
        RangeOp::Resets => Some(pairs(samples, |before, after| after < before)),
        RangeOp::Avg => mean(values()),
        RangeOp::Sum => Some(sum(values())),
        RangeOp::Min => values().reduce(f64::min),
        RangeOp::Max => values().reduce(f64::max),
        RangeOp::Count => Some(samples.len() as f64),
        RangeOp::First => Some(*first),
        RangeOp::Last => Some(*last),
        RangeOp::Mad => {
            // Nothing is known of how far values are from one that is none.
            if values().any(f64::is_nan) {
                return Some(f64::NAN);
            }
            let mut all: Vec<f64> = values().collect();
            let median = quantile(0.5, &mut all);
            let mut apart: Vec<f64> = all.iter().map(|value| (value - median).abs()).collect();
            Some(quantile(0.5, &mut apart))
        }
        RangeOp::Present => Some(1.0),
        RangeOp::Stddev => Some(variance(values()).sqrt()),
        RangeOp::Stdvar => Some(variance(values())),
        RangeOp::TimeOfFirst => Some(*first_time as f64 / 1000.0),
        RangeOp::TimeOfLast => Some(*last_time as f64 / 1000.0),
        RangeOp::TimeOfMin => extreme_time(samples, |best, value| value <= best),
        RangeOp::TimeOfMax => extreme_time(samples, |best, value| value >= best),
    }
}

/// The time of the extreme that comes last; a number beats NaN.
#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
fn extreme_time(samples: &[(i64, f64)], beats: impl Fn(f64, f64) -> bool) -> Option<f64> {
    let mut best = *samples.first()?;
    for (time, value) in samples {
        if beats(best.1, *value) || best.1.is_nan() {
            best = (*time, *value);
        }
    }
    Some(best.0 as f64 / 1000.0)
}

#[expect(clippy::float_cmp, reason = "a change is any change; positive and negative zero are the same value")]
fn same(left: f64, right: f64) -> bool {
    left == right || (left.is_nan() && right.is_nan())
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn pairs(samples: &[(i64, f64)], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples
        .windows(2)
        .filter(|pair| matches!(pair, [(_, before), (_, after)] if counts(*before, *after)))
        .count() as f64
}

/// Holt's double exponential smoothing: `level` weighs new values, `trend` new slopes, both between 0 and 1.
pub(super) fn smoothed(samples: &[(i64, f64)], level: f64, trend: f64) -> Option<f64> {
    let [(_, first), rest @ ..] = samples else { return None };
    let (_, second) = rest.first()?;
    let (mut before, mut value, mut slope) = (*first, *first, second - first);
    for (index, (_, next)) in rest.iter().enumerate() {
        if index > 0 {
            slope = trend * (value - before) + (1.0 - trend) * slope;
        }
        before = value;
        value = level * next + (1.0 - level) * (value + slope);
    }
    Some(value)
}
