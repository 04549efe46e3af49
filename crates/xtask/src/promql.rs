//! `cargo xtask promql DIRECTORY`: the sink's PromQL against scripts in the language of Prometheus' own tests.
//!
//! The scripts are not ours and not in this repository: `DIRECTORY` is `promql/promqltest/testdata` of a checkout of
//! Prometheus. What needs native histograms or a feature flag of Prometheus is left out, and counted by what it needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;
use serde_json::json;

use crate::{process, workspace};

/// The part of the evaluations that must pass.
const BAR: f64 = 0.99;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the scripts (`*.test`) are.
    directory: PathBuf,
    /// Where the report goes; `target/bench/promql.json` without it.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// What the runner writes.
#[derive(Debug, Deserialize)]
struct Report {
    passed: u32,
    failed: u32,
    left_out: BTreeMap<String, u32>,
    failures: Vec<String>,
    /// Each script: passed, failed, left out.
    scripts: Vec<(String, u32, u32, u32)>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let directory = std::fs::canonicalize(&options.directory)
        .with_context(|| format!("find the scripts in {}", options.directory.display()))?;
    let mut command = workspace::cargo();
    command
        .args(["run", "--quiet", "--package", "telemetry-sink", "--features", "conformance"])
        .args(["--example", "promql_conformance", "--"])
        .arg(&directory);
    let output = process::output(&mut command).context("run the scripts")?;
    let report: Report = serde_json::from_str(&output).context("read what the runner wrote")?;
    for failure in &report.failures {
        println!("{failure}");
    }
    for (script, passed, failed, left_out) in &report.scripts {
        println!("{script:<28} {passed:>5} passed {failed:>4} failed {left_out:>4} left out");
    }
    for (what, count) in &report.left_out {
        println!("{count:>5} left out: {what}");
    }
    let all = report.passed + report.failed;
    ensure!(all > 0, "{} holds no script with an evaluation", directory.display());
    let share = f64::from(report.passed) / f64::from(all);
    println!("{} passed, {} failed", report.passed, report.failed);
    let path = options.json.clone().unwrap_or_else(|| workspace::target().join("bench/promql.json"));
    write(&path, &report, share)?;
    if share < BAR {
        bail!("{:.2} % of the evaluations passed; the bar is {:.0} %", share * 100.0, BAR * 100.0);
    }
    Ok(())
}

fn write(path: &std::path::Path, report: &Report, share: f64) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let body = json!({
        "bars": [{ "name": "promql_evaluations_passed", "value": share, "bar": BAR, "met": share >= BAR }],
        "rows": report.scripts,
        "left_out": report.left_out,
        "failures": report.failures,
    });
    let text = serde_json::to_string_pretty(&body).context("write the report")?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
