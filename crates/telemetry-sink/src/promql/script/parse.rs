//! From a script's lines to its commands.

use std::collections::HashSet;

use regex::Regex;

use crate::model::Labels;
use crate::promql::notation::{self, Values};
use crate::promql::{Query, parse_duration};

pub(super) enum Command {
    Clear,
    Load(Vec<Loaded>),
    Eval(Eval),
}

/// A series to load.
pub(super) struct Loaded {
    pub(super) labels: Labels,
    pub(super) values: Values<(i64, f64)>,
}

/// A query and what it must answer.
pub(super) struct Eval {
    /// Counted from 1.
    pub(super) line: usize,
    pub(super) query: String,
    pub(super) steps: Query,
    pub(super) is_range: bool,
    pub(super) expects: Vec<Expect>,
    pub(super) result: Expected,
    /// What of the result this server does not have.
    pub(super) left_out: Option<&'static str>,
}

impl Eval {
    pub(super) fn fails(&self) -> bool {
        self.expects.iter().any(|expect| expect.kind == Kind::Fail)
    }

    pub(super) fn is_ordered(&self) -> bool {
        self.expects.iter().any(|expect| expect.kind == Kind::Ordered)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Ordered,
    Fail,
    Warn,
    NoWarn,
    Info,
    NoInfo,
}

/// What is to be said of the answer, and how.
pub(super) struct Expect {
    pub(super) kind: Kind,
    pub(super) message: Message,
}

pub(super) enum Message {
    Any,
    Exactly(String),
    Matching(Regex),
}

impl Message {
    pub(super) fn accepts(&self, text: &str) -> bool {
        match self {
            Self::Any => true,
            Self::Exactly(wanted) => wanted == text,
            Self::Matching(regex) => regex.is_match(text),
        }
    }
}

pub(super) enum Expected {
    Scalar(f64),
    Text(String),
    /// In order, with a value for each step.
    Series(Vec<(Labels, Vec<Option<f64>>)>),
    /// The samples of a range vector; values are at these times.
    Samples {
        times: Query,
        series: Vec<(Labels, Vec<Option<f64>>)>,
    },
}

pub(super) fn script(text: &str) -> Result<Vec<Command>, String> {
    let lines: Vec<&str> =
        text.lines().map(str::trim).map(|line| if line.starts_with('#') { "" } else { line }).collect();
    let mut commands = Vec::new();
    let mut next = 0;
    while let Some(line) = lines.get(next) {
        let number = next + 1;
        next += 1;
        if line.is_empty() {
            continue;
        }
        let block: Vec<&str> = lines.iter().skip(next).copied().take_while(|line| !line.is_empty()).collect();
        let at = |message: String| format!("line {number}: {message}");
        if line.eq_ignore_ascii_case("clear") {
            commands.push(Command::Clear);
        } else if line.starts_with("load") {
            next += block.len();
            commands.push(Command::Load(load(line, &block).map_err(at)?));
        } else if line.starts_with("eval") {
            next += block.len();
            commands.push(Command::Eval(eval(line, number, &block).map_err(at)?));
        } else {
            return Err(at(format!("unknown command {line:?}")));
        }
    }
    Ok(commands)
}

fn load(line: &str, block: &[&str]) -> Result<Vec<Loaded>, String> {
    let with_native = line.starts_with("load_with_nhcb");
    let step = line.split_whitespace().nth(1).and_then(parse_duration).ok_or("load needs an interval")?;
    let mut loaded = Vec::new();
    for line in block {
        let (labels, rest) = notation::labels(line)?;
        let values = if line.contains(notation::START_TIMES) {
            Values::LeftOut("start timestamps")
        } else {
            notation::values(rest)?.timed(step)
        };
        if with_native {
            loaded.push(Loaded { labels: base(&labels), values: Values::LeftOut("native histograms") });
        }
        loaded.push(Loaded { labels, values });
    }
    // A series that is given twice is the later one.
    let mut known = HashSet::new();
    loaded.reverse();
    loaded
        .retain(|series| known.insert((series.labels.clone(), matches!(series.values, Values::LeftOut(_)))));
    loaded.reverse();
    Ok(loaded)
}

/// The name of the native histogram that classic buckets are also loaded as.
fn base(labels: &Labels) -> Labels {
    let name = labels.name();
    let base =
        ["_bucket", "_count", "_sum"].iter().find_map(|suffix| name.strip_suffix(suffix)).unwrap_or(name);
    labels.filtered(|label| label != "le").to_builder().set("__name__", base).build()
}

fn eval(line: &str, number: usize, block: &[&str]) -> Result<Eval, String> {
    let (steps, is_range, query) = head(line)?;
    let (command, _) = line.split_once(' ').unwrap_or((line, ""));
    // The older way to say it: `eval_fail`.
    let old = command.strip_prefix("eval_").map(expect).transpose()?;
    let mut eval = Eval {
        line: number,
        query: query.to_owned(),
        steps,
        is_range,
        expects: old.into_iter().collect(),
        result: Expected::Series(Vec::new()),
        left_out: None,
    };
    let mut times = None;
    let mut found = Vec::new();
    for line in block {
        if line.contains(notation::START_TIMES) {
            eval.left_out = Some("start timestamps");
        } else if let Some(rest) = line.strip_prefix("expect range vector") {
            times = Some(window(rest)?);
        } else if let Some(rest) = line.strip_prefix("expect string") {
            eval.result = Expected::Text(quoted(rest.trim())?);
            return Ok(eval);
        } else if let Some(rest) = line.strip_prefix("expect ") {
            eval.expects.push(expect(rest.trim())?);
        } else if let Some(value) = notation::number(line) {
            eval.result = Expected::Scalar(value);
            return Ok(eval);
        } else {
            let (labels, rest) = notation::labels(line)?;
            match notation::values(rest)? {
                Values::Floats(values) => found.push((labels, values)),
                Values::LeftOut(what) => eval.left_out = Some(what),
            }
        }
    }
    eval.result = match times {
        Some(times) => Expected::Samples { times, series: found },
        None => Expected::Series(found),
    };
    Ok(eval)
}

/// `eval instant at 5m QUERY` or `eval range from 0 to 5m step 1m QUERY`.
fn head(line: &str) -> Result<(Query, bool, &str), String> {
    let (_, mut rest) = line.split_once(' ').unwrap_or((line, ""));
    let wrong = || format!("cannot read {line:?}");
    let mut word = || -> Option<&str> {
        rest = rest.trim_start();
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (found, after) = rest.split_at(end);
        rest = after;
        Some(found)
    };
    let kind = word().ok_or_else(wrong)?;
    let names: &[&str] = match kind {
        "instant" => &["at"],
        "range" => &["from", "to", "step"],
        _ => return Err(wrong()),
    };
    let mut times = Vec::new();
    for name in names {
        if word() != Some(name) {
            return Err(wrong());
        }
        times.push(word().and_then(signed_duration).ok_or_else(wrong)?);
    }
    let query = rest.trim();
    match *times {
        [time] => Ok((Query::instant(time), false, query)),
        [start, end, step] => Ok((Query { start, end, step }, true, query)),
        _ => Err(wrong()),
    }
}

fn signed_duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    match text.strip_prefix('-') {
        Some(rest) => parse_duration(rest).map(|millis| -millis),
        None => parse_duration(text),
    }
}

/// ` from 10s to 1m step 10s`
fn window(text: &str) -> Result<Query, String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    let [_, start, _, end, _, step] = *words else { return Err(format!("cannot read {text:?}")) };
    let time = |text: &str| signed_duration(text).ok_or_else(|| format!("bad duration {text:?}"));
    Ok(Query { start: time(start)?, end: time(end)?, step: time(step)? })
}

fn quoted(text: &str) -> Result<String, String> {
    match crate::promql::parse(text).map(|expr| expr.node) {
        Ok(crate::promql::ast::Node::Text(text)) => Ok(text),
        _ => Err(format!("no quoted string: {text:?}")),
    }
}

/// `fail`, `warn msg: text`, `info regex: pattern`
fn expect(text: &str) -> Result<Expect, String> {
    let (kind, rest) = text.split_once(' ').unwrap_or((text, ""));
    let kind = match kind.trim_end_matches(':') {
        "ordered" => Kind::Ordered,
        "fail" => Kind::Fail,
        "warn" => Kind::Warn,
        "no_warn" => Kind::NoWarn,
        "info" => Kind::Info,
        "no_info" => Kind::NoInfo,
        other => return Err(format!("unknown expectation {other:?}")),
    };
    let rest = rest.trim();
    let message = if let Some(text) = rest.strip_prefix("msg:") {
        Message::Exactly(text.trim().to_owned())
    } else if let Some(pattern) = rest.strip_prefix("regex:") {
        Message::Matching(Regex::new(pattern.trim()).map_err(|error| error.to_string())?)
    } else {
        Message::Any
    };
    Ok(Expect { kind, message })
}
