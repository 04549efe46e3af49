//! The sink's own words for what it is sent: labels, samples, exemplars, log records and spans.
//!
//! Every protocol is normalised to these types before anything is stored, so the log on disk, the
//! memory heads and the query languages know nothing of OTLP or of the Prometheus text format.
//!
//! Invariants: label sets are sorted by name, hold each name once and no empty value (an empty
//! value means "absent" in Prometheus' data model); times of samples are milliseconds, times of
//! logs and spans nanoseconds, both since the Unix epoch.

pub(crate) mod codec;
mod exemplar;
mod labels;
pub(crate) mod matcher;
mod records;

pub(crate) use exemplar::{Exemplar, MAX_BATCH_EXEMPLARS, MAX_EXEMPLAR_CHARS};
pub(crate) use labels::{Labels, LabelsBuilder, METRIC_NAME};
pub(crate) use matcher::{MatchOp, Matcher};
pub(crate) use records::{
    Batch, LogRecord, MetricBatch, MetricKind, MetricMeta, Resource, Sample, Span, SpanEvent, SpanKind,
    SpanLink, SpanStatus, TraceId, Value, attribute, hex, parse_hex, put_in_order,
};

/// The bit pattern with which Prometheus marks a series as ended; a NaN no computation produces.
pub(crate) const STALE_BITS: u64 = 0x7ff0_0000_0000_0002;

/// Whether a sample is the staleness marker rather than a value.
pub(crate) fn is_stale(value: f64) -> bool {
    value.to_bits() == STALE_BITS
}

/// The staleness marker.
pub(crate) fn stale() -> f64 {
    f64::from_bits(STALE_BITS)
}
