//! Binary operators: arithmetic, comparison and sets, one-to-one.

use std::collections::HashMap;

use super::Error;
use super::ast::{BinaryOp, Matching};
use super::value::{Series, Value, merge};
use crate::model::{Labels, METRIC_NAME};

pub(super) fn apply(
    op: BinaryOp,
    matching: &Matching,
    returns_bool: bool,
    left: Value,
    right: Value,
) -> Result<Value, Error> {
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let values = left.into_iter().zip(right).map(|(left, right)| number(op, left, right)).collect();
            Ok(Value::Scalar(values))
        }
        (Value::Vector(left), Value::Scalar(right)) => {
            with_scalar(op, returns_bool, left, &right, false).map(Value::Vector)
        }
        (Value::Scalar(left), Value::Vector(right)) => {
            with_scalar(op, returns_bool, right, &left, true).map(Value::Vector)
        }
        (Value::Vector(left), Value::Vector(right)) if op.is_set() => {
            Ok(Value::Vector(set(op, matching, left, right)))
        }
        (Value::Vector(left), Value::Vector(right)) => {
            one_to_one(op, matching, returns_bool, left, right).map(Value::Vector)
        }
        _ => Err(Error::Execution("an operator needs scalars or instant vectors".to_owned())),
    }
}

/// The operator on two numbers; a comparison gives 1 or 0.
fn number(op: BinaryOp, left: f64, right: f64) -> f64 {
    let truth = |holds: bool| if holds { 1.0 } else { 0.0 };
    match op {
        BinaryOp::Add => left + right,
        BinaryOp::Sub => left - right,
        BinaryOp::Mul => left * right,
        BinaryOp::Div => left / right,
        BinaryOp::Mod => left % right,
        BinaryOp::Pow => left.powf(right),
        BinaryOp::Atan2 => left.atan2(right),
        #[expect(clippy::float_cmp, reason = "PromQL's == is exact")]
        BinaryOp::Equal => truth(left == right),
        #[expect(clippy::float_cmp, reason = "PromQL's != is exact")]
        BinaryOp::NotEqual => truth(left != right),
        BinaryOp::Greater => truth(left > right),
        BinaryOp::Less => truth(left < right),
        BinaryOp::GreaterEqual => truth(left >= right),
        BinaryOp::LessEqual => truth(left <= right),
        BinaryOp::And | BinaryOp::Or | BinaryOp::Unless => f64::NAN,
    }
}

/// Where a comparison filters, it keeps `kept` for the pairs for which it holds.
fn combine(op: BinaryOp, returns_bool: bool, left: f64, right: f64, kept: f64) -> Option<f64> {
    let result = number(op, left, right);
    if op.is_comparison() && !returns_bool { (result > 0.5).then_some(kept) } else { Some(result) }
}

fn with_scalar(
    op: BinaryOp,
    returns_bool: bool,
    series: Vec<Series>,
    scalar: &[f64],
    scalar_is_left: bool,
) -> Result<Vec<Series>, Error> {
    let keeps_name = op.is_comparison() && !returns_bool;
    let result = series
        .into_iter()
        .map(|series| Series {
            labels: if keeps_name { series.labels } else { series.labels.without_name() },
            values: series
                .values
                .into_iter()
                .zip(scalar)
                .map(|(value, scalar)| {
                    let value = value?;
                    let (left, right) = if scalar_is_left { (*scalar, value) } else { (value, *scalar) };
                    combine(op, returns_bool, left, right, value)
                })
                .collect(),
        })
        .collect();
    merge(result)
}

fn signature(matching: &Matching, labels: &Labels) -> Labels {
    match matching {
        Matching::On(names) => labels.filtered(|name| names.iter().any(|wanted| wanted == name)),
        Matching::Ignoring(names) => {
            labels.filtered(|name| name != METRIC_NAME && !names.iter().any(|ignored| ignored == name))
        }
    }
}

type Groups<'a> = HashMap<Labels, Vec<&'a Series>>;

fn groups<'a>(matching: &Matching, series: &'a [Series]) -> Groups<'a> {
    let mut groups = Groups::new();
    for series in series {
        groups.entry(signature(matching, &series.labels)).or_default().push(series);
    }
    groups
}

/// The one value a group has at a step; two are an error.
fn only(group: &[&Series], step: usize) -> Result<Option<f64>, Error> {
    let mut values = group.iter().filter_map(|series| series.values.get(step).copied().flatten());
    let first = values.next();
    if values.next().is_some() {
        let message = "found duplicate series for the match group: many-to-many matching not allowed: \
                       matching labels must be unique on one side";
        return Err(Error::Execution(message.to_owned()));
    }
    Ok(first)
}

fn one_to_one(
    op: BinaryOp,
    matching: &Matching,
    returns_bool: bool,
    left: Vec<Series>,
    right: Vec<Series>,
) -> Result<Vec<Series>, Error> {
    let right_groups = groups(matching, &right);
    let left_groups = groups(matching, &left);
    let mut result = Vec::new();
    for one in &left {
        let key = signature(matching, &one.labels);
        let (Some(partners), Some(siblings)) = (right_groups.get(&key), left_groups.get(&key)) else {
            continue;
        };
        let mut values = Vec::with_capacity(one.values.len());
        for (step, value) in one.values.iter().enumerate() {
            let partner = only(partners, step)?;
            values.push(match (value, partner) {
                (Some(left), Some(right)) => {
                    only(siblings, step)?;
                    combine(op, returns_bool, *left, right, *left)
                }
                _ => None,
            });
        }
        result.push(Series { labels: result_labels(op, matching, returns_bool, &one.labels), values });
    }
    merge(result)
}

fn result_labels(op: BinaryOp, matching: &Matching, returns_bool: bool, labels: &Labels) -> Labels {
    let keeps_name = op.is_comparison() && !returns_bool;
    match matching {
        Matching::On(names) => labels.filtered(|name| {
            (name == METRIC_NAME && keeps_name && names.is_empty())
                || names.iter().any(|wanted| wanted == name)
        }),
        Matching::Ignoring(names) => labels.filtered(|name| {
            if name == METRIC_NAME { keeps_name } else { !names.iter().any(|gone| gone == name) }
        }),
    }
}

fn set(op: BinaryOp, matching: &Matching, left: Vec<Series>, right: Vec<Series>) -> Vec<Series> {
    let present = |groups: &Groups<'_>, key: &Labels, step: usize| {
        groups.get(key).is_some_and(|group| {
            group.iter().any(|series| series.values.get(step).copied().flatten().is_some())
        })
    };
    let keep = |series: &Series, groups: &Groups<'_>, wanted: bool| {
        let key = signature(matching, &series.labels);
        let values = series
            .values
            .iter()
            .enumerate()
            .map(|(step, value)| value.filter(|_| present(groups, &key, step) == wanted))
            .collect();
        Series { labels: series.labels.clone(), values }
    };
    if op == BinaryOp::Or {
        let groups = groups(matching, &left);
        let added: Vec<_> = right.iter().map(|series| keep(series, &groups, false)).collect();
        return left.into_iter().chain(added).collect();
    }
    let groups = groups(matching, &right);
    left.iter().map(|series| keep(series, &groups, op == BinaryOp::And)).collect()
}
