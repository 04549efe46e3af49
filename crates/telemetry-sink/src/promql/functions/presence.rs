//! `absent` and `absent_over_time`: one where there is nothing.

use crate::model::{Labels, METRIC_NAME, MatchOp};
use crate::promql::Error;
use crate::promql::ast::{Expr, Node};
use crate::promql::eval::Evaluator;
use crate::promql::value::Series;

pub(super) fn absent(evaluator: &Evaluator<'_>, vector: &Expr) -> Result<Vec<Series>, Error> {
    Ok(missing(evaluator, vector, &evaluator.vector(vector)?))
}

pub(super) fn absent_over_time(evaluator: &Evaluator<'_>, range: &Expr) -> Result<Vec<Series>, Error> {
    Ok(missing(evaluator, range, &evaluator.ranges(range, true, |_, _| Some(1.0))?))
}

fn missing(evaluator: &Evaluator<'_>, expr: &Expr, series: &[Series]) -> Vec<Series> {
    let at = |step: usize| series.iter().all(|series| series.at(step).is_none()).then_some(1.0);
    let values = (0..evaluator.query.count()).map(at).collect();
    vec![Series { labels: labels(expr), drops_name: false, values }]
}

/// What a plain selector says of its series: the labels that must have one value, as far as it does not contradict itself.
fn labels(expr: &Expr) -> Labels {
    let Node::Selector(selector) = &expr.bare().node else { return Labels::empty() };
    let mut builder = Labels::empty().to_builder();
    let mut known: Vec<&str> = Vec::new();
    for matcher in selector.matchers.iter().filter(|matcher| matcher.name != METRIC_NAME) {
        if matcher.op == MatchOp::Equal && !known.contains(&matcher.name.as_str()) {
            builder.set(&matcher.name, &matcher.value);
            known.push(&matcher.name);
        } else {
            builder.set(&matcher.name, "");
        }
    }
    builder.build()
}
