//! Compares an answer with what a script expects.

use std::collections::HashMap;

use super::parse::{Eval, Expect, Expected, Kind};
use crate::model::Labels;
use crate::promql::{Answer, Error, Series, Value};

/// Values differ when they are apart by more than this part of them.
const EPSILON: f64 = 1e-6;

/// Whether the expected result has a value for each step, which a range vector and a text have not.
pub(super) fn has_steps(eval: &Eval) -> bool {
    matches!(eval.result, Expected::Scalar(_) | Expected::Series(_)) && !eval.is_ordered()
}

pub(super) fn check(eval: &Eval, answer: &Result<Answer, Error>) -> Result<(), String> {
    let answer = match answer {
        Ok(_) if eval.fails() => return Err("it should fail".to_owned()),
        Ok(answer) => answer,
        Err(error) => return failure(eval, &error.to_string()),
    };
    messages(eval, [Kind::Warn, Kind::NoWarn], &answer.annotations.warnings(&eval.query))?;
    messages(eval, [Kind::Info, Kind::NoInfo], &answer.annotations.infos(&eval.query))?;
    match (&eval.result, &answer.value) {
        (Expected::Scalar(wanted), Value::Scalar(values)) => {
            values.first().map_or(Err("no value".to_owned()), |value| equal("the scalar", *wanted, *value))
        }
        (Expected::Text(wanted), Value::Text(text)) if wanted == text => Ok(()),
        (Expected::Series(wanted), Value::Vector(series)) => {
            let steps = eval.steps.count();
            compare(wanted, series, |values| {
                (0..steps).map(|step| values.get(step).copied().flatten()).collect()
            })?;
            if eval.is_ordered() { order(wanted, series) } else { Ok(()) }
        }
        // A range query of a scalar is a series without labels.
        (Expected::Series(wanted), Value::Scalar(values)) if eval.is_range => {
            let values = values.iter().copied().map(Some).collect();
            let series = Series { labels: Labels::empty(), drops_name: false, values };
            compare(wanted, &[series], Clone::clone)
        }
        (Expected::Samples { times, series }, Value::Matrix(found)) => {
            let steps: Vec<i64> = times.steps().collect();
            let spread = |samples: &[(i64, f64)]| {
                let by_time: HashMap<i64, f64> = samples.iter().copied().collect();
                let values: Vec<_> = steps.iter().map(|time| by_time.get(time).copied()).collect();
                (by_time.len() == values.iter().flatten().count()).then_some(values)
            };
            let found: Option<Vec<Series>> = found
                .iter()
                .map(|(labels, samples)| {
                    Some(Series { labels: labels.clone(), drops_name: false, values: spread(samples)? })
                })
                .collect();
            compare(series, &found.ok_or("samples at other times")?, Clone::clone)
        }
        (_, found) => Err(format!("another kind of value: {found:?}")),
    }
}

/// The middle step of three must have the values of the instant query.
pub(super) fn check_middle(eval: &Eval, answer: &Result<Answer, Error>) -> Result<(), String> {
    match (&eval.result, answer.as_ref().map(|answer| &answer.value)) {
        (Expected::Scalar(wanted), Ok(Value::Scalar(values))) => {
            values.get(1).map_or(Err("no value".to_owned()), |value| equal("the scalar", *wanted, *value))
        }
        (Expected::Series(wanted), Ok(Value::Vector(series))) => {
            let middle: Vec<Series> = series
                .iter()
                .filter_map(|series| {
                    let value = series.values.get(1).copied().flatten()?;
                    Some(Series { values: vec![Some(value)], ..series.clone() })
                })
                .collect();
            compare(wanted, &middle, Clone::clone)
        }
        (_, Ok(found)) => Err(format!("another kind of value: {found:?}")),
        (_, Err(error)) => Err(error.to_string()),
    }
}

fn failure(eval: &Eval, error: &str) -> Result<(), String> {
    if !eval.fails() {
        return Err(error.to_owned());
    }
    let expected = eval.expects.iter().filter(|expect| expect.kind == Kind::Fail);
    let mut others = expected.filter(|expect| !expect.message.accepts(error));
    if others.next().is_some() { Err(format!("another failure: {error}")) } else { Ok(()) }
}

fn messages(eval: &Eval, [some, none]: [Kind; 2], found: &[String]) -> Result<(), String> {
    let of = |kind: Kind| eval.expects.iter().filter(move |expect| expect.kind == kind);
    if of(none).next().is_some() && !found.is_empty() {
        return Err(format!("nothing should be said: {found:?}"));
    }
    let mut wanted = of(some).peekable();
    if wanted.peek().is_none() {
        return Ok(());
    }
    let said = |expect: &Expect| found.iter().any(|message| expect.message.accepts(message));
    let meant = |message: &String| of(some).any(|expect| expect.message.accepts(message));
    if wanted.all(said) && found.iter().all(meant) {
        Ok(())
    } else {
        Err(format!("something else should be said: {found:?}"))
    }
}

fn compare(
    wanted: &[(Labels, Vec<Option<f64>>)],
    found: &[Series],
    steps: impl Fn(&Vec<Option<f64>>) -> Vec<Option<f64>>,
) -> Result<(), String> {
    let mut missing: HashMap<&Labels, &Vec<Option<f64>>> =
        wanted.iter().map(|(labels, values)| (labels, values)).collect();
    for series in found {
        let labels = &series.labels;
        let Some(values) = missing.remove(labels) else {
            return Err(format!("unexpected series {series:?}"));
        };
        for (index, (wanted, value)) in steps(values).iter().zip(&series.values).enumerate() {
            match (wanted, value) {
                (Some(wanted), Some(value)) => {
                    equal(&format!("{labels:?} at step {index}"), *wanted, *value)?;
                }
                (None, None) => {}
                _ => return Err(format!("{labels:?} at step {index}: {value:?} instead of {wanted:?}")),
            }
        }
    }
    match missing.keys().next() {
        Some(labels) => Err(format!("no series {labels:?}")),
        None => Ok(()),
    }
}

fn order(wanted: &[(Labels, Vec<Option<f64>>)], found: &[Series]) -> Result<(), String> {
    let in_order = wanted.iter().zip(found).all(|((wanted, _), found)| *wanted == found.labels);
    if in_order { Ok(()) } else { Err("another order".to_owned()) }
}

fn equal(what: &str, wanted: f64, value: f64) -> Result<(), String> {
    let both_nan = wanted.is_nan() && value.is_nan();
    let apart = (wanted - value).abs();
    let within = apart < EPSILON * wanted.abs().max(value.abs()) || apart < f64::MIN_POSITIVE;
    #[expect(clippy::float_cmp, reason = "equal infinities are apart by NaN")]
    if both_nan || wanted == value || within {
        Ok(())
    } else {
        Err(format!("{what}: {value} instead of {wanted}"))
    }
}
