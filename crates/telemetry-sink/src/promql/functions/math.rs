//! Functions of one sample and up to two scalars.

use super::each_sample;
use crate::promql::Error;
use crate::promql::ast::Expr;
use crate::promql::eval::Evaluator;
use crate::promql::value::Series;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Math {
    Abs,
    Acos,
    Acosh,
    Asin,
    Asinh,
    Atan,
    Atanh,
    Ceil,
    Cos,
    Cosh,
    Deg,
    Exp,
    Floor,
    Ln,
    Log10,
    Log2,
    Rad,
    Round,
    Sgn,
    Sin,
    Sinh,
    Sqrt,
    Tan,
    Tanh,
    Clamp,
    ClampMin,
    ClampMax,
}

pub(super) fn call(
    evaluator: &Evaluator<'_>,
    op: Math,
    vector: &Expr,
    scalars: &[Expr],
) -> Result<Vec<Series>, Error> {
    let scalars = scalars.iter().map(|arg| evaluator.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
    Ok(each_sample(evaluator.vector(vector)?, |step, value| {
        let scalar = |index: usize| scalars.get(index).and_then(|scalar| scalar.get(step)).copied();
        compute(op, value, scalar(0), scalar(1))
    }))
}

fn compute(op: Math, value: f64, first: Option<f64>, second: Option<f64>) -> Option<f64> {
    Some(match op {
        Math::Abs => value.abs(),
        Math::Acos => value.acos(),
        Math::Acosh => value.acosh(),
        Math::Asin => value.asin(),
        Math::Asinh => value.asinh(),
        Math::Atan => value.atan(),
        Math::Atanh => value.atanh(),
        Math::Ceil => value.ceil(),
        Math::Cos => value.cos(),
        Math::Cosh => value.cosh(),
        Math::Deg => value.to_degrees(),
        Math::Exp => value.exp(),
        Math::Floor => value.floor(),
        Math::Ln => value.ln(),
        Math::Log10 => value.log10(),
        Math::Log2 => value.log2(),
        Math::Rad => value.to_radians(),
        // Halves round up, towards positive infinity; the reciprocal keeps 0.1 exact.
        Math::Round => {
            let inverse = 1.0 / first.unwrap_or(1.0);
            (value * inverse + 0.5).floor() / inverse
        }
        Math::Sgn if value > 0.0 => 1.0,
        Math::Sgn if value < 0.0 => -1.0,
        Math::Sgn => value,
        Math::Sin => value.sin(),
        Math::Sinh => value.sinh(),
        Math::Sqrt => value.sqrt(),
        Math::Tan => value.tan(),
        Math::Tanh => value.tanh(),
        Math::Clamp => {
            let (low, high) = (first?, second?);
            if low > high {
                return None;
            }
            clamp(value, low, high)
        }
        Math::ClampMin => clamp(value, first?, f64::INFINITY),
        Math::ClampMax => clamp(value, f64::NEG_INFINITY, first?),
    })
}

/// NaN stays NaN, whether it is the value or a bound.
fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if value.is_nan() || low.is_nan() || high.is_nan() { f64::NAN } else { value.max(low).min(high) }
}
