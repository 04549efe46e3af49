//! OTLP's JSON form: lower camel case, ids in base 16, 64-bit numbers as text or numbers, enums as
//! numbers, unknown names ignored.

use std::sync::Arc;

use serde_json::Value as Json;

use super::Decoded;
use super::naming;
use super::otlp_metrics::{Data, Metric, Observation, Point, Shape, Sums, to_samples};
use super::otlp_proto::cut_scope;
use crate::model::{
    Batch, LogRecord, MetricBatch, Resource, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, Value,
    parse_hex,
};

type Read<T> = Result<T, serde_json::Error>;

pub(crate) fn traces(body: &[u8]) -> Read<Decoded<Batch<Span>>> {
    let mut decoded = Decoded::<Batch<Span>>::default();
    each_scope(body, ["resourceSpans", "scopeSpans", "spans"], |resource, scope, item| {
        match span(item, scope) {
            Some(span) => push(&mut decoded.batch, resource, span),
            None => decoded.reject(1, "spans need a trace id and a span id"),
        }
    })?;
    Ok(decoded)
}

pub(crate) fn logs(body: &[u8], now: i64) -> Read<Decoded<Batch<LogRecord>>> {
    let mut decoded = Decoded::<Batch<LogRecord>>::default();
    each_scope(body, ["resourceLogs", "scopeLogs", "logRecords"], |resource, scope, item| {
        push(&mut decoded.batch, resource, log_record(item, scope, now));
    })?;
    Ok(decoded)
}

pub(crate) fn metrics(body: &[u8]) -> Read<Decoded<MetricBatch>> {
    let mut decoded = Decoded::<MetricBatch>::default();
    each_scope(body, ["resourceMetrics", "scopeMetrics", "metrics"], |resource, _, item| {
        to_samples(resource, &metric(item), &mut decoded);
    })?;
    Ok(decoded)
}

fn each_scope(body: &[u8], names: [&str; 3], mut item: impl FnMut(&Arc<Resource>, &str, &Json)) -> Read<()> {
    let root: Json = serde_json::from_slice(body)?;
    let [groups, scopes, items] = names;
    for group in list(&root, groups) {
        let attributes = group.get("resource").map(attributes).unwrap_or_default();
        let resource = Arc::new(naming::resource(attributes));
        for scope in list(group, scopes) {
            let name = scope.get("scope").map(|scope| cut_scope(text(scope, "name"))).unwrap_or_default();
            list(scope, items).for_each(|one| item(&resource, &name, one));
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

fn list<'a>(from: &'a Json, name: &str) -> impl Iterator<Item = &'a Json> + use<'a> {
    from.get(name).and_then(Json::as_array).into_iter().flatten()
}

fn text(from: &Json, name: &str) -> String {
    from.get(name).and_then(Json::as_str).unwrap_or_default().to_owned()
}

fn integer(from: &Json, name: &str) -> i64 {
    match from.get(name) {
        Some(Json::Number(number)) => {
            number.as_i64().or_else(|| number.as_u64().map(|_| i64::MAX)).unwrap_or_default()
        }
        Some(Json::String(text)) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

fn unsigned(value: &Json) -> u64 {
    match value {
        Json::Number(number) => number.as_u64().unwrap_or_default(),
        Json::String(text) => text.parse().unwrap_or_default(),
        _ => 0,
    }
}

/// A double; JSON carries the special ones as text.
fn double(value: &Json) -> Option<f64> {
    match value {
        Json::Number(number) => number.as_f64(),
        Json::String(text) => match text.as_str() {
            "Infinity" => Some(f64::INFINITY),
            "-Infinity" => Some(f64::NEG_INFINITY),
            text => text.parse().ok(),
        },
        _ => None,
    }
}

fn attributes(from: &Json) -> Vec<(String, Value)> {
    pairs(from, "attributes")
}

fn pairs(from: &Json, name: &str) -> Vec<(String, Value)> {
    list(from, name)
        .map(|attribute| {
            let value = attribute.get("value").map_or(Value::Text(String::new()), any_value);
            (text(attribute, "key"), value)
        })
        .collect()
}

/// serde_json bounds the nesting of what it parses, and so of this.
fn any_value(value: &Json) -> Value {
    let Some((kind, inner)) = value.as_object().and_then(|object| object.iter().next()) else {
        return Value::Text(String::new());
    };
    match kind.as_str() {
        "boolValue" => Value::Bool(inner.as_bool().unwrap_or_default()),
        "intValue" => Value::Int(integer(value, "intValue")),
        "doubleValue" => Value::Double(double(inner).unwrap_or(f64::NAN)),
        "arrayValue" | "kvlistValue" => Value::Text(nested(value).to_string()),
        _ => Value::Text(inner.as_str().unwrap_or_default().to_owned()),
    }
}

fn nested(value: &Json) -> Json {
    if let Some(array) = value.get("arrayValue") {
        return list(array, "values").map(nested).collect();
    }
    if let Some(map) = value.get("kvlistValue") {
        let pairs =
            list(map, "values").map(|pair| (text(pair, "key"), pair.get("value").map_or(Json::Null, nested)));
        return Json::Object(pairs.collect());
    }
    match any_value(value) {
        Value::Text(text) => text.into(),
        Value::Bool(value) => value.into(),
        Value::Int(value) => value.into(),
        Value::Double(value) => value.into(),
    }
}

fn id<const N: usize>(from: &Json, name: &str) -> Option<[u8; N]> {
    let text = from.get(name)?.as_str().filter(|text| text.len() == N * 2)?;
    parse_hex(text).filter(|id: &[u8; N]| id.iter().any(|byte| *byte != 0))
}

fn number(from: &Json, name: &str) -> u64 {
    from.get(name).map_or(0, unsigned)
}

fn span(from: &Json, scope: &str) -> Option<Span> {
    let status = from.get("status").unwrap_or(&Json::Null);
    Some(Span {
        trace_id: id(from, "traceId")?,
        span_id: id(from, "spanId")?,
        parent: id(from, "parentSpanId"),
        name: text(from, "name"),
        kind: SpanKind::from_number(number(from, "kind")),
        start: integer(from, "startTimeUnixNano"),
        end: integer(from, "endTimeUnixNano"),
        status: SpanStatus::from_number(number(status, "code")),
        status_message: text(status, "message"),
        scope: scope.to_owned(),
        attributes: attributes(from),
        events: list(from, "events")
            .map(|event| SpanEvent {
                time: integer(event, "timeUnixNano"),
                name: text(event, "name"),
                attributes: attributes(event),
            })
            .collect(),
        links: list(from, "links")
            .filter_map(|link| {
                Some(SpanLink { trace_id: id(link, "traceId")?, span_id: id(link, "spanId")? })
            })
            .collect(),
    })
}

fn log_record(from: &Json, scope: &str, now: i64) -> LogRecord {
    let times = [integer(from, "timeUnixNano"), integer(from, "observedTimeUnixNano"), now];
    LogRecord {
        time: times.into_iter().find(|time| *time != 0).unwrap_or(now),
        severity: u8::try_from(number(from, "severityNumber")).unwrap_or(0).min(24),
        body: from.get("body").map(|body| any_value(body).to_text()).unwrap_or_default(),
        scope: scope.to_owned(),
        trace_id: id(from, "traceId"),
        span_id: id(from, "spanId"),
        attributes: attributes(from),
    }
}

fn metric(from: &Json) -> Metric {
    let shapes = [
        ("gauge", Shape::Gauge),
        ("sum", Shape::Sum),
        ("histogram", Shape::Histogram),
        ("exponentialHistogram", Shape::ExponentialHistogram),
        ("summary", Shape::Summary),
    ];
    let data = shapes.into_iter().find_map(|(name, shape)| {
        let data = from.get(name)?;
        Some(Data {
            shape,
            cumulative: number(data, "aggregationTemporality") == 2,
            monotonic: data.get("isMonotonic").and_then(Json::as_bool).unwrap_or(false),
            points: list(data, "dataPoints").map(point).collect(),
        })
    });
    Metric {
        name: text(from, "name"),
        description: text(from, "description"),
        unit: text(from, "unit"),
        data,
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus' values are floats")]
fn value(from: &Json) -> f64 {
    match from.get("asDouble") {
        Some(value) => double(value).unwrap_or(f64::NAN),
        None => integer(from, "asInt") as f64,
    }
}

fn observation(from: &Json) -> Observation {
    Observation {
        time: integer(from, "timeUnixNano"),
        value: value(from),
        trace_id: id(from, "traceId"),
        span_id: id(from, "spanId"),
        attributes: pairs(from, "filteredAttributes"),
    }
}

fn point(from: &Json) -> Point {
    Point {
        time: integer(from, "timeUnixNano"),
        attributes: attributes(from),
        value: value(from),
        flags: number(from, "flags"),
        counts: list(from, "bucketCounts").map(unsigned).collect(),
        bounds: list(from, "explicitBounds").filter_map(double).collect(),
        sums: Sums { count: number(from, "count"), sum: from.get("sum").and_then(double) },
        quantiles: list(from, "quantileValues")
            .filter_map(|pair| Some((double(pair.get("quantile")?)?, double(pair.get("value")?)?)))
            .collect(),
        exemplars: list(from, "exemplars").map(observation).filter(Observation::leads_somewhere).collect(),
    }
}
