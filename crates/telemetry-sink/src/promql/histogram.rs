//! `histogram_quantile` over classic buckets.

use std::collections::BTreeMap;

use super::value::Series;
use crate::model::{Labels, METRIC_NAME};

struct Bucket {
    upper: f64,
    values: Vec<Option<f64>>,
}

pub(super) fn histogram_quantile(q: &[f64], series: Vec<Series>) -> Vec<Series> {
    let mut groups: BTreeMap<Labels, Vec<Bucket>> = BTreeMap::new();
    for series in series {
        let Some(upper) = series.labels.get("le").and_then(parse_bound) else { continue };
        let labels = series.labels.filtered(|name| name != "le" && name != METRIC_NAME);
        groups.entry(labels).or_default().push(Bucket { upper, values: series.values });
    }
    groups
        .into_iter()
        .map(|(labels, mut buckets)| {
            buckets.sort_by(|left, right| left.upper.total_cmp(&right.upper));
            let values = q.iter().enumerate().map(|(step, q)| at_step(*q, step, &buckets)).collect();
            Series { labels, values }
        })
        .collect()
}

fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

fn at_step(q: f64, step: usize, buckets: &[Bucket]) -> Option<f64> {
    let mut counts: Vec<(f64, f64)> = Vec::with_capacity(buckets.len());
    for bucket in buckets {
        let Some(count) = bucket.values.get(step).copied().flatten() else { continue };
        match counts.last_mut() {
            // "1" and "1.0" name the same bound.
            Some((upper, sum)) if upper.total_cmp(&bucket.upper).is_eq() => *sum += count,
            _ => counts.push((bucket.upper, count)),
        }
    }
    (!counts.is_empty()).then(|| bucket_quantile(q, counts))
}

/// Linear interpolation within the bucket the rank falls into, as Prometheus' `BucketQuantile`.
fn bucket_quantile(q: f64, mut buckets: Vec<(f64, f64)>) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    // Scrapes that straddle an observation can make a bucket smaller than the one before it.
    let mut highest = f64::NEG_INFINITY;
    for (_, count) in &mut buckets {
        highest = highest.max(*count);
        *count = highest;
    }
    let [below @ .., (last_upper, observations)] = buckets.as_slice() else { return f64::NAN };
    let Some((second_upper, _)) = below.last() else { return f64::NAN };
    if !last_upper.is_infinite() || observations.is_nan() || *observations <= 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let Some(index) = below.iter().position(|(_, count)| *count >= rank) else { return *second_upper };
    let (upper, count) = below.get(index).copied().unwrap_or_default();
    let before = index.checked_sub(1).and_then(|index| below.get(index));
    match before {
        None if upper <= 0.0 => upper,
        None => upper * (rank / count),
        Some((lower, lower_count)) => {
            lower + (upper - lower) * ((rank - lower_count) / (count - lower_count))
        }
    }
}
