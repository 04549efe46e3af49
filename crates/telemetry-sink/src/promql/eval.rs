//! Evaluation: selectors are read once for all steps, then every node works on whole matrices.

mod windows;

use std::cell::{Cell, RefCell};
use std::time::Instant;

use super::annotations::Annotations;
use super::ast::{Expr, Node, Shift, Type};
use super::value::{Series, Value, finish};
use super::{Error, aggregate, binary, functions};
use crate::head::metrics::{Selected, TooManySamples};
use crate::model::{Labels, Matcher};

pub(super) use windows::Window;

/// How far apart a subquery that names no step looks: Prometheus' default evaluation interval.
const SUBQUERY_STEP_MILLIS: i64 = 60_000;

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

    /// Visits the same series one at a time, in any order. A source that need not hold them all says so by doing this itself, and
    /// is then not bound by `max_samples`.
    fn each(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
        visit: &mut dyn FnMut(Selected) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let found = self.select(matchers, from, to, max_samples);
        found.map_err(|TooManySamples| Error::TooManySamples)?.into_iter().try_for_each(visit)
    }
}

/// What one query may cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Points of one intermediate matrix, and samples that are held at once.
    pub(crate) max_samples: usize,
    pub(crate) deadline: Instant,
}

/// The steps at which an expression is evaluated, in milliseconds; one for an instant query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

/// A query's value and what is to be said about it.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) value: Value,
    pub(crate) annotations: Annotations,
    /// Samples that the windows of all steps held together, those of inner steps of subqueries aside.
    pub(crate) samples: u64,
    /// Points of the largest intermediate result.
    pub(crate) peak: usize,
}

/// Evaluates an expression. A range vector alone has a value only in an instant query.
pub(crate) fn evaluate(
    expr: &Expr,
    query: Query,
    source: &dyn Source,
    limits: Limits,
) -> Result<Answer, Error> {
    let (annotations, counted, peak) = (RefCell::default(), Cell::new(0), Cell::new(0));
    let evaluator = Evaluator {
        query,
        whole: query,
        source,
        limits,
        annotations: &annotations,
        counted: Some(&counted),
        peak: &peak,
    };
    let value = evaluator.answer(expr)?;
    Ok(Answer { value, annotations: annotations.into_inner(), samples: counted.get(), peak: peak.get() })
}

pub(super) struct Evaluator<'a> {
    pub(super) query: Query,
    /// The steps of the query that a subquery is part of; the same as `query` outside of one.
    pub(super) whole: Query,
    source: &'a dyn Source,
    limits: Limits,
    annotations: &'a RefCell<Annotations>,
    /// Nothing within a subquery, whose samples count where they are used.
    counted: Option<&'a Cell<u64>>,
    peak: &'a Cell<usize>,
}

impl Evaluator<'_> {
    fn answer(&self, expr: &Expr) -> Result<Value, Error> {
        if expr.kind() == Type::Matrix {
            if self.query.count() != 1 {
                let message = "invalid expression type \"range vector\" for range query, must be Scalar or instant Vector";
                return Err(Error::Parse { position: 1, message: message.to_owned() });
            }
            return self.samples(expr);
        }
        match self.eval(expr)? {
            Value::Vector(series) => finish(series).map(Value::Vector),
            other => Ok(other),
        }
    }

    pub(super) fn eval(&self, expr: &Expr) -> Result<Value, Error> {
        self.check_deadline()?;
        match &expr.node {
            Node::Number(number) => Ok(Value::Scalar(vec![*number; self.query.count()])),
            Node::Text(text) => Ok(Value::Text(text.clone())),
            Node::Selector(selector) => self.instant(selector, |_, value| value).map(Value::Vector),
            Node::Subquery(_) => Err(Error::Execution("a range vector has no value at one step".to_owned())),
            Node::Negate(inner) => self.negate(inner),
            Node::Paren(inner) => self.eval(inner),
            Node::Call { function, args } => functions::call(self, function, args, expr.at),
            Node::Aggregate(aggregate) => aggregate::aggregate(self, aggregate).map(Value::Vector),
            Node::Binary(binary) => {
                binary::apply(binary, self.eval(&binary.left)?, self.eval(&binary.right)?)
            }
        }
    }

    pub(super) fn check_deadline(&self) -> Result<(), Error> {
        if Instant::now() > self.limits.deadline { Err(Error::Timeout) } else { Ok(()) }
    }

    fn count(&self, samples: usize) {
        if let Some(counted) = self.counted {
            counted.set(counted.get() + u64::try_from(samples).unwrap_or(0));
        }
    }

    pub(super) fn annotate(&self, note: impl FnOnce(&mut Annotations)) {
        note(&mut self.annotations.borrow_mut());
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
            Value::Vector(series) => Value::Vector(
                series
                    .into_iter()
                    .map(|series| Series {
                        labels: series.labels,
                        drops_name: true,
                        values: series.values.into_iter().map(|value| value.map(|value| -value)).collect(),
                    })
                    .collect(),
            ),
            other => other,
        })
    }

    /// The same expressions, evaluated at other steps.
    fn at_steps(&self, query: Query) -> Evaluator<'_> {
        Evaluator { query, counted: None, ..*self }
    }

    /// Where the windows of the first and the last step end.
    fn span(&self, shift: Shift) -> (i64, i64) {
        (self.window_end(shift, self.query.start), self.window_end(shift, self.query.end))
    }

    /// Where a step's window ends.
    fn window_end(&self, shift: Shift, step: i64) -> i64 {
        use super::ast::At;
        let base = match shift.at {
            None => step,
            Some(At::Start) => self.whole.start,
            Some(At::End) => self.whole.end,
            Some(At::Time(time)) => time,
        };
        base.saturating_sub(shift.offset)
    }

    fn select(&self, matchers: &[Matcher], shift: Shift, reach: i64) -> Result<Vec<Selected>, Error> {
        let (first, last) = self.span(shift);
        let selected = self
            .source
            .select(matchers, first.saturating_sub(reach), last, self.limits.max_samples)
            .map_err(|TooManySamples| Error::TooManySamples)?;
        self.check_points(selected.len())?;
        Ok(selected)
    }

    /// What `make` makes of each series of a selector, in label order.
    fn each(
        &self,
        matchers: &[Matcher],
        shift: Shift,
        reach: i64,
        mut make: impl FnMut(Selected) -> Result<Series, Error>,
    ) -> Result<Vec<Series>, Error> {
        let (first, last) = self.span(shift);
        let mut found: Vec<Series> = Vec::new();
        let from = first.saturating_sub(reach);
        self.source.each(matchers, from, last, self.limits.max_samples, &mut |series| {
            self.check_points(found.len() + 1)?;
            found.push(make(series)?);
            Ok(())
        })?;
        found.sort_by(|left, right| left.labels.cmp(&right.labels));
        Ok(found)
    }

    /// Refuses a matrix of that many series at all steps before there is one.
    fn check_points(&self, series: usize) -> Result<(), Error> {
        let points = series.saturating_mul(self.query.count());
        self.peak.set(self.peak.get().max(points));
        if points > self.limits.max_samples {
            return Err(Error::TooManySamples);
        }
        Ok(())
    }
}

/// Labels of a range vector's series and its samples.
pub(super) type Samples = (Labels, Vec<(i64, f64)>);
