//! Binary operators on numbers; vectors find each other in [`matching`].

mod matching;

use super::Error;
use super::ast::{Binary, BinaryOp};
use super::value::{Series, Value};

pub(super) fn apply(binary: &Binary, left: Value, right: Value) -> Result<Value, Error> {
    let op = binary.op;
    match (left, right) {
        (Value::Scalar(left), Value::Scalar(right)) => {
            let values = left.into_iter().zip(right).map(|(left, right)| number(op, left, right)).collect();
            Ok(Value::Scalar(values))
        }
        (Value::Vector(left), Value::Scalar(right)) => Ok(with_scalar(binary, left, &right, false)),
        (Value::Scalar(left), Value::Vector(right)) => Ok(with_scalar(binary, right, &left, true)),
        (Value::Vector(left), Value::Vector(right)) if op.is_set() => {
            matching::set(op, &binary.matching.labels, left, &right).map(Value::Vector)
        }
        (Value::Vector(left), Value::Vector(right)) => {
            matching::pairs(binary, &left, &right).map(Value::Vector)
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

/// Whether the result is no longer what the metric's name says: all but a comparison that filters.
fn changes_meaning(binary: &Binary) -> bool {
    !binary.op.is_comparison() || binary.returns_bool
}

/// Where a comparison filters, it keeps `kept` for the pairs for which it holds.
fn combine(binary: &Binary, left: f64, right: f64, kept: f64) -> Option<f64> {
    let result = number(binary.op, left, right);
    if changes_meaning(binary) { Some(result) } else { (result > 0.5).then_some(kept) }
}

fn with_scalar(binary: &Binary, series: Vec<Series>, scalar: &[f64], scalar_is_left: bool) -> Value {
    let combined = |value: Option<f64>, scalar: f64| {
        let value = value?;
        let (left, right) = if scalar_is_left { (scalar, value) } else { (value, scalar) };
        combine(binary, left, right, value)
    };
    let result = series.into_iter().map(|series| Series {
        drops_name: series.drops_name || changes_meaning(binary),
        labels: series.labels,
        values: series
            .values
            .into_iter()
            .zip(scalar)
            .map(|(value, scalar)| combined(value, *scalar))
            .collect(),
    });
    Value::Vector(result.collect())
}
