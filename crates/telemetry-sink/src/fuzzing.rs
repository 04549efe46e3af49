//! What the fuzz targets in `fuzz/` call: bytes as a stranger sends them, and a panic when a promise about them breaks.
#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports what it found")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::api::params;
use crate::head::Found;
use crate::head::metrics::{Selected, TooManySamples};
use crate::ingest::known_labels::KnownLabels;
use crate::ingest::{exposition as text_format, loki_push, otlp_json, otlp_proto, remote_write};
use crate::logql::{self, Context, Line, LogQl};
use crate::model::codec::{Record, decode_batch, encode_batch};
use crate::model::matcher::all_accept;
use crate::model::{Batch, LogRecord, Matcher, Resource, Span};
use crate::promql::{self, Limits, Query, Source};
use crate::storage::Signal;
use crate::storage::exemplar_frame;
use crate::storage::metrics_frame::MetricsDecoder;
use crate::storage::segment;
use crate::syslog::Frames;
use crate::traceql;

/// A counter, a histogram's buckets and a gauge with a gap, one sample each 15 seconds.
struct Few(Vec<Selected>);

impl Few {
    fn new() -> Self {
        let series = |labels: [(&str, &str); 2], value: fn(u8) -> f64| Selected {
            labels: labels.into_iter().collect(),
            samples: (0..20).map(|at| (i64::from(at) * 15_000, value(at))).collect(),
        };
        Self(vec![
            series([("__name__", "requests_total"), ("job", "a")], |at| f64::from(at % 9)),
            series([("__name__", "seconds_bucket"), ("le", "0.5")], f64::from),
            series([("__name__", "seconds_bucket"), ("le", "+Inf")], |at| 2.0 * f64::from(at)),
            series([("__name__", "depth"), ("job", "b")], |at| if at == 5 { f64::NAN } else { -1.5 }),
        ])
    }
}

impl Source for Few {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        _max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        let chosen = self.0.iter().filter(|series| all_accept(matchers, &series.labels));
        let within = |series: &Selected| {
            let samples = series.samples.iter().filter(|(time, _)| *time > from && *time <= to);
            Selected { labels: series.labels.clone(), samples: samples.copied().collect() }
        };
        Ok(chosen.map(within).filter(|series| !series.samples.is_empty()).collect())
    }
}

/// An expression parses and is evaluated, or says why not.
pub fn promql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = promql::parse_selector(text);
    let _ = (params::time_millis(text), params::duration_millis(text));
    let Ok(expr) = promql::parse(text) else { return };
    let source = Few::new();
    for query in [Query::instant(150_000), Query { start: 0, end: 300_000, step: 60_000 }] {
        let limits = Limits { max_samples: 10_000, deadline: Instant::now() + Duration::from_secs(5) };
        let _ = promql::evaluate(&expr, query, &source, limits);
    }
}

/// A log query parses and runs over a few lines, or says why not; one that is written anew says the same.
pub fn logql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = params::time_nanos(text);
    let _ = logql::parse_selector(text);
    let Ok(query) = logql::parse(text) else { return };
    let pretty = logql::pretty(text).expect("what was parsed can be written");
    assert!(logql::parse(&pretty).is_ok(), "{pretty:?} was {text:?}");
    let queries: Vec<_> = match &query {
        LogQl::Log(query) => vec![query],
        LogQl::Metric(query) => query.log_queries().collect(),
    };
    for query in queries {
        assert!(query.streams.iter().any(Matcher::needs_presence), "every stream would be read");
        for body in [
            "a=1 b=\"2 3\" c",
            r#"{"a":{"b":[1,2]},"c":"d","_entry":"x"}"#,
            "10.0.0.1 - \u{1b}[31mGET /é\u{1b}[0m",
        ] {
            let record = LogRecord { time: 5, severity: 9, body: body.to_owned(), ..LogRecord::default() };
            let found = Found { resource: Arc::new(Resource::default()), record };
            let mut line = Line::new(&found);
            if logql::run(&query.stages, &mut line, &Context::default()) {
                let _ = (line.labels(), line.text().len());
            }
        }
    }
}

/// A trace query parses, or says why not.
pub fn traceql(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let _ = traceql::parse_field(text);
    let Ok(query) = traceql::parse(text) else { return };
    let span = Span { trace_id: [1; 16], span_id: [1; 8], end: 5, ..Span::default() };
    let found = Found { resource: Arc::new(Resource::default()), record: span };
    let trace = traceql::Trace::of([1; 16], vec![found]).expect("a trace of one span");
    let deadline = Instant::now() + Duration::from_secs(5);
    assert!(traceql::chosen(&query, &trace, deadline).is_ok_and(|places| places.len() <= 1));
}

/// A damaged segment is read up to the damage, and what a frame holds is read back as it was written.
pub fn wal_segment(data: &[u8]) {
    for signal in [Signal::Metrics, Signal::Logs, Signal::Spans] {
        read(data, signal);
    }
    // Behind an intact header and checksum, where only a damaged memory or a bug can put such bytes.
    let mut frame = Vec::new();
    segment::frame(data, &mut frame).expect("a fuzzer's input fits a frame");
    let mut bytes = segment::header(Signal::Logs, 0).to_vec();
    bytes.append(&mut frame);
    let mut bodies = Vec::new();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let end = segment::read_from(&mut bytes.as_slice(), length, Signal::Logs, |body| {
        bodies.push(body.to_vec());
        Ok(())
    });
    assert!(matches!(end, Ok(segment::End::Clean)), "{end:?}");
    assert_eq!(bodies, [data]);
    survives::<LogRecord>(data);
    survives::<Span>(data);
    let _ = MetricsDecoder::default().decode(data, |_, _, _| {});
    let mut exemplars = Vec::new();
    if exemplar_frame::decode(data, |exemplar| exemplars.push(exemplar.clone())).is_ok() {
        let again = exemplar_frame::encode(&exemplars);
        assert!(again.iter().all(|frame| exemplar_frame::decode(frame, |_| {}).is_ok()));
    }
}

fn read(bytes: &[u8], signal: Signal) {
    let mut metrics = MetricsDecoder::default();
    let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    let end = segment::read_from(&mut &*bytes, length, signal, |body| match signal {
        Signal::Metrics if body.first() == Some(&exemplar_frame::VERSION) => {
            exemplar_frame::decode(body, |_| {})
        }
        Signal::Metrics => metrics.decode(body, |_, _, _| {}),
        Signal::Logs => decode_batch::<LogRecord>(body).map(drop),
        Signal::Spans => decode_batch::<Span>(body).map(drop),
    });
    if let segment::End::Damaged { intact } = end.expect("memory can be read") {
        assert!(intact <= length);
    }
}

/// What was decoded is written and read again without a difference; as bytes, because NaN equals nothing.
fn survives<R: Record>(body: &[u8]) {
    let written = |batch: &Batch<R>| {
        let mut bytes = Vec::new();
        encode_batch(batch, &mut bytes);
        bytes
    };
    let Ok(batch) = decode_batch::<R>(body) else { return };
    let bytes = written(&batch);
    let again = decode_batch::<R>(&bytes).expect("what was written can be read");
    assert_eq!(written(&again), bytes);
}

/// An export request is decoded, or refused, in either encoding and as any signal.
pub fn otlp(data: &[u8]) {
    if let Ok(decoded) = otlp_proto::traces(data) {
        storable(&decoded.batch);
    }
    if let Ok(decoded) = otlp_proto::logs(data, 0) {
        storable(&decoded.batch);
    }
    let _ = otlp_proto::metrics(data);
    if let Ok(decoded) = otlp_json::traces(data) {
        storable(&decoded.batch);
    }
    if let Ok(decoded) = otlp_json::logs(data, 0) {
        storable(&decoded.batch);
    }
    let _ = otlp_json::metrics(data);
}

/// A remote write or a push to Loki is decoded, or refused, in each of its forms.
pub fn pushes(data: &[u8]) {
    let known = KnownLabels::new();
    let one = remote_write::decode_v1(data, &mut known.reading());
    let two = remote_write::decode_v2(data, &mut known.reading());
    for decoded in [one, two].into_iter().flatten() {
        let named = |sample: &crate::model::Sample| !sample.labels.name().is_empty();
        assert!(decoded.batch.samples.iter().all(named), "a series without a name");
    }
    if let Ok(decoded) = loki_push::from_protobuf(data) {
        storable(&decoded.batch);
    }
    if let Ok(decoded) = loki_push::from_json(data) {
        storable(&decoded.batch);
    }
}

/// A stream of syslog is cut into messages wherever it breaks, and each is a record.
pub fn syslog(data: &[u8]) {
    let messages = |chunk: usize| {
        let (mut frames, mut found) = (Frames::default(), Vec::new());
        for bytes in data.chunks(chunk.max(1)) {
            if frames.feed(bytes, |message| found.push(message.to_vec())).is_err() {
                return found;
            }
        }
        frames.finish(|message| found.push(message.to_vec()));
        found
    };
    let found = messages(data.len());
    assert_eq!(found, messages(7), "messages depend on how they arrive");
    for message in found {
        let (resource, record) = crate::syslog::parse(&message, jiff::Timestamp::UNIX_EPOCH, "peer");
        storable(&Batch { groups: vec![(std::sync::Arc::new(resource), vec![record])] });
    }
}

/// Datagrams of StatsD become samples, each under a name.
pub fn statsd(data: &[u8]) {
    let mut aggregate = crate::statsd::Aggregate::new(&crate::statsd::StatsdSection::default());
    aggregate.take(data);
    let batch = aggregate.flush(jiff::Timestamp::UNIX_EPOCH);
    assert!(batch.samples.iter().all(|sample| !sample.labels.name().is_empty()));
}

/// What is taken in can be read back from the log.
fn storable<R: Record>(batch: &Batch<R>) {
    let mut bytes = Vec::new();
    encode_batch(batch, &mut bytes);
    assert!(decode_batch::<R>(&bytes).is_ok(), "what was taken in cannot be read back");
}

/// A scraped page is read, or refused with its line.
pub fn exposition(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for format in [text_format::Format::Prometheus, text_format::Format::OpenMetrics] {
        let outcome = text_format::read(
            text,
            format,
            |line| {
                let _ = text_format::series(line.series);
                let _ = line.exemplar.and_then(text_format::exemplar);
            },
            |_| {},
        );
        if let Err(bad) = outcome {
            assert!((1..=text.lines().count().max(1)).contains(&bad.line));
        }
    }
}

#[cfg(test)]
mod tests {
    use quintet_testkit::replay;

    #[test]
    fn promql() {
        replay("promql", super::promql);
    }

    #[test]
    fn logql() {
        replay("logql", super::logql);
    }

    #[test]
    fn traceql() {
        replay("traceql", super::traceql);
    }

    #[test]
    fn wal_segment() {
        replay("wal_segment", super::wal_segment);
    }

    #[test]
    fn otlp() {
        replay("otlp", super::otlp);
    }

    #[test]
    fn pushes() {
        replay("pushes", super::pushes);
    }

    #[test]
    fn syslog() {
        replay("syslog", super::syslog);
    }

    #[test]
    fn statsd() {
        replay("statsd", super::statsd);
    }

    #[test]
    fn exposition() {
        replay("exposition", super::exposition);
    }
}
