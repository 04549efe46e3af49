//! Functions over the samples of a range: rates and `*_over_time`.

use super::aggregate::{sum, variance};
use super::eval::Window;

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
    Last,
    Present,
    Stddev,
    Stdvar,
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn apply(op: RangeOp, window: &Window<'_>) -> Option<f64> {
    let samples = window.samples;
    let values = || samples.iter().map(|(_, value)| *value).collect::<Vec<f64>>();
    let (_, last) = samples.last()?;
    match op {
        RangeOp::Rate => extrapolated(window, true, true),
        RangeOp::Increase => extrapolated(window, true, false),
        RangeOp::Delta => extrapolated(window, false, false),
        RangeOp::Irate => last_two(samples, true),
        RangeOp::Idelta => last_two(samples, false),
        RangeOp::Deriv => slope(samples),
        RangeOp::Changes => Some(pairs(samples, |before, after| !same(before, after))),
        RangeOp::Resets => Some(pairs(samples, |before, after| after < before)),
        RangeOp::Avg => Some(sum(&values()) / samples.len() as f64),
        RangeOp::Sum => Some(sum(&values())),
        RangeOp::Min => values().into_iter().reduce(f64::min),
        RangeOp::Max => values().into_iter().reduce(f64::max),
        RangeOp::Count => Some(samples.len() as f64),
        RangeOp::Last => Some(*last),
        RangeOp::Present => Some(1.0),
        RangeOp::Stddev => Some(variance(&values()).sqrt()),
        RangeOp::Stdvar => Some(variance(&values())),
    }
}

fn same(left: f64, right: f64) -> bool {
    left.to_bits() == right.to_bits()
        || left.total_cmp(&right).is_eq()
        || (left.is_nan() && right.is_nan())
        || {
            #[expect(clippy::float_cmp, reason = "positive and negative zero are the same value")]
            let equal = left == right;
            equal
        }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn pairs(samples: &[(i64, f64)], counts: impl Fn(f64, f64) -> bool) -> f64 {
    samples
        .windows(2)
        .filter(|pair| matches!(pair, [(_, before), (_, after)] if counts(*before, *after)))
        .count() as f64
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds between samples are far below 2^53")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// `rate`, `increase` and `delta`: the change between the first and the last sample, extended to the
/// window's edges when samples come close to them, never below zero for a counter. The rule is
/// Prometheus' `extrapolatedRate`.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn extrapolated(window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
    let [(first_time, first), .., (last_time, last)] = window.samples else { return None };
    let mut change = last - first;
    if is_counter {
        let resets = window.samples.windows(2).filter_map(|pair| match pair {
            [(_, before), (_, after)] if after < before => Some(*before),
            _ => None,
        });
        change += resets.sum::<f64>();
    }
    let sampled = seconds(last_time - first_time);
    let average = sampled / (window.samples.len() - 1) as f64;
    let threshold = average * 1.1;
    let mut to_start = seconds(first_time - window.start);
    let mut to_end = seconds(window.end - last_time);
    if to_start >= threshold {
        to_start = average / 2.0;
    }
    if is_counter && change > 0.0 && *first >= 0.0 {
        to_start = to_start.min(sampled * (first / change));
    }
    if to_end >= threshold {
        to_end = average / 2.0;
    }
    let extended = change * ((sampled + to_start + to_end) / sampled);
    Some(if is_rate { extended / seconds(window.end - window.start) } else { extended })
}

fn last_two(samples: &[(i64, f64)], is_rate: bool) -> Option<f64> {
    let [.., (before_time, before), (time, value)] = samples else { return None };
    let change = if is_rate && value < before { *value } else { value - before };
    Some(if is_rate { change / seconds(time - before_time) } else { change })
}

/// Least squares, against the first sample's time to keep precision.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn slope(samples: &[(i64, f64)]) -> Option<f64> {
    let [(origin, _), _, ..] = samples else { return None };
    let count = samples.len() as f64;
    let mean_x = samples.iter().map(|(time, _)| seconds(time - origin)).sum::<f64>() / count;
    let mean_y = samples.iter().map(|(_, value)| value).sum::<f64>() / count;
    let (mut covariance, mut spread) = (0.0, 0.0);
    for (time, value) in samples {
        let x = seconds(time - origin) - mean_x;
        covariance += x * (value - mean_y);
        spread += x * x;
    }
    Some(covariance / spread)
}

/// The φ-quantile by linear interpolation between the two nearest ranks.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks lie within the slice"
)]
pub(super) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    values.sort_by(f64::total_cmp);
    let rank = q * (values.len() - 1) as f64;
    let low = rank.floor() as usize;
    let at = |index: usize| values.get(index).or(values.last()).copied().unwrap_or(f64::NAN);
    let weight = rank - rank.floor();
    at(low) * (1.0 - weight) + at(low + 1) * weight
}
