//! Functions that change labels, or order by them.

use std::cmp::Ordering;

use super::text;
use crate::model::matcher::compile;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::Error;
use crate::promql::ast::Expr;
use crate::promql::value::{Series, merge};

pub(super) fn replace(series: Vec<Series>, args: &[Expr]) -> Result<Vec<Series>, Error> {
    let (target, replacement, source, pattern) = (text(args, 1), text(args, 2), text(args, 3), text(args, 4));
    let regex = compile(&format!("^(?s:{pattern})$"))
        .map_err(|_| Error::Execution(format!("invalid regular expression in label_replace(): {pattern}")))?;
    relabel("label_replace", series, target, |labels| {
        let captures = regex.captures(labels.get(source).unwrap_or(""))?;
        let mut value = String::new();
        captures.expand(replacement, &mut value);
        Some(value)
    })
}

pub(super) fn join(series: Vec<Series>, args: &[Expr]) -> Result<Vec<Series>, Error> {
    let (target, separator) = (text(args, 1), text(args, 2));
    relabel("label_join", series, target, |labels| {
        let parts = (3..args.len()).map(|index| labels.get(text(args, index)).unwrap_or(""));
        Some(parts.collect::<Vec<_>>().join(separator))
    })
}

/// Gives each series the value for the target label, where there is one.
fn relabel(
    function: &str,
    series: Vec<Series>,
    target: &str,
    value: impl Fn(&Labels) -> Option<String>,
) -> Result<Vec<Series>, Error> {
    if target.is_empty() {
        return Err(Error::Execution(format!("invalid destination label name in {function}(): {target}")));
    }
    let relabelled = series.into_iter().map(|series| match value(&series.labels) {
        Some(value) => Series {
            labels: series.labels.to_builder().set(target, &value).build(),
            // A name that is given here is meant to stay.
            drops_name: series.drops_name && target != METRIC_NAME,
            ..series
        },
        None => series,
    });
    merge(relabelled.collect())
}

/// Orders by the labels that are named, then by all of them; digits within a value count as one number.
pub(super) fn sorted(mut series: Vec<Series>, args: &[Expr], descending: bool) -> Vec<Series> {
    let order = |left: &Series, right: &Series| {
        for index in 1..args.len() {
            let name = text(args, index);
            let value = |series: &Series| series.labels.get(name).unwrap_or("").to_owned();
            let found = natural(&value(left), &value(right));
            if found != Ordering::Equal {
                return found;
            }
        }
        left.labels.cmp(&right.labels)
    };
    series.sort_by(|left, right| if descending { order(right, left) } else { order(left, right) });
    series
}

/// `web-2` before `web-10`.
fn natural(mut left: &str, mut right: &str) -> Ordering {
    loop {
        let (left_part, left_rest) = part(left);
        let (right_part, right_rest) = part(right);
        let found = match (number(left_part), number(right_part)) {
            (Some(left), Some(right)) => (left.len(), left).cmp(&(right.len(), right)),
            _ => left_part.cmp(right_part),
        };
        if found != Ordering::Equal || (left_part.is_empty() && right_part.is_empty()) {
            return found.then(left.cmp(right));
        }
        (left, right) = (left_rest, right_rest);
    }
}

/// The digits, or what is none, at the start, and the rest.
fn part(text: &str) -> (&str, &str) {
    let digits = text.starts_with(|first: char| first.is_ascii_digit());
    let end = text.find(|letter: char| letter.is_ascii_digit() != digits).unwrap_or(text.len());
    text.split_at(end)
}

/// Digits without leading zeros; longer is larger.
fn number(part: &str) -> Option<&str> {
    part.starts_with(|first: char| first.is_ascii_digit()).then(|| part.trim_start_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_within_a_text_are_a_number() {
        for (smaller, larger) in [("web-2", "web-10"), ("a", "b"), ("1", "a"), ("v1.9", "v1.10"), ("x", "x1")]
        {
            assert_eq!(natural(smaller, larger), Ordering::Less, "{smaller} {larger}");
            assert_eq!(natural(larger, smaller), Ordering::Greater, "{larger} {smaller}");
        }
        assert_eq!(natural("a1", "a1"), Ordering::Equal);
    }
}
