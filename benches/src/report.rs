//! The report: bars, the rows behind them, and the machine.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Map, Value, json};

/// On which side of its bar a figure is good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Good {
    AtMost,
    AtLeast,
}

/// A figure and what it is held to.
#[derive(Debug, Serialize)]
struct Bar {
    name: String,
    /// `None` where it could not be measured, which meets no bar.
    value: Option<f64>,
    good: Good,
    #[serde(rename = "bar")]
    limit: f64,
    met: bool,
    /// Why there is no value.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// What one run of a suite measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bars: Vec<Bar>,
    rows: Vec<Value>,
    /// How it was measured: versions, configurations, lengths of time.
    setup: Map<String, Value>,
    machine: Value,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { bars: Vec::new(), rows: Vec::new(), setup: Map::new(), machine: machine() }
    }

    /// Records a figure that must not exceed `bar`.
    pub(crate) fn at_most(&mut self, name: impl Into<String>, value: f64, bar: f64) {
        self.hold(name.into(), Ok(value), Good::AtMost, bar);
    }

    /// Records a figure that must not exceed `bar`, or why there is none.
    pub(crate) fn at_most_or(&mut self, name: impl Into<String>, value: Result<f64, String>, bar: f64) {
        self.hold(name.into(), value, Good::AtMost, bar);
    }

    /// Records a figure that must reach `bar`, or why there is none.
    pub(crate) fn at_least_or(&mut self, name: impl Into<String>, value: Result<f64, String>, bar: f64) {
        self.hold(name.into(), value, Good::AtLeast, bar);
    }

    fn hold(&mut self, name: String, value: Result<f64, String>, good: Good, bar: f64) {
        let met = value.as_ref().is_ok_and(|value| match good {
            Good::AtMost => *value <= bar,
            Good::AtLeast => *value >= bar,
        });
        let (value, reason) = match value {
            Ok(value) => (Some(value), None),
            Err(reason) => (None, Some(reason)),
        };
        self.bars.push(Bar { name, value, good, limit: bar, met, reason });
    }

    /// Prints and records what stands behind the figures.
    pub(crate) fn row(&mut self, row: Value) {
        println!("{row}");
        self.rows.push(row);
    }

    /// Records rows that their suite prints in a form of its own.
    pub(crate) fn silent_row(&mut self, row: Value) {
        self.rows.push(row);
    }

    /// Records how the figures came about.
    pub(crate) fn setup(&mut self, name: &str, value: Value) {
        self.setup.insert(name.to_owned(), value);
    }

    /// Prints and writes the report; whether every bar was met.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<bool> {
        for bar in &self.bars {
            println!("{}", bar.line());
        }
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text).with_context(|| format!("write {}", path.display()))?;
        println!("report: {}", path.display());
        Ok(self.bars.iter().all(|bar| bar.met))
    }
}

impl Bar {
    fn line(&self) -> String {
        let value = self.value.map_or_else(|| "-".to_owned(), |value| format!("{value:.2}"));
        let sign = match self.good {
            Good::AtMost => "≤",
            Good::AtLeast => "≥",
        };
        let verdict = match &self.reason {
            Some(reason) => format!("NOT MEASURED: {reason}"),
            None if self.met => "met".to_owned(),
            None => "MISSED".to_owned(),
        };
        format!("{:<72} {value:>10}  (bar {sign} {:>7.2})  {verdict}", self.name, self.limit)
    }
}

/// Enough of the machine to judge the figures by.
fn machine() -> Value {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str| {
        text.lines()
            .find(|line| line.starts_with(name))
            .and_then(|line| Some(line.split_once(':')?.1.trim().to_owned()))
    };
    json!({
        "cpu": field(&read("/proc/cpuinfo"), "model name"),
        "cores": std::thread::available_parallelism().map_or(0, usize::from),
        "memory": field(&read("/proc/meminfo"), "MemTotal"),
        "kernel": read("/proc/sys/kernel/osrelease").trim(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figure_on_the_wrong_side_of_its_bar_is_missed() {
        let mut report = Report::new();
        report.at_most("small", 1.0, 1.0);
        report.at_most("large", 1.1, 1.0);
        report.at_least_or("fast", Ok(1.3), 1.3);
        report.at_least_or("slow", Ok(1.2), 1.3);
        let met: Vec<bool> = report.bars.iter().map(|bar| bar.met).collect();
        assert_eq!(met, [true, false, true, false]);
    }

    #[test]
    fn figure_that_could_not_be_measured_meets_no_bar() {
        let mut report = Report::new();
        report.at_most_or("absent", Err("no perf".to_owned()), 4.5);
        let bar = report.bars.first().unwrap();
        assert!(!bar.met);
        assert!(bar.line().ends_with("NOT MEASURED: no perf"), "{}", bar.line());
    }
}
