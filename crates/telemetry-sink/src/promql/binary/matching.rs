//! Which series of two vectors belong together, and what comes of them.
//!
//! Series match when their *signatures* agree: the labels that `on` names, or all but those that `ignoring` names and the
//! metric's name. At each step a signature may stand for one series on the side that is "one"; series that have no value
//! at a step do not count there.

use std::collections::{BTreeSet, HashMap};

use super::combine;
use crate::model::{Labels, METRIC_NAME};
use crate::promql::Error;
use crate::promql::ast::{Binary, BinaryOp, Cardinality, MatchLabels};
use crate::promql::value::{Series, merge};

fn signature(labels: &MatchLabels, of: &Labels) -> Labels {
    match labels {
        MatchLabels::On(names) => of.filtered(|name| names.iter().any(|wanted| wanted == name)),
        MatchLabels::Ignoring(names) => {
            of.filtered(|name| name != METRIC_NAME && !names.iter().any(|ignored| ignored == name))
        }
    }
}

/// Series by their signatures.
struct Side<'a> {
    series: &'a [Series],
    by_signature: HashMap<Labels, Vec<usize>>,
}

impl<'a> Side<'a> {
    fn new(labels: &MatchLabels, series: &'a [Series]) -> Self {
        let mut by_signature = HashMap::<Labels, Vec<usize>>::new();
        for (index, one) in series.iter().enumerate() {
            by_signature.entry(signature(labels, &one.labels)).or_default().push(index);
        }
        Self { series, by_signature }
    }

    /// Those of the signature with a value at the step.
    fn present(&self, signature: &Labels, step: usize) -> impl Iterator<Item = (&'a Series, f64)> {
        let indexes = self.by_signature.get(signature).map_or(&[][..], Vec::as_slice);
        indexes.iter().filter_map(move |index| {
            let series = self.series.get(*index)?;
            Some((series, series.at(step)?))
        })
    }
}

/// What a signature's series became at one step.
#[derive(Default)]
struct Seen {
    results: BTreeSet<Labels>,
    matched: bool,
}

/// Arithmetic and comparisons between vectors.
pub(super) fn pairs(binary: &Binary, left: &[Series], right: &[Series]) -> Result<Vec<Series>, Error> {
    let labels = &binary.matching.labels;
    // "One" is the side on which a signature may have a single series.
    let (many, one) = match binary.matching.cardinality {
        Cardinality::OneToMany(_) => (right, left),
        _ => (left, right),
    };
    let one = Side::new(labels, one);
    let signatures: Vec<Labels> = many.iter().map(|series| signature(labels, &series.labels)).collect();
    let steps = many.iter().chain(one.series).map(|series| series.values.len()).max().unwrap_or(0);
    let mut results: HashMap<(usize, Labels), Vec<Option<f64>>> = HashMap::new();
    for step in 0..steps {
        check_one(binary, &one, step)?;
        let mut seen: HashMap<&Labels, Seen> = HashMap::new();
        for (index, (series, signature)) in many.iter().zip(&signatures).enumerate() {
            let Some(value) = series.at(step) else { continue };
            let Some((partner, partners)) = one.present(signature, step).next() else { continue };
            let (left, right) = match binary.matching.cardinality {
                Cardinality::OneToMany(_) => (partners, value),
                _ => (value, partners),
            };
            let labels = result_labels(binary, &series.labels, &partner.labels);
            claim(binary, seen.entry(signature).or_default(), &labels)?;
            if let Some(result) = combine(binary, left, right, left)
                && let Some(at) =
                    results.entry((index, labels)).or_insert_with(|| vec![None; steps]).get_mut(step)
            {
                *at = Some(result);
            }
        }
    }
    let mut results: Vec<_> = results.into_iter().collect();
    results.sort_by(|(left, _), (right, _)| left.cmp(right));
    let drops_name = binary.returns_bool;
    merge(results.into_iter().map(|((_, labels), values)| Series { labels, drops_name, values }).collect())
}

/// Two series of the "one" side with one signature at one step are an error, whether or not anything matches them.
fn check_one(binary: &Binary, one: &Side<'_>, step: usize) -> Result<(), Error> {
    for signature in
        one.by_signature.iter().filter(|(_, series)| series.len() > 1).map(|(signature, _)| signature)
    {
        let mut present = one.present(signature, step);
        let (Some((first, _)), Some((second, _))) = (present.next(), present.next()) else { continue };
        let side = match binary.matching.cardinality {
            Cardinality::OneToMany(_) => "left",
            _ => "right",
        };
        let mut both = [format!("{:?}", first.labels), format!("{:?}", second.labels)];
        both.sort();
        return Err(Error::Execution(format!(
            "found duplicate series for the match group {signature:?} on the {side} hand-side of the operation: [{}]\
             ;many-to-many matching not allowed: matching labels must be unique on one side",
            both.join(", ")
        )));
    }
    Ok(())
}

fn claim(binary: &Binary, seen: &mut Seen, result: &Labels) -> Result<(), Error> {
    if binary.matching.cardinality == Cardinality::OneToOne {
        if std::mem::replace(&mut seen.matched, true) {
            let message =
                "multiple matches for labels: many-to-one matching must be explicit (group_left/group_right)";
            return Err(Error::Execution(message.to_owned()));
        }
    } else if !seen.results.insert(result.clone()) {
        let message = "multiple matches for labels: grouping labels must ensure unique matches";
        return Err(Error::Execution(message.to_owned()));
    }
    Ok(())
}

fn result_labels(binary: &Binary, many: &Labels, one: &Labels) -> Labels {
    // A comparison with `bool` drops the name at the very end, like a function.
    let keeps_name = binary.op.is_comparison();
    let kept = |name: &str| name != METRIC_NAME || keeps_name;
    let lent = match &binary.matching.cardinality {
        Cardinality::OneToOne => {
            return many.filtered(|name| {
                let named = binary.matching.labels.names().iter().any(|one| one == name);
                kept(name) && (named == matches!(binary.matching.labels, MatchLabels::On(_)))
            });
        }
        Cardinality::ManyToOne(lent) | Cardinality::OneToMany(lent) => lent,
    };
    let mut builder = many.filtered(kept).to_builder();
    for name in lent {
        builder.set(name, one.get(name).unwrap_or_default());
    }
    builder.build()
}

/// `and`, `or` and `unless`: the left series that have, lack, or are joined by right ones of their signature.
pub(super) fn set(
    op: BinaryOp,
    labels: &MatchLabels,
    left: Vec<Series>,
    right: &[Series],
) -> Result<Vec<Series>, Error> {
    let keep = |series: &Series, others: &Side<'_>, wanted: bool| {
        let signature = signature(labels, &series.labels);
        let present = |step: usize| others.present(&signature, step).next().is_some();
        let values = series.values.iter().enumerate();
        Series {
            values: values.map(|(step, value)| value.filter(|_| present(step) == wanted)).collect(),
            ..series.clone()
        }
    };
    if op == BinaryOp::Or {
        let others = Side::new(labels, &left);
        let added: Vec<Series> = right.iter().map(|series| keep(series, &others, false)).collect();
        return merge(left.into_iter().chain(added).collect());
    }
    let others = Side::new(labels, right);
    Ok(left.iter().map(|series| keep(series, &others, op == BinaryOp::And)).collect())
}
