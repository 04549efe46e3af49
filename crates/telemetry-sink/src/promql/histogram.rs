//! `histogram_quantile` and `histogram_fraction` over classic buckets: series that count what is at most their label `le`.

use std::collections::BTreeMap;

use super::Error;
use super::aggregate::warn_of_quantile;
use super::annotations::Repair;
use super::ast::Expr;
use super::eval::Evaluator;
use super::value::Series;
use crate::model::Labels;

/// Counts of neighbours that differ by less than this part of them are the same count, computed differently.
const SAME_COUNT: f64 = 1e-12;

/// A bucket's upper bound and how many observations are at most that.
type Bucket = (f64, f64);

struct BucketSeries {
    upper: f64,
    series: Series,
}

/// One histogram: its labels without `le`, and its buckets by their bounds.
struct Histogram {
    labels: Labels,
    buckets: Vec<BucketSeries>,
}

impl Histogram {
    /// The buckets with a value at the step; those of one bound ("1" and "1.0") are one bucket.
    fn at(&self, step: usize) -> Vec<Bucket> {
        let mut found: Vec<Bucket> = Vec::with_capacity(self.buckets.len());
        for bucket in &self.buckets {
            let Some(count) = bucket.series.at(step) else { continue };
            match found.last_mut() {
                Some((upper, sum)) if upper.total_cmp(&bucket.upper).is_eq() => *sum += count,
                _ => found.push((bucket.upper, count)),
            }
        }
        found
    }
}

pub(super) fn quantile(evaluator: &Evaluator<'_>, q: &Expr, vector: &Expr) -> Result<Vec<Series>, Error> {
    let qs = evaluator.scalar(q)?;
    for value in &qs {
        warn_of_quantile(evaluator, *value, q.at);
    }
    let times: Vec<i64> = evaluator.query.steps().collect();
    let found = histograms(evaluator, vector)?.into_iter().map(|histogram| {
        let values = qs.iter().zip(&times).enumerate().map(|(step, (q, time))| {
            let mut buckets = histogram.at(step);
            if buckets.is_empty() {
                return None;
            }
            if let Some(repair) = make_monotonic(&mut buckets, vector.at, *time)
                && (0.0..=1.0).contains(q)
            {
                evaluator.annotate(|notes| notes.repaired(histogram.labels.name(), repair));
            }
            Some(bucket_quantile(*q, &buckets))
        });
        Series { values: values.collect(), labels: histogram.labels.clone(), drops_name: true }
    });
    Ok(found.collect())
}

pub(super) fn fraction(
    evaluator: &Evaluator<'_>,
    lower: &Expr,
    upper: &Expr,
    vector: &Expr,
) -> Result<Vec<Series>, Error> {
    let (lowers, uppers) = (evaluator.scalar(lower)?, evaluator.scalar(upper)?);
    let found = histograms(evaluator, vector)?.into_iter().map(|histogram| {
        let values = lowers.iter().zip(&uppers).enumerate().map(|(step, (lower, upper))| {
            let buckets = histogram.at(step);
            (!buckets.is_empty()).then(|| bucket_fraction(*lower, *upper, &buckets))
        });
        Series { values: values.collect(), labels: histogram.labels.clone(), drops_name: true }
    });
    Ok(found.collect())
}

fn histograms(evaluator: &Evaluator<'_>, vector: &Expr) -> Result<Vec<Histogram>, Error> {
    let mut histograms: BTreeMap<Labels, Histogram> = BTreeMap::new();
    for series in evaluator.vector(vector)? {
        let Some(upper) = series.labels.get("le").and_then(parse_bound) else {
            warn_of_bound(evaluator, &series.labels, vector.at);
            continue;
        };
        let labels = series.labels.filtered(|name| name != "le");
        let histogram =
            histograms.entry(labels.clone()).or_insert_with(|| Histogram { labels, buckets: Vec::new() });
        histogram.buckets.push(BucketSeries { upper, series });
    }
    let mut histograms: Vec<Histogram> = histograms.into_values().collect();
    for histogram in &mut histograms {
        histogram.buckets.sort_by(|left, right| left.upper.total_cmp(&right.upper));
    }
    Ok(histograms)
}

fn parse_bound(text: &str) -> Option<f64> {
    match text {
        "+Inf" | "Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

fn warn_of_bound(evaluator: &Evaluator<'_>, labels: &Labels, at: usize) {
    let bound = labels.get("le").unwrap_or("");
    let of = if labels.name().is_empty() {
        String::new()
    } else {
        format!(" for metric name {:?}", labels.name())
    };
    evaluator.annotate(|notes| {
        notes.warn(at, format!("bucket label \"le\" is missing or has a malformed value of {bound:?}{of}"));
    });
}

/// Makes counts that fall rise: scrapes that straddle an observation can make a bucket smaller than the one before it.
/// Answers what was repaired, unless it is no more than the rounding of sums.
fn make_monotonic(buckets: &mut [Bucket], at: usize, time: i64) -> Option<Repair> {
    let mut repair: Option<Repair> = None;
    let [(_, first), rest @ ..] = buckets else { return None };
    let mut before = *first;
    for (upper, count) in rest {
        let largest = before.abs().max(count.abs());
        if (before - *count).abs() < SAME_COUNT * largest {
            *count = before;
        } else if *count < before {
            let fall = before - *count;
            *count = before;
            let repair = repair.get_or_insert(Repair {
                at,
                first_millis: time,
                last_millis: time,
                smallest_bound: *upper,
                largest_bound: *upper,
                largest_fall: fall,
                samples: 1,
            });
            repair.smallest_bound = repair.smallest_bound.min(*upper);
            repair.largest_bound = repair.largest_bound.max(*upper);
            repair.largest_fall = repair.largest_fall.max(fall);
        } else {
            before = *count;
        }
    }
    repair
}

/// Linear interpolation within the bucket the rank falls into, as Prometheus' `BucketQuantile`. The counts rise.
fn bucket_quantile(q: f64, buckets: &[Bucket]) -> f64 {
    if q.is_nan() {
        return f64::NAN;
    }
    if q < 0.0 {
        return f64::NEG_INFINITY;
    }
    if q > 1.0 {
        return f64::INFINITY;
    }
    let [below @ .., (last_upper, observations)] = buckets else { return f64::NAN };
    let Some((second_upper, _)) = below.last() else { return f64::NAN };
    if !last_upper.is_infinite() || observations.is_nan() || *observations <= 0.0 {
        return f64::NAN;
    }
    let rank = q * observations;
    let Some(index) = below.iter().position(|(_, count)| *count >= rank) else { return *second_upper };
    let (upper, count) = below.get(index).copied().unwrap_or_default();
    match index.checked_sub(1).and_then(|index| below.get(index)) {
        None if upper <= 0.0 => upper,
        None => upper * (rank / count),
        Some((lower, lower_count)) => {
            lower + (upper - lower) * ((rank - lower_count) / (count - lower_count))
        }
    }
}

/// The part of the observations that lies between two values, interpolated as for quantiles.
fn bucket_fraction(lower: f64, upper: f64, buckets: &[Bucket]) -> f64 {
    let Some((last_upper, observations)) = buckets.last() else { return f64::NAN };
    let unknown = !last_upper.is_infinite() || lower.is_nan() || upper.is_nan();
    if unknown || *observations == 0.0 || observations.is_nan() {
        return f64::NAN;
    }
    if lower >= upper {
        return 0.0;
    }
    let at_most = |value: f64| rank_of(value, buckets).min(*observations);
    (at_most(upper) - at_most(lower)) / observations
}

/// How many observations are below a value.
fn rank_of(value: f64, buckets: &[Bucket]) -> f64 {
    let (mut start, mut rank) = match buckets.first() {
        // Below a first bound above zero there are positive values only.
        Some((upper, _)) if *upper > 0.0 => (0.0, 0.0),
        _ => (f64::NEG_INFINITY, 0.0),
    };
    for (upper, count) in buckets {
        if start >= value {
            return rank;
        }
        if *upper > value {
            // In a bucket without a lower bound nothing tells where its observations lie.
            let part = (value - start) / (upper - start);
            return if start.is_infinite() { *count } else { rank + (count - rank) * part };
        }
        (start, rank) = (*upper, *count);
    }
    rank
}
