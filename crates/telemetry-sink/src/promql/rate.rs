//! Rates and differences over the samples of a range.

use super::eval::Window;

#[expect(clippy::cast_precision_loss, reason = "milliseconds between samples are far below 2^53")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// `rate`, `increase` and `delta`: the change between the first and the last sample, extended to the
/// window's edges when samples come close to them, never below zero for a counter. The rule is
/// Prometheus' `extrapolatedRate`.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub(super) fn extrapolated(window: &Window<'_>, is_counter: bool, is_rate: bool) -> Option<f64> {
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
    let mut factor = (sampled + to_start + to_end) / sampled;
    if is_rate {
        factor /= seconds(window.end - window.start);
    }
    Some(change * factor)
}

/// `irate` and `idelta`: the change between the last two samples.
pub(super) fn last_two(samples: &[(i64, f64)], is_rate: bool) -> Option<f64> {
    let [.., (before_time, before), (time, value)] = samples else { return None };
    let change = if is_rate && value < before { *value } else { value - before };
    Some(if is_rate { change / seconds(time - before_time) } else { change })
}
