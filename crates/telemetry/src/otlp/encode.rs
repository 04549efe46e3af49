//! Records and spans to OTLP requests, and what the sink's answers say.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsServiceRequest, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValueKind;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use opentelemetry_sdk::trace::SpanData;
use prost::Message;
use tracing::Level;

use crate::logs::{Record, Value};

/// What differs between logs and spans.
pub(crate) trait Signal: Send + Sync + 'static {
    /// The name in metrics.
    const NAME: &'static str;
    /// The path at the sink.
    const PATH: &'static str;
    /// What is queued.
    type Item: Send + 'static;
    /// What is sent.
    type Wire: Message + Send;

    fn wire(item: Self::Item) -> Self::Wire;
    fn request(resource: &Resource, items: Vec<Self::Wire>) -> Vec<u8>;
    /// How many items of an accepted request the sink says it refused.
    fn rejected(answer: &[u8]) -> u64;
}

/// Log records.
pub(crate) struct LogSignal;

/// A log record with its target, which becomes the scope it is grouped under.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ScopedLog {
    #[prost(string, tag = "1")]
    target: String,
    #[prost(message, required, tag = "2")]
    record: LogRecord,
}

impl Signal for LogSignal {
    const NAME: &'static str = "logs";
    const PATH: &'static str = "/v1/logs";
    type Item = Record;
    type Wire = ScopedLog;

    fn wire(item: Record) -> ScopedLog {
        ScopedLog { target: item.target.to_owned(), record: log_record(item) }
    }

    fn request(resource: &Resource, items: Vec<ScopedLog>) -> Vec<u8> {
        let mut scopes: BTreeMap<String, Vec<LogRecord>> = BTreeMap::new();
        for item in items {
            scopes.entry(item.target).or_default().push(item.record);
        }
        let scope_logs = scopes
            .into_iter()
            .map(|(name, log_records)| ScopeLogs {
                scope: Some(InstrumentationScope { name, ..InstrumentationScope::default() }),
                log_records,
                schema_url: String::new(),
            })
            .collect();
        let resource_logs =
            vec![ResourceLogs { resource: Some(resource.clone()), scope_logs, schema_url: String::new() }];
        ExportLogsServiceRequest { resource_logs }.encode_to_vec()
    }

    fn rejected(answer: &[u8]) -> u64 {
        let answer = ExportLogsServiceResponse::decode(answer).unwrap_or_default();
        answer.partial_success.map_or(0, |part| u64::try_from(part.rejected_log_records).unwrap_or(0))
    }
}

fn log_record(record: Record) -> LogRecord {
    let nanos = u64::try_from(record.time.as_nanosecond()).unwrap_or(0);
    let mut attributes: Vec<KeyValue> =
        record.fields.into_iter().map(|(name, value)| key_value(name, any(value))).collect();
    if let Some(request_id) = &record.request_id {
        attributes.push(text("request.id", request_id));
    }
    let (severity_number, severity_text) = severity(record.level);
    let mut log = LogRecord {
        time_unix_nano: nanos,
        observed_time_unix_nano: nanos,
        severity_number,
        severity_text: severity_text.to_owned(),
        body: Some(any(Value::Text(record.message))),
        attributes,
        ..LogRecord::default()
    };
    if let Some(span) = record.span {
        log.trace_id = span.trace_id.to_bytes().to_vec();
        log.span_id = span.span_id.to_bytes().to_vec();
        log.flags = u32::from(span.flags.to_u8());
    }
    log
}

/// Numbers of the OpenTelemetry log data model, "Severity fields".
fn severity(level: Level) -> (i32, &'static str) {
    let number = match level {
        Level::TRACE => 1,
        Level::DEBUG => 5,
        Level::INFO => 9,
        Level::WARN => 13,
        Level::ERROR => 17,
    };
    (number, level.as_str())
}

/// Spans.
pub(crate) struct SpanSignal;

impl Signal for SpanSignal {
    const NAME: &'static str = "spans";
    const PATH: &'static str = "/v1/traces";
    type Item = SpanData;
    type Wire = Span;

    fn wire(item: SpanData) -> Span {
        item.into()
    }

    fn request(resource: &Resource, spans: Vec<Span>) -> Vec<u8> {
        let scope = InstrumentationScope { name: "quintet".to_owned(), ..InstrumentationScope::default() };
        let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, schema_url: String::new() }];
        let resource_spans =
            vec![ResourceSpans { resource: Some(resource.clone()), scope_spans, schema_url: String::new() }];
        ExportTraceServiceRequest { resource_spans }.encode_to_vec()
    }

    fn rejected(answer: &[u8]) -> u64 {
        let answer = ExportTraceServiceResponse::decode(answer).unwrap_or_default();
        answer.partial_success.map_or(0, |part| u64::try_from(part.rejected_spans).unwrap_or(0))
    }
}

pub(crate) fn text(name: &str, value: &str) -> KeyValue {
    key_value(name, any(Value::Text(value.to_owned())))
}

pub(crate) fn integer(name: &str, value: i64) -> KeyValue {
    key_value(name, any(Value::Signed(value)))
}

fn key_value(name: &str, value: AnyValue) -> KeyValue {
    KeyValue { key: name.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn any(value: Value) -> AnyValue {
    let kind = match value {
        Value::Text(text) => AnyValueKind::StringValue(text),
        Value::Signed(number) => AnyValueKind::IntValue(number),
        Value::Unsigned(number) => match i64::try_from(number) {
            Ok(number) => AnyValueKind::IntValue(number),
            // OTLP has no unsigned numbers; text keeps all digits.
            Err(_) => AnyValueKind::StringValue(number.to_string()),
        },
        Value::Float(number) => AnyValueKind::DoubleValue(number),
        Value::Bool(yes) => AnyValueKind::BoolValue(yes),
    };
    AnyValue { value: Some(kind) }
}
