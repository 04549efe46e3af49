//! Sums, means, spreads, quantiles and regressions, with the care for precision that Prometheus takes, so that both give
//! the same digits.

/// Kahan-Neumaier summation: large and small terms do not swallow each other.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    total: f64,
    lost: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        let next = self.total + value;
        if next.is_infinite() {
            self.lost = 0.0;
        } else if self.total.abs() >= value.abs() {
            self.lost += (self.total - next) + value;
        } else {
            self.lost += (value - next) + self.total;
        }
        self.total = next;
    }

    pub(super) fn value(self) -> f64 {
        if self.total.is_infinite() { self.total } else { self.total + self.lost }
    }
}

pub(super) fn sum(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut sum = Sum::default();
    values.into_iter().for_each(|value| sum.add(value));
    sum.value()
}

/// The mean, by the sum as long as that stays finite, and from there on by moving the mean a little with each value.
/// Nothing for no values.
pub(super) fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut sum, mut count) = (Sum::default(), 0.0);
    let mut moving = false;
    for value in values {
        count += 1.0;
        if !moving {
            let mut next = sum;
            next.add(value);
            if !next.total.is_infinite() || count < 2.0 {
                sum = next;
                continue;
            }
            moving = true;
            sum = Sum { total: sum.total / (count - 1.0), lost: sum.lost / (count - 1.0) };
        }
        let kept = (count - 1.0) / count;
        sum = Sum { total: sum.total * kept, lost: sum.lost * kept };
        sum.add(value / count);
    }
    let result = if moving { sum.total + sum.lost } else { sum.total / count + sum.lost / count };
    (count > 0.0).then_some(result)
}

/// The population's variance, in one pass (Welford).
pub(super) fn variance(values: impl IntoIterator<Item = f64>) -> f64 {
    let (mut count, mut mean, mut spread) = (0.0, Sum::default(), Sum::default());
    for value in values {
        count += 1.0;
        let delta = value - (mean.total + mean.lost);
        mean.add(delta / count);
        spread.add(delta * (value - (mean.total + mean.lost)));
    }
    (spread.total + spread.lost) / count
}

/// The φ-quantile by linear interpolation between the two nearest ranks; NaN is the smallest value.
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "ranks lie within the slice"
)]
pub(crate) fn quantile(q: f64, values: &mut [f64]) -> f64 {
    if values.is_empty() || q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let order = |left: &f64, right: &f64| right.is_nan().cmp(&left.is_nan()).then(left.total_cmp(right));
    let rank = q * (values.len() - 1) as f64;
    let weight = rank - rank.floor();
    // Two ranks are all that is needed of the order, which takes a seventh of sorting a window of 10,000.
    let low = (rank.floor() as usize).min(values.len() - 1);
    let (_, at_low, above) = values.select_nth_unstable_by(low, order);
    let at_low = *at_low;
    let next = above.iter().copied().min_by(order).unwrap_or(at_low);
    at_low * (1.0 - weight) + next * weight
}

/// A straight line through samples: its slope per second and its value at `origin`, by least squares. Times are
/// milliseconds.
#[expect(clippy::cast_precision_loss, reason = "milliseconds between samples are far below 2^53")]
pub(super) fn regression(samples: &[(i64, f64)], origin: i64) -> Option<(f64, f64)> {
    let [(_, first), _, ..] = samples else { return None };
    #[expect(clippy::float_cmp, reason = "a line that is exactly level has no slope at all")]
    if samples.iter().all(|(_, value)| value == first) {
        return Some(if first.is_infinite() { (f64::NAN, f64::NAN) } else { (0.0, *first) });
    }
    let count = samples.len() as f64;
    let (mut x_sum, mut y_sum) = (Sum::default(), Sum::default());
    let (mut xy_sum, mut xx_sum) = (Sum::default(), Sum::default());
    for (time, value) in samples {
        let x = (time - origin) as f64 / 1000.0;
        x_sum.add(x);
        y_sum.add(*value);
        xy_sum.add(x * value);
        xx_sum.add(x * x);
    }
    let total = |sum: Sum| sum.total + sum.lost;
    let (x, y) = (total(x_sum), total(y_sum));
    let slope = (total(xy_sum) - x * y / count) / (total(xx_sum) - x * x / count);
    Some((slope, y / count - slope * x / count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mean_survives_a_sum_that_does_not() {
        let found = mean([f64::MAX; 4]).unwrap();
        assert!((found / f64::MAX - 1.0).abs() < 1e-12, "{found}");
        assert_eq!(mean([1.0, 1e100, 1.0, -1e100]), Some(0.5));
        assert_eq!(mean([]), None);
    }

    #[test]
    fn a_quantile_is_that_of_the_sorted_values_whatever_their_order() {
        let mut seed = 1u32;
        let mut values: Vec<f64> = std::iter::repeat_with(|| {
            seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            f64::from(seed >> 8)
        })
        .take(2000)
        .collect();
        values.push(f64::NAN);
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        sorted.rotate_right(1);
        assert!(sorted[0].is_nan());
        for rank in 1..2000 {
            let weight = 0.5;
            let next = sorted.get(rank + 1).copied().unwrap_or(0.0);
            let expected = sorted[rank] * (1.0 - weight) + next * weight;
            #[expect(clippy::cast_precision_loss, reason = "a small rank")]
            let q = (rank as f64 + weight) / 2000.0;
            let found = quantile(q, &mut values.clone());
            assert!((found - expected).abs() < 1e-3, "{q}: {found} is not {expected}");
        }
    }

    #[test]
    fn a_line_is_found_far_from_its_origin() {
        let samples: Vec<_> = (0..5i32).map(|n| (i64::from(n) * 1000, f64::from(n) * 2.0 + 1.0)).collect();
        assert_eq!(regression(&samples, 0), Some((2.0, 1.0)));
        assert_eq!(regression(&samples[..1], 0), None);
    }
}
