//! Aggregation over labels.

use std::collections::BTreeMap;

use super::ast::{AggregateOp, Grouping};
use super::over_time::quantile;
use super::value::Series;
use crate::model::{Labels, METRIC_NAME};

fn group_labels(grouping: &Grouping, labels: &Labels) -> Labels {
    match grouping {
        Grouping::By(names) => labels.filtered(|name| names.iter().any(|wanted| wanted == name)),
        Grouping::Without(names) => {
            labels.filtered(|name| name != METRIC_NAME && !names.iter().any(|gone| gone == name))
        }
    }
}

pub(super) fn aggregate(
    op: AggregateOp,
    grouping: &Grouping,
    param: Option<&[f64]>,
    series: Vec<Series>,
) -> Vec<Series> {
    let mut groups: BTreeMap<Labels, Vec<Series>> = BTreeMap::new();
    for series in series {
        groups.entry(group_labels(grouping, &series.labels)).or_default().push(series);
    }
    let mut result = Vec::new();
    for (labels, members) in groups {
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                result.extend(extremes(op == AggregateOp::Topk, param.unwrap_or_default(), members));
            }
            _ => result.push(Series { labels, values: fold_steps(op, param, &members) }),
        }
    }
    result
}

fn fold_steps(op: AggregateOp, param: Option<&[f64]>, members: &[Series]) -> Vec<Option<f64>> {
    let steps = members.iter().map(|series| series.values.len()).max().unwrap_or(0);
    let mut present = Vec::with_capacity(members.len());
    (0..steps)
        .map(|step| {
            present.clear();
            present.extend(members.iter().filter_map(|series| series.values.get(step).copied().flatten()));
            let param = param.and_then(|param| param.get(step).copied());
            (!present.is_empty()).then(|| fold(op, param, &mut present))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 series")]
fn fold(op: AggregateOp, param: Option<f64>, values: &mut [f64]) -> f64 {
    let count = values.len() as f64;
    match op {
        AggregateOp::Sum => sum(values),
        AggregateOp::Avg => sum(values) / count,
        AggregateOp::Min => values.iter().copied().reduce(f64::min).unwrap_or(f64::NAN),
        AggregateOp::Max => values.iter().copied().reduce(f64::max).unwrap_or(f64::NAN),
        AggregateOp::Count => count,
        AggregateOp::Stddev => variance(values).sqrt(),
        AggregateOp::Stdvar => variance(values),
        AggregateOp::Quantile => quantile(param.unwrap_or(f64::NAN), values),
        AggregateOp::Group | AggregateOp::Topk | AggregateOp::Bottomk => 1.0,
    }
}

/// Kahan-Neumaier summation, as Prometheus sums: large and small series do not swallow each other.
pub(super) fn sum(values: &[f64]) -> f64 {
    let (mut total, mut lost) = (0.0f64, 0.0f64);
    for value in values {
        let next = total + value;
        if next.is_infinite() {
            lost = 0.0;
        } else if total.abs() >= value.abs() {
            lost += (total - next) + value;
        } else {
            lost += (value - next) + total;
        }
        total = next;
    }
    total + lost
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 series")]
pub(super) fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = sum(values) / count;
    values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / count
}

/// The k largest or smallest of a group at each step, with their own labels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, k below 1 is none"
)]
fn extremes(largest: bool, k: &[f64], mut members: Vec<Series>) -> Vec<Series> {
    let steps = members.iter().map(|series| series.values.len()).max().unwrap_or(0);
    let mut order: Vec<(usize, f64)> = Vec::with_capacity(members.len());
    for step in 0..steps {
        let k = k.get(step).copied().unwrap_or(0.0).max(0.0) as usize;
        order.clear();
        let values = members.iter().enumerate();
        order.extend(
            values.filter_map(|(index, series)| Some((index, series.values.get(step).copied().flatten()?))),
        );
        order.sort_by(|(_, left), (_, right)| compare(*left, *right, largest));
        for (index, _) in order.iter().skip(k) {
            if let Some(value) = members.get_mut(*index).and_then(|series| series.values.get_mut(step)) {
                *value = None;
            }
        }
    }
    // At a single step the order is the answer's order.
    if steps == 1 {
        members.sort_by(|left, right| {
            let value = |series: &Series| series.values.first().copied().flatten().unwrap_or(f64::NAN);
            compare(value(left), value(right), largest)
        });
    }
    members
}

/// NaN sorts last either way.
pub(super) fn compare(left: f64, right: f64, descending: bool) -> std::cmp::Ordering {
    match (left.is_nan(), right.is_nan()) {
        (true, true) => std::cmp::Ordering::Equal,
        (true, false) => std::cmp::Ordering::Greater,
        (false, true) => std::cmp::Ordering::Less,
        (false, false) if descending => right.total_cmp(&left),
        (false, false) => left.total_cmp(&right),
    }
}
