//! The sending side of telemetry: logs, traces and metrics of one process.
//!
//! - Logs: every `tracing` event becomes one JSON line on standard output and, with a sink
//!   configured, one OTLP log record. Both come from the same visit of the event, so a field has
//!   the same name and value in both. [`access`] is a shorter way there for a line per request.
//! - Traces: `tracing` spans at `info` and above become OTLP spans. [`trace`] continues and hands
//!   on W3C trace contexts; [`http::HttpLayer`] does it for a server.
//! - Metrics: the `metrics` facade, kept in memory and rendered in Prometheus' or OpenMetrics' text form on request.
//!
//! It never stores or queries telemetry; that is the sink's part.
//!
//! Invariants:
//! - A slow or absent sink or reader of standard output never blocks or grows the process: queues
//!   are bounded, the surplus is dropped and counted in `quintet_telemetry_dropped_total`.
//! - Exporting creates no telemetry of its own in the sink.

pub mod access;
pub mod http;
mod logs;
mod metrics;
mod otlp;
mod settings;
pub mod trace;

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use quintet_types::{SharedClock, SystemClock};
use tracing_subscriber::layer::{Layer, SubscriberExt};

pub use self::settings::{LogFormat, LogLevel, Settings};

use self::logs::{LogLayer, Stdout};
use self::otlp::Exporter;

/// Why telemetry could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A second call in one process.
    #[error("telemetry is already set up in this process")]
    AlreadySetUp,
    /// A sink is configured but there is no Tokio runtime to export from.
    #[error("telemetry export needs a tokio runtime")]
    NoRuntime,
    /// The thread that writes log lines did not start.
    #[error("cannot start the log writer")]
    Writer(#[source] std::io::Error),
}

/// The process's telemetry. Clones share it.
#[derive(Clone)]
pub struct Telemetry(Arc<Inner>);

struct Inner {
    metrics: metrics::Metrics,
    stdout: Stdout,
    log_filter: settings::LogFilter,
    exporter: Option<Exporter>,
    // Spans end in this provider; it lives as long as the process reports.
    _provider: SdkTracerProvider,
}

/// Sets up logs, traces and metrics for this process. Call once, inside the runtime.
pub fn init(service: &'static str, version: &'static str, settings: &Settings) -> Result<Telemetry, Error> {
    init_with(service, version, settings, SystemClock::shared(), Box::new(std::io::stdout()))
}

/// [`init`] with another clock and another place for the log lines.
pub fn init_with(
    service: &'static str,
    version: &'static str,
    settings: &Settings,
    clock: SharedClock,
    output: Box<dyn std::io::Write + Send>,
) -> Result<Telemetry, Error> {
    // First: queues take their counters from the recorder.
    let metrics = metrics::Metrics::install(service, version, clock.clone())?;
    let stdout = Stdout::start(output).map_err(Error::Writer)?;
    let exporter = match &settings.otlp {
        Some(origin) => {
            let resource = otlp::resource(service, version, &settings.attributes);
            Some(Exporter::start(origin.clone(), resource)?)
        }
        None => None,
    };

    let mut provider = SdkTracerProvider::builder()
        .with_sampler(Sampler::ParentBased(Box::new(Sampler::TraceIdRatioBased(settings.sample_ratio))));
    if let Some(exporter) = &exporter {
        provider = provider.with_span_processor(exporter.span_processor());
    }
    let provider = provider.build();
    let spans = tracing_opentelemetry::layer()
        .with_tracer(provider.tracer("quintet"))
        .with_location(false)
        .with_threads(false)
        .with_tracked_inactivity(false)
        .with_level(false)
        .with_filter(settings::SpanFilter);
    let log_filter = settings::LogFilter::new(&settings.log_level);
    let logs = LogLayer::new(
        service,
        settings.log_format,
        clock.clone(),
        stdout.clone(),
        exporter.as_ref().map(Exporter::log_queue),
    )
    .with_filter(log_filter.clone());
    let subscriber = tracing_subscriber::registry().with(spans).with(logs);
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySetUp)?;
    access::Destination {
        service,
        format: settings.log_format,
        clock,
        filter: log_filter.clone(),
        stdout: Some(stdout.clone()),
        otlp: exporter.as_ref().map(Exporter::log_queue),
    }
    .install();

    Ok(Telemetry(Arc::new(Inner { metrics, stdout, log_filter, exporter, _provider: provider })))
}

impl Telemetry {
    /// All metrics of the process in Prometheus' text form.
    pub fn render_metrics(&self) -> String {
        self.0.metrics.render()
    }

    /// The same in OpenMetrics' text form, in which histograms carry exemplars: the newest value of each bucket that was
    /// recorded in a sampled trace, with that trace's id.
    pub fn render_openmetrics(&self) -> String {
        self.0.metrics.render_openmetrics()
    }

    /// Changes which events are logged from now on.
    pub fn set_log_level(&self, level: &LogLevel) {
        self.0.log_filter.set(level);
    }

    /// Sends what is queued, for at most `deadline`. Later events still reach standard output.
    pub async fn shutdown(&self, deadline: Duration) {
        if let Some(exporter) = &self.0.exporter {
            // What does not leave in time is lost with the process, as after a crash.
            let _ = tokio::time::timeout(deadline, exporter.flush()).await;
        }
        self.flush_logs(deadline);
    }

    /// Waits until standard output has taken every line so far, for at most `deadline`.
    pub fn flush_logs(&self, deadline: Duration) {
        self.0.stdout.flush(deadline);
    }

    /// Housekeeping for metrics that nobody scrapes: folds histogram samples into buckets. Call it
    /// every few seconds.
    pub fn upkeep(&self) {
        self.0.metrics.upkeep();
    }
}
