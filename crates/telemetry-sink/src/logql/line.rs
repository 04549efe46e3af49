//! A line on its way through the stages: what was recorded, and what the stages made of it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::head::Found;
use crate::ingest::naming::label_name;
use crate::model::{Labels, LabelsBuilder, LogRecord, Resource, Value, hex};

pub(crate) const SERVICE: &str = "service_name";
pub(crate) const LEVEL: &str = "level";
/// The level under the name that Grafana's log pages ask for; the same as `level` here.
const DETECTED_LEVEL: &str = "detected_level";
const SCOPE: &str = "scope_name";
const TRACE: &str = "trace_id";
const SPAN: &str = "span_id";
pub(super) const ERROR: &str = "__error__";
pub(super) const ERROR_DETAILS: &str = "__error_details__";

/// What names a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stream<'a> {
    pub(crate) resource: &'a Resource,
    /// OpenTelemetry's severity number.
    pub(crate) severity: u8,
}

impl<'a> Stream<'a> {
    pub(crate) fn level(self) -> &'static str {
        LogRecord { severity: self.severity, ..LogRecord::default() }.level()
    }

    pub(crate) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        match name {
            SERVICE => Some(Cow::Borrowed(&self.resource.service)),
            LEVEL | DETECTED_LEVEL => Some(Cow::Borrowed(self.level())),
            name => find(&self.resource.attributes, name),
        }
    }

    pub(crate) fn labels(self) -> Labels {
        let mut builder = LabelsBuilder::new();
        for (name, value) in &self.resource.attributes {
            builder.set(&label_name(name), &value.to_text());
        }
        builder.set(SERVICE, &self.resource.service);
        builder.set(LEVEL, self.level());
        builder.build()
    }
}

fn find<'a>(attributes: &'a [(String, Value)], name: &str) -> Option<Cow<'a, str>> {
    let found = attributes.iter().find(|(key, _)| is_called(key, name));
    found.map(|(_, value)| match value {
        Value::Text(text) => Cow::Borrowed(text.as_str()),
        other => Cow::Owned(other.to_text()),
    })
}

/// Whether an attribute has this label name, without making one for each attribute of each line.
fn is_called(key: &str, name: &str) -> bool {
    if key.starts_with(|first: char| first.is_ascii_digit()) {
        return label_name(key) == name;
    }
    key.chars().count() == name.len()
        && key.chars().zip(name.chars()).all(|(letter, wanted)| {
            letter == wanted && (letter.is_ascii_alphanumeric() || letter == '_')
                || wanted == '_' && !letter.is_ascii_alphanumeric()
        })
}

/// Bytes of all labels that templates make of one line.
const MAX_MADE: usize = 1024 * 1024;

/// What the stages changed.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Changes {
    text: Option<String>,
    parsed: Vec<(String, String)>,
    removed: Vec<String>,
    error: Option<(&'static str, String)>,
    /// Bytes of the labels that templates made.
    made: usize,
}

impl Changes {
    /// What they take in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let parsed = self.parsed.iter().map(|(name, value)| name.len() + value.len());
        self.text.as_ref().map_or(0, String::len)
            + parsed.chain(self.removed.iter().map(String::len)).map(|bytes| bytes + 64).sum::<usize>()
    }
}

#[derive(Debug)]
pub(crate) struct Line<'a> {
    pub(crate) found: &'a Found<LogRecord>,
    changes: Changes,
}

impl<'a> Line<'a> {
    pub(crate) fn new(found: &'a Found<LogRecord>) -> Self {
        Self { found, changes: Changes::default() }
    }

    /// A line that went through the stages before.
    pub(crate) fn with(found: &'a Found<LogRecord>, changes: Changes) -> Self {
        Self { found, changes }
    }

    pub(crate) fn into_changes(self) -> Changes {
        self.changes
    }

    /// What the line and its changes take in memory, roughly.
    pub(crate) fn bytes(&self) -> usize {
        self.found.record.body.len() + self.changes.bytes()
    }

    pub(crate) fn text(&self) -> &str {
        self.changes.text.as_deref().unwrap_or(&self.found.record.body)
    }

    pub(crate) fn stream(&self) -> Stream<'a> {
        Stream { resource: &self.found.resource, severity: self.found.record.severity }
    }

    pub(crate) fn error(&self) -> Option<&(&'static str, String)> {
        self.changes.error.as_ref()
    }

    /// Whether no stage gave or took a label.
    pub(super) fn has_own_labels(&self) -> bool {
        self.changes.parsed.is_empty() && self.changes.removed.is_empty() && self.changes.error.is_none()
    }

    pub(crate) fn get(&self, name: &str) -> Option<Cow<'_, str>> {
        match name {
            ERROR => return self.error().map(|(kind, _)| Cow::Borrowed(*kind)),
            ERROR_DETAILS => return self.error().map(|(_, details)| Cow::Borrowed(details.as_str())),
            _ => {}
        }
        if let Some((_, value)) = self.changes.parsed.iter().find(|(known, _)| known == name) {
            return Some(Cow::Borrowed(value));
        }
        if self.changes.removed.iter().any(|removed| removed == name) {
            return None;
        }
        self.stream().get(name).or_else(|| self.metadata_value(name))
    }

    fn metadata_value(&self, name: &str) -> Option<Cow<'_, str>> {
        let record = &self.found.record;
        match name {
            SCOPE => Some(Cow::Borrowed(record.scope.as_str())).filter(|scope| !scope.is_empty()),
            TRACE => record.trace_id.map(|id| hex(&id).into()),
            SPAN => record.span_id.map(|id| hex(&id).into()),
            name => find(&record.attributes, name),
        }
    }

    /// The structured metadata that is still there.
    pub(crate) fn metadata(&self) -> BTreeMap<String, String> {
        let record = &self.found.record;
        let mut all: BTreeMap<String, String> =
            record.attributes.iter().map(|(name, value)| (label_name(name), value.to_text())).collect();
        for name in [SCOPE, TRACE, SPAN] {
            if let Some(value) = self.metadata_value(name) {
                all.insert(name.to_owned(), value.into_owned());
            }
        }
        all.retain(|name, value| !value.is_empty() && !self.is_hidden(name));
        all
    }

    fn is_hidden(&self, name: &str) -> bool {
        self.changes.removed.iter().any(|removed| removed == name)
            || self.changes.parsed.iter().any(|(known, _)| known == name)
    }

    /// The stream's labels that are still there.
    pub(crate) fn stream_labels(&self) -> BTreeMap<String, String> {
        let labels = self.stream().labels();
        let left = labels.iter().filter(|(name, _)| !self.is_hidden(name));
        left.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
    }

    /// What the stages found in the line, and what went wrong there.
    pub(crate) fn parsed(&self) -> BTreeMap<String, String> {
        let mut all: BTreeMap<String, String> =
            self.changes.parsed.iter().filter(|(_, value)| !value.is_empty()).cloned().collect();
        if let Some((kind, details)) = self.error() {
            all.insert(ERROR.to_owned(), (*kind).to_owned());
            all.insert(ERROR_DETAILS.to_owned(), details.clone());
        }
        all
    }

    /// Every label.
    pub(crate) fn labels(&self) -> BTreeMap<String, String> {
        let mut all = self.stream_labels();
        all.extend(self.metadata());
        all.extend(self.parsed());
        all
    }

    /// The labels a series has that no grouping names: structured metadata, such as ids, would make a series of each line.
    pub(super) fn series_labels(&self, mentioned: &[String]) -> BTreeMap<String, String> {
        let mut all = self.stream_labels();
        all.extend(self.parsed());
        for name in mentioned {
            if let Some(value) = self.get(name).filter(|value| !value.is_empty()) {
                all.insert(name.clone(), value.into_owned());
            }
        }
        all
    }

    pub(super) fn set_text(&mut self, text: String) {
        self.changes.text = Some(text);
    }

    /// What a parser found. A name that the stream has is kept and the found one gets a suffix, as in Loki.
    pub(super) fn extract(&mut self, name: &str, value: String) {
        if self.stream().get(name).is_some() {
            self.set(&format!("{name}_extracted"), value);
        } else {
            self.set(name, value);
        }
    }

    pub(super) fn set(&mut self, name: &str, value: String) {
        match self.changes.parsed.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = value,
            None => self.changes.parsed.push((name.to_owned(), value)),
        }
    }

    /// A label that a template made.
    pub(super) fn make(&mut self, name: &str, value: String) -> Result<(), String> {
        self.changes.made += value.len();
        if self.changes.made > MAX_MADE {
            return Err(format!("the line's templates make more than {MAX_MADE} bytes of labels"));
        }
        self.set(name, value);
        Ok(())
    }

    pub(super) fn remove(&mut self, name: &str) {
        if matches!(name, ERROR | ERROR_DETAILS) {
            self.changes.error = None;
            return;
        }
        self.changes.parsed.retain(|(known, _)| known != name);
        if !self.changes.removed.iter().any(|removed| removed == name) {
            self.changes.removed.push(name.to_owned());
        }
    }

    /// The first error of a line stays.
    pub(super) fn fail(&mut self, kind: &'static str, details: impl Into<String>) {
        self.changes.error.get_or_insert_with(|| (kind, details.into()));
    }
}
