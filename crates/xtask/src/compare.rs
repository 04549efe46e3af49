//! `cargo xtask promql-compare`: the sink's PromQL beside Prometheus' own.
//!
//! Both are given the same series by remote write and asked the same expressions over HTTP, each at two times and over
//! two ranges; then `promtool` and `amtool` talk to the sink, and [`handover`] has it pass samples on. What differs and is not among the [`expressions::known`] differences fails the run.

mod answers;
mod expressions;
mod handover;
mod series;
mod servers;
mod tools;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use quintet_types::Clock as _;
use serde_json::{Value, json};
use tokio_util::task::TaskTracker;
use xtask::issuer::{self, Issuer};

use self::servers::Server;
use crate::chaos::lots::Lots;
use crate::{process, workspace};

/// Differences that are printed in full.
const SHOWN: usize = 40;
/// A part of a second at which no sample is.
const ASIDE: i64 = 377;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Where the program telemetry-sink is; the tests' own build without it.
    #[arg(long, value_name = "DIRECTORY")]
    bin_dir: Option<PathBuf>,
    /// What the values and the made-up expressions come from.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where the report goes; `target/bench/promql-compare.json` without it.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

impl Options {
    pub(crate) fn of(bin_dir: PathBuf) -> Self {
        Self { bin_dir: Some(bin_dir), seed: 1, json: None }
    }
}

/// One way to ask for an expression: the route and what goes with it.
struct Asking {
    path: &'static str,
    times: String,
}

#[derive(Debug, Default)]
struct Outcome {
    asked: usize,
    /// Commands of their clients that did against the sink what they should.
    commands: usize,
    /// Samples that arrived where the sink passes them on.
    passed_on: usize,
    expressions: usize,
    known: BTreeMap<&'static str, usize>,
    differences: Vec<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let program = if let Some(directory) = &options.bin_dir {
        std::path::absolute(directory)?.join("telemetry-sink")
    } else {
        process::run(workspace::cargo().args(["build", "--locked", "--package", "telemetry-sink"]))?;
        workspace::target().join("debug/telemetry-sink")
    };
    ensure!(program.is_file(), "{} is not there", program.display());
    let prometheus =
        process::find("prometheus").context("install Prometheus (the Debian package is prometheus)")?;
    process::find("amtool").context("install amtool (the Debian package is prometheus-alertmanager)")?;
    let victoria_metrics = process::find("victoria-metrics")
        .context("install VictoriaMetrics (the Debian package is victoria-metrics)")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(compare(&program, &prometheus, &victoria_metrics, options.seed))?;
    for difference in outcome.differences.iter().take(SHOWN) {
        println!("{difference}");
    }
    for (why, count) in &outcome.known {
        println!("{count:>5} known: {why}");
    }
    let (asked, different) = (outcome.asked, outcome.differences.len());
    let known: usize = outcome.known.values().sum();
    let equal = asked - different - known;
    println!(
        "{} expressions, {asked} answers: {equal} equal, {known} known, {different} different",
        outcome.expressions
    );
    println!("{} commands of promtool and amtool did their work", outcome.commands);
    println!("{} samples passed on are the same in Prometheus and VictoriaMetrics", outcome.passed_on);
    let path = options.json.clone().unwrap_or_else(|| workspace::target().join("bench/promql-compare.json"));
    write(&path, &outcome, options.seed)?;
    ensure!(different == 0, "{different} answers differ from Prometheus' (--seed {})", options.seed);
    Ok(())
}

fn write(path: &Path, outcome: &Outcome, seed: u64) -> anyhow::Result<()> {
    if let Some(parent) = path.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
    }
    let different = outcome.differences.len();
    let body = json!({
        "bars": [{ "name": "answers_unlike_prometheus", "value": different, "bar": 0, "met": different == 0 }],
        "seed": seed,
        "answers": outcome.asked,
        "known": outcome.known,
        "differences": outcome.differences,
    });
    let text = serde_json::to_string_pretty(&body).context("write the report")?;
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

async fn compare(
    program: &Path,
    prometheus: &Path,
    victoria_metrics: &Path,
    seed: u64,
) -> anyhow::Result<Outcome> {
    let directory = tempfile::Builder::new().prefix("quintet-compare-").tempdir()?;
    let (issuer, tasks) = (Issuer::new()?, TaskTracker::new());
    let keys = issuer::listen(issuer.keys(), &tasks).await?;
    let theirs = Server::prometheus(prometheus, directory.path()).await?;
    let token = issuer.token("compare")?;
    let ours = Server::sink(program, directory.path(), keys, token.clone()).await?;

    let now = quintet_types::SystemClock.now().as_millisecond();
    let end = now - now.rem_euclid(60_000);
    let mut lots = Lots::new(seed, 11);
    let series = series::generate(&mut lots, end);
    for body in series::requests(&series, end) {
        theirs.write(&body).await.context("write to Prometheus")?;
        ours.write(&body).await.context("write to the sink")?;
    }
    println!("{} samples written to both", series::samples(&series));

    let mut outcome = Outcome::default();
    for text in expressions::all(&mut lots) {
        outcome.expressions += 1;
        for asking in askings(end) {
            let form = format!("query={}&{}", encoded(&text), asking.times);
            let answers = tokio::join!(theirs.ask(asking.path, form.clone()), ours.ask(asking.path, form));
            outcome.count(&text, &asking, &answers.0?, &answers.1?);
        }
    }
    let origin = tools::door(ours.queries.clone(), &token, &tasks).await?;
    let commands = tokio::task::spawn_blocking(move || tools::run(&origin, end));
    outcome.commands = commands.await??;
    let data = (&mut lots, end);
    outcome.passed_on = handover::run(program, prometheus, victoria_metrics, keys, &token, data)
        .await
        .context("passing samples on")?;
    Ok(outcome)
}

impl Outcome {
    fn count(&mut self, text: &str, asking: &Asking, theirs: &Value, ours: &Value) {
        self.asked += 1;
        let ordered = asking.path == "query" && expressions::is_ordered(text);
        let Some(difference) = answers::difference(theirs, ours, ordered) else { return };
        if let Some(known) = expressions::known(text, &difference) {
            *self.known.entry(known.why).or_default() += 1;
        } else {
            self.differences.push(format!("{text}\n    {}?{}: {difference}", asking.path, asking.times));
        }
    }
}

/// In the middle of the series, where they have just ended, over all of them and in steps shorter than their interval.
fn askings(end: i64) -> [Asking; 4] {
    let start = end - series::SPAN + ASIDE;
    let minute = 60_000;
    let at = |millis: i64| format!("{}.{:03}", millis / 1000, millis % 1000);
    let instant = |time: i64| Asking { path: "query", times: format!("time={}", at(time)) };
    let range = |from: i64, to: i64, step: &str| Asking {
        path: "query_range",
        times: format!("start={}&end={}&step={step}", at(from), at(to)),
    };
    [
        instant(start + 47 * minute),
        instant(end + 2 * minute + ASIDE),
        range(start - 2 * minute, end + 7 * minute + ASIDE, "60"),
        range(start + 30 * minute, start + 40 * minute, "7"),
    ]
}

/// As a form carries it.
fn encoded(text: &str) -> String {
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.extend(['%'.to_string(), format!("{byte:02X}")]);
        }
        encoded
    })
}
