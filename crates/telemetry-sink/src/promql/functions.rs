//! The functions that exist, their types and what they do.

use super::aggregate::compare;
use super::ast::{Expr, Type};
use super::eval::Evaluator;
use super::histogram::histogram_quantile;
use super::over_time::{self, RangeOp, quantile};
use super::value::{Series, Value, merge};
use super::{Error, ast};
use crate::model::matcher::compile;
use crate::model::{Labels, MatchOp};

/// A function's name and types.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    pub(crate) args: &'static [Type],
    /// Arguments that must be given; the rest has defaults.
    pub(crate) required: usize,
    pub(crate) returns: Type,
    body: Body,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    Range(RangeOp),
    Math(Math),
    Time,
    Vector,
    Scalar,
    Absent,
    HistogramQuantile,
    QuantileOverTime,
    Sort { descending: bool },
    LabelReplace,
    LabelJoin,
    Timestamp,
}

/// Functions of one sample and up to two scalars.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Math {
    Abs,
    Ceil,
    Floor,
    Round,
    Sqrt,
    Exp,
    Ln,
    Log2,
    Log10,
    Sgn,
    Clamp,
    ClampMin,
    ClampMax,
}

const RANGE: &[Type] = &[Type::Matrix];
const VECTOR: &[Type] = &[Type::Vector];
const VECTOR_SCALAR: &[Type] = &[Type::Vector, Type::Scalar];

const fn range(name: &'static str, op: RangeOp) -> Function {
    Function { name, args: RANGE, required: 1, returns: Type::Vector, body: Body::Range(op) }
}

const fn math(name: &'static str, op: Math) -> Function {
    Function { name, args: VECTOR, required: 1, returns: Type::Vector, body: Body::Math(op) }
}

const fn other(
    name: &'static str,
    args: &'static [Type],
    required: usize,
    returns: Type,
    body: Body,
) -> Function {
    Function { name, args, required, returns, body }
}

static FUNCTIONS: &[Function] = &[
    range("rate", RangeOp::Rate),
    range("irate", RangeOp::Irate),
    range("increase", RangeOp::Increase),
    range("delta", RangeOp::Delta),
    range("idelta", RangeOp::Idelta),
    range("deriv", RangeOp::Deriv),
    range("changes", RangeOp::Changes),
    range("resets", RangeOp::Resets),
    range("avg_over_time", RangeOp::Avg),
    range("sum_over_time", RangeOp::Sum),
    range("min_over_time", RangeOp::Min),
    range("max_over_time", RangeOp::Max),
    range("count_over_time", RangeOp::Count),
    range("last_over_time", RangeOp::Last),
    range("present_over_time", RangeOp::Present),
    range("stddev_over_time", RangeOp::Stddev),
    range("stdvar_over_time", RangeOp::Stdvar),
    math("abs", Math::Abs),
    math("ceil", Math::Ceil),
    math("floor", Math::Floor),
    math("sqrt", Math::Sqrt),
    math("exp", Math::Exp),
    math("ln", Math::Ln),
    math("log2", Math::Log2),
    math("log10", Math::Log10),
    math("sgn", Math::Sgn),
    other("round", VECTOR_SCALAR, 1, Type::Vector, Body::Math(Math::Round)),
    other("clamp", &[Type::Vector, Type::Scalar, Type::Scalar], 3, Type::Vector, Body::Math(Math::Clamp)),
    other("clamp_min", VECTOR_SCALAR, 2, Type::Vector, Body::Math(Math::ClampMin)),
    other("clamp_max", VECTOR_SCALAR, 2, Type::Vector, Body::Math(Math::ClampMax)),
    other("time", &[], 0, Type::Scalar, Body::Time),
    other("vector", &[Type::Scalar], 1, Type::Vector, Body::Vector),
    other("scalar", VECTOR, 1, Type::Scalar, Body::Scalar),
    other("absent", VECTOR, 1, Type::Vector, Body::Absent),
    other("timestamp", VECTOR, 1, Type::Vector, Body::Timestamp),
    other("sort", VECTOR, 1, Type::Vector, Body::Sort { descending: false }),
    other("sort_desc", VECTOR, 1, Type::Vector, Body::Sort { descending: true }),
    other("histogram_quantile", &[Type::Scalar, Type::Vector], 2, Type::Vector, Body::HistogramQuantile),
    other("quantile_over_time", &[Type::Scalar, Type::Matrix], 2, Type::Vector, Body::QuantileOverTime),
    other(
        "label_replace",
        &[Type::Vector, Type::Text, Type::Text, Type::Text, Type::Text],
        5,
        Type::Vector,
        Body::LabelReplace,
    ),
    other(
        "label_join",
        &[
            Type::Vector,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Text,
            Type::Text,
        ],
        3,
        Type::Vector,
        Body::LabelJoin,
    ),
];

/// Prometheus has these and this server does not yet; using one is no typing error of the user.
pub(super) const KNOWN_ELSEWHERE: [&str; 42] = [
    "absent_over_time",
    "acos",
    "acosh",
    "asin",
    "asinh",
    "atan",
    "atanh",
    "cos",
    "cosh",
    "count_values",
    "day_of_month",
    "day_of_week",
    "day_of_year",
    "days_in_month",
    "deg",
    "double_exponential_smoothing",
    "histogram_avg",
    "histogram_count",
    "histogram_fraction",
    "histogram_stddev",
    "histogram_stdvar",
    "histogram_sum",
    "holt_winters",
    "hour",
    "info",
    "limit_ratio",
    "limitk",
    "mad_over_time",
    "minute",
    "month",
    "pi",
    "predict_linear",
    "rad",
    "sin",
    "sinh",
    "sort_by_label",
    "sort_by_label_desc",
    "tan",
    "tanh",
    "ts_of_last_over_time",
    "ts_of_max_over_time",
    "year",
];

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

pub(super) fn call(evaluator: &Evaluator<'_>, function: &Function, args: &[Expr]) -> Result<Value, Error> {
    let arg = |index: usize| {
        args.get(index).ok_or_else(|| Error::Execution(format!("{}() lacks an argument", function.name)))
    };
    let steps = || evaluator.query.steps();
    match function.body {
        Body::Range(op) => {
            let keeps_name = op == RangeOp::Last;
            let series = evaluator.ranges(arg(0)?, keeps_name, |window| over_time::apply(op, window))?;
            Ok(Value::Vector(series))
        }
        Body::QuantileOverTime => {
            let q = evaluator.scalar(arg(0)?)?;
            let query = evaluator.query;
            let series = evaluator.ranges(arg(1)?, false, |window| {
                let offset = match arg(1) {
                    Ok(Expr::Selector(selector)) => selector.offset,
                    _ => 0,
                };
                let step = usize::try_from((window.end + offset - query.start) / query.step.max(1)).ok()?;
                let mut values: Vec<f64> = window.samples.iter().map(|(_, value)| *value).collect();
                (!values.is_empty()).then(|| quantile(q.get(step).copied().unwrap_or(f64::NAN), &mut values))
            })?;
            Ok(Value::Vector(series))
        }
        Body::Math(op) => {
            let scalars =
                args.iter().skip(1).map(|arg| evaluator.scalar(arg)).collect::<Result<Vec<_>, _>>()?;
            each_sample(evaluator.vector(arg(0)?)?, |step, value| {
                let scalar = |index: usize| scalars.get(index).and_then(|scalar| scalar.get(step)).copied();
                compute(op, value, scalar(0), scalar(1))
            })
        }
        Body::Time => Ok(Value::Scalar(steps().map(seconds).collect())),
        Body::Vector => {
            let values = evaluator.scalar(arg(0)?)?.into_iter().map(Some).collect();
            Ok(Value::Vector(vec![Series { labels: Labels::empty(), values }]))
        }
        Body::Scalar => Ok(Value::Scalar(to_scalar(&evaluator.vector(arg(0)?)?, evaluator.query.count()))),
        Body::Absent => {
            let series = evaluator.vector(arg(0)?)?;
            let values = (0..evaluator.query.count())
                .map(|step| {
                    let present =
                        series.iter().any(|series| series.values.get(step).copied().flatten().is_some());
                    (!present).then_some(1.0)
                })
                .collect();
            Ok(Value::Vector(vec![Series { labels: absent_labels(arg(0)?), values }]))
        }
        Body::HistogramQuantile => {
            let q = evaluator.scalar(arg(0)?)?;
            Ok(Value::Vector(histogram_quantile(&q, evaluator.vector(arg(1)?)?)))
        }
        Body::Sort { descending } => {
            let mut series = evaluator.vector(arg(0)?)?;
            if evaluator.query.count() == 1 {
                let value = |series: &Series| series.values.first().copied().flatten().unwrap_or(f64::NAN);
                series.sort_by(|left, right| compare(value(left), value(right), descending));
            }
            Ok(Value::Vector(series))
        }
        Body::LabelReplace => label_replace(evaluator, args),
        Body::LabelJoin => label_join(evaluator, args),
        Body::Timestamp => timestamp(evaluator, arg(0)?),
    }
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

fn each_sample(
    series: Vec<Series>,
    mut compute: impl FnMut(usize, f64) -> Option<f64>,
) -> Result<Value, Error> {
    let series = series
        .into_iter()
        .map(|series| Series {
            labels: series.labels.without_name(),
            values: series
                .values
                .into_iter()
                .enumerate()
                .map(|(step, value)| value.and_then(|value| compute(step, value)))
                .collect(),
        })
        .collect();
    merge(series).map(Value::Vector)
}

fn compute(op: Math, value: f64, first: Option<f64>, second: Option<f64>) -> Option<f64> {
    Some(match op {
        Math::Abs => value.abs(),
        Math::Ceil => value.ceil(),
        Math::Floor => value.floor(),
        // Halves round up, towards positive infinity; the reciprocal keeps 0.1 exact.
        Math::Round => {
            let inverse = 1.0 / first.unwrap_or(1.0);
            (value * inverse + 0.5).floor() / inverse
        }
        Math::Sqrt => value.sqrt(),
        Math::Exp => value.exp(),
        Math::Ln => value.ln(),
        Math::Log2 => value.log2(),
        Math::Log10 => value.log10(),
        Math::Sgn if value > 0.0 => 1.0,
        Math::Sgn if value < 0.0 => -1.0,
        Math::Sgn => value,
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

fn clamp(value: f64, low: f64, high: f64) -> f64 {
    if low.is_nan() || high.is_nan() { f64::NAN } else { value.max(low).min(high) }
}

fn to_scalar(series: &[Series], steps: usize) -> Vec<f64> {
    (0..steps)
        .map(|step| {
            let mut values = series.iter().filter_map(|series| series.values.get(step).copied().flatten());
            match (values.next(), values.next()) {
                (Some(value), None) => value,
                _ => f64::NAN,
            }
        })
        .collect()
}

/// The labels that a plain selector's equality matchers name, each once.
fn absent_labels(expr: &Expr) -> Labels {
    let Expr::Selector(ast::Selector { matchers, .. }) = expr else { return Labels::empty() };
    let named = |name: &str| matchers.iter().filter(|matcher| matcher.name == name).count();
    matchers
        .iter()
        .filter(|matcher| {
            matcher.op == MatchOp::Equal
                && matcher.name != crate::model::METRIC_NAME
                && named(&matcher.name) == 1
        })
        .map(|matcher| (matcher.name.as_str(), matcher.value.as_str()))
        .collect()
}

fn text(args: &[Expr], index: usize) -> &str {
    match args.get(index) {
        Some(Expr::Text(text)) => text,
        _ => "",
    }
}

fn relabel(
    series: Vec<Series>,
    target: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Value, Error> {
    let valid = target.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
        && target.chars().next().is_some_and(|first| !first.is_ascii_digit());
    if !valid {
        return Err(Error::Execution(format!("invalid destination label name: {target}")));
    }
    let series = series
        .into_iter()
        .map(|series| match value(&series.labels) {
            Some(value) => {
                Series { labels: series.labels.to_builder().set(target, &value).build(), ..series }
            }
            None => series,
        })
        .collect();
    merge(series).map(Value::Vector)
}

fn label_replace(evaluator: &Evaluator<'_>, args: &[Expr]) -> Result<Value, Error> {
    let series = evaluator.vector(args.first().unwrap_or(&Expr::Number(0.0)))?;
    let (target, replacement, source, pattern) = (text(args, 1), text(args, 2), text(args, 3), text(args, 4));
    let regex = compile(&format!("^(?s:{pattern})$")).map_err(Error::Execution)?;
    relabel(series, target, |labels| {
        let captures = regex.captures(labels.get(source).unwrap_or(""))?;
        let mut value = String::new();
        captures.expand(replacement, &mut value);
        Some(value)
    })
}

fn label_join(evaluator: &Evaluator<'_>, args: &[Expr]) -> Result<Value, Error> {
    let series = evaluator.vector(args.first().unwrap_or(&Expr::Number(0.0)))?;
    let (target, separator) = (text(args, 1), text(args, 2));
    relabel(series, target, |labels| {
        let parts: Vec<&str> =
            (3..args.len()).map(|index| labels.get(text(args, index)).unwrap_or("")).collect();
        Some(parts.join(separator))
    })
}

/// The sample's own time for a plain selector, the step's time for anything computed.
fn timestamp(evaluator: &Evaluator<'_>, arg: &Expr) -> Result<Value, Error> {
    if let Expr::Selector(selector) = arg {
        let series = evaluator.instant(selector, |time, _| seconds(time))?;
        let nameless =
            series.into_iter().map(|series| Series { labels: series.labels.without_name(), ..series });
        return merge(nameless.collect()).map(Value::Vector);
    }
    let steps: Vec<f64> = evaluator.query.steps().map(seconds).collect();
    each_sample(evaluator.vector(arg)?, |step, _| steps.get(step).copied())
}
