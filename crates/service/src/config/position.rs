//! From a key to its line: paths of keys, and where the TOML text sets them.

use serde_path_to_error::Segment as SerdeSegment;
use toml::de::{DeTable, DeValue};

/// One step into the settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Segment {
    /// A key of a section.
    Key(String),
    /// A position in an array, from 0.
    Index(usize),
}

pub(super) fn segments(path: &serde_path_to_error::Path) -> Vec<Segment> {
    path.iter()
        .filter_map(|segment| match segment {
            SerdeSegment::Map { key } => Some(Segment::Key(key.clone())),
            SerdeSegment::Enum { variant } => Some(Segment::Key(variant.clone())),
            SerdeSegment::Seq { index } => Some(Segment::Index(*index)),
            SerdeSegment::Unknown => None,
        })
        .collect()
}

/// `a.b[2].c` as segments.
pub(super) fn split(key: &str) -> Vec<Segment> {
    let mut path = Vec::new();
    for part in key.split('.') {
        let mut pieces = part.split('[');
        path.extend(pieces.next().filter(|name| !name.is_empty()).map(|name| Segment::Key(name.to_owned())));
        path.extend(pieces.filter_map(|piece| piece.trim_end_matches(']').parse().ok()).map(Segment::Index));
    }
    path
}

pub(super) fn display(path: &[Segment]) -> String {
    let mut text = String::new();
    for segment in path {
        match segment {
            Segment::Key(key) if text.is_empty() => text.push_str(key),
            Segment::Key(key) => {
                text.push('.');
                text.push_str(key);
            }
            Segment::Index(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
        }
    }
    text
}

/// Line and column of the deepest part of `path` that the text holds; the start of the file when
/// it holds none.
pub(super) fn locate(text: &str, path: &[Segment]) -> (usize, usize) {
    let offset = DeTable::parse(text).map_or(0, |table| deepest(table.get_ref(), path).unwrap_or(0));
    line_column(text, offset)
}

fn deepest(table: &DeTable<'_>, path: &[Segment]) -> Option<usize> {
    let (Segment::Key(wanted), rest) = path.split_first()? else { return None };
    let (key, value) = table.iter().find(|(key, _)| key.get_ref().as_ref() == wanted.as_str())?;
    Some(within(value.get_ref(), rest).unwrap_or(key.span().start))
}

fn within(value: &DeValue<'_>, path: &[Segment]) -> Option<usize> {
    match (value, path.split_first()?) {
        (DeValue::Table(table), _) => deepest(table, path),
        (DeValue::Array(items), (Segment::Index(index), rest)) => {
            let item = items.get(*index)?;
            Some(within(item.get_ref(), rest).unwrap_or(item.span().start))
        }
        _ => None,
    }
}

/// The text at `path`, if a string is there.
pub(super) fn text_at<'t>(table: &'t toml::Table, path: &[Segment]) -> Option<&'t str> {
    let (Segment::Key(key), rest) = path.split_first()? else { return None };
    let value = rest.iter().try_fold(table.get(key)?, |value, segment| match segment {
        Segment::Key(key) => value.get(key),
        Segment::Index(index) => value.get(index),
    });
    value?.as_str()
}

/// The keys under `table` whose value is the string `value`.
pub(super) fn keys_with_value(
    table: &toml::Table,
    value: &str,
    path: &mut Vec<Segment>,
    found: &mut Vec<String>,
) {
    for (key, item) in table {
        path.push(Segment::Key(key.clone()));
        collect(item, value, path, found);
        path.pop();
    }
}

fn collect(item: &toml::Value, value: &str, path: &mut Vec<Segment>, found: &mut Vec<String>) {
    match item {
        toml::Value::String(text) if text == value => found.push(display(path)),
        toml::Value::Table(table) => keys_with_value(table, value, path, found),
        toml::Value::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                path.push(Segment::Index(index));
                collect(item, value, path, found);
                path.pop();
            }
        }
        _ => {}
    }
}

/// Line and column (both from 1, columns in characters) of the byte `offset`.
pub(super) fn line_column(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |tail| tail.chars().count()) + 1;
    (line, column)
}
