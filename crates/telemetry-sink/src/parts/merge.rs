//! Merging: small parts of an hour become one, those of a day become one.
//!
//! | Level | What it holds |
//! | --- | --- |
//! | 0 | what a flush wrote: minutes of logs and spans, up to two hours of metrics |
//! | 1 | an hour, merged once it is over |
//! | 2 | a day, merged once it is over |
//!
//! Parts larger than [`MAX_BYTES`] together stay apart. Too many parts of level 0 are merged whatever
//! their hour, so that a flood of small ones stays bounded.

use std::collections::BTreeMap;
use std::sync::Arc;

use parquet::errors::ParquetError;

use super::part::{Facts, Part};
use super::records::Columnar;
use super::samples::Run;
use super::shelf::Shelf;
use super::{rows, samples};
use crate::model::{Labels, put_in_order};

const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Parts merged at once; bounds the open readers.
const MAX_INPUTS: usize = 48;
/// More parts of level 0 than this are merged at once.
const MAX_SMALL: usize = 96;
const HOUR_SECONDS: i64 = 3600;
const DAY_SECONDS: i64 = 24 * HOUR_SECONDS;
/// Late records may still come for a while after an hour or a day is over.
const GRACE_SECONDS: i64 = 600;

/// What to merge next, and the level of the outcome; nothing where all is well.
pub(crate) fn plan(
    parts: &[Arc<Part>],
    units_per_second: i64,
    now_seconds: i64,
) -> Option<(Vec<Arc<Part>>, u8)> {
    let second = |part: &Arc<Part>| part.facts.first.div_euclid(units_per_second);
    for (level, span) in [(1u8, HOUR_SECONDS), (2, DAY_SECONDS)] {
        let mut over: BTreeMap<i64, Vec<&Arc<Part>>> = BTreeMap::new();
        for part in parts.iter().filter(|part| part.facts.level < level && mergeable(part)) {
            let bucket = second(part).div_euclid(span);
            if (bucket + 1) * span + GRACE_SECONDS < now_seconds {
                over.entry(bucket).or_default().push(part);
            }
        }
        if let Some(chosen) = over.into_values().find_map(|parts| choose(parts.into_iter())) {
            return Some((chosen, level));
        }
    }
    let small = parts.iter().filter(|part| part.facts.level == 0 && mergeable(part));
    if small.clone().count() > MAX_SMALL {
        return choose(small).map(|chosen| (chosen, 0));
    }
    None
}

/// What is in object storage stays as it is there.
fn mergeable(part: &Part) -> bool {
    !part.is_damaged() && !part.is_remote()
}

/// As many parts from the start as may become one; at least two.
fn choose<'a>(parts: impl Iterator<Item = &'a Arc<Part>>) -> Option<Vec<Arc<Part>>> {
    let mut bytes = 0;
    let mut chosen: Vec<Arc<Part>> = Vec::new();
    for part in parts.filter(|part| part.bytes < MAX_BYTES) {
        if bytes + part.bytes > MAX_BYTES || chosen.len() >= MAX_INPUTS {
            if chosen.len() > 1 {
                break;
            }
            chosen.clear();
            bytes = 0;
        }
        bytes += part.bytes;
        chosen.push(Arc::clone(part));
    }
    (chosen.len() > 1).then_some(chosen)
}

fn facts(inputs: &[Arc<Part>], level: u8) -> Facts {
    Facts {
        level,
        through: inputs.iter().map(|part| part.facts.through).max().unwrap_or(0),
        // With what the inputs replaced: it is gone from here, but copies elsewhere may outlive it.
        replaces: inputs
            .iter()
            .flat_map(|part| part.facts.replaces.iter().copied().chain([part.facts.id]))
            .collect(),
        ..Facts::default()
    }
}

/// Writes the records of some parts as one.
pub(crate) fn records<R: Columnar>(
    shelf: &Shelf,
    inputs: &[Arc<Part>],
    level: u8,
) -> Result<Option<Part>, ParquetError> {
    let mut groups: Vec<(i64, &Arc<Part>, usize)> = Vec::new();
    for part in inputs {
        groups.extend((0..part.group_count()).map(|index| (part.group_times(index).0, part, index)));
    }
    groups.sort_by_key(|(first, part, index)| (*first, part.facts.id, *index));
    let found = groups.into_iter().flat_map(|(_, part, index)| match rows::read_group::<R>(part, index) {
        Ok(rows) => rows.into_iter().map(Ok).collect::<Vec<_>>(),
        Err(error) => {
            part.note_damage(&error);
            vec![Err(error)]
        }
    });
    rows::write(shelf, found, facts(inputs, level))
}

/// Writes the samples of some parts as one; of samples with the same series and time one stays.
pub(crate) fn metrics(shelf: &Shelf, inputs: &[Arc<Part>], level: u8) -> Result<Option<Part>, ParquetError> {
    let mut readers: Vec<_> = inputs.iter().map(|part| noted(part).peekable()).collect();
    let merged = std::iter::from_fn(move || {
        let mut next: Option<Run> = None;
        // Errors first: they end the merge.
        for reader in &mut readers {
            if let Some(failed) = reader.next_if(Result::is_err) {
                return Some(failed);
            }
        }
        let least = readers
            .iter_mut()
            .filter_map(|reader| reader.peek()?.as_ref().ok().map(|(labels, _)| labels.clone()))
            .min_by(Labels::by_metric)?;
        for reader in &mut readers {
            let same =
                |run: &Result<Run, ParquetError>| run.as_ref().is_ok_and(|(labels, _)| *labels == least);
            while let Some(Ok((labels, samples))) = reader.next_if(same) {
                match &mut next {
                    Some((_, known)) => known.extend(samples),
                    None => next = Some((labels, samples)),
                }
            }
        }
        let (labels, mut samples) = next?;
        put_in_order(&mut samples);
        Some(Ok((labels, samples)))
    });
    samples::write(shelf, merged, facts(inputs, level))
}

fn noted(part: &Arc<Part>) -> impl Iterator<Item = Result<Run, ParquetError>> + '_ {
    samples::runs(part).inspect(|run| {
        if let Err(error) = run {
            part.note_damage(error);
        }
    })
}
