//! The stages of a log query: what each does to a line.
//!
//! A stage that cannot read a line keeps it and says why in `__error__`, as in Loki; a later filter may drop it.

pub(super) mod json;
mod logfmt;
pub(super) mod pattern;

use std::collections::HashSet;
use std::sync::LazyLock;

use regex::Regex;

use super::ast::{LabelFilter, LineFilter, LineTest, Named, NewLabel, Stage};
use super::line::Line;
use super::units;
use crate::model::{MatchOp, Matcher, TraceId};

/// The label of requests, which all lines of a request's traces belong to.
pub(super) const REQUEST_ID: &str = "request_id";

/// What the stages know beside the line.
#[derive(Debug, Default)]
pub(crate) struct Context {
    /// The traces of the request that is asked for: their lines belong to it, too.
    pub(super) traces: HashSet<TraceId>,
}

/// Sends a line through the stages; whether it is still there.
pub(crate) fn run(stages: &[Stage], line: &mut Line<'_>, context: &Context) -> bool {
    stages.iter().all(|stage| apply(stage, line, context))
}

fn apply(stage: &Stage, line: &mut Line<'_>, context: &Context) -> bool {
    match stage {
        Stage::Line(filter) => passes(filter, line.text()),
        Stage::Labels(filter) => accepts(filter, line, context),
        Stage::Json(fields) => set(json::extract(line.text(), fields), line),
        Stage::Logfmt(stage) => set(logfmt::extract(line.text(), stage), line),
        Stage::Pattern(pattern) => set(Ok(pattern.captures(line.text())), line),
        Stage::Regexp(regex) => set(Ok(captures(regex, line.text())), line),
        Stage::Unpack => unpack(line),
        Stage::LineFormat(template) => {
            match template.render(line) {
                Ok(text) => line.set_text(text),
                Err(error) => line.fail("TemplateFormatErr", error),
            }
            true
        }
        Stage::LabelFormat(labels) => label_format(labels, line),
        Stage::Drop(names) => drop_labels(names, line),
        Stage::Keep(names) => keep_labels(names, line),
        Stage::Decolorize => {
            if line.text().contains('\u{1b}') {
                let plain = COLOURS.replace_all(line.text(), "").into_owned();
                line.set_text(plain);
            }
            true
        }
    }
}

/// ANSI's sequences for colours.
static COLOURS: LazyLock<Regex> = LazyLock::new(|| {
    #[expect(clippy::expect_used, reason = "the pattern is a constant that a test uses")]
    Regex::new("\u{1b}\\[[0-9;]*[A-Za-z]").expect("a correct pattern")
});

/// Labels that a parser found, or the kind of error and its words.
type Extracted = Result<Vec<(String, String)>, (&'static str, String)>;

fn set(extracted: Extracted, line: &mut Line<'_>) -> bool {
    match extracted {
        Ok(labels) => labels.into_iter().for_each(|(name, value)| line.extract(&name, value)),
        Err((kind, details)) => line.fail(kind, details),
    }
    true
}

fn passes(filter: &LineFilter, text: &str) -> bool {
    let holds = filter.any.iter().any(|test| match test {
        LineTest::Contains(wanted) => text.contains(wanted.as_str()),
        LineTest::Matches(regex) => regex.is_match(text),
        LineTest::Like(pattern) => pattern.matches(text),
        LineTest::Ip(range) => range.occurs_in(text),
    });
    holds == filter.wanted
}

fn accepts(filter: &LabelFilter, line: &mut Line<'_>, context: &Context) -> bool {
    match filter {
        LabelFilter::And(left, right) => accepts(left, line, context) && accepts(right, line, context),
        LabelFilter::Or(left, right) => accepts(left, line, context) || accepts(right, line, context),
        LabelFilter::Text(matcher) => {
            is_of_request(matcher, line, context) || {
                matcher.accepts(&line.get(&matcher.name).unwrap_or_default())
            }
        }
        // Loki keeps what an earlier stage could not read, so that its error is seen.
        LabelFilter::Ip { .. } | LabelFilter::Number { .. } if line.error().is_some() => true,
        LabelFilter::Ip { name, range, wanted } => {
            line.get(name).is_some_and(|text| range.is(&text) == *wanted)
        }
        LabelFilter::Number { name, op, value, unit } => {
            let Some(text) = line.get(name).filter(|text| !text.is_empty()) else { return false };
            if let Some(found) = units::number(&text, *unit) {
                return op.holds(found, *value);
            }
            let details = format!("label {name:?}: {text:?} is no number of this unit");
            line.fail("LabelFilterErr", details);
            true
        }
    }
}

fn is_of_request(matcher: &Matcher, line: &Line<'_>, context: &Context) -> bool {
    matcher.name == REQUEST_ID
        && matcher.op == MatchOp::Equal
        && line.found.record.trace_id.is_some_and(|trace| context.traces.contains(&trace))
}

fn captures(regex: &Regex, text: &str) -> Vec<(String, String)> {
    let Some(found) = regex.captures(text) else { return Vec::new() };
    let named = regex.capture_names().flatten();
    named.filter_map(|name| Some((name.to_owned(), found.name(name)?.as_str().to_owned()))).collect()
}

/// Takes apart what `pack` of Loki's agents put together: an object of texts whose `_entry` is the line.
fn unpack(line: &mut Line<'_>) -> bool {
    let packed = serde_json::from_str::<serde_json::Map<String, serde_json::Value>>(line.text());
    let object = match packed {
        Ok(object) => object,
        Err(error) => {
            line.fail("JSONParserErr", error.to_string());
            return true;
        }
    };
    let mut labels = 0;
    for (name, value) in object {
        let serde_json::Value::String(text) = value else { continue };
        if name == "_entry" {
            line.set_text(text);
        } else if labels < json::MAX_LABELS {
            labels += 1;
            line.extract(&json::label(&name), text);
        }
    }
    true
}

fn label_format(labels: &[(String, NewLabel)], line: &mut Line<'_>) -> bool {
    for (name, value) in labels {
        match value {
            NewLabel::Renamed(from) => {
                if let Some(value) = line.get(from).map(std::borrow::Cow::into_owned) {
                    line.remove(from);
                    line.set(name, value);
                }
            }
            NewLabel::Formatted(template) => {
                let made = template.render(line);
                if let Err(error) = made.and_then(|value| line.make(name, value)) {
                    line.fail("TemplateFormatErr", error);
                }
            }
        }
    }
    true
}

fn is_named(names: &[Named], name: &str, value: &str) -> bool {
    names
        .iter()
        .any(|named| named.name == name && named.value.as_ref().is_none_or(|matcher| matcher.accepts(value)))
}

fn drop_labels(names: &[Named], line: &mut Line<'_>) -> bool {
    for named in names {
        let gone = line.get(&named.name).is_some_and(|value| is_named(names, &named.name, &value));
        if gone {
            line.remove(&named.name);
        }
    }
    true
}

fn keep_labels(names: &[Named], line: &mut Line<'_>) -> bool {
    for (name, value) in line.labels() {
        if !name.starts_with("__error") && !is_named(names, &name, &value) {
            line.remove(&name);
        }
    }
    true
}
