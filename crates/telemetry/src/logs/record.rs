//! One event, ready to be written as a line or sent as an OTLP record.

use std::fmt::Write as _;
use std::sync::Arc;

use opentelemetry::trace::{SpanId, TraceFlags, TraceId};
use quintet_types::Timestamp;
use serde::ser::{Serialize, SerializeMap, Serializer};
use tracing::Level;
use tracing::field::{Field, Visit};

/// Longer values are cut: one event must not fill a queue.
pub(crate) const MAX_VALUE: usize = 8 * 1024;

/// One logged event.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) time: Timestamp,
    pub(crate) level: Level,
    pub(crate) target: &'static str,
    pub(crate) message: String,
    pub(crate) fields: Vec<(&'static str, Value)>,
    pub(crate) span: Option<SpanIds>,
    pub(crate) request_id: Option<Arc<str>>,
}

/// The span in which an event happened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SpanIds {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) flags: TraceFlags,
}

/// A field's value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Signed(i64),
    Unsigned(u64),
    Float(f64),
    Bool(bool),
}

impl Record {
    pub(crate) fn new(time: Timestamp, level: Level, target: &'static str) -> Self {
        let (message, fields) = (String::new(), Vec::new());
        Self { time, level, target, message, fields, span: None, request_id: None }
    }

    pub(crate) fn write_json(&self, service: &str, line: &mut Vec<u8>) {
        // Writing to memory cannot fail, and every key is a string.
        let _ = serde_json::to_writer(line, &Json { record: self, service });
    }

    pub(crate) fn write_text(&self, line: &mut Vec<u8>) {
        let mut text = String::with_capacity(128);
        // Formatting into a string cannot fail.
        let _ = write!(text, "{} {:5} {}: {}", self.timestamp(), self.level, self.target, self.message);
        for (name, value) in &self.fields {
            let _ = match value {
                Value::Text(value) => write!(text, " {name}={value:?}"),
                Value::Signed(value) => write!(text, " {name}={value}"),
                Value::Unsigned(value) => write!(text, " {name}={value}"),
                Value::Float(value) => write!(text, " {name}={value}"),
                Value::Bool(value) => write!(text, " {name}={value}"),
            };
        }
        if let Some(request_id) = &self.request_id {
            let _ = write!(text, " request_id={request_id}");
        }
        if let Some(span) = &self.span {
            let _ = write!(text, " trace_id={}", span.trace_id);
        }
        line.extend(text.bytes().map(|byte| if byte == b'\n' || byte == b'\r' { b' ' } else { byte }));
    }

    fn timestamp(&self) -> impl std::fmt::Display {
        self.time.strftime("%Y-%m-%dT%H:%M:%S.%6fZ")
    }

    fn set(&mut self, field: &Field, value: Value) {
        match (field.name(), value) {
            ("message", Value::Text(text)) => self.message = text,
            (name, value) => self.fields.push((name, value)),
        }
    }
}

/// The first [`MAX_VALUE`] bytes of a longer `text`, with a mark; none where it may stay whole.
pub(crate) fn cut(text: &str) -> Option<String> {
    if text.len() <= MAX_VALUE {
        return None;
    }
    text.get(..text.floor_char_boundary(MAX_VALUE)).map(|kept| format!("{kept}… (cut)"))
}

impl Visit for Record {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, Value::Text(cut(value).unwrap_or_else(|| value.to_owned())));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.set(field, Value::Signed(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.set(field, Value::Unsigned(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.set(field, Value::Float(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.set(field, Value::Bool(value));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        let mut text = value.to_string();
        let mut cause = value.source();
        while let Some(error) = cause {
            let _ = write!(text, ": {error}");
            cause = error.source();
        }
        self.set(field, Value::Text(cut(&text).unwrap_or(text)));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let text = format!("{value:?}");
        self.set(field, Value::Text(cut(&text).unwrap_or(text)));
    }
}

struct Json<'a> {
    record: &'a Record,
    service: &'a str,
}

impl Serialize for Json<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let record = self.record;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("timestamp", &Shown(record.timestamp()))?;
        map.serialize_entry("level", record.level.as_str())?;
        map.serialize_entry("target", record.target)?;
        map.serialize_entry("message", &record.message)?;
        map.serialize_entry("service", self.service)?;
        if let Some(span) = &record.span {
            map.serialize_entry("trace_id", &Shown(span.trace_id))?;
            map.serialize_entry("span_id", &Shown(span.span_id))?;
        }
        if let Some(request_id) = &record.request_id {
            map.serialize_entry("request_id", &**request_id)?;
        }
        if !record.fields.is_empty() {
            map.serialize_entry("fields", &Fields(&record.fields))?;
        }
        map.end()
    }
}

struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

struct Fields<'a>(&'a [(&'static str, Value)]);

impl Serialize for Fields<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in self.0 {
            match value {
                Value::Text(value) => map.serialize_entry(name, value)?,
                Value::Signed(value) => map.serialize_entry(name, value)?,
                Value::Unsigned(value) => map.serialize_entry(name, value)?,
                Value::Float(value) => map.serialize_entry(name, value)?,
                Value::Bool(value) => map.serialize_entry(name, value)?,
            }
        }
        map.end()
    }
}
