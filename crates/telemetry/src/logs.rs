//! Events to lines on standard output and to OTLP log records.
//!
//! Format of a line, in this order: `timestamp` (RFC 3339, microseconds, UTC), `level`, `target`,
//! `message`, `service`, `trace_id`, `span_id`, `request_id` (each where known), `fields`.
//!
//! Invariants: a line is one line, whatever the values hold; one value is at most
//! [`record::MAX_VALUE`] bytes; nothing here waits.

mod record;
mod stdout;

use std::cell::RefCell;
use std::sync::Arc;

use opentelemetry::Context as OtelContext;
use opentelemetry::trace::TraceContextExt as _;
use quintet_types::SharedClock;
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record as SpanRecord};
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;

pub(crate) use self::record::{Record, SpanIds, Value, cut};
pub(crate) use self::stdout::{Role, Stdout};

use crate::otlp::{LogSignal, Queue};
use crate::settings::LogFormat;

/// The span field that holds the request's id.
const REQUEST_ID: &str = "request.id";

/// Events that do not go to the sink: sending them would make more of them.
const LOCAL_TARGETS: [&str; 5] =
    ["quintet_telemetry", "quintet_http::client", "hyper", "h2", "opentelemetry"];

/// Turns every event that its filter admits into a line and a record.
pub(crate) struct LogLayer {
    service: &'static str,
    format: LogFormat,
    clock: SharedClock,
    stdout: Stdout,
    otlp: Option<Queue<LogSignal>>,
}

impl LogLayer {
    pub(crate) fn new(
        service: &'static str,
        format: LogFormat,
        clock: SharedClock,
        stdout: Stdout,
        otlp: Option<Queue<LogSignal>>,
    ) -> Self {
        Self { service, format, clock, stdout, otlp }
    }

    fn record<S>(&self, event: &Event<'_>, context: &Context<'_, S>) -> Record
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let request_id = context.event_scope(event).and_then(|mut scope| {
            scope.find_map(|span| span.extensions().get::<RequestId>().map(|id| Arc::clone(&id.0)))
        });
        let mut record = Record::new(self.clock.now(), *metadata.level(), metadata.target());
        record.request_id = request_id;
        record.span = current_span();
        event.record(&mut record);
        record
    }
}

/// The ids of the span that this thread is in.
pub(crate) fn current_span() -> Option<SpanIds> {
    OtelContext::map_current(|current| {
        let span = current.span();
        let span = span.span_context();
        span.is_valid().then(|| SpanIds {
            trace_id: span.trace_id(),
            span_id: span.span_id(),
            flags: span.trace_flags(),
        })
    })
}

thread_local! {
    /// Reused for every line of a thread, so that a line costs no allocation of its own.
    static LINE: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl<S> Layer<S> for LogLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if attributes.metadata().fields().field(REQUEST_ID).is_none() {
            return;
        }
        let mut finder = RequestIdFinder(None);
        attributes.record(&mut finder);
        finder.keep(id, &context);
    }

    fn on_record(&self, id: &Id, values: &SpanRecord<'_>, context: Context<'_, S>) {
        let mut finder = RequestIdFinder(None);
        values.record(&mut finder);
        finder.keep(id, &context);
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let record = self.record(event, &context);
        LINE.with(|line| {
            // Formatting a value may itself log; such an inner event gets a buffer of its own.
            match line.try_borrow_mut() {
                Ok(mut line) => self.write(&record, &mut line),
                Err(_) => self.write(&record, &mut Vec::new()),
            }
        });
        if let Some(queue) = &self.otlp
            && !LOCAL_TARGETS.iter().any(|local| record.target.starts_with(local))
        {
            queue.push(record);
        }
    }
}

impl LogLayer {
    fn write(&self, record: &Record, line: &mut Vec<u8>) {
        line.clear();
        self.format.write(record, self.service, line);
        line.push(b'\n');
        self.stdout.push(line, 1);
    }
}

impl LogFormat {
    /// Appends a line without its line feed.
    pub(crate) fn write(self, record: &Record, service: &str, line: &mut Vec<u8>) {
        match self {
            Self::Json => record.write_json(service, line),
            Self::Text => record.write_text(line),
        }
    }
}

/// The request id of a span, in the span's extensions.
struct RequestId(Arc<str>);

struct RequestIdFinder(Option<Arc<str>>);

impl RequestIdFinder {
    fn keep<S>(self, id: &Id, context: &Context<'_, S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        if let Some(request_id) = self.0
            && let Some(span) = context.span(id)
        {
            span.extensions_mut().replace(RequestId(request_id));
        }
    }
}

impl Visit for RequestIdFinder {
    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == REQUEST_ID {
            self.0 = Some(Arc::from(value));
        }
    }

    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        if field.name() == REQUEST_ID {
            self.0 = Some(Arc::from(format!("{value:?}").as_str()));
        }
    }
}

#[cfg(test)]
mod tests;
