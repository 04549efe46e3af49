//! What a dashboard is: the form that the console writes, held to its bounds.
//!
//! The console reads dashboards as strictly; this keeps what it could not read from being stored.

use serde::{Deserialize, Serialize};
use serde_json::error::Category;

use super::MAX_BYTES;

const VERSION: u32 = 1;
const COLUMNS: u32 = 24;
const MAX_ROW: u32 = 10_000;
const MAX_HEIGHT: u32 = 100;
const MAX_PANELS: usize = 200;
const MAX_VARIABLES: usize = 50;
const MAX_QUERIES: usize = 20;
const MAX_THRESHOLDS: usize = 20;
const MAX_TITLE: usize = 200;
const MAX_DESCRIPTION: usize = 2000;

/// What is wrong with a document, and where.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct Invalid {
    /// A JSON pointer; empty for the document as a whole.
    pub(crate) pointer: String,
    pub(crate) detail: String,
}

impl Invalid {
    fn new(pointer: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { pointer: pointer.into(), detail: detail.into() }
    }
}

/// What a list shows of a document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Summary {
    title: String,
    description: String,
    panels: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    #[serde(default)]
    id: String,
    title: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    variables: Vec<Variable>,
    panels: Vec<Panel>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that it can be read is what counts of most fields")]
struct Panel {
    #[serde(default)]
    title: String,
    kind: Kind,
    #[serde(default)]
    x: u32,
    #[serde(default)]
    y: u32,
    #[serde(default = "half")]
    w: u32,
    #[serde(default = "eight")]
    h: u32,
    #[serde(default)]
    unit: Unit,
    #[serde(default)]
    queries: Vec<PanelQuery>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    stacked: bool,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
    #[serde(default)]
    thresholds: Vec<Threshold>,
}

fn half() -> u32 {
    COLUMNS / 2
}

fn eight() -> u32 {
    8
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Timeseries,
    Stat,
    Gauge,
    Bars,
    Table,
    Text,
    Logs,
    Row,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Unit {
    #[default]
    Plain,
    Bytes,
    Byterate,
    Seconds,
    Millis,
    Ratio,
    Percent,
    Rate,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that it can be read is what counts of most fields")]
struct PanelQuery {
    expression: String,
    #[serde(default)]
    legend: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that it can be read is what counts of most fields")]
struct Threshold {
    /// Null is below everything.
    #[serde(default)]
    from: Option<f64>,
    tone: Tone,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum Tone {
    Good,
    Warn,
    Bad,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "that it can be read is what counts of most fields")]
struct Variable {
    name: String,
    #[serde(default)]
    label: String,
    kind: VariableKind,
    #[serde(default)]
    query: String,
    #[serde(default)]
    regex: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    multi: bool,
    #[serde(default)]
    all: bool,
    #[serde(default)]
    current: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "lowercase")]
enum VariableKind {
    Query,
    Custom,
    Interval,
}

/// What a list shows of a document, or what is wrong with it.
pub(super) fn check(id: &str, bytes: &[u8]) -> Result<Summary, Invalid> {
    if bytes.len() > MAX_BYTES {
        return Err(Invalid::new("", format!("a dashboard has at most {MAX_BYTES} bytes")));
    }
    let document: Document = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    if document.version != VERSION {
        return Err(Invalid::new("/version", format!("must be {VERSION}, which is the only one there is")));
    }
    if !document.id.is_empty() && document.id != id {
        return Err(Invalid::new("/id", format!("must be `{id}`, as in the address, or left out")));
    }
    if document.title.trim().is_empty() || document.title.len() > MAX_TITLE {
        return Err(Invalid::new("/title", format!("must have 1 to {MAX_TITLE} bytes")));
    }
    at_most("/description", document.description.len(), MAX_DESCRIPTION, "bytes")?;
    at_most("/variables", document.variables.len(), MAX_VARIABLES, "variables")?;
    at_most("/panels", document.panels.len(), MAX_PANELS, "panels")?;
    for (index, variable) in document.variables.iter().enumerate() {
        variable.check(&format!("/variables/{index}"))?;
    }
    for (index, panel) in document.panels.iter().enumerate() {
        panel.check(&format!("/panels/{index}"))?;
    }
    let panels = document.panels.len();
    Ok(Summary { title: document.title, description: document.description, panels })
}

/// Either way the line and the column are in the text.
fn unreadable(error: &serde_json::Error) -> Invalid {
    match error.classify() {
        Category::Data => Invalid::new("", error.to_string()),
        _ => Invalid::new("", format!("this is no JSON: {error}")),
    }
}

fn at_most(pointer: &str, found: usize, most: usize, what: &str) -> Result<(), Invalid> {
    if found > most {
        return Err(Invalid::new(pointer, format!("has {found} {what}; at most {most} are kept")));
    }
    Ok(())
}

impl Panel {
    fn check(&self, pointer: &str) -> Result<(), Invalid> {
        for (name, value, least, most) in [
            ("x", self.x, 0, COLUMNS - 1),
            ("y", self.y, 0, MAX_ROW),
            ("w", self.w, 1, COLUMNS),
            ("h", self.h, 1, MAX_HEIGHT),
        ] {
            if !(least..=most).contains(&value) {
                let detail = format!("is {value}; it must be from {least} to {most}");
                return Err(Invalid::new(format!("{pointer}/{name}"), detail));
            }
        }
        at_most(&format!("{pointer}/queries"), self.queries.len(), MAX_QUERIES, "queries")?;
        at_most(&format!("{pointer}/thresholds"), self.thresholds.len(), MAX_THRESHOLDS, "thresholds")
    }
}

impl Variable {
    fn check(&self, pointer: &str) -> Result<(), Invalid> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        if self.name.is_empty() || !self.name.bytes().all(plain) {
            let detail = "must be of letters, digits and underscores";
            return Err(Invalid::new(format!("{pointer}/name"), detail));
        }
        Ok(())
    }
}
