//! OTLP's protobuf messages, read straight into the sink's records.
//!
//! Field numbers are those of opentelemetry-proto 1.x; unknown fields are skipped, as the format
//! demands. Nesting of attribute values is bounded.

use std::sync::Arc;

use super::Decoded;
use super::otlp_metrics::{Data, Metric, Observation, Point, Shape, Sums, to_samples};
use super::wire::{Field, Fields, Malformed};
use crate::model::{
    Batch, LogRecord, MetricBatch, Resource, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, Value, hex,
};

type Attributes = Vec<(String, Value)>;
type Read<T> = Result<T, Malformed>;

const MAX_DEPTH: usize = 16;
const MAX_SCOPE_NAME: usize = 256;

pub(crate) fn traces(body: &[u8]) -> Read<Decoded<Batch<Span>>> {
    let mut decoded = Decoded::<Batch<Span>>::default();
    each_scope(body, |resource, scope, bytes| {
        let (span, valid) = span(bytes, scope)?;
        if valid {
            push(&mut decoded.batch, resource, span);
        } else {
            decoded.reject(1, "spans need a trace id and a span id");
        }
        Ok(())
    })?;
    Ok(decoded)
}

pub(crate) fn logs(body: &[u8], now: i64) -> Read<Decoded<Batch<LogRecord>>> {
    let mut decoded = Decoded::<Batch<LogRecord>>::default();
    each_scope(body, |resource, scope, bytes| {
        push(&mut decoded.batch, resource, log_record(bytes, scope, now)?);
        Ok(())
    })?;
    Ok(decoded)
}

pub(crate) fn metrics(body: &[u8]) -> Read<Decoded<MetricBatch>> {
    let mut decoded = Decoded::<MetricBatch>::default();
    each_scope(body, |resource, _, bytes| {
        to_samples(resource, &metric(bytes)?, &mut decoded);
        Ok(())
    })?;
    Ok(decoded)
}

/// How many items an answer says were not taken; all three answers have the same form. None where it is no such answer.
pub(crate) fn rejected(answer: &[u8]) -> usize {
    let partial = Fields::new(answer).find_map(|field| match field {
        Ok((1, Field::Bytes(bytes))) => Some(bytes),
        _ => None,
    });
    let count = Fields::new(partial.unwrap_or_default()).find_map(|field| match field {
        Ok((1, field)) => field.number().ok(),
        _ => None,
    });
    count.and_then(|count| usize::try_from(count).ok()).unwrap_or(0)
}

/// All three requests have the same frame: resources (1) of scopes (2) of items (2).
fn each_scope(body: &[u8], mut item: impl FnMut(&Arc<Resource>, &str, &[u8]) -> Read<()>) -> Read<()> {
    for field in Fields::new(body) {
        let (1, group) = field? else { continue };
        let group = group.bytes()?;
        let resource = Arc::new(resource_of(group)?);
        for field in Fields::new(group) {
            let (2, scope) = field? else { continue };
            let scope = scope.bytes()?;
            let name = scope_name(scope)?;
            for field in Fields::new(scope) {
                let (2, bytes) = field? else { continue };
                item(&resource, &name, bytes.bytes()?)?;
            }
        }
    }
    Ok(())
}

fn push<R>(batch: &mut Batch<R>, resource: &Arc<Resource>, record: R) {
    match batch.groups.last_mut() {
        Some((known, records)) if Arc::ptr_eq(known, resource) => records.push(record),
        _ => batch.groups.push((Arc::clone(resource), vec![record])),
    }
}

/// The resource may follow its records on the wire, so it is looked for first.
fn resource_of(group: &[u8]) -> Read<Resource> {
    let mut attributes = Attributes::new();
    for field in Fields::new(group) {
        if let (1, resource) = field? {
            for field in Fields::new(resource.bytes()?) {
                if let (1, attribute) = field? {
                    attributes.push(key_value(attribute, 0)?);
                }
            }
        }
    }
    Ok(super::naming::resource(attributes))
}

/// A scope's name stands in each of its records: a long one would be there as often.
pub(super) fn cut_scope(mut name: String) -> String {
    name.truncate(name.floor_char_boundary(MAX_SCOPE_NAME));
    name
}

fn scope_name(scope: &[u8]) -> Read<String> {
    for field in Fields::new(scope) {
        if let (1, scope) = field? {
            for field in Fields::new(scope.bytes()?) {
                if let (1, name) = field? {
                    return name.text().map(cut_scope);
                }
            }
        }
    }
    Ok(String::new())
}

fn key_value(field: Field<'_>, depth: usize) -> Read<(String, Value)> {
    let (mut key, mut value) = (String::new(), Value::Text(String::new()));
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => key = field.text()?,
            (2, field) => value = any_value(field, depth)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn any_value(field: Field<'_>, depth: usize) -> Read<Value> {
    let mut value = Value::Text(String::new());
    for field in Fields::new(field.bytes()?) {
        value = match field? {
            (1, field) => Value::Text(field.text()?),
            (2, field) => Value::Bool(field.number()? != 0),
            (3, field) => Value::Int(field.number()?.cast_signed()),
            (4, field) => Value::Double(field.double()?),
            (5, field) => Value::Text(array(field, depth)?.to_string()),
            (6, field) => Value::Text(map(field, depth)?.to_string()),
            (7, field) => Value::Text(hex(field.bytes()?)),
            _ => continue,
        };
    }
    Ok(value)
}

fn array(field: Field<'_>, depth: usize) -> Read<serde_json::Value> {
    let mut items = Vec::new();
    for field in nested(field, depth)? {
        if let (1, item) = field? {
            items.push(json_value(item, depth + 1)?);
        }
    }
    Ok(items.into())
}

fn map(field: Field<'_>, depth: usize) -> Read<serde_json::Value> {
    let mut map = serde_json::Map::new();
    for field in nested(field, depth)? {
        let (1, pair) = field? else { continue };
        let (mut key, mut value) = (String::new(), serde_json::Value::Null);
        for field in Fields::new(pair.bytes()?) {
            match field? {
                (1, field) => key = field.text()?,
                (2, field) => value = json_value(field, depth + 1)?,
                _ => {}
            }
        }
        map.insert(key, value);
    }
    Ok(map.into())
}

fn nested(field: Field<'_>, depth: usize) -> Read<Fields<'_>> {
    if depth >= MAX_DEPTH { Err(Malformed) } else { field.bytes().map(Fields::new) }
}

fn json_value(field: Field<'_>, depth: usize) -> Read<serde_json::Value> {
    let mut value = serde_json::Value::Null;
    for field in Fields::new(field.bytes()?) {
        value = match field? {
            (1, field) => field.text()?.into(),
            (2, field) => (field.number()? != 0).into(),
            (3, field) => field.number()?.cast_signed().into(),
            (4, field) => field.double()?.into(),
            (5, field) => array(field, depth)?,
            (6, field) => map(field, depth)?,
            (7, field) => hex(field.bytes()?).into(),
            _ => continue,
        };
    }
    Ok(value)
}

/// An id of `N` bytes; empty and all-zero ids are "none" in OTLP.
fn id<const N: usize>(field: Field<'_>) -> Read<Option<[u8; N]>> {
    let id: Option<[u8; N]> = field.bytes()?.try_into().ok();
    Ok(id.filter(|id| id.iter().any(|byte| *byte != 0)))
}

fn span(bytes: &[u8], scope: &str) -> Read<(Span, bool)> {
    let mut span = Span { scope: scope.to_owned(), ..Span::default() };
    let (mut trace_id, mut span_id) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => trace_id = id(field)?,
            (2, field) => span_id = id(field)?,
            (4, field) => span.parent = id(field)?,
            (5, field) => span.name = field.text()?,
            (6, field) => span.kind = SpanKind::from_number(field.number()?),
            (7, field) => span.start = field.nanos()?,
            (8, field) => span.end = field.nanos()?,
            (9, field) => span.attributes.push(key_value(field, 0)?),
            (11, field) => span.events.push(event(field)?),
            (13, field) => span.links.extend(link(field)?),
            (15, field) => (span.status, span.status_message) = status(field)?,
            _ => {}
        }
    }
    span.trace_id = trace_id.unwrap_or_default();
    span.span_id = span_id.unwrap_or_default();
    Ok((span, trace_id.is_some() && span_id.is_some()))
}

fn event(field: Field<'_>) -> Read<SpanEvent> {
    let mut event = SpanEvent::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => event.time = field.nanos()?,
            (2, field) => event.name = field.text()?,
            (3, field) => event.attributes.push(key_value(field, 0)?),
            _ => {}
        }
    }
    Ok(event)
}

fn link(field: Field<'_>) -> Read<Option<SpanLink>> {
    let (mut trace_id, mut span_id) = (None, None);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => trace_id = id(field)?,
            (2, field) => span_id = id(field)?,
            _ => {}
        }
    }
    Ok(trace_id.zip(span_id).map(|(trace_id, span_id)| SpanLink { trace_id, span_id }))
}

fn status(field: Field<'_>) -> Read<(SpanStatus, String)> {
    let (mut status, mut message) = (SpanStatus::Unset, String::new());
    for field in Fields::new(field.bytes()?) {
        match field? {
            (2, field) => message = field.text()?,
            (3, field) => status = SpanStatus::from_number(field.number()?),
            _ => {}
        }
    }
    Ok((status, message))
}

fn log_record(bytes: &[u8], scope: &str, now: i64) -> Read<LogRecord> {
    let mut record = LogRecord { scope: scope.to_owned(), ..LogRecord::default() };
    let mut observed = 0;
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => record.time = field.nanos()?,
            (11, field) => observed = field.nanos()?,
            (2, field) => record.severity = u8::try_from(field.number()?).unwrap_or(0).min(24),
            (5, field) => record.body = any_value(field, 0)?.to_text(),
            (6, field) => record.attributes.push(key_value(field, 0)?),
            (9, field) => record.trace_id = id(field)?,
            (10, field) => record.span_id = id(field)?,
            _ => {}
        }
    }
    if record.time == 0 {
        record.time = if observed == 0 { now } else { observed };
    }
    Ok(record)
}

fn metric(bytes: &[u8]) -> Read<Metric> {
    let mut metric = Metric::default();
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => metric.name = field.text()?,
            (2, field) => metric.description = field.text()?,
            (3, field) => metric.unit = field.text()?,
            (5, field) => metric.data = Some(data(Shape::Gauge, field)?),
            (7, field) => metric.data = Some(data(Shape::Sum, field)?),
            (9, field) => metric.data = Some(data(Shape::Histogram, field)?),
            (10, field) => metric.data = Some(data(Shape::ExponentialHistogram, field)?),
            (11, field) => metric.data = Some(data(Shape::Summary, field)?),
            _ => {}
        }
    }
    Ok(metric)
}

fn data(shape: Shape, field: Field<'_>) -> Read<Data> {
    let mut data = Data { shape, cumulative: false, monotonic: false, points: Vec::new() };
    for field in Fields::new(field.bytes()?) {
        match field? {
            // These are only counted, see `to_samples`.
            (1, _) if shape == Shape::ExponentialHistogram => data.points.push(Point::default()),
            (1, field) => data.points.push(point(shape, field)?),
            (2, field) => data.cumulative = field.number()? == 2,
            (3, field) => data.monotonic = field.number()? != 0,
            _ => {}
        }
    }
    Ok(data)
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
fn point(shape: Shape, field: Field<'_>) -> Read<Point> {
    let mut point = Point::default();
    let (mut counts, mut bounds) = (Vec::new(), Vec::new());
    let mut sums = Sums::default();
    let is_number = matches!(shape, Shape::Gauge | Shape::Sum);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (3, field) => point.time = field.nanos()?,
            (7, field) if shape != Shape::Histogram => point.attributes.push(key_value(field, 0)?),
            (9, field) if shape == Shape::Histogram => point.attributes.push(key_value(field, 0)?),
            (5, field) if is_number => note(field, &mut point.exemplars)?,
            (8, field) if shape == Shape::Histogram => note(field, &mut point.exemplars)?,
            (4, field) if is_number => point.value = field.double()?,
            (6, field) if is_number => point.value = field.number()?.cast_signed() as f64,
            (8, field) if is_number => point.flags = field.number()?,
            (4, field) => sums.count = field.number()?,
            (5, field) => sums.sum = Some(field.double()?),
            (6, field) if shape == Shape::Histogram => field.append_fixed64(&mut counts)?,
            (7, field) if shape == Shape::Histogram => field.append_fixed64(&mut bounds)?,
            (6, field) if shape == Shape::Summary => point.quantiles.push(quantile(field)?),
            (10, field) if shape == Shape::Histogram => point.flags = field.number()?,
            (8, field) if shape == Shape::Summary => point.flags = field.number()?,
            _ => {}
        }
    }
    point.bounds = bounds.into_iter().map(f64::from_bits).collect();
    point.counts = counts;
    point.sums = sums;
    Ok(point)
}

/// Reads an exemplar; one that leads nowhere is not worth its memory.
#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
fn note(field: Field<'_>, into: &mut Vec<Observation>) -> Read<()> {
    let mut seen = Observation::default();
    for field in Fields::new(field.bytes()?) {
        match field? {
            (2, field) => seen.time = field.nanos()?,
            (3, field) => seen.value = field.double()?,
            (4, field) => seen.span_id = id(field)?,
            (5, field) => seen.trace_id = id(field)?,
            (6, field) => seen.value = field.number()?.cast_signed() as f64,
            (7, field) => seen.attributes.push(key_value(field, 0)?),
            _ => {}
        }
    }
    if seen.leads_somewhere() {
        into.push(seen);
    }
    Ok(())
}

fn quantile(field: Field<'_>) -> Read<(f64, f64)> {
    let (mut quantile, mut value) = (0.0, 0.0);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => quantile = field.double()?,
            (2, field) => value = field.double()?,
            _ => {}
        }
    }
    Ok((quantile, value))
}
