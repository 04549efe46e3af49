//! Logs and spans as columns.

use std::cmp::Ordering;
use std::sync::Arc;

use bytes::Bytes;
use parquet::basic::Encoding;
use parquet::data_type::{ByteArray, ByteArrayType};
use parquet::errors::ParquetError;

use super::columns::{ColumnsOut, Group, Rows, string};
use super::json;
use super::rows::DELTA;
use crate::head::Found;
use crate::model::codec::{Key, Record, request_id};
use crate::model::{LogRecord, Resource, Span, SpanKind, SpanStatus, Value};

type Result<T> = std::result::Result<T, ParquetError>;

/// A record that can be laid out in columns. The first three columns of every schema are its time,
/// its service and the rest of its resource.
pub(crate) trait Columnar: Record {
    const SCHEMA: &'static str;
    /// Columns with an encoding of their own.
    const ENCODINGS: &'static [(&'static str, Encoding)];
    /// Columns whose values hardly repeat, so that a dictionary only costs.
    const DISTINCT: &'static [&'static str];

    /// About how many bytes the record takes before compression.
    fn weight(&self) -> usize;
    /// The order of rows within a row group: what is read together stands together.
    fn order(left: &Found<Self>, right: &Found<Self>) -> Ordering;
    /// Writes all columns after the resource's.
    fn write(rows: &[Found<Self>], out: &mut ColumnsOut<'_>) -> Result<()>;
    /// The classes of rows; see [`Record::class`].
    fn classes(group: &Group<'_>, rows: Rows<'_>) -> Result<Option<Vec<u8>>>;
    /// Reads the rows back; `times` has one for each.
    fn read(group: &Group<'_>, rows: Rows<'_>, times: &[i64]) -> Result<Vec<Self>>;
    /// The column that holds what lines are searched by, where there is one.
    const BODY: Option<usize>;
    const TRACE: usize;
    const REQUEST: usize;
}

pub(super) const TIME: usize = 0;
const SERVICE: usize = 1;
const RESOURCE: usize = 2;

/// Writes the columns that every record has, then its own.
pub(super) fn write<R: Columnar>(rows: &[Found<R>], mut out: ColumnsOut<'_>) -> Result<()> {
    out.i64s(rows.iter().map(|row| row.record.time()))?;
    out.texts(rows.iter().map(|row| row.resource.service.as_str()))?;
    let mut last: Option<(*const Resource, ByteArray)> = None;
    let resources = rows.iter().map(|row| match &last {
        Some((known, text)) if std::ptr::eq(*known, Arc::as_ptr(&row.resource)) => text.clone(),
        _ => {
            let text = ByteArray::from(Bytes::from(json::attributes(&row.resource.attributes)));
            last = Some((Arc::as_ptr(&row.resource), text.clone()));
            text
        }
    });
    let resources: Vec<_> = resources.collect();
    out.required::<ByteArrayType>(&resources)?;
    R::write(rows, &mut out)?;
    out.close()
}

/// The resources of rows, each distinct one made once and shared.
pub(super) fn resources(group: &Group<'_>, rows: Rows<'_>) -> Result<Vec<Arc<Resource>>> {
    let services = group.texts(SERVICE, rows)?;
    let attributes = group.texts(RESOURCE, rows)?;
    let mut known: Vec<(ByteArray, ByteArray, Arc<Resource>)> = Vec::new();
    let mut last = 0;
    let mut found = Vec::with_capacity(services.len());
    for (service, attributes) in services.into_iter().zip(attributes) {
        let is = |(of_service, of_attributes, _): &(ByteArray, ByteArray, Arc<Resource>)| {
            *of_service == service && *of_attributes == attributes
        };
        if !known.get(last).is_some_and(is) {
            let place = known.iter().position(is);
            last = place.unwrap_or(known.len());
            if place.is_none() {
                let parsed = json::parse_attributes(attributes.as_utf8()?).ok_or_else(malformed)?;
                let resource = Resource { service: string(&service)?, attributes: parsed };
                known.push((service, attributes, Arc::new(resource)));
            }
        }
        found.extend(known.get(last).map(|(_, _, resource)| Arc::clone(resource)));
    }
    Ok(found)
}

fn attributes_weight(attributes: &[(String, Value)]) -> usize {
    let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 8 };
    attributes.iter().map(|(name, value)| name.len() + text(value) + 6).sum()
}

fn malformed() -> ParquetError {
    ParquetError::General("a column holds JSON of another form".to_owned())
}

fn request_ids<'a, R: Record>(
    rows: &'a [Found<R>],
    attributes: impl Fn(&'a R) -> &'a [(String, Value)] + 'a,
) -> impl Iterator<Item = Option<ByteArray>> + 'a {
    rows.iter().map(move |row| request_id(attributes(&row.record)).map(ByteArray::from))
}

/// The rows of a group whose record may be found under `key`.
pub(super) fn rows_of<R: Columnar>(group: &Group<'_>, key: Key<'_>) -> Result<Vec<usize>> {
    let hits = |matching: Vec<bool>| -> Vec<usize> {
        matching.iter().enumerate().filter(|(_, hit)| **hit).map(|(row, _)| row).collect()
    };
    match key {
        Key::Trace(id) => {
            if !group.may_hold(R::TRACE, &id)? {
                return Ok(Vec::new());
            }
            let ids = group.ids::<16>(R::TRACE, group.all())?;
            Ok(hits(ids.iter().map(|known| *known == Some(id)).collect()))
        }
        Key::Request(id) => {
            if !group.may_hold(R::REQUEST, id.as_bytes())? {
                return Ok(Vec::new());
            }
            let ids = group.optional::<ByteArrayType>(R::REQUEST, group.all())?;
            let is =
                |known: &Option<ByteArray>| known.as_ref().is_some_and(|known| known.data() == id.as_bytes());
            Ok(hits(ids.iter().map(is).collect()))
        }
    }
}

const SEVERITY: usize = 3;

impl Columnar for LogRecord {
    const SCHEMA: &'static str = "message log {
        required int64 time (TIMESTAMP(NANOS,true));
        required binary service (STRING);
        required binary resource (STRING);
        required int32 severity;
        required binary level (STRING);
        required binary body (STRING);
        required binary scope (STRING);
        optional fixed_len_byte_array(16) trace_id;
        optional fixed_len_byte_array(8) span_id;
        optional binary request_id (STRING);
        required binary attributes (STRING);
    }";
    const ENCODINGS: &'static [(&'static str, Encoding)] = &[("time", DELTA)];
    const DISTINCT: &'static [&'static str] = &["body", "span_id", "request_id"];
    const BODY: Option<usize> = Some(5);
    const TRACE: usize = 7;
    const REQUEST: usize = 9;

    fn weight(&self) -> usize {
        self.body.len() + attributes_weight(&self.attributes) + 64
    }

    fn order(left: &Found<Self>, right: &Found<Self>) -> Ordering {
        let key = |found: &Found<Self>| (found.record.severity, found.record.time);
        left.resource.service.cmp(&right.resource.service).then_with(|| key(left).cmp(&key(right)))
    }

    fn write(rows: &[Found<Self>], out: &mut ColumnsOut<'_>) -> Result<()> {
        let records = || rows.iter().map(|row| &row.record);
        out.i32s(records().map(|record| record.severity.into()))?;
        out.texts(records().map(Self::level))?;
        out.texts(records().map(|record| record.body.as_str()))?;
        out.texts(records().map(|record| record.scope.as_str()))?;
        out.ids(records().map(|record| record.trace_id))?;
        out.ids(records().map(|record| record.span_id))?;
        out.optional::<ByteArrayType>(request_ids(rows, |record| &record.attributes))?;
        out.owned_texts(records().map(|record| json::attributes(&record.attributes)))
    }

    fn classes(group: &Group<'_>, rows: Rows<'_>) -> Result<Option<Vec<u8>>> {
        let severities = group.i32s(SEVERITY, rows)?;
        Ok(Some(severities.into_iter().map(|severity| u8::try_from(severity).unwrap_or(0)).collect()))
    }

    fn read(group: &Group<'_>, rows: Rows<'_>, times: &[i64]) -> Result<Vec<Self>> {
        let mut severities = group.i32s(SEVERITY, rows)?.into_iter();
        let mut bodies = group.strings(5, rows)?.into_iter();
        let mut scopes = group.strings(6, rows)?.into_iter();
        let mut traces = group.ids(Self::TRACE, rows)?.into_iter();
        let mut spans = group.ids(8, rows)?.into_iter();
        let attributes = group.texts(10, rows)?;
        let attributes = attributes.iter().zip(times);
        let record = |(attributes, time): (&ByteArray, &i64)| {
            Ok(Self {
                time: *time,
                severity: u8::try_from(severities.next().unwrap_or(0)).unwrap_or(0),
                body: bodies.next().unwrap_or_default(),
                scope: scopes.next().unwrap_or_default(),
                trace_id: traces.next().flatten(),
                span_id: spans.next().flatten(),
                attributes: json::parse_attributes(attributes.as_utf8()?).ok_or_else(malformed)?,
            })
        };
        attributes.map(record).collect()
    }
}

impl Columnar for Span {
    const SCHEMA: &'static str = "message span {
        required int64 start (TIMESTAMP(NANOS,true));
        required binary service (STRING);
        required binary resource (STRING);
        required int64 duration_ns;
        optional fixed_len_byte_array(16) trace_id;
        optional fixed_len_byte_array(8) span_id;
        optional fixed_len_byte_array(8) parent_id;
        required binary name (STRING);
        required binary kind (STRING);
        required binary status (STRING);
        required binary status_message (STRING);
        required binary scope (STRING);
        optional binary request_id (STRING);
        required binary attributes (STRING);
        required binary events (STRING);
        required binary links (STRING);
    }";
    const ENCODINGS: &'static [(&'static str, Encoding)] = &[("start", DELTA), ("duration_ns", DELTA)];
    const DISTINCT: &'static [&'static str] = &["span_id", "request_id"];
    const BODY: Option<usize> = None;
    const TRACE: usize = 4;
    const REQUEST: usize = 12;

    fn weight(&self) -> usize {
        let events = self.events.iter().map(|event| event.name.len() + attributes_weight(&event.attributes));
        events.sum::<usize>() + attributes_weight(&self.attributes) + self.name.len() + 128
    }

    fn order(left: &Found<Self>, right: &Found<Self>) -> Ordering {
        let key = |found: &Found<Self>| (found.record.trace_id, found.record.start);
        key(left).cmp(&key(right))
    }

    fn write(rows: &[Found<Self>], out: &mut ColumnsOut<'_>) -> Result<()> {
        let spans = || rows.iter().map(|row| &row.record);
        out.i64s(spans().map(|span| span.end.wrapping_sub(span.start)))?;
        out.ids(spans().map(|span| Some(span.trace_id)))?;
        out.ids(spans().map(|span| Some(span.span_id)))?;
        out.ids(spans().map(|span| span.parent))?;
        out.texts(spans().map(|span| span.name.as_str()))?;
        out.texts(spans().map(|span| span.kind.as_str()))?;
        out.texts(spans().map(|span| span.status.as_str()))?;
        out.texts(spans().map(|span| span.status_message.as_str()))?;
        out.texts(spans().map(|span| span.scope.as_str()))?;
        out.optional::<ByteArrayType>(request_ids(rows, |span| &span.attributes))?;
        out.owned_texts(spans().map(|span| json::attributes(&span.attributes)))?;
        out.owned_texts(spans().map(|span| json::events(&span.events)))?;
        out.owned_texts(spans().map(|span| json::links(&span.links)))
    }

    fn classes(_: &Group<'_>, _: Rows<'_>) -> Result<Option<Vec<u8>>> {
        Ok(None)
    }

    fn read(group: &Group<'_>, rows: Rows<'_>, times: &[i64]) -> Result<Vec<Self>> {
        let mut durations = group.i64s(3, rows)?.into_iter();
        let mut traces = group.ids(Self::TRACE, rows)?.into_iter();
        let mut ids = group.ids(5, rows)?.into_iter();
        let mut parents = group.ids(6, rows)?.into_iter();
        let mut names = group.strings(7, rows)?.into_iter();
        let kinds = group.texts(8, rows)?;
        let statuses = group.texts(9, rows)?;
        let mut messages = group.strings(10, rows)?.into_iter();
        let mut scopes = group.strings(11, rows)?.into_iter();
        let attributes = group.texts(13, rows)?;
        let events = group.texts(14, rows)?;
        let links = group.texts(15, rows)?;
        let mut kinds = kinds.iter();
        let mut statuses = statuses.iter();
        let texts = attributes.iter().zip(&events).zip(&links);
        texts
            .zip(times)
            .map(|(((attributes, events), links), start)| {
                let duration = durations.next().unwrap_or(0);
                Ok(Self {
                    trace_id: traces.next().flatten().unwrap_or_default(),
                    span_id: ids.next().flatten().unwrap_or_default(),
                    parent: parents.next().flatten(),
                    name: names.next().unwrap_or_default(),
                    kind: kinds.next().map_or(SpanKind::Unspecified, |text| SpanKind::from_text(text.data())),
                    start: *start,
                    end: start.wrapping_add(duration),
                    status: statuses
                        .next()
                        .map_or(SpanStatus::Unset, |text| SpanStatus::from_text(text.data())),
                    status_message: messages.next().unwrap_or_default(),
                    scope: scopes.next().unwrap_or_default(),
                    attributes: json::parse_attributes(attributes.as_utf8()?).ok_or_else(malformed)?,
                    events: json::parse_events(events.as_utf8()?).ok_or_else(malformed)?,
                    links: json::parse_links(links.as_utf8()?).ok_or_else(malformed)?,
                })
            })
            .collect()
    }
}
