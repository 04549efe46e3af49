//! Writing, scanning and looking up the records of a part.

use std::ops::ControlFlow;
use std::sync::Arc;

use parquet::basic::Encoding;
use parquet::errors::ParquetError;

use super::columns::{Group, Rows};
use super::part::{Facts, Layout, Part};
use super::records::{self, Columnar, TIME};
use super::shelf::Shelf;
use crate::head::Found;
use crate::model::Resource;
use crate::model::codec::Key;

type Result<T> = std::result::Result<T, ParquetError>;

/// Rows of a row group, the unit in which rows are decoded.
const ROWS_PER_GROUP: usize = 32 * 1024;
/// About so many bytes of text end a row group early, so that long lines do not make it large.
const BYTES_PER_GROUP: usize = 8 * 1024 * 1024;

fn layout<R: Columnar>() -> Layout {
    Layout {
        schema: R::SCHEMA,
        encodings: R::ENCODINGS,
        plain: R::DISTINCT,
        filters: &["trace_id", "request_id"],
        rows_per_group: ROWS_PER_GROUP,
    }
}

/// The encodings of numbers that grow slowly.
pub(super) const DELTA: Encoding = Encoding::DELTA_BINARY_PACKED;

/// Writes records, which come roughly in the order of time, as one part; nothing where there are none.
pub(crate) fn write<R: Columnar>(
    shelf: &Shelf,
    records: impl Iterator<Item = Result<Found<R>>>,
    facts: Facts,
) -> Result<Option<Part>> {
    let mut records = records.peekable();
    if records.peek().is_none() {
        return Ok(None);
    }
    let (id, mut writer) = shelf.create(&layout::<R>())?;
    let mut rows: Vec<Found<R>> = Vec::new();
    let mut bytes = 0;
    while let Some(record) = records.next().transpose()? {
        bytes += record.record.weight();
        rows.push(record);
        let full = rows.len() >= ROWS_PER_GROUP || bytes >= BYTES_PER_GROUP;
        if full || records.peek().is_none() {
            rows.sort_by(R::order);
            let times = rows.iter().map(|row| row.record.time());
            let first = times.clone().min().unwrap_or(0);
            let last = times.max().unwrap_or(0);
            writer.group((first, last), |out| records::write(&rows, out))?;
            rows.clear();
            bytes = 0;
        }
    }
    writer.publish(Facts { id, ..facts }, |first| shelf.directory(first)).map(Some)
}

/// Every record of a group.
pub(super) fn read_group<R: Columnar>(part: &Part, index: usize) -> Result<Vec<Found<R>>> {
    let group = part.group(index)?;
    let all = group.all();
    let times = group.i64s(TIME, all)?;
    let records = R::read(&group, all, &times)?;
    let resources = records::resources(&group, all)?;
    Ok(resources.into_iter().zip(records).map(|(resource, record)| Found { resource, record }).collect())
}

/// A part's groups that overlap `from ≤ time < to`, newest first.
fn groups_between(part: &Part, from: i64, to: i64) -> Vec<usize> {
    let mut groups: Vec<_> = (0..part.group_count())
        .map(|index| (part.group_times(index), index))
        .filter(|((first, last), _)| *last >= from && *first < to)
        .collect();
    groups.sort_by_key(|((_, last), _)| std::cmp::Reverse(*last));
    groups.into_iter().map(|(_, index)| index).collect()
}

/// Visits the records with `from ≤ time < to` whose resource and class are wanted and whose body, where
/// records have one, may be of interest.
pub(crate) fn scan<R: Columnar>(
    part: &Part,
    (from, to): (i64, i64),
    wanted: &dyn Fn(&Resource, u8) -> bool,
    interesting: &dyn Fn(&[u8]) -> bool,
    visit: &mut dyn FnMut(Found<R>) -> ControlFlow<()>,
) -> ControlFlow<()> {
    for index in groups_between(part, from, to) {
        match part.group(index).and_then(|group| select::<R>(&group, (from, to), wanted, interesting)) {
            Ok(found) => found.into_iter().try_for_each(&mut *visit)?,
            Err(error) => part.note_damage(&error),
        }
    }
    ControlFlow::Continue(())
}

fn select<R: Columnar>(
    group: &Group<'_>,
    (from, to): (i64, i64),
    wanted: &dyn Fn(&Resource, u8) -> bool,
    interesting: &dyn Fn(&[u8]) -> bool,
) -> Result<Vec<Found<R>>> {
    let times = group.i64s(TIME, group.all())?;
    let mut rows: Vec<usize> = times
        .iter()
        .enumerate()
        .filter(|(_, time)| **time >= from && **time < to)
        .map(|(row, _)| row)
        .collect();
    keep_wanted::<R>(group, &mut rows, wanted)?;
    if let Some(body) = R::BODY {
        let bodies = group.texts(body, Rows::Only(&rows))?;
        let mut bodies = bodies.iter();
        rows.retain(|_| bodies.next().is_some_and(|body| interesting(body.data())));
    }
    pick(group, &rows, &times)
}

fn keep_wanted<R: Columnar>(
    group: &Group<'_>,
    rows: &mut Vec<usize>,
    wanted: &dyn Fn(&Resource, u8) -> bool,
) -> Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let resources = records::resources(group, Rows::Only(rows))?;
    let classes = R::classes(group, Rows::Only(rows))?;
    let mut last: Option<(*const Resource, u8, bool)> = None;
    let mut index = 0;
    rows.retain(|_| {
        let class = classes.as_ref().and_then(|classes| classes.get(index).copied()).unwrap_or(0);
        let Some(resource) = resources.get(index) else { return false };
        index += 1;
        let pointer = Arc::as_ptr(resource);
        // Rows of one stream stand together, so that the last answer mostly holds.
        match last {
            Some((known, known_class, answer)) if std::ptr::eq(known, pointer) && known_class == class => {
                answer
            }
            _ => {
                let answer = wanted(resource, class);
                last = Some((pointer, class, answer));
                answer
            }
        }
    });
    Ok(())
}

fn pick<R: Columnar>(group: &Group<'_>, rows: &[usize], times: &[i64]) -> Result<Vec<Found<R>>> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let times: Vec<i64> = rows.iter().filter_map(|row| times.get(*row).copied()).collect();
    let records = R::read(group, Rows::Only(rows), &times)?;
    let resources = records::resources(group, Rows::Only(rows))?;
    Ok(resources.into_iter().zip(records).map(|(resource, record)| Found { resource, record }).collect())
}

/// Adds every record found under `key`, group by group, until there are `most` or more.
pub(crate) fn lookup<R: Columnar>(part: &Part, key: Key<'_>, most: usize, found: &mut Vec<Found<R>>) {
    for index in 0..part.group_count() {
        if found.len() >= most {
            return;
        }
        let hits = part.group(index).and_then(|group| {
            let rows = records::rows_of::<R>(&group, key)?;
            if rows.is_empty() {
                return Ok(Vec::new());
            }
            let times = group.i64s(TIME, group.all())?;
            pick(&group, &rows, &times)
        });
        match hits {
            Ok(hits) => found.extend(hits),
            Err(error) => part.note_damage(&error),
        }
    }
}

/// Visits each pair of resource and class that occurs between two times, often more than once.
pub(crate) fn streams<R: Columnar>(
    part: &Part,
    (from, to): (i64, i64),
    visit: &mut dyn FnMut(&Arc<Resource>, u8),
) {
    for index in groups_between(part, from, to) {
        let pairs = part.group(index).and_then(|group| {
            let times = group.i64s(TIME, group.all())?;
            let resources = records::resources(&group, group.all())?;
            let classes = R::classes(&group, group.all())?;
            let mut pairs: Vec<(Arc<Resource>, u8)> = Vec::new();
            for (row, (time, resource)) in times.iter().zip(&resources).enumerate() {
                let class = classes.as_ref().and_then(|classes| classes.get(row).copied()).unwrap_or(0);
                let known =
                    pairs.last().is_some_and(|(known, of)| Arc::ptr_eq(known, resource) && *of == class);
                if *time >= from && *time < to && !known {
                    pairs.push((Arc::clone(resource), class));
                }
            }
            Ok(pairs)
        });
        match pairs {
            Ok(pairs) => pairs.iter().for_each(|(resource, class)| visit(resource, *class)),
            Err(error) => part.note_damage(&error),
        }
    }
}
