//! The metrics recorder, and what the kernel knows of this process.
//!
//! Histogram buckets are fixed, so that figures of different binaries and versions add up.

mod exemplars;
mod openmetrics;
mod process;

use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use quintet_types::SharedClock;

use self::exemplars::{Exemplars, Observing};
use crate::Error;

/// Bounds in seconds, 0.5 ms to 10 s. The bar for a request is 8 ms, so it is a bound.
const SECONDS: [f64; 16] =
    [0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 7.0, 10.0];
/// Bounds in bytes, 256 B to 64 MiB.
const BYTES: [f64; 10] = [
    256.0,
    1024.0,
    4096.0,
    16384.0,
    65536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];

/// The end of names of histograms that count bytes.
const OF_BYTES: &str = "_bytes";

/// The bounds of a histogram's buckets.
fn bounds(name: &str) -> &'static [f64] {
    if name.ends_with(OF_BYTES) { &BYTES } else { &SECONDS }
}

pub(crate) struct Metrics {
    recorder: PrometheusHandle,
    exemplars: Exemplars,
}

impl Metrics {
    pub(crate) fn install(
        service: &'static str,
        version: &'static str,
        clock: SharedClock,
    ) -> Result<Self, Error> {
        let builder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)
            .and_then(|builder| builder.set_buckets_for_metric(Matcher::Suffix(OF_BYTES.to_owned()), &BYTES));
        // The bounds are constants and not empty, which is all that can be refused.
        let recorder = builder.unwrap_or_else(|_| PrometheusBuilder::new()).build_recorder();
        let handle = recorder.handle();
        let recorder = Observing::new(recorder, bounds, clock);
        let exemplars = recorder.exemplars();
        metrics::set_global_recorder(recorder).map_err(|_| Error::AlreadySetUp)?;
        describe();
        metrics::gauge!("quintet_build_info", "service" => service, "version" => version).set(1.0);
        Ok(Self { recorder: handle, exemplars })
    }

    pub(crate) fn render(&self) -> String {
        let mut text = self.recorder.render();
        process::write(&mut text);
        text
    }

    pub(crate) fn render_openmetrics(&self) -> String {
        // The values first: an exemplar may then be newer than its bucket's count, and never of a bucket that is not there.
        let text = self.render();
        openmetrics::of_prometheus(&text, &self.exemplars.by_series())
    }

    pub(crate) fn upkeep(&self) {
        self.recorder.run_upkeep();
    }
}

fn describe() {
    metrics::describe_gauge!("quintet_build_info", "Version of the running binary; always 1");
    metrics::describe_counter!(
        "quintet_telemetry_dropped_total",
        "Log lines, records and spans that were not delivered, by signal and reason"
    );
    metrics::describe_counter!(
        "quintet_telemetry_exported_total",
        "Records and spans that the sink accepted"
    );
    metrics::describe_counter!(
        "http_server_requests_total",
        "Requests answered, by route, method and status"
    );
    metrics::describe_histogram!(
        "http_server_request_duration_seconds",
        "Time from the request's head to the answer's head"
    );
    metrics::describe_gauge!("http_server_active_requests", "Requests being answered");
}
