//! Evaluation: selectors are read once for all steps, then every node works on whole matrices.

use std::time::Instant;

use super::ast::{Expr, Selector, Type};
use super::value::{Series, Value, merge, without_empty};
use super::{Error, LOOKBACK_MILLIS, aggregate, binary, functions};
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::{Matcher, is_stale};

/// Where samples come from.
pub(crate) trait Source {
    /// Series with samples in `from < time ≤ to`, at most `max_samples` of them.
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples>;
}

/// What one query may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Samples read by one selector, and points of one intermediate matrix.
    pub(crate) max_samples: usize,
    pub(crate) deadline: Instant,
}

/// The steps at which an expression is evaluated, in milliseconds; one for an instant query.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Query {
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) step: i64,
}

impl Query {
    pub(crate) fn instant(time: i64) -> Self {
        Self { start: time, end: time, step: 1 }
    }

    pub(crate) fn steps(&self) -> impl Iterator<Item = i64> + use<> {
        let (start, step) = (self.start, self.step.max(1));
        (0..self.count()).map(move |index| start + i64::try_from(index).unwrap_or(0) * step)
    }

    pub(crate) fn count(&self) -> usize {
        usize::try_from((self.end - self.start) / self.step.max(1) + 1).unwrap_or(0)
    }
}

/// Evaluates an expression. A range selector alone has a value only in an instant query.
pub(crate) fn evaluate(
    expr: &Expr,
    query: Query,
    source: &dyn Source,
    limits: Limits,
) -> Result<Value, Error> {
    let evaluator = Evaluator { query, source, limits };
    if let Expr::Selector(selector) = expr
        && let Some(range) = selector.range
    {
        if query.count() != 1 {
            let message =
                "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
            return Err(Error::Parse { position: 1, message: message.to_owned() });
        }
        return evaluator.raw(selector, range);
    }
    match evaluator.eval(expr)? {
        Value::Vector(series) => Ok(Value::Vector(without_empty(series))),
        other => Ok(other),
    }
}

pub(super) struct Evaluator<'a> {
    pub(super) query: Query,
    source: &'a dyn Source,
    limits: Limits,
}

/// The samples a range function sees at one step.
pub(super) struct Window<'a> {
    pub(super) samples: &'a [(i64, f64)],
    /// Exclusive.
    pub(super) start: i64,
    /// Inclusive.
    pub(super) end: i64,
}

impl Evaluator<'_> {
    pub(super) fn eval(&self, expr: &Expr) -> Result<Value, Error> {
        self.check_deadline()?;
        match expr {
            Expr::Number(number) => Ok(Value::Scalar(vec![*number; self.query.count()])),
            Expr::Text(text) => Ok(Value::Text(text.clone())),
            Expr::Selector(selector) => self.instant(selector, |_, value| value).map(Value::Vector),
            Expr::Negate(inner) => self.negate(inner),
            Expr::Call { function, args } => functions::call(self, function, args),
            Expr::Aggregate { op, grouping, param, expr } => {
                let param = param.as_ref().map(|param| self.scalar(param)).transpose()?;
                Ok(Value::Vector(aggregate::aggregate(*op, grouping, param.as_deref(), self.vector(expr)?)))
            }
            Expr::Binary { op, matching, returns_bool, left, right } => {
                binary::apply(*op, matching, *returns_bool, self.eval(left)?, self.eval(right)?)
            }
        }
    }

    pub(super) fn check_deadline(&self) -> Result<(), Error> {
        if Instant::now() > self.limits.deadline { Err(Error::Timeout) } else { Ok(()) }
    }

    pub(super) fn vector(&self, expr: &Expr) -> Result<Vec<Series>, Error> {
        match self.eval(expr)? {
            Value::Vector(series) => Ok(series),
            _ => Err(Error::Execution(format!("expected an {}", Type::Vector.as_str()))),
        }
    }

    pub(super) fn scalar(&self, expr: &Expr) -> Result<Vec<f64>, Error> {
        match self.eval(expr)? {
            Value::Scalar(values) => Ok(values),
            _ => Err(Error::Execution(format!("expected a {}", Type::Scalar.as_str()))),
        }
    }

    fn negate(&self, expr: &Expr) -> Result<Value, Error> {
        Ok(match self.eval(expr)? {
            Value::Scalar(values) => Value::Scalar(values.into_iter().map(|value| -value).collect()),
            Value::Vector(series) => Value::Vector(merge(
                series
                    .into_iter()
                    .map(|series| Series {
                        labels: series.labels.without_name(),
                        values: series.values.into_iter().map(|value| value.map(|value| -value)).collect(),
                    })
                    .collect(),
            )?),
            other => other,
        })
    }

    fn select(&self, selector: &Selector, reach: i64) -> Result<Vec<Selected>, Error> {
        let from = self.query.start.saturating_sub(selector.offset).saturating_sub(reach);
        let to = self.query.end.saturating_sub(selector.offset);
        let selected = self
            .source
            .select(&selector.matchers, from, to, self.limits.max_samples)
            .map_err(|TooManySamples| Error::TooManySamples)?;
        if selected.len().saturating_mul(self.query.count()) > self.limits.max_samples {
            return Err(Error::TooManySamples);
        }
        Ok(selected)
    }

    /// The newest sample of each step's look-back window, unless it is the staleness marker.
    pub(super) fn instant(
        &self,
        selector: &Selector,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Series>, Error> {
        let selected = self.select(selector, LOOKBACK_MILLIS)?;
        let newest = |window: &Window<'_>| {
            window
                .samples
                .last()
                .filter(|(_, value)| !is_stale(*value))
                .map(|(time, value)| pick(*time, *value))
        };
        self.windows(selector.offset, LOOKBACK_MILLIS, selected, false, newest)
    }

    /// Applies `each` to the window of every step of every series that a range selector names.
    pub(super) fn ranges(
        &self,
        expr: &Expr,
        keep_name: bool,
        each: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Series>, Error> {
        let Expr::Selector(selector @ Selector { range: Some(range), .. }) = expr else {
            return Err(Error::Unsupported("a range vector that is no selector".to_owned()));
        };
        let mut selected = self.select(selector, *range)?;
        for series in &mut selected {
            series.samples.retain(|(_, value)| !is_stale(*value));
        }
        let series = self.windows(selector.offset, *range, selected, !keep_name, each)?;
        if keep_name { Ok(series) } else { merge(series) }
    }

    fn windows(
        &self,
        offset: i64,
        reach: i64,
        selected: Vec<Selected>,
        drop_name: bool,
        mut each: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Series>, Error> {
        let mut result = Vec::with_capacity(selected.len());
        for Selected { labels, samples } in selected {
            self.check_deadline()?;
            let (mut low, mut high) = (0, 0);
            let values = self
                .query
                .steps()
                .map(|step| {
                    let (start, end) = (step - offset - reach, step - offset);
                    // Both ends only move forward, so a series is walked once for all steps.
                    low += count_while(&samples, low, |time| time <= start);
                    high = high.max(low);
                    high += count_while(&samples, high, |time| time <= end);
                    each(&Window { samples: samples.get(low..high).unwrap_or_default(), start, end })
                })
                .collect();
            let labels = if drop_name { labels.without_name() } else { labels };
            result.push(Series { labels, values });
        }
        Ok(without_empty(result))
    }

    fn raw(&self, selector: &Selector, range: i64) -> Result<Value, Error> {
        let mut found = Vec::new();
        for mut series in self.select(selector, range)? {
            series.samples.retain(|(_, value)| !is_stale(*value));
            if !series.samples.is_empty() {
                found.push((series.labels, series.samples));
            }
        }
        Ok(Value::Matrix(found))
    }
}

fn count_while(samples: &[(i64, f64)], from: usize, holds: impl Fn(i64) -> bool) -> usize {
    samples.iter().skip(from).take_while(|(time, _)| holds(*time)).count()
}
