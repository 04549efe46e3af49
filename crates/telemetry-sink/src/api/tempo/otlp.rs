//! A trace as OpenTelemetry's resource spans, in protobuf and in the JSON that Tempo's own marshaller writes, whose ids are
//! base 64 and not base 16.

use serde_json::{Value as JsonValue, json};

use crate::head::Found;
use crate::model::{Resource, Span, SpanKind, SpanStatus, Value};
use crate::otlp::{self, message, nested, text};
use crate::traceql::Trace;

/// Spans by the scope that made them.
type Scopes<'a> = Vec<(&'a str, Vec<&'a Span>)>;

/// Spans by the resource and the scope that made them.
fn grouped(trace: &Trace) -> Vec<(&Resource, Scopes<'_>)> {
    let mut groups: Vec<(&Resource, Scopes<'_>)> = Vec::new();
    for Found { resource, record } in &trace.spans {
        let known = groups.iter().position(|(known, _)| **known == **resource);
        let group = known.unwrap_or_else(|| {
            groups.push((resource, Vec::new()));
            groups.len() - 1
        });
        let Some((_, scopes)) = groups.get_mut(group) else { continue };
        match scopes.iter_mut().find(|(scope, _)| *scope == record.scope) {
            Some((_, spans)) => spans.push(record),
            None => scopes.push((&record.scope, vec![record])),
        }
    }
    groups
}

pub(super) fn any_value(value: &Value) -> JsonValue {
    match value {
        Value::Text(text) => json!({ "stringValue": text }),
        Value::Bool(value) => json!({ "boolValue": value }),
        // Protobuf's JSON has 64-bit numbers as texts.
        Value::Int(value) => json!({ "intValue": value.to_string() }),
        Value::Double(value) => json!({ "doubleValue": value }),
    }
}

fn attributes_json(attributes: &[(String, Value)]) -> Vec<JsonValue> {
    attributes.iter().map(|(key, value)| json!({ "key": key, "value": any_value(value) })).collect()
}

/// The list of resource spans.
pub(super) fn json(trace: &Trace) -> Vec<JsonValue> {
    let of_group = |(resource, scopes): (&Resource, Scopes<'_>)| {
        let scopes: Vec<_> = scopes
            .into_iter()
            .map(|(scope, spans)| {
                let spans: Vec<_> = spans.into_iter().map(span_json).collect();
                json!({ "scope": { "name": scope }, "spans": spans })
            })
            .collect();
        json!({ "resource": { "attributes": attributes_json(&otlp::resource_attributes(resource)) }, "scopeSpans": scopes })
    };
    grouped(trace).into_iter().map(of_group).collect()
}

fn span_json(span: &Span) -> JsonValue {
    let events: Vec<_> = span
        .events
        .iter()
        .map(|event| {
            let attributes = attributes_json(&event.attributes);
            json!({ "timeUnixNano": event.time.to_string(), "name": event.name, "attributes": attributes })
        })
        .collect();
    let links: Vec<_> = span
        .links
        .iter()
        .map(|link| json!({ "traceId": base64(&link.trace_id), "spanId": base64(&link.span_id) }))
        .collect();
    let mut shown = json!({
        "traceId": base64(&span.trace_id),
        "spanId": base64(&span.span_id),
        "name": span.name,
        "kind": kind(span.kind),
        "startTimeUnixNano": span.start.to_string(),
        "endTimeUnixNano": span.end.to_string(),
        "attributes": attributes_json(&span.attributes),
        "events": events,
        "links": links,
        "status": status(span),
    });
    if let (Some(parent), Some(shown)) = (span.parent, shown.as_object_mut()) {
        shown.insert("parentSpanId".to_owned(), json!(base64(&parent)));
    }
    shown
}

fn kind(kind: SpanKind) -> String {
    format!("SPAN_KIND_{}", kind.as_str().to_ascii_uppercase())
}

fn status(span: &Span) -> JsonValue {
    match span.status {
        SpanStatus::Unset => json!({}),
        status => json!({
            "code": format!("STATUS_CODE_{}", status.as_str().to_ascii_uppercase()),
            "message": span.status_message,
        }),
    }
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let digit = |number: u32| {
        DIGITS.get(usize::try_from(number & 63).unwrap_or(0)).map_or('A', |digit| char::from(*digit))
    };
    let mut out = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let number = byte(0) << 16 | byte(1) << 8 | byte(2);
        out.push(digit(number >> 18));
        out.push(digit(number >> 12));
        out.push(if chunk.len() > 1 { digit(number >> 6) } else { '=' });
        out.push(if chunk.len() > 2 { digit(number) } else { '=' });
    }
    out
}

/// The whole as `TracesData`, which is also Tempo's `Trace`.
pub(super) fn protobuf(trace: &Trace) -> Vec<u8> {
    let mut out = Vec::new();
    for (resource, scopes) in grouped(trace) {
        nested(&mut out, 1, |group| {
            message(group, 1, &otlp::resource(resource));
            for (scope, spans) in scopes {
                nested(group, 2, |of_scope| {
                    nested(of_scope, 1, |out| text(out, 1, scope));
                    for span in spans {
                        nested(of_scope, 2, |out| otlp::span(out, span));
                    }
                });
            }
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base_64_is_padded() {
        for (bytes, text) in
            [(&b""[..], ""), (b"f", "Zg=="), (b"fo", "Zm8="), (b"foo", "Zm9v"), (b"\xff\xfe\xfd", "//79")]
        {
            assert_eq!(base64(bytes), text);
        }
    }
}
