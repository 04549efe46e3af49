//! `cargo xtask bench SUITE`: builds what is measured and runs the measuring program in `benches/`.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};

use crate::build::{self, Profile};
use crate::test::postgres::Server;
use crate::{process, workspace};

/// Builds what a suite measures in a release build, then measures it.
///
/// Options of this task come before those of the suite, such as
/// `cargo xtask bench gateway --json report.json --quick`. `cargo xtask bench SUITE -- --help` lists a suite's own.
#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure.
    suite: Suite,
    /// Where the report goes.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the binaries in this directory, such as target/dist, instead of a release build.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// How many requests `gateway-upgrade` sends.
    #[arg(long, default_value_t = 1_000_000)]
    requests: u32,
    /// Arguments of the suite.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    rest: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Suite {
    /// The five together: size, memory, start, latency of an order.
    Fleet,
    /// The edge gateway beside nginx, HAProxy and Caddy.
    Gateway,
    /// Requests that must not be done twice, through reloads, upgrades in place and restarts of their upstream.
    GatewayUpgrade,
    /// What telemetry costs the four that are watched.
    Overhead,
    /// The telemetry sink beside VictoriaMetrics and Prometheus.
    Telemetry,
    /// The job queue beside graphile-worker, graphile_worker and pg-boss.
    Worker,
}

impl Suite {
    const fn name(self) -> &'static str {
        match self {
            Self::Fleet => "fleet",
            Self::Gateway => "gateway",
            Self::GatewayUpgrade => "gateway-upgrade",
            Self::Overhead => "overhead",
            Self::Telemetry => "telemetry",
            Self::Worker => "worker",
        }
    }

    /// The directory of the binaries that the suite measures: those given, or a release build.
    fn binaries(self, given: Option<&Path>) -> anyhow::Result<PathBuf> {
        match (self, given) {
            // The measuring program is the worker.
            (Self::Worker, None) => Ok(workspace::target().join("release")),
            (Self::Worker, Some(_)) => {
                bail!("--bin-dir: the worker's suite measures the library it is built with")
            }
            (Self::Telemetry, None) => {
                let build = ["build", "--locked", "--release", "--package", SINK];
                process::run(workspace::cargo().args(build)).context("build the telemetry sink")?;
                Ok(workspace::target().join("release"))
            }
            (Self::Telemetry, Some(given)) => {
                ensure!(given.join(SINK).is_file(), "--bin-dir: {} holds no {SINK}", given.display());
                Ok(std::path::absolute(given)?)
            }
            (Self::Fleet | Self::Overhead, None) => build::binaries(Profile::Release),
            (Self::Gateway | Self::GatewayUpgrade, None) => release_build_of_the_gateway(),
            (Self::Fleet | Self::Overhead, Some(given)) => {
                build::all_present(given)?;
                Ok(std::path::absolute(given)?)
            }
            (Self::Gateway | Self::GatewayUpgrade, Some(given)) => {
                ensure!(given.join(GATEWAY).is_file(), "--bin-dir: {} holds no {GATEWAY}", given.display());
                Ok(std::path::absolute(given)?)
            }
        }
    }
}

/// What a server of this size is usually given, and rounds that no checkpoint falls into. Everything that makes a
/// commit durable (`fsync`, `synchronous_commit`, `full_page_writes`) is as PostgreSQL has it: on.
const SERVER: [&str; 4] =
    ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=30min", "track_io_timing=off"];

/// A server for the worker's suite, unless one is given or nothing is measured.
fn server(options: &Options) -> anyhow::Result<Option<Server>> {
    let given = options.rest.iter().any(|argument| {
        argument == "--help" || argument == "-h" || argument.split('=').next() == Some("--database")
    });
    if options.suite != Suite::Worker || given {
        return Ok(None);
    }
    Server::start_with(&SERVER).map(Some).context("start a PostgreSQL server of the suite's own")
}

const GATEWAY: &str = "edge-gateway";
const SINK: &str = "telemetry-sink";

fn release_build_of_the_gateway() -> anyhow::Result<PathBuf> {
    // With HTTP/3, which is measured as well.
    let build = ["build", "--locked", "--release", "--package", GATEWAY, "--features", "http3"];
    process::run(workspace::cargo().args(build)).context("build the gateway")?;
    Ok(workspace::target().join("release"))
}

/// The crate's own test of upgrades with more requests, in a release build. It has no figures, so that there is no
/// report. With binaries given, only the test itself is built, as tests are.
fn upgrade(requests: u32, given: Option<&Path>) -> anyhow::Result<()> {
    let mut command = workspace::cargo();
    command.args(["test", "--locked", "--package", GATEWAY, "--test", "upgrade"]);
    match given {
        None => command.arg("--release"),
        Some(_) => command.env("QUINTET_E2E_BIN_DIR", Suite::GatewayUpgrade.binaries(given)?),
    };
    command.args(["--", "requests_pass", "--nocapture"]);
    command.env("QUINTET_UPGRADE_REQUESTS", requests.to_string());
    process::run(&mut command)
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    if options.suite == Suite::GatewayUpgrade {
        return upgrade(options.requests, options.bin_dir.as_deref());
    }
    let suite = options.suite.name();
    let mut command = workspace::cargo();
    command.args(["run", "--locked", "--release", "--quiet", "--package", "benches", "--", suite]);
    // The suite's help says what would be measured; nothing has to be built for it.
    if !options.rest.iter().any(|argument| argument == "--help" || argument == "-h") {
        command.env("QUINTET_E2E_BIN_DIR", options.suite.binaries(options.bin_dir.as_deref())?);
    }
    let json =
        options.json.clone().unwrap_or_else(|| workspace::target().join(format!("bench/{suite}.json")));
    command.arg("--json").arg(std::path::absolute(json)?).args(&options.rest);
    command.env("QUINTET_XTASK", std::env::current_exe()?);
    // Lives as long as the suite.
    let server = server(options)?;
    if let Some(server) = &server {
        command.arg("--database").arg(server.url()).arg("--server").arg(server.pid().to_string());
    }
    process::run(&mut command)
}
