//! Measures what the README claims, on the machine it runs on, and writes it as JSON.
//!
//! Run it with `cargo xtask bench SUITE`, which builds what is measured first. Figures come with the
//! bars they are held to; a missed bar is reported, it is never rounded away.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a measuring program talks to its terminal")]

mod fleet;
mod gateway;
mod overhead;
mod report;
mod telemetry;
mod usage;
mod worker;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::report::Report;

/// Measures what the README claims.
#[derive(Debug, Parser)]
struct Options {
    /// What to measure.
    #[command(subcommand)]
    suite: Suite,
}

#[derive(Debug, Subcommand)]
enum Suite {
    /// The five together: size, memory, start, and the latency of an order through the gateway. Fails when a bar
    /// is missed.
    Fleet(FleetOptions),
    /// The gateway beside nginx, HAProxy and Caddy on the same work, on one core each.
    Gateway(GatewayOptions),
    /// The job queue beside graphile-worker, graphile_worker and pg-boss.
    Worker(WorkerOptions),
    /// What telemetry costs the four that are watched.
    Overhead(OverheadOptions),
    /// The telemetry sink beside VictoriaMetrics and Prometheus.
    Telemetry(TelemetryOptions),
    /// One load of the worker's suite.
    #[command(hide = true)]
    Queue {
        /// The load as JSON.
        load: String,
    },
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
struct FleetOptions {
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Orders a second in the load.
    #[arg(long, default_value_t = 200)]
    rate: u32,
    /// Seconds of load that count, after a tenth of them to warm up.
    #[arg(long, default_value_t = 20)]
    seconds: u32,
    /// Keep the business data and the jobs in this empty PostgreSQL database instead of the embedded one.
    #[arg(long, value_name = "URL")]
    database: Option<String>,
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
struct GatewayOptions {
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Fail when a bar is missed.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    choice: gateway::Choice,
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
struct WorkerOptions {
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Fail when a bar is missed.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    choice: worker::Choice,
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
struct OverheadOptions {
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Fail when a bar is missed.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    choice: overhead::Choice,
}

#[derive(Debug, clap::Args)]
#[command(args_override_self = true)]
struct TelemetryOptions {
    /// Where the report goes.
    #[arg(long)]
    json: PathBuf,
    /// Fail when a bar is missed.
    #[arg(long)]
    strict: bool,
    #[command(flatten)]
    choice: telemetry::Choice,
}

fn main() -> ExitCode {
    match measured(Options::parse().suite) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measured(suite: Suite) -> anyhow::Result<ExitCode> {
    let (report, json, strict) = match suite {
        Suite::Fleet(options) => (fleet(&options)?, options.json, true),
        Suite::Gateway(options) => (gateway::measure(&options.choice)?, options.json, options.strict),
        Suite::Worker(options) => (worker::measure(&options.choice)?, options.json, options.strict),
        Suite::Overhead(options) => (overhead(options.choice)?, options.json, options.strict),
        Suite::Telemetry(options) => (telemetry::measure(&options.choice)?, options.json, options.strict),
        Suite::Queue { load } => return worker::drive(&load).map(|()| ExitCode::SUCCESS),
    };
    if report.write(&json)? || !strict {
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("error: a bar was missed; see {}", json.display());
    Ok(ExitCode::FAILURE)
}

fn fleet(options: &FleetOptions) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(fleet::measure(options.rate, options.seconds, options.database.as_deref()))
}

fn overhead(choice: overhead::Choice) -> anyhow::Result<Report> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(overhead::measure(choice))
}
