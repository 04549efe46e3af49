//! Aggregation over labels.

use std::collections::BTreeMap;

use super::Error;
use super::ast::{Aggregate, AggregateOp, Grouping, Node};
use super::eval::Evaluator;
use super::statistics::{mean, quantile, sum, variance};
use super::value::{Series, format_float, merge};
use crate::model::{Labels, METRIC_NAME};

/// Above this a count of series is no count any more.
const LARGEST_K: f64 = 9_223_372_036_854_775_807.0;

type Groups = BTreeMap<Labels, Vec<Series>>;

pub(super) fn aggregate(evaluator: &Evaluator<'_>, aggregate: &Aggregate) -> Result<Vec<Series>, Error> {
    let Aggregate { op, grouping, param, expr } = aggregate;
    if let (AggregateOp::CountValues, Some(Node::Text(label))) =
        (op, param.as_ref().map(|param| &param.bare().node))
    {
        return count_values(grouping, label, evaluator.vector(expr)?);
    }
    let values = param.as_ref().map(|param| evaluator.scalar(param)).transpose()?.unwrap_or_default();
    match (op, param) {
        (AggregateOp::Topk | AggregateOp::Bottomk, _) => check_counts(&values)?,
        (AggregateOp::Quantile, Some(param)) => {
            for q in &values {
                warn_of_quantile(evaluator, *q, param.at);
            }
        }
        _ => {}
    }
    let mut result = Vec::new();
    for (labels, members) in groups(grouping, evaluator.vector(expr)?) {
        evaluator.check_deadline()?;
        match op {
            AggregateOp::Topk | AggregateOp::Bottomk => {
                result.extend(extremes(*op == AggregateOp::Topk, &values, members));
            }
            _ => {
                let drops_name = members.iter().any(|series| series.drops_name);
                result.push(Series { labels, drops_name, values: fold_steps(*op, &values, &members) });
            }
        }
    }
    Ok(result)
}

/// Warns of a φ that is no quantile.
pub(super) fn warn_of_quantile(evaluator: &Evaluator<'_>, q: f64, at: usize) {
    if !(0.0..=1.0).contains(&q) {
        let got = format_float(q);
        evaluator.annotate(|notes| {
            notes.warn(at, format!("quantile value should be between 0 and 1, got {got}"));
        });
    }
}

fn check_counts(counts: &[f64]) -> Result<(), Error> {
    for count in counts {
        if count.is_nan() {
            return Err(Error::Execution("Parameter value is NaN".to_owned()));
        }
        if count.abs() >= LARGEST_K {
            let count = format_float(*count);
            return Err(Error::Execution(format!("Scalar value {count} overflows int64")));
        }
    }
    Ok(())
}

fn group_labels(grouping: &Grouping, labels: &Labels) -> Labels {
    match grouping {
        Grouping::By(names) => labels.filtered(|name| names.iter().any(|wanted| wanted == name)),
        Grouping::Without(names) => {
            labels.filtered(|name| name != METRIC_NAME && !names.iter().any(|gone| gone == name))
        }
    }
}

fn groups(grouping: &Grouping, series: Vec<Series>) -> Groups {
    let mut groups = Groups::new();
    for series in series {
        groups.entry(group_labels(grouping, &series.labels)).or_default().push(series);
    }
    groups
}

fn steps_of(members: &[Series]) -> usize {
    members.iter().map(|series| series.values.len()).max().unwrap_or(0)
}

fn fold_steps(op: AggregateOp, params: &[f64], members: &[Series]) -> Vec<Option<f64>> {
    let mut present = Vec::with_capacity(members.len());
    (0..steps_of(members))
        .map(|step| {
            present.clear();
            present.extend(members.iter().filter_map(|series| series.at(step)));
            let param = params.get(step).copied().unwrap_or(f64::NAN);
            (!present.is_empty()).then(|| fold(op, param, &mut present))
        })
        .collect()
}

#[expect(clippy::cast_precision_loss, reason = "nobody has 2^53 series")]
fn fold(op: AggregateOp, param: f64, values: &mut [f64]) -> f64 {
    let all = || values.iter().copied();
    match op {
        AggregateOp::Sum => sum(all()),
        AggregateOp::Avg => mean(all()).unwrap_or(f64::NAN),
        AggregateOp::Min => all().reduce(f64::min).unwrap_or(f64::NAN),
        AggregateOp::Max => all().reduce(f64::max).unwrap_or(f64::NAN),
        AggregateOp::Count => values.len() as f64,
        AggregateOp::Stddev => variance(all()).sqrt(),
        AggregateOp::Stdvar => variance(all()),
        AggregateOp::Quantile => quantile(param, values),
        AggregateOp::Group | AggregateOp::CountValues | AggregateOp::Topk | AggregateOp::Bottomk => 1.0,
    }
}

/// How many series have each value, one result for each group and value.
fn count_values(grouping: &Grouping, label: &str, series: Vec<Series>) -> Result<Vec<Series>, Error> {
    if label.is_empty() {
        return Err(Error::Execution(format!("invalid label name {label:?}")));
    }
    let mut counted = BTreeMap::<Labels, (bool, Vec<Option<f64>>)>::new();
    for (labels, members) in groups(grouping, series) {
        let steps = steps_of(&members);
        for one in &members {
            for (step, value) in one.values.iter().enumerate() {
                let Some(value) = value else { continue };
                let labels = labels.to_builder().set(label, &format_float(*value)).build();
                let (drops_name, counts) =
                    counted.entry(labels).or_insert_with(|| (false, vec![None; steps]));
                *drops_name |= one.drops_name && label != METRIC_NAME;
                if let Some(count) = counts.get_mut(step) {
                    *count = Some(count.unwrap_or(0.0) + 1.0);
                }
            }
        }
    }
    let series =
        counted.into_iter().map(|(labels, (drops_name, values))| Series { labels, drops_name, values });
    merge(series.collect())
}

/// The k largest or smallest of a group at each step, with their own labels.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast saturates, k below 1 is none"
)]
fn extremes(largest: bool, k: &[f64], mut members: Vec<Series>) -> Vec<Series> {
    let mut order: Vec<(usize, f64)> = Vec::with_capacity(members.len());
    let steps = steps_of(&members);
    for step in 0..steps {
        let k = k.get(step).copied().unwrap_or(0.0).max(0.0) as usize;
        order.clear();
        let values = members.iter().enumerate();
        order.extend(values.filter_map(|(index, series)| Some((index, series.at(step)?))));
        order.sort_by(|(_, left), (_, right)| compare(*left, *right, largest));
        for (index, _) in order.iter().skip(k) {
            if let Some(value) = members.get_mut(*index).and_then(|series| series.values.get_mut(step)) {
                *value = None;
            }
        }
    }
    // At a single step the order of the values is the answer's order.
    if steps == 1 {
        let value = |series: &Series| series.at(0).unwrap_or(f64::NAN);
        members.sort_by(|left, right| compare(value(left), value(right), largest));
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
