//! Loki's push: JSON and snappy protobuf, as promtail, Alloy, Fluent Bit and Vector send it.
//!
//! A stream's labels become the resource, its structured metadata the attributes of the record. The service is
//! found as Loki finds it, by the first of [`SERVICE_LABELS`] that a stream has; the level by the labels that
//! Loki looks at.

use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde_json::Value as Json;

use super::body::{Encoding, Packing, unpack};
use super::response::{Accepted, Refusal};
use super::wire::{Field, Fields, Malformed};
use super::{
    Decoded, JSON_COST, MAX_PLAIN, PROTOBUF_COST, Receiver, admit, count, exposition, severity, weight,
};
use crate::model::{Batch, LogRecord, Resource, Value, parse_hex};
use crate::storage::Signal;

/// Loki's `discover_service_name`, after the label that says it outright.
const SERVICE_LABELS: [&str; 14] = [
    "service_name",
    "service",
    "app",
    "application",
    "app_name",
    "name",
    "app_kubernetes_io_name",
    "container",
    "container_name",
    "k8s_container_name",
    "component",
    "workload",
    "job",
    "k8s_job_name",
];
const UNKNOWN_SERVICE: &str = "unknown_service";
const LEVEL_LABELS: [&str; 6] = ["level", "severity", "lvl", "detected_level", "LEVEL", "SEVERITY"];
const BAD_LABELS: &str = "a stream's labels are not of the form {name=\"value\"}";
const BAD_ENTRY: &str = "an entry needs a time in nanoseconds and a line";

pub(super) async fn receive(
    State(receiver): State<Arc<Receiver>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let outcome = match prepare(&headers) {
        Ok((encoding, packing)) => {
            receiver.work(move |receiver| store(receiver, encoding, packing, &body)).await
        }
        Err(refusal) => Err(refusal),
    };
    match outcome {
        Ok(accepted) => answer(accepted),
        Err(refusal) => {
            refusal.report(Signal::Logs);
            refusal.to_text()
        }
    }
}

/// Protobuf is always packed with snappy, and senders do not say so.
fn prepare(headers: &HeaderMap) -> Result<(Encoding, Packing), Refusal> {
    let encoding = Encoding::of(headers)?;
    let packing = Packing::of(headers)?;
    match (encoding, packing) {
        (Encoding::Protobuf, Packing::Plain | Packing::Snappy) => Ok((encoding, Packing::Snappy)),
        (Encoding::Protobuf, _) => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "a protobuf body must be packed with snappy and nothing else",
        )),
        (Encoding::Json, packing) => Ok((encoding, packing)),
    }
}

fn store(
    receiver: &Receiver,
    encoding: Encoding,
    packing: Packing,
    body: &[u8],
) -> Result<Accepted, Refusal> {
    let cost = if encoding == Encoding::Json { JSON_COST } else { PROTOBUF_COST };
    let mut charge = receiver.budget.charge(cost);
    let plain = unpack(packing, body, MAX_PLAIN, &mut charge)?;
    if encoding == Encoding::Json {
        admit(weight::of_json(&plain), cost, &mut charge)?;
    }
    let decoded = match encoding {
        Encoding::Protobuf => from_protobuf(&plain).map_err(Refusal::malformed)?,
        Encoding::Json => from_json(&plain).map_err(Refusal::malformed)?,
    };
    receiver.storage.append_logs(&decoded.batch)?;
    count(Signal::Logs, decoded.batch.len());
    Ok(decoded.accepted())
}

/// 204; or 400 with the rest stored, which a sender does not repeat.
fn answer(accepted: Accepted) -> Response {
    accepted.report(Signal::Logs);
    if accepted.rejected > 0 {
        let reason = accepted.reason.unwrap_or("");
        let message = format!("{} entries were not stored: {reason}", accepted.rejected);
        return Refusal::new(StatusCode::BAD_REQUEST, message).to_text();
    }
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::NO_CONTENT;
    response
}

/// The resource of a stream, and the severity that its labels give every record.
fn stream(labels: Vec<(String, String)>) -> (Arc<Resource>, u8) {
    let find = |name: &str| labels.iter().find(|(label, _)| label == name).map(|(_, value)| value.as_str());
    let service = SERVICE_LABELS.into_iter().find_map(|name| find(name).filter(|value| !value.is_empty()));
    let service = service.unwrap_or(UNKNOWN_SERVICE).to_owned();
    let level = level(&labels);
    let attributes = labels
        .into_iter()
        .filter(|(name, _)| name != "service_name")
        .map(|(name, value)| (name, Value::Text(value)))
        .collect();
    (Arc::new(Resource { service, attributes }), level)
}

fn level(pairs: &[(String, String)]) -> u8 {
    let value = |name: &str| pairs.iter().find(|(label, _)| label == name);
    LEVEL_LABELS.into_iter().find_map(value).map_or(0, |(_, text)| severity::from_text(text))
}

fn record(time: i64, line: String, metadata: Vec<(String, String)>, stream_level: u8) -> LogRecord {
    let mut record = LogRecord { time, body: line, severity: stream_level, ..LogRecord::default() };
    let own = level(&metadata);
    if own > 0 {
        record.severity = own;
    }
    for (name, value) in metadata {
        match name.as_str() {
            "trace_id" | "traceID" => record.trace_id = parse_hex(&value),
            "span_id" | "spanID" => record.span_id = parse_hex(&value),
            _ => record.attributes.push((name, Value::Text(value))),
        }
    }
    record
}

pub(crate) fn from_json(body: &[u8]) -> Result<Decoded<Batch<LogRecord>>, serde_json::Error> {
    let mut decoded = Decoded::<Batch<LogRecord>>::default();
    let body: Json = serde_json::from_slice(body)?;
    for entry in body.get("streams").and_then(Json::as_array).into_iter().flatten() {
        let values = entry.get("values").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
        let (resource, level) = stream(pairs(entry.get("stream")));
        let mut records = Vec::with_capacity(values.len());
        for value in values {
            match json_record(value, level) {
                Some(record) => records.push(record),
                None => decoded.reject(1, BAD_ENTRY),
            }
        }
        if !records.is_empty() {
            decoded.batch.groups.push((resource, records));
        }
    }
    Ok(decoded)
}

fn json_record(value: &Json, level: u8) -> Option<LogRecord> {
    let time = match value.get(0)? {
        Json::String(text) => text.parse().ok()?,
        number => number.as_i64()?,
    };
    Some(record(time, value.get(1)?.as_str()?.to_owned(), pairs(value.get(2)), level))
}

fn pairs(value: Option<&Json>) -> Vec<(String, String)> {
    let text = |value: &Json| value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let fields = value.and_then(Json::as_object).into_iter().flatten();
    fields.map(|(name, value)| (name.clone(), text(value))).collect()
}

pub(crate) fn from_protobuf(body: &[u8]) -> Result<Decoded<Batch<LogRecord>>, Malformed> {
    let mut decoded = Decoded::<Batch<LogRecord>>::default();
    for field in Fields::new(body) {
        if let (1, field) = field? {
            protobuf_stream(field, &mut decoded)?;
        }
    }
    Ok(decoded)
}

fn protobuf_stream(field: Field<'_>, decoded: &mut Decoded<Batch<LogRecord>>) -> Result<(), Malformed> {
    let (mut labels, mut entries) = (String::new(), Vec::new());
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => labels = field.text()?,
            (2, field) => entries.push(field),
            _ => {}
        }
    }
    let inner = labels.trim().strip_prefix('{').and_then(|text| text.strip_suffix('}'));
    let Some(labels) = inner.and_then(exposition::labels) else {
        decoded.reject(entries.len(), BAD_LABELS);
        return Ok(());
    };
    let (resource, level) =
        stream(labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
    let records: Result<Vec<_>, _> = entries.into_iter().map(|entry| protobuf_record(entry, level)).collect();
    let records = records?;
    if !records.is_empty() {
        decoded.batch.groups.push((resource, records));
    }
    Ok(())
}

fn protobuf_record(field: Field<'_>, level: u8) -> Result<LogRecord, Malformed> {
    let (mut time, mut line, mut metadata) = (0i64, String::new(), Vec::new());
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => time = timestamp(field)?,
            (2, field) => line = field.text()?,
            (3, field) => metadata.push(pair(field)?),
            _ => {}
        }
    }
    Ok(record(time, line, metadata, level))
}

/// A `google.protobuf.Timestamp` in nanoseconds.
fn timestamp(field: Field<'_>) -> Result<i64, Malformed> {
    let (mut seconds, mut nanos) = (0i64, 0i64);
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => seconds = field.number()?.cast_signed(),
            (2, field) => nanos = field.number()?.cast_signed(),
            _ => {}
        }
    }
    Ok(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
}

fn pair(field: Field<'_>) -> Result<(String, String), Malformed> {
    let (mut name, mut value) = (String::new(), String::new());
    for field in Fields::new(field.bytes()?) {
        match field? {
            (1, field) => name = field.text()?,
            (2, field) => value = field.text()?,
            _ => {}
        }
    }
    Ok((name, value))
}

#[cfg(test)]
mod tests;
