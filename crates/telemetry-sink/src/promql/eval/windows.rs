//! Windows: which samples of a series each step sees.
//!
//! A window excludes its start and includes its end. Samples of a range vector come from a selector or from a subquery,
//! whose expression is evaluated at times that are multiples of its step, whatever the query's own steps are.

use super::{Evaluator, SUBQUERY_STEP_MILLIS, Samples};
use crate::head::metrics::Selected;
use crate::model::{Labels, is_stale};
use crate::promql::ast::{Expr, Node, Selector, Shift, Subquery};
use crate::promql::value::{Series, Value};
use crate::promql::{Error, LOOKBACK_MILLIS, Query};

/// The samples a range function sees at one step.
pub(in crate::promql) struct Window<'a> {
    pub(in crate::promql) samples: &'a [(i64, f64)],
    /// Exclusive.
    pub(in crate::promql) start: i64,
    /// Inclusive.
    pub(in crate::promql) end: i64,
    /// Which of the query's steps this is.
    pub(in crate::promql) step: usize,
}

/// A series' samples for the windows of all steps.
struct Walked {
    labels: Labels,
    drops_name: bool,
    samples: Vec<(i64, f64)>,
}

/// What a range vector's windows are cut from.
struct RangeVector {
    series: Vec<Walked>,
    range: i64,
    shift: Shift,
}

impl Evaluator<'_> {
    /// The newest sample of each step's look-back window, unless it is the staleness marker.
    pub(in crate::promql) fn instant(
        &self,
        selector: &Selector,
        pick: impl Fn(i64, f64) -> f64,
    ) -> Result<Vec<Series>, Error> {
        self.each(&selector.matchers, selector.shift, LOOKBACK_MILLIS, |Selected { labels, samples }| {
            let newest = |window: &Window<'_>| {
                let (time, value) = window.samples.last()?;
                (!is_stale(*value)).then(|| {
                    self.count(1);
                    pick(*time, *value)
                })
            };
            let values = self.walk(&samples, LOOKBACK_MILLIS, selector.shift, newest)?;
            Ok(Series { labels, drops_name: false, values })
        })
    }

    /// Applies `each` to the window of every step of every series of a range vector. Windows without a sample have no
    /// value. `each` also gets the labels.
    pub(in crate::promql) fn ranges(
        &self,
        expr: &Expr,
        keeps_name: bool,
        mut each: impl FnMut(&Window<'_>, &Labels) -> Option<f64>,
    ) -> Result<Vec<Series>, Error> {
        let mut walked = |Walked { labels, drops_name, samples }: Walked, range: i64, shift: Shift| {
            let values = self.walk(&samples, range, shift, |window| {
                self.count(window.samples.len());
                if window.samples.is_empty() { None } else { each(window, &labels) }
            })?;
            Ok(Series { drops_name: drops_name || !keeps_name, labels, values })
        };
        // Of a selector's series one is held at a time, which is what makes long ranges of many series possible.
        if let Node::Selector(Selector { matchers, range: Some(range), shift }) = &expr.bare().node {
            return self.each(matchers, *shift, *range, |series| walked(fresh(series), *range, *shift));
        }
        let RangeVector { series, range, shift } = self.range_vector(expr)?;
        series.into_iter().map(|series| walked(series, range, shift)).collect()
    }

    /// The samples of a range vector at the only step.
    pub(super) fn samples(&self, expr: &Expr) -> Result<Value, Error> {
        let RangeVector { series, range, shift } = self.range_vector(expr)?;
        let end = self.window_end(shift, self.query.start);
        let within = |(time, _): &(i64, f64)| *time > end.saturating_sub(range) && *time <= end;
        let mut found: Vec<Samples> = Vec::new();
        for Walked { labels, drops_name, samples } in series {
            let samples: Vec<_> = samples.into_iter().filter(within).collect();
            self.count(samples.len());
            if !samples.is_empty() {
                found.push((if drops_name { labels.without_name() } else { labels }, samples));
            }
        }
        Ok(Value::Matrix(found))
    }

    fn range_vector(&self, expr: &Expr) -> Result<RangeVector, Error> {
        match &expr.bare().node {
            Node::Selector(Selector { matchers, range: Some(range), shift }) => {
                let selected = self.select(matchers, *shift, *range)?;
                Ok(RangeVector {
                    series: selected.into_iter().map(fresh).collect(),
                    range: *range,
                    shift: *shift,
                })
            }
            Node::Subquery(subquery) => self.subquery(subquery),
            _ => Err(Error::Execution("expected a range vector".to_owned())),
        }
    }

    fn subquery(&self, subquery: &Subquery) -> Result<RangeVector, Error> {
        let Subquery { expr, range, step, shift } = subquery;
        let step = step.unwrap_or(SUBQUERY_STEP_MILLIS);
        let (first, last) = self.span(*shift);
        let open = first.saturating_sub(*range);
        // The first multiple of the step within the first window.
        let mut start = open / step * step;
        if start <= open {
            start = start.saturating_add(step);
        }
        let inner = self.at_steps(Query { start, end: last, step });
        if last < start {
            return Ok(RangeVector { series: Vec::new(), range: *range, shift: *shift });
        }
        inner.check_points(1)?;
        let series = match inner.eval(expr)? {
            Value::Vector(series) => series,
            Value::Scalar(values) => {
                let values = values.into_iter().map(Some).collect();
                vec![Series { labels: Labels::empty(), drops_name: false, values }]
            }
            _ => return Err(Error::Execution("a subquery needs an instant vector".to_owned())),
        };
        inner.check_points(series.len())?;
        let times: Vec<i64> = inner.query.steps().collect();
        let walked = |Series { labels, drops_name, values }: Series| {
            let present = times.iter().zip(values).filter_map(|(time, value)| Some((*time, value?)));
            Walked { labels, drops_name, samples: present.collect() }
        };
        Ok(RangeVector { series: series.into_iter().map(walked).collect(), range: *range, shift: *shift })
    }

    /// Cuts a series into the windows of all steps.
    fn walk(
        &self,
        samples: &[(i64, f64)],
        reach: i64,
        shift: Shift,
        mut each: impl FnMut(&Window<'_>) -> Option<f64>,
    ) -> Result<Vec<Option<f64>>, Error> {
        self.check_deadline()?;
        let (mut low, mut high) = (0, 0);
        let steps = self.query.steps().enumerate();
        let values = steps.map(|(step, time)| {
            let end = self.window_end(shift, time);
            let start = end.saturating_sub(reach);
            // Both ends only move forward, so a series is walked once for all steps.
            low += count_while(samples, low, |time| time <= start);
            high = high.max(low);
            high += count_while(samples, high, |time| time <= end);
            each(&Window { samples: samples.get(low..high).unwrap_or_default(), start, end, step })
        });
        Ok(values.collect())
    }
}

/// A selector's series without markers of staleness, which a range does not see.
fn fresh(Selected { labels, mut samples }: Selected) -> Walked {
    samples.retain(|(_, value)| !is_stale(*value));
    Walked { labels, drops_name: false, samples }
}

fn count_while(samples: &[(i64, f64)], from: usize, holds: impl Fn(i64) -> bool) -> usize {
    samples.iter().skip(from).take_while(|(time, _)| holds(*time)).count()
}
