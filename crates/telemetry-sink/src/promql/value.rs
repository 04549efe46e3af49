//! What expressions yield: matrices of series × steps.

use std::collections::HashMap;

use super::Error;
use crate::model::Labels;

/// A series' value at each step; none where it has no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    pub(crate) values: Vec<Option<f64>>,
}

/// The result of an expression for every step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    /// The raw samples of a range selector, for an instant query that asks for nothing else.
    Matrix(Vec<(Labels, Vec<(i64, f64)>)>),
    Text(String),
}

/// Joins series that an operation left with equal labels. Two values at one step are an error,
/// since neither is the right one.
pub(super) fn merge(series: Vec<Series>) -> Result<Vec<Series>, Error> {
    let mut merged: Vec<Series> = Vec::with_capacity(series.len());
    let mut known: HashMap<Labels, usize> = HashMap::with_capacity(series.len());
    for one in series {
        let Some(existing) = known.get(&one.labels).and_then(|index| merged.get_mut(*index)) else {
            known.insert(one.labels.clone(), merged.len());
            merged.push(one);
            continue;
        };
        for (into, from) in existing.values.iter_mut().zip(one.values) {
            if into.is_some() && from.is_some() {
                return Err(Error::Execution(
                    "vector cannot contain metrics with the same labelset".to_owned(),
                ));
            }
            *into = into.or(from);
        }
    }
    Ok(merged)
}

/// Drops series that have no value at any step.
pub(super) fn without_empty(series: Vec<Series>) -> Vec<Series> {
    series.into_iter().filter(|series| series.values.iter().any(Option::is_some)).collect()
}
