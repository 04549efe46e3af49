//! The telemetry sink: takes in logs, metrics and traces, answers queries, serves the console.
//!
//! `ingest`, `syslog`, `journal`, `statsd`, `scrape` (with `relabel`) and `host` turn what arrives into the records of `model`; `storage` writes them
//! to its logs, keeps them in the memory of `head` and writes that out as `parts`; `promql` and `api` answer from there; `rules`
//! evaluates recording and alerting rules, `notify` tells of their alerts; `console` serves the embedded pages, `dashboards` keeps what
//! people draw with them; `forward` passes on what arrived to other engines where one is configured.

mod api;
mod app;
mod config;
mod console;
mod dashboards;
mod diagnostics;
mod forward;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod head;
mod host;
mod ingest;
mod journal;
mod limited;
mod logql;
mod model;
mod notify;
mod offload;
mod otlp;
mod outbound;
mod parts;
mod peers;
mod promql;
mod relabel;
mod rules;
mod scrape;
mod statsd;
mod storage;
mod syslog;
mod traceql;

/// What `cargo xtask promql` and the group `engines` of `cargo xtask test` run.
#[cfg(feature = "conformance")]
#[doc(hidden)]
pub mod conformance {
    pub use crate::parts::engines::write_parts;
    pub use crate::promql::script::{Tally, run_directory};
}

#[cfg(test)]
mod tests;

use std::process::ExitCode;

/// Runs the program until it is told to stop.
pub fn run() -> ExitCode {
    quintet_service::run::<app::TelemetrySink>()
}
