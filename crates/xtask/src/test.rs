//! `cargo xtask test`: everything CI runs, in groups, each with its time.
//!
//! A group that fails does not stop the others, unless they need what it makes. The run ends with what the test
//! runners themselves counted.

mod engines;
pub(crate) mod postgres;
mod runner;
mod suites;
mod tools;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use self::postgres::Server;
use self::runner::Tally;
use crate::build::{self, CONSOLE};
use crate::{check, compare, deb, dist, nix, policy, process, units, vm, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Leave out the slow groups: building what ships, and the story, the browser and chaos against it.
    #[arg(long)]
    quick: bool,
    /// Run only these groups.
    #[arg(long, value_name = "GROUP", value_delimiter = ',')]
    only: Vec<String>,
}

/// What the groups share.
#[derive(Debug)]
struct Bench {
    postgres: Option<Server>,
    tally: Tally,
    /// The static binaries, once this run has built them.
    shipped: Option<PathBuf>,
}

/// When a group runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    /// Not with `--quick`.
    Slow,
    /// Only when `--only` names it: building what ships a second time takes as long as all else together, and the suites of
    /// others are fetched and need what no distribution has. Machines that are emulated take minutes.
    Named,
}

struct Group {
    name: &'static str,
    when: When,
    run: fn(&mut Bench) -> anyhow::Result<()>,
}

/// What CI breaks is what it broke yesterday; other choices are for whoever runs chaos by hand to find something.
const CHAOS_SEED: &str = "1643513748";

const GROUPS: &[Group] = &[
    Group { name: "tools", when: When::Always, run: |_| tools::ensure() },
    Group { name: "format", when: When::Always, run: |_| check::format() },
    Group { name: "policy", when: When::Always, run: |_| policy::check() },
    Group { name: "console", when: When::Always, run: console },
    Group { name: "lints", when: When::Always, run: |_| check::lints() },
    Group { name: "documentation", when: When::Always, run: |_| check::documentation() },
    Group { name: "nix", when: When::Always, run: |_| nix::parse() },
    Group { name: "doctests", when: When::Always, run: doctests },
    Group { name: "tests", when: When::Always, run: tests },
    Group { name: "http3", when: When::Always, run: http3 },
    Group { name: "engines", when: When::Slow, run: engines },
    Group { name: "units", when: When::Slow, run: |_| units::check() },
    Group { name: "dist", when: When::Slow, run: dist },
    Group { name: "deb", when: When::Named, run: |bench| deb::install_and_remove(&bench.statics()?) },
    Group { name: "story", when: When::Slow, run: story },
    Group { name: "browser", when: When::Slow, run: browser },
    Group { name: "clients", when: When::Slow, run: clients },
    Group { name: "chaos", when: When::Slow, run: chaos },
    Group { name: "vm", when: When::Named, run: vm },
    Group { name: "reproducible", when: When::Named, run: |_| dist::reproducible() },
    Group { name: "suites", when: When::Named, run: suites::run },
];

/// All groups of tests build the same set of packages, so that cargo resolves features and compiles once.
const NEXTEST: [&str; 5] = ["nextest", "run", "--workspace", "--locked", "--no-fail-fast"];

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    for name in &options.only {
        if !GROUPS.iter().any(|group| group.name == name) {
            let known: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            bail!("there is no group {name:?}; the groups are {}", known.join(", "));
        }
    }
    let begun = Instant::now();
    let mut bench = Bench { postgres: None, tally: Tally::default(), shipped: None };
    let mut lines = Vec::new();
    let mut failed = Vec::new();
    for group in GROUPS {
        if !options.only.is_empty() && !options.only.iter().any(|name| name == group.name) {
            continue;
        }
        if group.when == When::Named && options.only.is_empty() {
            lines.push(format!("{:<14} left out; run it with --only {}", group.name, group.name));
            continue;
        }
        if options.quick && group.when == When::Slow {
            lines.push(format!("{:<14} left out by --quick", group.name));
            continue;
        }
        println!("── {}", group.name);
        let started = Instant::now();
        let outcome = (group.run)(&mut bench);
        let word = if outcome.is_ok() { "ok" } else { "FAILED" };
        lines.push(format!("{:<14} {word:<7} {:>7.1} s", group.name, started.elapsed().as_secs_f64()));
        if let Err(error) = outcome {
            eprintln!("error: {}: {error:#}", group.name);
            failed.push(group.name);
        }
    }
    drop(bench.postgres.take());
    println!("── summary");
    for line in lines {
        println!("{line}");
    }
    println!("total {}", minutes(begun.elapsed()));
    // A group that broke outside a test runner counts as one failure, so that the line cannot look green.
    let failures = bench.tally.failed.max(u64::try_from(failed.len()).unwrap_or(u64::MAX));
    println!("{} passed, {failures} failed", bench.tally.passed);
    if !failed.is_empty() {
        bail!("failed: {}", failed.join(", "));
    }
    Ok(())
}

fn minutes(time: Duration) -> String {
    format!("{} min {:02} s", time.as_secs() / 60, time.as_secs() % 60)
}

impl Bench {
    fn postgres(&mut self) -> anyhow::Result<String> {
        if self.postgres.is_none() {
            self.postgres = Some(Server::start().context("start PostgreSQL")?);
        }
        Ok(self.postgres.as_ref().map(Server::url).unwrap_or_default())
    }

    /// The binaries that ship, for what a build of the tests cannot stand in for.
    fn statics(&self) -> anyhow::Result<PathBuf> {
        let given = std::env::var_os("QUINTET_E2E_BIN_DIR").map(std::path::absolute).transpose()?;
        let built = Some(dist::directory()).filter(|directory| build::all_present(directory).is_ok());
        given.or_else(|| self.shipped.clone()).or(built).context("build what ships first: --only dist,deb")
    }

    /// The binaries under test: those that `QUINTET_E2E_BIN_DIR` names, else what this run has built to ship, else
    /// those of the tests' own profile.
    fn binaries(&self) -> anyhow::Result<PathBuf> {
        match (std::env::var_os("QUINTET_E2E_BIN_DIR"), &self.shipped) {
            (Some(given), _) => Ok(std::path::absolute(given)?),
            (None, Some(shipped)) => Ok(shipped.clone()),
            (None, None) => build::workspace_binaries(),
        }
    }
}

fn doctests(_: &mut Bench) -> anyhow::Result<()> {
    process::run(workspace::cargo().args(["test", "--doc", "--workspace", "--locked", "--quiet"]))
}

fn tests(bench: &mut Bench) -> anyhow::Result<()> {
    let url = bench.postgres()?;
    let mut nextest = workspace::cargo();
    nextest.args(NEXTEST).args(["--filterset", "not package(e2e)"]);
    nextest.env("QUINTET_TEST_POSTGRES", url);
    bench.tally.nextest(&mut nextest)
}

fn dist(bench: &mut Bench) -> anyhow::Result<()> {
    dist::run(&dist::Options::default())?;
    bench.shipped = Some(dist::directory());
    Ok(())
}

/// The sink beside engines of others: those that read its files, and Prometheus.
fn engines(bench: &mut Bench) -> anyhow::Result<()> {
    engines::compare()?;
    compare::run(&compare::Options::of(bench.binaries()?))
}

/// What is behind the gateway's feature: its lints, and the tests that are there only with it.
fn http3(bench: &mut Bench) -> anyhow::Result<()> {
    let lints = ["clippy", "--package", "edge-gateway", "--features", "http3", "--all-targets", "--locked"];
    process::run(workspace::cargo().args(lints).args(["--", "--deny", "warnings"]))?;
    let mut nextest = workspace::cargo();
    nextest.args(NEXTEST).args(["--features", "edge-gateway/http3"]);
    bench.tally.nextest(nextest.args(["--filterset", "package(edge-gateway) & test(http3)"]))
}

/// The end-to-end tests, against real binaries.
fn story(bench: &mut Bench) -> anyhow::Result<()> {
    let url = bench.postgres()?;
    let binaries = bench.binaries()?;
    let mut nextest = workspace::cargo();
    nextest.args(NEXTEST).args(["--filterset", "package(e2e)"]);
    nextest
        .env("QUINTET_TEST_POSTGRES", url)
        .env("QUINTET_E2E_BIN_DIR", binaries)
        .env("QUINTET_XTASK", this_program());
    bench.tally.nextest(&mut nextest)
}

/// The system image, with what ships: units let nothing run that is not static.
fn vm(bench: &mut Bench) -> anyhow::Result<()> {
    vm::run(&vm::Options::of(bench.shipped.clone().unwrap_or_else(dist::directory)))
}

/// By process, because a build may replace the file while the tests run.
fn this_program() -> String {
    format!("/proc/{}/exe", std::process::id())
}

fn console(bench: &mut Bench) -> anyhow::Result<()> {
    let sources = workspace::root().join(CONSOLE);
    build::npm(&sources, &["ci", "--no-audit", "--no-fund"])?;
    build::npm(&sources, &["run", "check"])?;
    bench.tally.vitest(Command::new("npx").args(["vitest", "run"]).current_dir(&sources))?;
    build::console(&workspace::root())
}

/// A short run in a process of its own, which hears the signals that end it. Where this user may, its file systems are its own
/// too: the kernel unmounts them whatever ends it.
fn chaos(bench: &mut Bench) -> anyhow::Result<()> {
    let namespace = ["--mount", "--propagation", "private", "--"];
    let own = process::output(Command::new("unshare").args(namespace).arg("true")).is_ok();
    let mut command = Command::new(this_program());
    command.args(["child", "--parent", &std::process::id().to_string(), "--"]);
    if own {
        command.arg("unshare").args(namespace);
    }
    command.args([&this_program(), "chaos", "worker", "--short", "--seed", CHAOS_SEED, "--bin-dir"]);
    command.arg(bench.binaries()?);
    process::run(&mut command)?;
    let mut command = Command::new(this_program());
    command.args(["chaos", "telemetry", "--short", "--seed", CHAOS_SEED, "--bin-dir"]).arg(bench.binaries()?);
    process::run(&mut command)
}

/// Client libraries of others against the identity provider that ships.
fn clients(bench: &mut Bench) -> anyhow::Result<()> {
    let directory = workspace::root().join("tests/clients");
    build::npm(&directory, &["ci", "--no-audit", "--no-fund"])?;
    let mut command = Command::new("npm");
    command.args(["test"]).current_dir(&directory);
    command.env("QUINTET_IDENTITY_PROVIDER", bench.binaries()?.join("identity-provider"));
    bench.tally.node(&mut command)
}

fn browser(bench: &mut Bench) -> anyhow::Result<()> {
    let directory = workspace::root().join("tests/browser");
    build::npm(&directory, &["ci", "--no-audit", "--no-fund"])?;
    let mut command = Command::new("npm");
    command.args(["test"]).current_dir(&directory);
    command.env("QUINTET_BIN_DIR", bench.binaries()?).env("QUINTET_XTASK", this_program());
    bench.tally.node(&mut command)
}
