//! Export of logs and spans: OTLP over HTTP with protobuf bodies, to the sink.
//!
//! Each signal has a bounded queue and one task that empties it in batches. A batch that the sink
//! does not take is sent again a few times with growing pauses, then dropped and counted; a
//! warning is logged at most once a minute. The requests carry no trace context and are themselves
//! not logged to the sink.
//!
//! The SDK's own batch processor is not used: it runs a thread for each signal, cannot drive an
//! asynchronous client, and does not say how much it drops.

mod encode;
mod queue;
mod send;

use std::collections::BTreeMap;
use std::sync::Arc;

use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use quintet_http::{Client, Origin};
use tokio::runtime::Handle;

pub(crate) use self::encode::LogSignal;
use self::encode::SpanSignal;
pub(crate) use self::queue::Queue;
use self::send::Sender;
use crate::Error;

/// The two export queues of a process.
pub(crate) struct Exporter {
    logs: Queue<LogSignal>,
    spans: Queue<SpanSignal>,
}

impl Exporter {
    pub(crate) fn start(origin: Origin, resource: Resource) -> Result<Self, Error> {
        let runtime = Handle::try_current().map_err(|_| Error::NoRuntime)?;
        let client = Client::new(origin).timeout(send::REQUEST_TIMEOUT);
        let resource = Arc::new(resource);
        Ok(Self {
            logs: Queue::start(&runtime, Sender::new(client.clone(), Arc::clone(&resource))),
            spans: Queue::start(&runtime, Sender::new(client, resource)),
        })
    }

    pub(crate) fn log_queue(&self) -> Queue<LogSignal> {
        self.logs.clone()
    }

    pub(crate) fn span_processor(&self) -> impl SpanProcessor + use<> {
        SpanQueue(self.spans.clone())
    }

    /// Sends what is queued now, once; what the sink refuses is dropped.
    pub(crate) async fn flush(&self) {
        tokio::join!(self.logs.flush(), self.spans.flush());
    }
}

/// Hands ended spans to the export queue.
#[derive(Debug)]
struct SpanQueue(Queue<SpanSignal>);

impl SpanProcessor for SpanQueue {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span);
        }
    }

    // Flushing needs to wait and is done by `Telemetry::shutdown`, which may.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: std::time::Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Who sends: the attributes that every record and span of this process shares.
pub(crate) fn resource(service: &str, version: &str, extra: &BTreeMap<String, String>) -> Resource {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = host.trim();
    let pid = std::process::id();
    let mut attributes = vec![
        encode::text("service.name", service),
        encode::text("service.namespace", "quintet"),
        encode::text("service.version", version),
        encode::text("service.instance.id", &format!("{host}:{pid}")),
        encode::text("host.name", host),
        encode::integer("process.pid", i64::from(pid)),
    ];
    attributes.extend(extra.iter().map(|(name, value)| encode::text(name, value)));
    Resource { attributes, ..Resource::default() }
}
