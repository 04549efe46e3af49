use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::SdkTracerProvider;
use quintet_types::Clock;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};

use super::*;
use crate::logs::LogLayer;
use crate::settings::SpanFilter;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        "2026-03-01T12:00:00.000123Z".parse().unwrap()
    }
}

#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<u8>>>);

impl io::Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A destination in memory, and a way to read what reached it.
fn destination(format: LogFormat, level: &str) -> (Arc<Destination>, impl Fn() -> Vec<String>) {
    let memory = Memory::default();
    let destination = Arc::new(Destination {
        service: "edge-gateway",
        format,
        clock: Arc::new(Fixed),
        filter: LogFilter::new(&level.parse().unwrap()),
        stdout: Some(Stdout::start(Box::new(memory.clone())).unwrap()),
        otlp: None,
    });
    let stdout = destination.stdout.clone().unwrap();
    let read = move || {
        stdout.flush(Duration::from_secs(10));
        let text = String::from_utf8(memory.0.lock().unwrap().clone()).unwrap();
        text.lines().map(str::to_owned).collect()
    };
    (destination, read)
}

/// The same request as an event and as a line of the access log, in and out of a span.
fn both_ways(format: LogFormat) -> Vec<String> {
    let (destination, read) = destination(format, "info");
    let layer =
        LogLayer::new("edge-gateway", format, Arc::new(Fixed), destination.stdout.clone().unwrap(), None);
    let provider = SdkTracerProvider::builder().build();
    let spans = tracing_opentelemetry::layer().with_tracer(provider.tracer("test")).with_filter(SpanFilter);
    let log = AccessLog::to(Some(Arc::clone(&destination)));
    let path = format!("/\"quoted\"\\\n\u{1}ä{}", "x".repeat(9_000));
    let say = || {
        tracing::info!(target: "access", method = "GET", path, status = 200u64, huge = u64::MAX, "request");
        log.log("request", "req-1", |fields| {
            fields.text("method", "GET");
            fields.text("path", &path);
            fields.number("status", 200);
            fields.number("huge", u64::MAX);
        });
        log.flush();
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(spans).with(layer), || {
        say();
        tracing::info_span!("request", request.id = "req-1").in_scope(say);
    });
    read()
}

#[test]
fn a_line_is_that_of_an_event() {
    for format in [LogFormat::Json, LogFormat::Text] {
        let lines = both_ways(format);
        assert_eq!(lines.len(), 4);
        assert_eq!(lines[0], lines[1]);
        assert_eq!(lines[2], lines[3]);
        assert!(lines[3].contains("req-1") && !lines[1].contains("req-1"), "{}", lines[3]);
    }
}

#[test]
fn lines_leave_together_and_the_last_with_their_owner() {
    let (destination, read) = destination(LogFormat::Json, "info");
    let log = AccessLog::to(Some(destination));
    log.log("request", "", |_| ());
    assert!(read().is_empty());
    let long = "x".repeat(1_000);
    for _ in 0..16 {
        log.log("request", "", |fields| fields.text("path", &long));
    }
    let sent = read().len();
    assert!((10..=17).contains(&sent), "{sent}");
    log.log("request", "", |_| ());
    drop(log);
    assert_eq!(read().len(), 18);
}

#[test]
fn the_log_level_counts_from_the_next_flush() {
    let (destination, read) = destination(LogFormat::Json, "warn");
    let filter = destination.filter.clone();
    let log = AccessLog::to(Some(destination));
    log.log("request", "", |_| ());
    filter.set(&"warn,access=info".parse().unwrap());
    log.flush();
    log.log("request", "", |_| ());
    log.flush();
    assert_eq!(read().len(), 1);
}

#[test]
fn fractions_of_a_second_and_times_before_1970_are_right() {
    let mut second = Second::default();
    for (time, text) in [
        ("2026-03-01T12:00:00.999999Z", "2026-03-01T12:00:00"),
        ("2026-03-01T12:00:01Z", "2026-03-01T12:00:01"),
        ("1969-12-31T23:59:58.5Z", "1969-12-31T23:59:58"),
    ] {
        assert_eq!(second.of(time.parse().unwrap()), text);
    }
}

struct Broken;

impl io::Write for Broken {
    fn write(&mut self, _: &[u8]) -> io::Result<usize> {
        Err(io::ErrorKind::StorageFull.into())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn an_output_of_its_own_gets_lines_and_outlives_errors() {
    let memory = Memory::default();
    let lines = Lines::to(Box::new(memory.clone()), "access_log").unwrap();
    lines.push(b"one\ntwo\n", 2);
    lines.flush(Duration::from_secs(10));
    assert_eq!(*memory.0.lock().unwrap(), b"one\ntwo\n");
    let broken = Lines::to(Box::new(Broken), "access_log").unwrap();
    for _ in 0..3 {
        broken.push(b"lost\n", 1);
        broken.flush(Duration::from_secs(10));
    }
}

struct Sends(std::sync::mpsc::SyncSender<Vec<u8>>);
impl io::Write for Sends {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send(bytes.to_vec()).map_err(|_| io::ErrorKind::BrokenPipe)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn what_an_output_has_taken_is_written_after_its_last_handle_is_gone() {
    let (sender, receiver) = std::sync::mpsc::sync_channel(8);
    let lines = Lines::to(Box::new(Sends(sender)), "access_log").unwrap();
    lines.push(b"last\n", 1);
    drop(lines);
    assert_eq!(receiver.recv().unwrap(), b"last\n");
    receiver.recv().unwrap_err();
}
