//! Runs scripts in the language of Prometheus' own PromQL tests (`promql/promqltest`): `load`, `clear`, `eval`.
//!
//! The series go through the real head, so that its compression is between what is loaded and what is asked. What needs
//! native histograms, which are not stored, is left out and counted, as is what Prometheus itself has behind a flag.

mod expected;
mod parse;

use std::cell::Cell;
use std::time::{Duration, Instant};

use self::expected::check;
use self::parse::{Command, Eval};
use super::notation::Values;
use super::{Limits, Query, Source, evaluate};
use crate::head::MetricsHead;
use crate::head::metrics::{Selected, SeriesLimits, TooManySamples};
use crate::model::matcher::all_accept;
use crate::model::{Labels, Matcher};

const HEAD_BYTES: usize = 256 << 20;
const SERIES: SeriesLimits = SeriesLimits { total: 1_000_000, per_metric: 1_000_000, late_millis: 0 };
const MAX_SAMPLES: usize = 50_000_000;
const QUERY_TIMEOUT: Duration = Duration::from_secs(20);

/// What became of one evaluation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Outcome {
    Passed,
    Failed(String),
    /// It needs what this server does not have, and says so.
    LeftOut(&'static str),
}

/// One evaluation of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Evaluation {
    /// Counted from 1.
    pub(crate) line: usize,
    pub(crate) query: String,
    pub(crate) outcome: Outcome,
}

/// Runs every script of a directory.
#[cfg(feature = "conformance")]
pub fn run_directory(directory: &std::path::Path) -> Result<Tally, String> {
    let entries =
        std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths: Vec<_> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "test"));
    paths.sort();
    let mut total = Tally::default();
    for path in paths {
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).map_err(|error| format!("{name}: {error}"))?;
        let mut tally = Tally::default();
        match run(&text) {
            Ok(evaluations) => evaluations.iter().for_each(|one| tally.count(&name, one)),
            Err(error) => tally.lines.push(format!("{name}: not run, {error}")),
        }
        total.files.push((name, tally.passed, tally.failed, tally.left_out.values().sum()));
        total.add(tally);
    }
    Ok(total)
}

/// What became of many evaluations.
#[cfg(feature = "conformance")]
#[derive(Debug, Default)]
pub struct Tally {
    /// Evaluations with the expected answer.
    pub passed: usize,
    /// Evaluations with another one.
    pub failed: usize,
    /// Evaluations that need what this server does not have, by what that is.
    pub left_out: std::collections::BTreeMap<&'static str, usize>,
    /// What each failure was.
    pub lines: Vec<String>,
    /// Each script with how many evaluations passed, failed and were left out.
    pub files: Vec<(String, usize, usize, usize)>,
}

#[cfg(feature = "conformance")]
impl Tally {
    fn count(&mut self, script: &str, evaluation: &Evaluation) {
        match &evaluation.outcome {
            Outcome::Passed => self.passed += 1,
            Outcome::LeftOut(what) => *self.left_out.entry(what).or_default() += 1,
            Outcome::Failed(message) => {
                self.failed += 1;
                self.lines.push(format!("{script}:{}: {}: {message}", evaluation.line, evaluation.query));
            }
        }
    }

    fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.lines.extend(other.lines);
        for (what, count) in other.left_out {
            *self.left_out.entry(what).or_default() += count;
        }
    }
}

/// Runs a script; the error is one of the script itself.
pub(crate) fn run(script: &str) -> Result<Vec<Evaluation>, String> {
    let mut database = Database::new();
    let mut evaluations = Vec::new();
    for command in parse::script(script)? {
        match command {
            Command::Clear => database = Database::new(),
            Command::Load(loaded) => {
                for series in loaded {
                    database.load(series)?;
                }
            }
            Command::Eval(eval) => {
                let outcome = database.outcome(&eval);
                evaluations.push(Evaluation { line: eval.line, query: eval.query, outcome });
            }
        }
    }
    Ok(evaluations)
}

/// Loaded series, and the labels of those that are not there because of what they hold.
struct Database {
    head: MetricsHead,
    left_out: Vec<(Labels, &'static str)>,
    /// Whether any series carries its type or unit in a label, which is behind a flag of Prometheus.
    has_typed_labels: bool,
    /// What the query at hand has asked for of these.
    touched: Cell<Option<&'static str>>,
}

impl Database {
    fn new() -> Self {
        let head = MetricsHead::new(HEAD_BYTES, SERIES);
        Self { head, left_out: Vec::new(), has_typed_labels: false, touched: Cell::new(None) }
    }

    fn load(&mut self, series: parse::Loaded) -> Result<(), String> {
        let parse::Loaded { labels, values } = series;
        if labels.get("__type__").is_some() || labels.get("__unit__").is_some() {
            self.has_typed_labels = true;
        }
        let samples = match values {
            Values::Floats(samples) => samples,
            Values::LeftOut(what) => {
                self.left_out.push((labels, what));
                return Ok(());
            }
        };
        let number = self.head.resolve(&labels, 0).map_err(|refusal| format!("{labels:?}: {refusal:?}"))?;
        for (time, value) in samples {
            self.head.append(number, time, value);
        }
        Ok(())
    }

    fn outcome(&self, eval: &Eval) -> Outcome {
        if let Some(flag) = behind_a_flag(&eval.query) {
            return Outcome::LeftOut(flag);
        }
        if self.has_typed_labels {
            return Outcome::LeftOut("labels of type and unit");
        }
        self.touched.set(None);
        let answer = self.ask(eval, eval.steps);
        if let Some(what) = self.touched.get().or(eval.left_out) {
            return Outcome::LeftOut(what);
        }
        let found = check(eval, &answer);
        match found.and_then(|()| self.ask_as_range(eval)) {
            Ok(()) => Outcome::Passed,
            Err(message) => Outcome::Failed(message),
        }
    }

    fn ask(&self, eval: &Eval, steps: Query) -> Result<super::Answer, super::Error> {
        let limits = Limits { max_samples: MAX_SAMPLES, deadline: Instant::now() + QUERY_TIMEOUT };
        let expr = super::parse(&eval.query)?;
        evaluate(&expr, steps, self, limits)
    }

    /// An instant query must answer the same as the middle one of three steps.
    fn ask_as_range(&self, eval: &Eval) -> Result<(), String> {
        const STEP: i64 = 60_000;
        let time = eval.steps.start;
        let names_bounds =
            ["start()", "end()", "step()", "range()"].iter().any(|name| eval.query.contains(name));
        if eval.is_range || eval.fails() || names_bounds || !expected::has_steps(eval) {
            return Ok(());
        }
        let steps = Query { start: time - STEP, end: time + STEP, step: STEP };
        expected::check_middle(eval, &self.ask(eval, steps))
            .map_err(|message| format!("as a range: {message}"))
    }
}

impl Source for Database {
    fn select(
        &self,
        matchers: &[Matcher],
        from: i64,
        to: i64,
        max_samples: usize,
    ) -> Result<Vec<Selected>, TooManySamples> {
        if let Some((_, what)) = self.left_out.iter().find(|(labels, _)| all_accept(matchers, labels)) {
            self.touched.set(Some(what));
        }
        self.head.select(matchers, from, to, max_samples)
    }
}

/// What Prometheus evaluates only when a feature flag is set, and what its query text shows of it.
fn behind_a_flag(query: &str) -> Option<&'static str> {
    const FLAGS: [(&str, &str); 12] = [
        ("limitk", "limitk and limit_ratio"),
        ("limit_ratio", "limitk and limit_ratio"),
        ("info(", "info"),
        ("histogram_quantiles(", "histogram_quantiles"),
        ("start_timestamp(", "start timestamps"),
        (" anchored", "extended range selectors"),
        (" smoothed", "extended range selectors"),
        ("fill(", "fill modifiers"),
        ("fill_left(", "fill modifiers"),
        ("fill_right(", "fill modifiers"),
        ("</", "operators of native histograms"),
        (">/", "operators of native histograms"),
    ];
    let flag = FLAGS.iter().find(|(text, _)| query.contains(text)).map(|(_, flag)| *flag);
    flag.or_else(|| computes_durations(query).then_some("duration expressions"))
}

/// Whether a duration is an expression: an operator, a parenthesis or a name where one is due.
fn computes_durations(query: &str) -> bool {
    let ranges = query.split('[').skip(1).filter_map(|rest| rest.split(']').next());
    let offsets = query.split("offset").skip(1).map(|rest| rest.trim_start().trim_start_matches(['-', '+']));
    let computed = |text: &str| text.contains(['+', '-', '*', '/', '%', '^', '(']);
    ranges.into_iter().any(computed)
        || offsets.into_iter().any(|rest| {
            let word = rest.trim_start().to_ascii_lowercase();
            word.starts_with(['(', 's', 'r', 'm'])
                || rest.starts_with(char::is_numeric) && rest.contains(['*', '^'])
        })
}
