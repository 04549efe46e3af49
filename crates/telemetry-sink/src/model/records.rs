//! Samples, log records and spans as the sink holds them.

use std::sync::Arc;

use super::{Exemplar, Labels, MAX_BATCH_EXEMPLARS};

pub(crate) type TraceId = [u8; 16];
pub(crate) type SpanId = [u8; 8];

/// An attribute's value. Arrays and maps arrive here as JSON text, bytes as base 16: what the
/// query APIs of Jaeger and Loki can express.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Text(String),
    Bool(bool),
    Int(i64),
    Double(f64),
}

impl Value {
    /// The value as plain text, the form in which filters compare it.
    pub(crate) fn to_text(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Bool(value) => value.to_string(),
            Self::Int(value) => value.to_string(),
            Self::Double(value) => value.to_string(),
        }
    }
}

/// Finds an attribute by name.
pub(crate) fn attribute<'a>(attributes: &'a [(String, Value)], name: &str) -> Option<&'a Value> {
    attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value)
}

/// Who sent something: the service and the rest of its OpenTelemetry resource.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Resource {
    pub(crate) service: String,
    pub(crate) attributes: Vec<(String, Value)>,
}

impl Resource {
    /// About how much memory it takes.
    pub(crate) fn weight(&self) -> usize {
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 0 };
        let attributes = self.attributes.iter().map(|(name, value)| name.len() + text(value) + 64);
        attributes.sum::<usize>() + self.service.len() + size_of::<Self>()
    }
}

/// Records that arrived together, each under the resource that sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch<R> {
    pub(crate) groups: Vec<(Arc<Resource>, Vec<R>)>,
}

impl<R> Default for Batch<R> {
    fn default() -> Self {
        Self { groups: Vec::new() }
    }
}

impl<R> Batch<R> {
    pub(crate) fn len(&self) -> usize {
        self.groups.iter().map(|(_, records)| records.len()).sum()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// One log line.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct LogRecord {
    /// Nanoseconds since the Unix epoch.
    pub(crate) time: i64,
    /// OpenTelemetry severity number, 0 (unset) to 24.
    pub(crate) severity: u8,
    pub(crate) body: String,
    /// The instrumentation scope, a Rust target for our own binaries.
    pub(crate) scope: String,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span_id: Option<SpanId>,
    pub(crate) attributes: Vec<(String, Value)>,
}

impl LogRecord {
    /// The severity as the level label of Loki's ecosystem.
    pub(crate) fn level(&self) -> &'static str {
        match self.severity {
            0 => "unknown",
            1..=4 => "trace",
            5..=8 => "debug",
            9..=12 => "info",
            13..=16 => "warn",
            17..=20 => "error",
            _ => "fatal",
        }
    }
}

/// OpenTelemetry's span kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SpanKind {
    #[default]
    Unspecified,
    Internal,
    Server,
    Client,
    Producer,
    Consumer,
}

impl SpanKind {
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    /// Reads what [`SpanKind::as_str`] writes.
    pub(crate) fn from_text(text: &[u8]) -> Self {
        let known = (1..=5).map(Self::from_number).find(|kind| kind.as_str().as_bytes() == text);
        known.unwrap_or_default()
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Unspecified => 0,
            Self::Internal => 1,
            Self::Server => 2,
            Self::Client => 3,
            Self::Producer => 4,
            Self::Consumer => 5,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// OpenTelemetry's span status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SpanStatus {
    #[default]
    Unset,
    Ok,
    Error,
}

impl SpanStatus {
    pub(crate) fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    /// Reads what [`SpanStatus::as_str`] writes.
    pub(crate) fn from_text(text: &[u8]) -> Self {
        let known = (1..=2).map(Self::from_number).find(|status| status.as_str().as_bytes() == text);
        known.unwrap_or_default()
    }

    pub(crate) fn number(self) -> u8 {
        match self {
            Self::Unset => 0,
            Self::Ok => 1,
            Self::Error => 2,
        }
    }

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// Something that happened during a span.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SpanEvent {
    pub(crate) time: i64,
    pub(crate) name: String,
    pub(crate) attributes: Vec<(String, Value)>,
}

/// A reference to a span elsewhere.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct SpanLink {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
}

/// One operation of a trace.
#[expect(clippy::struct_field_names, reason = "trace id and span id are the names of OpenTelemetry")]
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct Span {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) parent: Option<SpanId>,
    pub(crate) name: String,
    pub(crate) kind: SpanKind,
    /// Nanoseconds since the Unix epoch.
    pub(crate) start: i64,
    pub(crate) end: i64,
    pub(crate) status: SpanStatus,
    pub(crate) status_message: String,
    pub(crate) scope: String,
    pub(crate) attributes: Vec<(String, Value)>,
    pub(crate) events: Vec<SpanEvent>,
    pub(crate) links: Vec<SpanLink>,
}

impl Span {
    pub(crate) fn duration_nanos(&self) -> i64 {
        self.end.saturating_sub(self.start).max(0)
    }
}

/// One value of one series.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Sample {
    pub(crate) labels: Labels,
    /// Milliseconds since the Unix epoch.
    pub(crate) time: i64,
    pub(crate) value: f64,
}

/// Puts samples that came from several places in order; of those with the same time the first stays.
pub(crate) fn put_in_order(samples: &mut Vec<(i64, f64)>) {
    if !samples.is_sorted_by(|left, right| left.0 < right.0) {
        samples.sort_by_key(|(time, _)| *time);
        samples.dedup_by_key(|(time, _)| *time);
    }
}

/// What a metric measures, in Prometheus' words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum MetricKind {
    Counter,
    Gauge,
    Histogram,
    Summary,
    #[default]
    Unknown,
}

impl MetricKind {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::Unknown => "unknown",
        }
    }

    pub(crate) fn from_text(text: &str) -> Self {
        match text {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            _ => Self::Unknown,
        }
    }
}

/// Kind, unit and help text of a metric family.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct MetricMeta {
    pub(crate) name: String,
    pub(crate) kind: MetricKind,
    pub(crate) unit: String,
    pub(crate) help: String,
}

/// Samples that arrived together. Metadata is not logged: every sender repeats it.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) struct MetricBatch {
    pub(crate) samples: Vec<Sample>,
    pub(crate) metadata: Vec<MetricMeta>,
    pub(crate) exemplars: Vec<Exemplar>,
}

impl MetricBatch {
    /// Adds an exemplar, as long as there are not too many and it leads somewhere.
    pub(crate) fn note(&mut self, exemplar: Exemplar) {
        if self.exemplars.len() < MAX_BATCH_EXEMPLARS && exemplar.labels.len() > 0 {
            self.exemplars.push(exemplar);
        }
    }
}

/// Lower-case base 16.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: [char; 16] =
        ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'];
    let digit = |nibble: u8| DIGITS.get(usize::from(nibble)).copied().unwrap_or('0');
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 0xf)]).collect()
}

/// Reads `N` bytes of base 16 in either case; shorter text is padded on the left, as Jaeger allows
/// for trace ids.
pub(crate) fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.is_empty() || text.len() > N * 2 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let padded = format!("{text:0>width$}", width = N * 2);
    let mut bytes = [0u8; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(padded.get(index * 2..index * 2 + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_survives_a_round_trip_and_short_trace_ids_are_padded() {
        assert_eq!(parse_hex::<4>("00ffA1b2").map(|bytes| hex(&bytes)), Some("00ffa1b2".to_owned()));
        assert_eq!(parse_hex::<4>("ff"), Some([0, 0, 0, 0xff]));
        assert_eq!(parse_hex::<4>("0x12"), None);
        assert_eq!(parse_hex::<2>("123456"), None);
    }
}
