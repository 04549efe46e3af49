//! Trace contexts across process boundaries, in the W3C form (`traceparent`, `tracestate`).
//!
//! "Current" is the innermost `tracing` span entered on this thread. Without telemetry set up, or
//! outside of any span, there is none and these functions do nothing.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceId};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

const TRACEPARENT: &str = "traceparent";

/// The current span as a `traceparent` value, to be stored with work that is done later.
pub fn current_traceparent() -> Option<String> {
    with_current(|span| {
        format!("00-{}-{}-{:02x}", span.trace_id(), span.span_id(), u8::from(span.is_sampled()))
    })
}

/// The current trace's id, 32 hexadecimal digits.
pub fn current_trace_id() -> Option<String> {
    with_current(|span| span.trace_id().to_string())
}

/// The current span, as far as it can be pointed to.
pub(crate) struct Current {
    pub(crate) trace_id: TraceId,
    pub(crate) span_id: SpanId,
    pub(crate) sampled: bool,
}

pub(crate) fn current() -> Option<Current> {
    with_current(|span| Current {
        trace_id: span.trace_id(),
        span_id: span.span_id(),
        sampled: span.is_sampled(),
    })
}

/// Makes `span` a child of the span that `traceparent` names. Call it before the span is entered;
/// a value that is not a valid `traceparent` leaves the span as it is.
pub fn set_parent(span: &tracing::Span, traceparent: &str) {
    adopt(span, &TraceContextPropagator::new().extract_with_context(&Context::new(), &Single(traceparent)));
}

/// Makes `span` a child of the span that the headers of a request name, if they do.
pub fn set_parent_from_headers(span: &tracing::Span, headers: &HeaderMap) {
    adopt(span, &TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers)));
}

/// Links `span` to the span that `traceparent` names, without becoming its child.
pub fn add_link(span: &tracing::Span, traceparent: &str) {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Single(traceparent));
    span.add_link(context.span().span_context().clone());
}

/// Adds the current trace context to the headers of an outgoing request.
pub fn inject(headers: &mut HeaderMap) {
    TraceContextPropagator::new().inject_context(&Context::current(), &mut HeadersMut(headers));
}

fn with_current<T>(read: impl FnOnce(&SpanContext) -> T) -> Option<T> {
    Context::map_current(|context| {
        let span = context.span();
        let span = span.span_context();
        span.is_valid().then(|| read(span))
    })
}

fn adopt(span: &tracing::Span, parent: &Context) {
    if parent.span().span_context().is_valid() {
        // Fails only where there is nothing to trace: a disabled span or no telemetry.
        let _ = span.set_parent(parent.clone());
    }
}

struct Single<'a>(&'a str);

impl Extractor for Single<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        (key == TRACEPARENT).then_some(self.0)
    }

    fn keys(&self) -> Vec<&str> {
        vec![TRACEPARENT]
    }
}

struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key)?.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

struct HeadersMut<'a>(&'a mut HeaderMap);

impl Injector for HeadersMut<'_> {
    fn set(&mut self, key: &str, value: String) {
        // An empty tracestate says nothing.
        if value.is_empty() {
            return;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(key), HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
