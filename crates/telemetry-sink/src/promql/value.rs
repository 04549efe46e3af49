//! What expressions yield: matrices of series × steps.

use std::collections::HashMap;

use super::Error;
use crate::model::Labels;

/// A series' value at each step; none where it has no value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Series {
    pub(crate) labels: Labels,
    /// The value means something else than its metric's name says. The name goes at the very end, so that a grouping or
    /// `label_replace` on the way may still use it.
    pub(crate) drops_name: bool,
    pub(crate) values: Vec<Option<f64>>,
}

impl Series {
    pub(super) fn at(&self, step: usize) -> Option<f64> {
        self.values.get(step).copied().flatten()
    }
}

/// The result of an expression for every step.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Scalar(Vec<f64>),
    Vector(Vec<Series>),
    /// The samples of a range vector, for an instant query that asks for nothing else.
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

/// Takes the names off the series that lost theirs on the way, and drops series without a value at any step.
pub(super) fn finish(series: Vec<Series>) -> Result<Vec<Series>, Error> {
    let present = series.into_iter().filter(|series| series.values.iter().any(Option::is_some));
    let named = present.map(|series| {
        let labels = if series.drops_name { series.labels.without_name() } else { series.labels };
        Series { labels, drops_name: false, values: series.values }
    });
    merge(named.collect())
}

/// A float as Go's `strconv.FormatFloat(f, 'f', -1, 64)` writes it.
pub(crate) fn format_float(value: f64) -> String {
    if value.is_nan() {
        "NaN".to_owned()
    } else if value.is_infinite() {
        if value > 0.0 { "+Inf".to_owned() } else { "-Inf".to_owned() }
    } else {
        value.to_string()
    }
}

/// A sample's value as Prometheus' HTTP API writes it: very small and very large ones with an exponent.
pub(crate) fn format_sample(value: f64) -> String {
    let size = value.abs();
    if size.is_finite() && size != 0.0 && !(1e-6..1e21).contains(&size) {
        return format_short(value);
    }
    format_float(value)
}

/// A float as Go's `strconv.FormatFloat(f, 'e', -1, 64)` writes it.
pub(crate) fn format_short(value: f64) -> String {
    if !value.is_finite() {
        return format_float(value);
    }
    let text = format!("{value:e}");
    let Some((digits, exponent)) = text.split_once('e') else { return text };
    match exponent.strip_prefix('-') {
        Some(exponent) => format!("{digits}e-{exponent:0>2}"),
        None => format!("{digits}e+{exponent:0>2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::{format_float, format_sample, format_short};

    #[test]
    fn samples_in_answers_have_exponents_where_prometheus_writes_them() {
        for (value, text) in [
            (1e-7, "1e-07"),
            (-1.25e-300, "-1.25e-300"),
            (1e-6, "0.000001"),
            (1e21, "1e+21"),
            (123_456_789_012_345_680_000.0, "123456789012345680000"),
            (0.0, "0"),
            (f64::NEG_INFINITY, "-Inf"),
        ] {
            assert_eq!(format_sample(value), text);
        }
        assert_eq!((format_short(1.0).as_str(), format_short(12.5).as_str()), ("1e+00", "1.25e+01"));
    }

    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        for (value, text) in [
            (1.0, "1"),
            (0.1, "0.1"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
            (1e21, "1000000000000000000000"),
        ] {
            assert_eq!(format_float(value), text);
        }
    }
}
