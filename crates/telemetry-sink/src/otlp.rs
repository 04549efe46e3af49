//! OTLP's protobuf messages, written: for those who ask for a trace in this form, and for engines that records are passed on to.
//!
//! Field numbers are those of opentelemetry-proto 1.x. A request is closed once it holds as many bytes as asked for, so that
//! no engine is sent more at once than it takes.

use crate::model::codec::{put_len, put_u64};
use crate::model::{Batch, LogRecord, METRIC_NAME, Resource, Sample, Span, Value, is_stale};

/// A request's body.
#[derive(Debug, Default)]
pub(crate) struct Request {
    pub(crate) body: Vec<u8>,
    pub(crate) items: usize,
}

/// Points of one metric message.
const MAX_POINTS: usize = 500;
const CUMULATIVE: u64 = 2;
/// The flag that says "no value was recorded", which is Prometheus' staleness marker.
const NO_RECORDED_VALUE: u64 = 1;

fn key(out: &mut Vec<u8>, field: u32, wire: u32) {
    put_u64(out, u64::from(field << 3 | wire));
}

/// A length-delimited field: bytes, text or a message.
pub(crate) fn message(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    key(out, field, 2);
    put_len(out, bytes.len());
    out.extend_from_slice(bytes);
}

pub(crate) fn text(out: &mut Vec<u8>, field: u32, text: &str) {
    if !text.is_empty() {
        message(out, field, text.as_bytes());
    }
}

pub(crate) fn number(out: &mut Vec<u8>, field: u32, value: u64) {
    if value != 0 {
        key(out, field, 0);
        put_u64(out, value);
    }
}

pub(crate) fn fixed64(out: &mut Vec<u8>, field: u32, value: u64) {
    key(out, field, 1);
    out.extend_from_slice(&value.to_le_bytes());
}

pub(crate) fn nested(out: &mut Vec<u8>, field: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let mut inner = Vec::new();
    fill(&mut inner);
    message(out, field, &inner);
}

fn attribute(out: &mut Vec<u8>, field: u32, name: &str, value: impl FnOnce(&mut Vec<u8>)) {
    nested(out, field, |pair| {
        text(pair, 1, name);
        nested(pair, 2, value);
    });
}

fn attributes(out: &mut Vec<u8>, field: u32, all: &[(String, Value)]) {
    for (name, value) in all {
        attribute(out, field, name, |any| match value {
            Value::Text(value) => message(any, 1, value.as_bytes()),
            Value::Bool(value) => {
                key(any, 2, 0);
                put_u64(any, u64::from(*value));
            }
            Value::Int(value) => {
                key(any, 3, 0);
                put_u64(any, value.cast_unsigned());
            }
            Value::Double(value) => fixed64(any, 4, value.to_bits()),
        });
    }
}

/// `service.name` first, then the rest.
pub(crate) fn resource_attributes(resource: &Resource) -> Vec<(String, Value)> {
    let service = ("service.name".to_owned(), Value::Text(resource.service.clone()));
    std::iter::once(service).chain(resource.attributes.iter().cloned()).collect()
}

/// A resource's message.
pub(crate) fn resource(resource: &Resource) -> Vec<u8> {
    let mut out = Vec::new();
    attributes(&mut out, 1, &resource_attributes(resource));
    out
}

/// A span's message.
pub(crate) fn span(out: &mut Vec<u8>, span: &Span) {
    message(out, 1, &span.trace_id);
    message(out, 2, &span.span_id);
    if let Some(parent) = span.parent {
        message(out, 4, &parent);
    }
    text(out, 5, &span.name);
    number(out, 6, span.kind.number().into());
    fixed64(out, 7, span.start.cast_unsigned());
    fixed64(out, 8, span.end.cast_unsigned());
    attributes(out, 9, &span.attributes);
    for event in &span.events {
        nested(out, 11, |out| {
            fixed64(out, 1, event.time.cast_unsigned());
            text(out, 2, &event.name);
            attributes(out, 3, &event.attributes);
        });
    }
    for link in &span.links {
        nested(out, 13, |out| {
            message(out, 1, &link.trace_id);
            message(out, 2, &link.span_id);
        });
    }
    nested(out, 15, |out| {
        text(out, 2, &span.status_message);
        number(out, 3, span.status.number().into());
    });
}

fn log_record(out: &mut Vec<u8>, record: &LogRecord) {
    fixed64(out, 1, record.time.cast_unsigned());
    number(out, 2, record.severity.into());
    nested(out, 5, |any| message(any, 1, record.body.as_bytes()));
    attributes(out, 6, &record.attributes);
    if let Some(id) = record.trace_id {
        message(out, 9, &id);
    }
    if let Some(id) = record.span_id {
        message(out, 10, &id);
    }
    fixed64(out, 11, record.time.cast_unsigned());
}

/// `ExportLogsServiceRequest`s of about `limit` bytes.
pub(crate) fn logs(batch: &Batch<LogRecord>, limit: usize) -> Vec<Request> {
    records(batch, limit, |record| &record.scope, log_record)
}

/// `ExportTraceServiceRequest`s of about `limit` bytes.
pub(crate) fn spans(batch: &Batch<Span>, limit: usize) -> Vec<Request> {
    records(batch, limit, |span| &span.scope, span)
}

fn records<R>(
    batch: &Batch<R>,
    limit: usize,
    scope: impl Fn(&R) -> &str,
    write: impl Fn(&mut Vec<u8>, &R),
) -> Vec<Request> {
    let mut requests = Requests::new(limit);
    let mut bytes = Vec::new();
    for (of, records) in &batch.groups {
        let resource = resource(of);
        for record in records {
            bytes.clear();
            write(&mut bytes, record);
            requests.push(&resource, scope(record), &bytes, 1);
        }
    }
    requests.finish()
}

/// `ExportMetricsServiceRequest`s of about `limit` bytes.
///
/// What ends in `_total` is a cumulative sum, anything else a gauge: a histogram or summary goes as the series that it is
/// stored as. `job` and `instance` are the resource's `service.name` and `service.instance.id`.
pub(crate) fn metrics(samples: &[Sample], limit: usize) -> Vec<Request> {
    let place = |sample: &Sample| {
        let of = |name: &str| sample.labels.get(name).unwrap_or("").to_owned();
        (of("job"), of("instance"), of(METRIC_NAME))
    };
    let mut ordered: Vec<_> = samples.iter().map(|sample| (place(sample), sample)).collect();
    // The samples of a series stay in their order.
    ordered.sort_by(|left, right| left.0.cmp(&right.0));
    let mut requests = Requests::new(limit);
    for run in ordered.chunk_by(|left, right| left.0 == right.0) {
        let Some(((job, instance, name), _)) = run.first() else { continue };
        let resource = resource_of(job, instance);
        for points in run.chunks(MAX_POINTS) {
            let mut bytes = Vec::new();
            metric(&mut bytes, name, points.iter().map(|(_, sample)| *sample));
            requests.push(&resource, "", &bytes, points.len());
        }
    }
    requests.finish()
}

fn resource_of(job: &str, instance: &str) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in [("service.name", job), ("service.instance.id", instance)] {
        if !value.is_empty() {
            attribute(&mut out, 1, name, |any| message(any, 1, value.as_bytes()));
        }
    }
    out
}

fn metric<'a>(out: &mut Vec<u8>, name: &str, samples: impl Iterator<Item = &'a Sample>) {
    let is_counter = name.ends_with("_total");
    text(out, 1, name);
    nested(out, if is_counter { 7 } else { 5 }, |data| {
        samples.for_each(|sample| nested(data, 1, |out| point(out, sample)));
        if is_counter {
            number(data, 2, CUMULATIVE);
            number(data, 3, 1);
        }
    });
}

fn point(out: &mut Vec<u8>, sample: &Sample) {
    fixed64(out, 3, sample.time.saturating_mul(1_000_000).cast_unsigned());
    if is_stale(sample.value) {
        number(out, 8, NO_RECORDED_VALUE);
    } else {
        fixed64(out, 4, sample.value.to_bits());
    }
    for (name, value) in sample.labels.iter() {
        if !matches!(name, METRIC_NAME | "job" | "instance") {
            attribute(out, 7, name, |any| message(any, 1, value.as_bytes()));
        }
    }
}

/// Puts items under their resources and scopes, and begins a new request whenever one is full.
struct Requests {
    limit: usize,
    done: Vec<Request>,
    open: Request,
    /// The open group: its resource, its scopes that are closed, and the open one.
    resource: Vec<u8>,
    scopes: Vec<u8>,
    scope: String,
    items: Vec<u8>,
}

impl Requests {
    fn new(limit: usize) -> Self {
        Self {
            limit,
            done: Vec::new(),
            open: Request::default(),
            resource: Vec::new(),
            scopes: Vec::new(),
            scope: String::new(),
            items: Vec::new(),
        }
    }

    /// Adds a message that stands for `count` items.
    fn push(&mut self, resource: &[u8], scope: &str, item: &[u8], count: usize) {
        if self.resource != resource {
            self.close_group();
            self.resource = resource.to_vec();
        }
        if self.scope != scope {
            self.close_scope();
            scope.clone_into(&mut self.scope);
        }
        message(&mut self.items, 2, item);
        self.open.items += count;
        if self.open.body.len() + self.scopes.len() + self.items.len() >= self.limit {
            self.close_request();
        }
    }

    fn close_scope(&mut self) {
        if self.items.is_empty() {
            return;
        }
        let (scope, items) = (&self.scope, &self.items);
        nested(&mut self.scopes, 2, |out| {
            nested(out, 1, |out| text(out, 1, scope));
            out.extend_from_slice(items);
        });
        self.items.clear();
    }

    fn close_group(&mut self) {
        self.close_scope();
        if self.scopes.is_empty() {
            return;
        }
        let (resource, scopes) = (&self.resource, &self.scopes);
        nested(&mut self.open.body, 1, |out| {
            message(out, 1, resource);
            out.extend_from_slice(scopes);
        });
        self.scopes.clear();
    }

    fn close_request(&mut self) {
        self.close_group();
        if self.open.items > 0 {
            self.done.push(std::mem::take(&mut self.open));
        }
    }

    fn finish(mut self) -> Vec<Request> {
        self.close_request();
        self.done
    }
}

#[cfg(test)]
mod tests;
