//! Which series of two vectors belong together, and what comes of them.
//!
//! Series match when their *signatures* agree: the labels that `on` names, or all but those that `ignoring` names and the
//! metric's name. At each step a signature may stand for one series on the side that is "one"; series that have no value
//! at a step do not count there. Labels are made once for each pair of series and not at each step.

use std::collections::{BTreeMap, HashMap};

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

/// Series by their signatures, in an order that is the same each time.
type Side<'a> = BTreeMap<Labels, Vec<&'a Series>>;

fn side<'a>(labels: &MatchLabels, series: &'a [Series]) -> Side<'a> {
    let mut side = Side::new();
    for one in series {
        side.entry(signature(labels, &one.labels)).or_default().push(one);
    }
    side
}

fn steps_of<'a>(series: impl IntoIterator<Item = &'a Series>) -> usize {
    series.into_iter().map(|series| series.values.len()).max().unwrap_or(0)
}

/// Arithmetic and comparisons between vectors.
pub(super) fn pairs(binary: &Binary, left: &[Series], right: &[Series]) -> Result<Vec<Series>, Error> {
    let labels = &binary.matching.labels;
    // "One" is the side on which a signature may have a single series.
    let (many, one) = match binary.matching.cardinality {
        Cardinality::OneToMany(_) => (right, left),
        _ => (left, right),
    };
    let one = side(labels, one);
    check_one(binary, &one, many)?;
    let mut results = Vec::new();
    for (signature, members) in side(labels, many) {
        for partner in one.get(&signature).into_iter().flatten() {
            with_partner(binary, &members, partner, &mut results)?;
        }
    }
    merge(results)
}

/// Two series of the "one" side with one signature at one step are an error, whether or not anything matches them, unless the
/// other side is empty.
fn check_one(binary: &Binary, one: &Side<'_>, many: &[Series]) -> Result<(), Error> {
    for (signature, series) in one.iter().filter(|(_, series)| series.len() > 1) {
        for step in 0..steps_of(series.iter().copied()) {
            let mut present = series.iter().filter(|series| series.at(step).is_some());
            let (Some(first), Some(second)) = (present.next(), present.next()) else { continue };
            if many.iter().all(|series| series.at(step).is_none()) {
                continue;
            }
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
    }
    Ok(())
}

/// What the series of one signature become with a partner, at the steps at which it has a value.
fn with_partner(
    binary: &Binary,
    members: &[&Series],
    partner: &Series,
    results: &mut Vec<Series>,
) -> Result<(), Error> {
    let labels: Vec<Labels> =
        members.iter().map(|member| result_labels(binary, &member.labels, &partner.labels)).collect();
    check_clashes(binary, members, &labels, partner)?;
    for (member, labels) in members.iter().zip(labels) {
        let values = member.values.iter().zip(&partner.values).map(|(value, partner)| {
            let (left, right) = match binary.matching.cardinality {
                Cardinality::OneToMany(_) => ((*partner)?, (*value)?),
                _ => ((*value)?, (*partner)?),
            };
            combine(binary, left, right, left)
        });
        let values: Vec<Option<f64>> = values.collect();
        if values.iter().any(Option::is_some) {
            results.push(Series { labels, drops_name: binary.returns_bool, values });
        }
    }
    Ok(())
}

/// No two results may be the same series at one step, nor any two at all where matching is one to one.
fn check_clashes(
    binary: &Binary,
    members: &[&Series],
    labels: &[Labels],
    partner: &Series,
) -> Result<(), Error> {
    if members.len() < 2 {
        return Ok(());
    }
    let one_to_one = binary.matching.cardinality == Cardinality::OneToOne;
    let mut alike: HashMap<Option<&Labels>, Vec<&Series>> = HashMap::new();
    for (member, labels) in members.iter().zip(labels) {
        alike.entry((!one_to_one).then_some(labels)).or_default().push(member);
    }
    let clash = alike.values().filter(|series| series.len() > 1).any(|series| {
        let at = |step: &usize| partner.at(*step).is_some();
        (0..partner.values.len())
            .filter(at)
            .any(|step| series.iter().filter(|series| series.at(step).is_some()).nth(1).is_some())
    });
    let message = match (clash, one_to_one) {
        (false, _) => return Ok(()),
        (true, true) => "many-to-one matching must be explicit (group_left/group_right)",
        (true, false) => "grouping labels must ensure unique matches",
    };
    Err(Error::Execution(format!("multiple matches for labels: {message}")))
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
    if op == BinaryOp::Or {
        let present = presence(labels, &left);
        let added: Vec<Series> = right.iter().map(|series| kept(labels, series, &present, false)).collect();
        return merge(left.into_iter().chain(added).collect());
    }
    let present = presence(labels, right);
    Ok(left.iter().map(|series| kept(labels, series, &present, op == BinaryOp::And)).collect())
}

/// At which steps each signature has any value.
fn presence(labels: &MatchLabels, series: &[Series]) -> HashMap<Labels, Vec<bool>> {
    let mut presence: HashMap<Labels, Vec<bool>> = HashMap::new();
    for one in series {
        let present =
            presence.entry(signature(labels, &one.labels)).or_insert_with(|| vec![false; one.values.len()]);
        for (present, value) in present.iter_mut().zip(&one.values) {
            *present |= value.is_some();
        }
    }
    presence
}

/// A series at the steps at which its signature is among the others, or is not.
fn kept(labels: &MatchLabels, series: &Series, others: &HashMap<Labels, Vec<bool>>, wanted: bool) -> Series {
    let present = others.get(&signature(labels, &series.labels));
    let at = |step: usize| present.and_then(|present| present.get(step)).copied().unwrap_or(false);
    let values = series.values.iter().enumerate();
    Series {
        labels: series.labels.clone(),
        drops_name: series.drops_name,
        values: values.map(|(step, value)| value.filter(|_| at(step) == wanted)).collect(),
    }
}
