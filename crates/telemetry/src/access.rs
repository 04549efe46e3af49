//! The access log: one line for each request, at rates where an event of `tracing` would cost more than the request.
//!
//! A line looks exactly like that of an event with the target `access` at level `info`, and goes to the same places
//! under the same filter. What differs is the way: lines are formatted straight into a buffer that belongs to one
//! thread, and leave it together, when `BATCH` is reached or the owner calls [`AccessLog::flush`]. A change
//! of the log level counts from the next flush on. A process that is killed loses what was not flushed.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io::Write as _;
use std::sync::{Arc, OnceLock};

use quintet_types::{SharedClock, Timestamp};
use tracing::Level;

use crate::logs::{Record, Role, SpanIds, Stdout, Value, current_span};
use crate::otlp::{LogSignal, Queue};
use crate::settings::{LogFilter, LogFormat};

const TARGET: &str = "access";
/// Bytes that are handed on at once: about forty lines, so that the writer is woken for many of them.
const BATCH: usize = 16 * 1024;

/// Set when telemetry is, like the process's subscriber of events.
static PROCESS: OnceLock<Arc<Destination>> = OnceLock::new();

/// Where lines go.
pub(crate) struct Destination {
    pub(crate) service: &'static str,
    pub(crate) format: LogFormat,
    pub(crate) clock: SharedClock,
    pub(crate) filter: LogFilter,
    /// None where lines are written in another form, by another.
    pub(crate) stdout: Option<Stdout>,
    pub(crate) otlp: Option<Queue<LogSignal>>,
}

/// An output for lines, which takes them without waiting: beyond a bound they are dropped and counted. Clones share it;
/// what it has taken is written even after the last is dropped, as long as the process lives.
#[derive(Clone)]
pub struct Lines(Stdout);

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Lines")
    }
}

impl Lines {
    /// Writes to `output` on a thread of its own. What is lost counts under the label `signal`.
    pub fn to(output: Box<dyn std::io::Write + Send>, signal: &'static str) -> std::io::Result<Self> {
        Stdout::start_as(output, Role { signal, tells: false }).map(Self)
    }

    /// Where the process's own lines go; none without telemetry set up.
    pub fn of_process() -> Option<Self> {
        PROCESS.get()?.stdout.clone().map(Self)
    }

    /// Hands on so many lines, all or none; each ends with its line feed.
    pub fn push(&self, lines: &[u8], count: u64) {
        self.0.push(lines, count);
    }

    /// Waits until everything so far is written, for at most `deadline`.
    pub fn flush(&self, deadline: std::time::Duration) {
        self.0.flush(deadline);
    }
}

impl Destination {
    pub(crate) fn install(self) {
        // Telemetry is set up once in a process; the subscriber has just refused a second time.
        let _ = PROCESS.set(Arc::new(self));
    }
}

/// One thread's part of the access log.
pub struct AccessLog {
    destination: Option<Arc<Destination>>,
    enabled: Cell<bool>,
    batch: RefCell<Batch>,
}

#[derive(Default)]
struct Batch {
    bytes: Vec<u8>,
    lines: u64,
    second: Second,
}

/// The text of the last second that a line was written in: most lines share it with the one before.
#[derive(Default)]
struct Second {
    unix: Option<i64>,
    text: String,
}

impl fmt::Debug for AccessLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessLog").field("enabled", &self.enabled).finish_non_exhaustive()
    }
}

impl AccessLog {
    /// A log that goes where the process's telemetry goes; without telemetry set up it takes nothing.
    pub fn new() -> Self {
        Self::to(PROCESS.get().cloned())
    }

    /// A log whose lines go to `lines` instead of standard output, or nowhere; what leaves for the sink is the same.
    pub fn with_lines(lines: Option<Lines>) -> Self {
        let destination = PROCESS.get().map(|process| {
            Arc::new(Destination {
                service: process.service,
                format: process.format,
                clock: process.clock.clone(),
                filter: process.filter.clone(),
                stdout: lines.map(|lines| lines.0),
                otlp: process.otlp.clone(),
            })
        });
        Self::to(destination)
    }

    /// Whether the log level lets lines through; it does without telemetry set up.
    pub fn is_wanted(&self) -> bool {
        self.destination.is_none() || self.enabled.get()
    }

    pub(crate) fn to(destination: Option<Arc<Destination>>) -> Self {
        let log = Self { destination, enabled: Cell::new(false), batch: RefCell::default() };
        log.flush();
        log
    }

    /// Adds a line, unless the log level is above `info`. `request_id` stands beside the ids of the current span where
    /// there is one; `fill` says the rest.
    pub fn log(&self, message: &'static str, request_id: &str, fill: impl FnOnce(&mut Fields<'_>)) {
        let Some(destination) = self.destination.as_deref().filter(|_| self.enabled.get()) else { return };
        if destination.stdout.is_none() && destination.otlp.is_none() {
            return;
        }
        let mut batch = self.batch.borrow_mut();
        let now = destination.clock.now();
        let span = current_span();
        if destination.format == LogFormat::Json && destination.otlp.is_none() {
            let head = Head { now, service: destination.service, message, request_id, span };
            batch.write(&head, fill);
        } else {
            let mut record = Record::new(now, Level::INFO, TARGET);
            message.clone_into(&mut record.message);
            record.request_id = span.map(|_| Arc::from(request_id));
            record.span = span;
            fill(&mut Fields(Form::Record(&mut record)));
            if destination.stdout.is_some() {
                destination.format.write(&record, destination.service, &mut batch.bytes);
            }
            if let Some(queue) = &destination.otlp {
                queue.push(record);
            }
        }
        let Some(stdout) = &destination.stdout else { return };
        batch.bytes.push(b'\n');
        batch.lines += 1;
        if batch.bytes.len() >= BATCH {
            batch.send(stdout);
        }
    }

    /// Hands on what has gathered. To be called a few times a second.
    pub fn flush(&self) {
        let Some(destination) = &self.destination else { return };
        self.enabled.set(destination.filter.admits_event(TARGET, Level::INFO));
        if let Some(stdout) = &destination.stdout {
            self.batch.borrow_mut().send(stdout);
        }
    }
}

impl Default for AccessLog {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What a line begins with.
struct Head<'a> {
    now: Timestamp,
    service: &'static str,
    message: &'static str,
    request_id: &'a str,
    span: Option<SpanIds>,
}

impl Batch {
    fn send(&mut self, stdout: &Stdout) {
        if self.lines > 0 {
            stdout.push(&self.bytes, self.lines);
            self.bytes.clear();
            self.lines = 0;
        }
    }

    fn write(&mut self, head: &Head<'_>, fill: impl FnOnce(&mut Fields<'_>)) {
        let second = self.second.of(head.now);
        let line = &mut self.bytes;
        line.extend_from_slice(b"{\"timestamp\":\"");
        line.extend_from_slice(second.as_bytes());
        // Writing to memory cannot fail, here and below.
        let _ = write!(line, ".{:06}Z", head.now.subsec_nanosecond().rem_euclid(1_000_000_000) / 1_000);
        line.extend_from_slice(b"\",\"level\":\"INFO\",\"target\":\"access\",\"message\":");
        text(line, head.message);
        line.extend_from_slice(b",\"service\":");
        text(line, head.service);
        if let Some(span) = &head.span {
            let (trace_id, span_id) = (span.trace_id, span.span_id);
            let _ = write!(line, ",\"trace_id\":\"{trace_id}\",\"span_id\":\"{span_id}\",\"request_id\":");
            text(line, head.request_id);
        }
        line.extend_from_slice(b",\"fields\":{");
        fill(&mut Fields(Form::Json { line, first: true }));
        line.extend_from_slice(b"}}");
    }
}

impl Second {
    fn of(&mut self, time: Timestamp) -> &str {
        // Rounded down, also before 1970.
        let unix = time.as_nanosecond().div_euclid(1_000_000_000);
        let unix = i64::try_from(unix).unwrap_or_default();
        if self.unix != Some(unix) {
            self.unix = Some(unix);
            self.text = time.strftime("%Y-%m-%dT%H:%M:%S").to_string();
        }
        &self.text
    }
}

/// The fields of a line.
pub struct Fields<'a>(Form<'a>);

enum Form<'a> {
    Json { line: &'a mut Vec<u8>, first: bool },
    Record(&'a mut Record),
}

impl fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Fields")
    }
}

impl Fields<'_> {
    /// A text; a long one is cut.
    pub fn text(&mut self, name: &'static str, value: &str) {
        match &mut self.0 {
            Form::Json { line, first } => {
                key(line, first, name);
                match crate::logs::cut(value) {
                    None => text(line, value),
                    Some(cut) => text(line, &cut),
                }
            }
            Form::Record(record) => {
                let value = crate::logs::cut(value).unwrap_or_else(|| value.to_owned());
                record.fields.push((name, Value::Text(value)));
            }
        }
    }

    /// A number.
    pub fn number(&mut self, name: &'static str, value: u64) {
        match &mut self.0 {
            Form::Json { line, first } => {
                key(line, first, name);
                let _ = serde_json::to_writer(&mut **line, &value);
            }
            Form::Record(record) => record.fields.push((name, Value::Unsigned(value))),
        }
    }
}

fn key(line: &mut Vec<u8>, first: &mut bool, name: &str) {
    line.extend_from_slice(if std::mem::take(first) { &b"\""[..] } else { &b",\""[..] });
    line.extend_from_slice(name.as_bytes());
    line.extend_from_slice(b"\":");
}

fn text(line: &mut Vec<u8>, value: &str) {
    let _ = serde_json::to_writer(line, value);
}

#[cfg(test)]
mod tests;
