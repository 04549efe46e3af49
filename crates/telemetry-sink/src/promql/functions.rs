//! The functions that exist, their types, and which part of this directory computes them.

mod calendar;
mod labels;
mod math;
mod presence;

use self::calendar::Part;
use self::math::Math;
use super::aggregate::{compare, warn_of_quantile};
use super::ast::{Expr, Node, Type};
use super::eval::Evaluator;
use super::over_time::{self, RangeOp, smoothed};
use super::statistics::{quantile, regression};
use super::value::{Series, Value, format_float};
use super::{Error, histogram};
use crate::model::Labels;

/// A function's name and types.
#[derive(Debug, PartialEq)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    args: &'static [Type],
    /// Arguments that must be given; the rest has defaults.
    pub(crate) required: usize,
    /// Whether the last argument may be given any number of times.
    repeats: bool,
    pub(crate) returns: Type,
    body: Body,
}

impl Function {
    /// The type of an argument.
    pub(crate) fn arg(&self, index: usize) -> Option<Type> {
        self.args.get(index).or(self.args.last().filter(|_| self.repeats)).copied()
    }

    pub(crate) fn arg_types(&self) -> &'static [Type] {
        self.args
    }

    /// As Prometheus counts it: how many arguments may be left out, or -1 for any number of the last.
    pub(crate) fn variadic(&self) -> i64 {
        if self.repeats { -1 } else { i64::try_from(self.args.len() - self.required).unwrap_or(0) }
    }

    /// How many arguments it takes at most, if there is a bound.
    pub(crate) fn most_args(&self) -> Option<usize> {
        (!self.repeats).then_some(self.args.len())
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Body {
    Range(RangeOp),
    Math(Math),
    Calendar(Part),
    Time,
    Pi,
    /// Of the whole query, also within a subquery.
    Bound(Bound),
    MinOf,
    MaxOf,
    Vector,
    Scalar,
    Absent,
    AbsentOverTime,
    HistogramQuantile,
    HistogramFraction,
    /// Of native histograms, which this server does not store: nothing for anything else.
    OfNativeHistograms,
    QuantileOverTime,
    PredictLinear,
    DoubleExponentialSmoothing,
    Sort {
        descending: bool,
    },
    SortByLabel {
        descending: bool,
    },
    LabelReplace,
    LabelJoin,
    Timestamp,
}

/// What a query covers, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Bound {
    Start,
    End,
    Step,
    Range,
}

const RANGE: &[Type] = &[Type::Matrix];
const VECTOR: &[Type] = &[Type::Vector];
const VECTOR_SCALAR: &[Type] = &[Type::Vector, Type::Scalar];
const VECTOR_TEXTS: &[Type] = &[Type::Vector, Type::Text];

const fn range(name: &'static str, op: RangeOp) -> Function {
    vector(name, RANGE, Body::Range(op))
}

const fn math(name: &'static str, op: Math) -> Function {
    vector(name, VECTOR, Body::Math(op))
}

const fn calendar(name: &'static str, part: Part) -> Function {
    Function { required: 0, ..vector(name, VECTOR, Body::Calendar(part)) }
}

const fn by_label(name: &'static str, descending: bool) -> Function {
    Function { required: 1, repeats: true, ..vector(name, VECTOR_TEXTS, Body::SortByLabel { descending }) }
}

const fn vector(name: &'static str, args: &'static [Type], body: Body) -> Function {
    Function { name, args, required: args.len(), repeats: false, returns: Type::Vector, body }
}

const fn scalar(name: &'static str, args: &'static [Type], body: Body) -> Function {
    Function { returns: Type::Scalar, ..vector(name, args, body) }
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
    range("first_over_time", RangeOp::First),
    range("last_over_time", RangeOp::Last),
    range("mad_over_time", RangeOp::Mad),
    range("present_over_time", RangeOp::Present),
    range("stddev_over_time", RangeOp::Stddev),
    range("stdvar_over_time", RangeOp::Stdvar),
    range("ts_of_first_over_time", RangeOp::TimeOfFirst),
    range("ts_of_last_over_time", RangeOp::TimeOfLast),
    range("ts_of_max_over_time", RangeOp::TimeOfMax),
    range("ts_of_min_over_time", RangeOp::TimeOfMin),
    math("abs", Math::Abs),
    math("acos", Math::Acos),
    math("acosh", Math::Acosh),
    math("asin", Math::Asin),
    math("asinh", Math::Asinh),
    math("atan", Math::Atan),
    math("atanh", Math::Atanh),
    math("ceil", Math::Ceil),
    math("cos", Math::Cos),
    math("cosh", Math::Cosh),
    math("deg", Math::Deg),
    math("exp", Math::Exp),
    math("floor", Math::Floor),
    math("ln", Math::Ln),
    math("log10", Math::Log10),
    math("log2", Math::Log2),
    math("rad", Math::Rad),
    math("sgn", Math::Sgn),
    math("sin", Math::Sin),
    math("sinh", Math::Sinh),
    math("sqrt", Math::Sqrt),
    math("tan", Math::Tan),
    math("tanh", Math::Tanh),
    Function { required: 1, ..vector("round", VECTOR_SCALAR, Body::Math(Math::Round)) },
    vector("clamp", &[Type::Vector, Type::Scalar, Type::Scalar], Body::Math(Math::Clamp)),
    vector("clamp_min", VECTOR_SCALAR, Body::Math(Math::ClampMin)),
    vector("clamp_max", VECTOR_SCALAR, Body::Math(Math::ClampMax)),
    calendar("minute", Part::Minute),
    calendar("hour", Part::Hour),
    calendar("day_of_week", Part::DayOfWeek),
    calendar("day_of_month", Part::DayOfMonth),
    calendar("day_of_year", Part::DayOfYear),
    calendar("days_in_month", Part::DaysInMonth),
    calendar("month", Part::Month),
    calendar("year", Part::Year),
    scalar("time", &[], Body::Time),
    scalar("pi", &[], Body::Pi),
    scalar("start", &[], Body::Bound(Bound::Start)),
    scalar("end", &[], Body::Bound(Bound::End)),
    scalar("step", &[], Body::Bound(Bound::Step)),
    scalar("range", &[], Body::Bound(Bound::Range)),
    scalar("min_of", &[Type::Scalar, Type::Scalar], Body::MinOf),
    scalar("max_of", &[Type::Scalar, Type::Scalar], Body::MaxOf),
    vector("vector", &[Type::Scalar], Body::Vector),
    scalar("scalar", VECTOR, Body::Scalar),
    vector("absent", VECTOR, Body::Absent),
    vector("absent_over_time", RANGE, Body::AbsentOverTime),
    vector("timestamp", VECTOR, Body::Timestamp),
    vector("sort", VECTOR, Body::Sort { descending: false }),
    vector("sort_desc", VECTOR, Body::Sort { descending: true }),
    by_label("sort_by_label", false),
    by_label("sort_by_label_desc", true),
    vector("histogram_quantile", &[Type::Scalar, Type::Vector], Body::HistogramQuantile),
    vector("histogram_fraction", &[Type::Scalar, Type::Scalar, Type::Vector], Body::HistogramFraction),
    vector("histogram_avg", VECTOR, Body::OfNativeHistograms),
    vector("histogram_count", VECTOR, Body::OfNativeHistograms),
    vector("histogram_stddev", VECTOR, Body::OfNativeHistograms),
    vector("histogram_stdvar", VECTOR, Body::OfNativeHistograms),
    vector("histogram_sum", VECTOR, Body::OfNativeHistograms),
    vector("quantile_over_time", &[Type::Scalar, Type::Matrix], Body::QuantileOverTime),
    vector("predict_linear", &[Type::Matrix, Type::Scalar], Body::PredictLinear),
    vector(
        "double_exponential_smoothing",
        &[Type::Matrix, Type::Scalar, Type::Scalar],
        Body::DoubleExponentialSmoothing,
    ),
    vector(
        "label_replace",
        &[Type::Vector, Type::Text, Type::Text, Type::Text, Type::Text],
        Body::LabelReplace,
    ),
    Function {
        required: 3,
        repeats: true,
        ..vector("label_join", &[Type::Vector, Type::Text, Type::Text, Type::Text], Body::LabelJoin)
    },
];

/// Prometheus has these behind a flag, or had them, and this server does not; using one is no typing error of the user.
pub(super) const KNOWN_ELSEWHERE: [&str; 6] =
    ["histogram_quantiles", "holt_winters", "info", "limit_ratio", "limitk", "start_timestamp"];

pub(super) fn find(name: &str) -> Option<&'static Function> {
    FUNCTIONS.iter().find(|function| function.name == name)
}

/// Calls a function whose name stands at `at`.
pub(super) fn call(
    evaluator: &Evaluator<'_>,
    function: &Function,
    args: &[Expr],
    at: usize,
) -> Result<Value, Error> {
    let arg = |index: usize| {
        args.get(index).ok_or_else(|| Error::Execution(format!("{}() lacks an argument", function.name)))
    };
    let series = match function.body {
        Body::Time => return Ok(Value::Scalar(evaluator.query.steps().map(seconds).collect())),
        Body::Pi => return Ok(Value::Scalar(vec![std::f64::consts::PI; evaluator.query.count()])),
        Body::Bound(bound) => {
            let seconds = seconds(bound_of(evaluator, bound));
            return Ok(Value::Scalar(vec![seconds; evaluator.query.count()]));
        }
        Body::MinOf | Body::MaxOf => {
            let smaller = function.body == Body::MinOf;
            let pairs = evaluator.scalar(arg(0)?)?.into_iter().zip(evaluator.scalar(arg(1)?)?);
            let chosen = pairs.map(|(left, right)| match smaller {
                _ if left.is_nan() || right.is_nan() => f64::NAN,
                true => left.min(right),
                false => left.max(right),
            });
            return Ok(Value::Scalar(chosen.collect()));
        }
        Body::Scalar => {
            return Ok(Value::Scalar(to_scalar(&evaluator.vector(arg(0)?)?, evaluator.query.count())));
        }
        Body::Range(op) => over_range(evaluator, op, arg(0)?)?,
        Body::Math(op) => math::call(evaluator, op, arg(0)?, args.get(1..).unwrap_or_default())?,
        Body::Calendar(part) => calendar::call(evaluator, part, args.first())?,
        Body::Vector => {
            let values = evaluator.scalar(arg(0)?)?.into_iter().map(Some).collect();
            vec![Series { labels: Labels::empty(), drops_name: false, values }]
        }
        Body::Absent => presence::absent(evaluator, arg(0)?)?,
        Body::AbsentOverTime => presence::absent_over_time(evaluator, arg(0)?)?,
        Body::HistogramQuantile => histogram::quantile(evaluator, arg(0)?, arg(1)?)?,
        Body::HistogramFraction => histogram::fraction(evaluator, arg(0)?, arg(1)?, arg(2)?)?,
        Body::OfNativeHistograms => {
            evaluator.vector(arg(0)?)?;
            Vec::new()
        }
        Body::QuantileOverTime => quantile_over_time(evaluator, arg(0)?, arg(1)?)?,
        Body::PredictLinear => predict_linear(evaluator, arg(0)?, arg(1)?)?,
        Body::DoubleExponentialSmoothing => smooth(evaluator, arg(0)?, [arg(1)?, arg(2)?])?,
        Body::Sort { descending } => {
            let mut series = evaluator.vector(arg(0)?)?;
            if sorts(evaluator, at) {
                let value = |series: &Series| series.at(0).unwrap_or(f64::NAN);
                series.sort_by(|left, right| compare(value(left), value(right), descending));
            }
            series
        }
        Body::SortByLabel { descending } => {
            let series = evaluator.vector(arg(0)?)?;
            if sorts(evaluator, at) { labels::sorted(series, args, descending) } else { series }
        }
        Body::LabelReplace => labels::replace(evaluator.vector(arg(0)?)?, args)?,
        Body::LabelJoin => labels::join(evaluator.vector(arg(0)?)?, args)?,
        Body::Timestamp => timestamp(evaluator, arg(0)?)?,
    };
    Ok(Value::Vector(series))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since the epoch are far below 2^53")]
fn seconds(millis: i64) -> f64 {
    millis as f64 / 1000.0
}

/// Milliseconds; a query of one time has no step and no range.
fn bound_of(evaluator: &Evaluator<'_>, bound: Bound) -> i64 {
    let whole = evaluator.whole;
    match bound {
        Bound::Start => whole.start,
        Bound::End => whole.end,
        Bound::Range => whole.end - whole.start,
        Bound::Step if whole.start == whole.end => 0,
        Bound::Step => whole.step,
    }
}

/// Applies a function of step and value to every sample.
fn each_sample(series: Vec<Series>, mut compute: impl FnMut(usize, f64) -> Option<f64>) -> Vec<Series> {
    let computed = series.into_iter().map(|series| Series {
        labels: series.labels,
        drops_name: true,
        values: series
            .values
            .into_iter()
            .enumerate()
            .map(|(step, value)| value.and_then(|value| compute(step, value)))
            .collect(),
    });
    computed.collect()
}

fn over_range(evaluator: &Evaluator<'_>, op: RangeOp, range: &Expr) -> Result<Vec<Series>, Error> {
    let series = evaluator.ranges(range, op.keeps_name(), |window, _| over_time::apply(op, window))?;
    if op.wants_counter() {
        let counted = series.iter().filter(|series| series.values.iter().any(Option::is_some));
        for name in counted.map(|series| series.labels.name()).filter(|name| !may_be_counter(name)) {
            evaluator.annotate(|notes| {
                let suffixes = "_total/_sum/_count/_bucket";
                let message = "metric might not be a counter, name does not end in";
                notes.inform(range.at, format!("{message} {suffixes}: {name:?}"));
            });
        }
    }
    Ok(series)
}

/// Whether a metric is named like a counter, or not named at all.
fn may_be_counter(name: &str) -> bool {
    name.is_empty() || ["_total", "_sum", "_count", "_bucket"].iter().any(|suffix| name.ends_with(suffix))
}

fn quantile_over_time(evaluator: &Evaluator<'_>, q: &Expr, range: &Expr) -> Result<Vec<Series>, Error> {
    let qs = evaluator.scalar(q)?;
    let at = |step: usize| qs.get(step).copied().unwrap_or(f64::NAN);
    evaluator.ranges(range, false, |window, _| {
        warn_of_quantile(evaluator, at(window.step), q.at);
        let mut values: Vec<f64> = window.samples.iter().map(|(_, value)| *value).collect();
        Some(quantile(at(window.step), &mut values))
    })
}

fn predict_linear(evaluator: &Evaluator<'_>, range: &Expr, ahead: &Expr) -> Result<Vec<Series>, Error> {
    let ahead = evaluator.scalar(ahead)?;
    let times: Vec<i64> = evaluator.query.steps().collect();
    evaluator.ranges(range, false, |window, _| {
        let (slope, value) = regression(window.samples, *times.get(window.step)?)?;
        Some(slope * ahead.get(window.step)? + value)
    })
}

fn smooth(evaluator: &Evaluator<'_>, range: &Expr, factors: [&Expr; 2]) -> Result<Vec<Series>, Error> {
    let [level, trend] = factors;
    let (levels, trends) = (evaluator.scalar(level)?, evaluator.scalar(trend)?);
    for (kind, factors) in [("smoothing", &levels), ("trend", &trends)] {
        if let Some(wrong) = factors.iter().find(|factor| !(**factor > 0.0 && **factor < 1.0)) {
            let got = format_float(*wrong);
            return Err(Error::Execution(format!(
                "invalid {kind} factor. Expected: 0 < factor < 1, got: {got}"
            )));
        }
    }
    evaluator.ranges(range, false, |window, _| {
        smoothed(window.samples, *levels.get(window.step)?, *trends.get(window.step)?)
    })
}

/// Whether an order means anything: a range query's series are ordered by their labels.
fn sorts(evaluator: &Evaluator<'_>, at: usize) -> bool {
    let is_instant = evaluator.query.count() == 1;
    if !is_instant {
        let message = "sort is ineffective for range queries since results are always ordered by labels";
        evaluator.annotate(|notes| notes.warn(at, message));
    }
    is_instant
}

fn to_scalar(series: &[Series], steps: usize) -> Vec<f64> {
    let at = |step: usize| {
        let mut values = series.iter().filter_map(|series| series.at(step));
        match (values.next(), values.next()) {
            (Some(value), None) => value,
            _ => f64::NAN,
        }
    };
    (0..steps).map(at).collect()
}

/// The sample's own time for a plain selector, the step's time for anything computed.
fn timestamp(evaluator: &Evaluator<'_>, arg: &Expr) -> Result<Vec<Series>, Error> {
    if let Node::Selector(selector) = &arg.bare().node {
        let series = evaluator.instant(selector, |time, _| seconds(time))?;
        return Ok(series.into_iter().map(|series| Series { drops_name: true, ..series }).collect());
    }
    let steps: Vec<f64> = evaluator.query.steps().map(seconds).collect();
    Ok(each_sample(evaluator.vector(arg)?, |step, _| steps.get(step).copied()))
}

/// The text of an argument that is one.
fn text(args: &[Expr], index: usize) -> &str {
    match args.get(index).map(|arg| &arg.bare().node) {
        Some(Node::Text(text)) => text,
        _ => "",
    }
}
