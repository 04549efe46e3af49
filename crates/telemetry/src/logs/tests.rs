use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use quintet_types::{Clock, Timestamp};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use super::*;
use crate::settings::{LogFilter, SpanFilter};

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2026-03-01T12:00:00.000123Z".parse().unwrap()
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `act` logs.
fn logged(format: LogFormat, level: &str, act: impl FnOnce()) -> Vec<String> {
    let memory = Memory::default();
    let stdout = Stdout::start(Box::new(memory.clone())).unwrap();
    let layer = LogLayer::new("core-api", format, Arc::new(Fixed), stdout.clone(), None)
        .with_filter(LogFilter::new(&level.parse().unwrap()));
    let provider = SdkTracerProvider::builder().build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(SpanFilter);
    let subscriber = tracing_subscriber::registry().with(spans).with(layer);
    tracing::subscriber::with_default(subscriber, act);
    stdout.flush(Duration::from_secs(10));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn logged_json(act: impl FnOnce()) -> Vec<serde_json::Value> {
    logged(LogFormat::Json, "info", act).iter().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_line_holds_time_level_target_message_service_and_fields() {
    let lines = logged_json(|| {
        tracing::warn!(target: "shop", count = 3, ratio = 0.5, ok = true, who = %"a\nb", big = u64::MAX, "sold");
    });
    let expected = serde_json::json!({
        "timestamp": "2026-03-01T12:00:00.000123Z",
        "level": "WARN",
        "target": "shop",
        "message": "sold",
        "service": "core-api",
        "fields": {"count": 3, "ratio": 0.5, "ok": true, "who": "a\nb", "big": u64::MAX},
    });
    assert_eq!(lines, [expected]);
}

#[test]
fn lines_carry_the_ids_of_trace_span_and_request() {
    let lines = logged_json(|| {
        let outer = tracing::info_span!("outer", request.id = tracing::field::Empty);
        outer.record("request.id", "req-1");
        crate::trace::set_parent(&outer, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        outer.in_scope(|| {
            tracing::info!("in outer");
            tracing::info_span!("inner").in_scope(|| tracing::info!("in inner"));
        });
        tracing::info!("outside");
    });
    for line in &lines[..2] {
        assert_eq!(line["trace_id"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(line["request_id"], "req-1");
        assert_ne!(line["span_id"], "b7ad6b7169203331");
    }
    assert_ne!(lines[0]["span_id"], lines[1]["span_id"]);
    assert!(lines[2].get("trace_id").is_none() && lines[2].get("request_id").is_none());
}

#[test]
fn a_quiet_log_still_knows_the_request() {
    let lines = logged(LogFormat::Json, "error", || {
        tracing::info_span!("outer", request.id = "req-2").in_scope(|| {
            tracing::info!("not logged");
            tracing::error!("logged");
        });
    });
    assert_eq!(lines.len(), 1);
    assert!(lines[0].contains(r#""request_id":"req-2""#), "{}", lines[0]);
}

#[test]
fn an_error_is_logged_with_its_causes() {
    let cause = io::Error::other("disk full");
    let error = io::Error::other(crate::Error::Writer(cause));
    let error: &(dyn std::error::Error + 'static) = &error;
    let lines = logged_json(|| tracing::error!(error, "failed"));
    assert_eq!(lines[0]["fields"]["error"], "cannot start the log writer: disk full");
}

#[test]
fn a_text_line_stays_one_line_whatever_the_values_hold() {
    let lines = logged(LogFormat::Text, "info", || {
        tracing::info!(target: "shop", name = "a\nb", "first\nsecond\r");
    });
    assert_eq!(lines, [r#"2026-03-01T12:00:00.000123Z INFO  shop: first second  name="a\nb""#]);
}

#[test]
fn a_long_value_is_cut_between_characters() {
    let long = "ä".repeat(record::MAX_VALUE);
    let lines = logged_json(|| tracing::info!(displayed = %long, plain = long.as_str(), "x"));
    for name in ["displayed", "plain"] {
        let value = lines[0]["fields"][name].as_str().unwrap();
        assert!(value.ends_with("… (cut)"));
        assert!(value.len() < record::MAX_VALUE + 16);
    }
}

/// A reader that takes what it is given only when told.
struct Gate(Receiver<()>, Memory);

impl Write for Gate {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // An error means that the test is over.
        let _ = self.0.recv();
        self.1.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn gated() -> (SyncSender<()>, Memory, Stdout) {
    let (open, wait) = sync_channel(16);
    let memory = Memory::default();
    let stdout = Stdout::with_limit(Box::new(Gate(wait, memory.clone())), stdout::PROCESS, 10).unwrap();
    (open, memory, stdout)
}

#[test]
fn a_reader_that_stops_costs_lines_not_time_and_is_told() {
    let (open, memory, stdout) = gated();
    stdout.push(b"1111\n", 1);
    // Whether the writer took the first line yet or not, ten more bytes at most fit behind it.
    for _ in 0..10 {
        stdout.push(b"2222\n", 1);
    }
    drop(open);
    stdout.flush(Duration::from_secs(10));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    let kept = text.lines().filter(|line| *line == "2222").count();
    assert!(text.starts_with("1111\n"), "{text}");
    assert!((1..=2).contains(&kept), "{text}");
    let told: u64 = text
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()?["fields"]["lines"].as_u64())
        .sum();
    assert_eq!(told, 10 - u64::try_from(kept).unwrap(), "{text}");
}

#[test]
fn each_line_of_a_dropped_batch_is_counted() {
    let (open, memory, stdout) = gated();
    stdout.push(b"1111\n2222\n3333\n", 3);
    stdout.push(b"4444\n", 1);
    drop(open);
    stdout.flush(Duration::from_secs(10));
    let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
    assert!(text.contains("4444\n") && text.contains(r#""lines":3"#), "{text}");
}

#[test]
fn a_flush_gives_up_at_its_deadline() {
    let (_open, memory, stdout) = gated();
    stdout.push(b"1111\n", 1);
    stdout.flush(Duration::from_millis(5));
    assert!(memory.0.lock().unwrap().is_empty());
}
