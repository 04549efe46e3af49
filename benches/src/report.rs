//! The report: bars, the rows behind them, and the machine.

use std::path::Path;

use anyhow::Context as _;
use serde::Serialize;
use serde_json::{Value, json};

/// A figure and what it is held to.
#[derive(Debug, Serialize)]
struct Bar {
    name: String,
    value: f64,
    /// The largest value that is good enough.
    #[serde(rename = "bar")]
    at_most: f64,
    met: bool,
}

/// What one run of a suite measured.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    bars: Vec<Bar>,
    rows: Vec<Value>,
    machine: Value,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { bars: Vec::new(), rows: Vec::new(), machine: machine() }
    }

    /// Records a figure that must not exceed `bar`.
    pub(crate) fn at_most(&mut self, name: impl Into<String>, value: f64, bar: f64) {
        self.bars.push(Bar { name: name.into(), value, at_most: bar, met: value <= bar });
    }

    /// Records what stands behind the figures.
    pub(crate) fn row(&mut self, row: Value) {
        self.rows.push(row);
    }

    /// Prints and writes the report; whether every bar was met.
    pub(crate) fn write(&self, path: &Path) -> anyhow::Result<bool> {
        for row in &self.rows {
            println!("{row}");
        }
        for bar in &self.bars {
            let verdict = if bar.met { "met" } else { "MISSED" };
            println!("{:<44} {:>10.2}  (bar {:>8.2})  {verdict}", bar.name, bar.value, bar.at_most);
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
