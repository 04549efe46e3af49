//! What Grafana's log pages offer to choose from: labels, fields and patterns that the lines themselves show.
//!
//! Fields and patterns come of the newest lines, at most [`MAX_LINES`] of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value as JsonValue, json};

use super::{Answer, Failure, HOUR_NANOS, limit_of, now_nanos, range_of, steps_of, success};
use crate::api::Api;
use crate::api::params::Params;
use crate::logql::search::Passed;
use crate::logql::{self, Direction, LogQl, LogQuery, Range, Search, Stage, number_like};

const DEFAULT_LINES: usize = 1000;
const MAX_LINES: usize = 5000;
const DEFAULT_FIELDS: usize = 1000;
/// Values of a field that are told apart.
const MAX_VALUES: usize = 1000;
const MAX_PATTERNS: usize = 100;

/// Labels with their number of values.
pub(super) async fn labels(State(api): State<Arc<Api>>, params: Params) -> Result<Json<JsonValue>, Failure> {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let matchers = match params.get("query").map(str::trim) {
        None | Some("" | "{}") => Vec::new(),
        Some(text) => logql::parse_selector(text)?,
    };
    let found = api
        .run(move |api| {
            let mut values: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
            for labels in super::labels::streams(api, range, &matchers) {
                for (name, value) in labels.iter() {
                    values.entry(name.to_owned()).or_default().insert(value.to_owned());
                }
            }
            let shown =
                values.iter().map(|(name, values)| json!({ "label": name, "cardinality": values.len() }));
            shown.collect::<Vec<_>>()
        })
        .await?;
    Ok(Json(json!({ "detectedLabels": found })))
}

/// The newest lines that a log query finds.
async fn newest(api: &Arc<Api>, params: &Params) -> Result<Vec<Passed>, Failure> {
    let range = range_of(params, now_nanos(api), HOUR_NANOS)?;
    let text = params.get("query").unwrap_or("");
    // Lines of a query for numbers are this sink's own: other sinks are asked for lines with the text of a query.
    let (query, text) = match logql::parse(text)? {
        LogQl::Log(query) => (query, Some(text.to_owned())),
        LogQl::Metric(metric) => match metric.log_queries().next() {
            Some(query) => (query.clone(), None),
            None => return Err(Failure::bad("parse error : not a log query")),
        },
    };
    let lines = params.parsed("line_limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
    let lines = lines.unwrap_or(DEFAULT_LINES).min(MAX_LINES);
    read(api, (query, text), range, lines).await
}

async fn read(
    api: &Arc<Api>,
    (query, text): (LogQuery, Option<String>),
    range: Range,
    lines: usize,
) -> Result<Vec<Passed>, Failure> {
    let found = api
        .run(move |api| {
            let deadline = api.limits().deadline;
            let ask = |text: String| api.peers.lines(&text, range, lines, Direction::Backward, deadline);
            let theirs = text.map(ask).unwrap_or_default();
            Search::new(&api.storage, &query, deadline).joined_by(theirs).best(
                range,
                lines,
                Direction::Backward,
            )
        })
        .await??;
    Ok(found.0)
}

#[derive(Default)]
struct Field {
    values: BTreeSet<String>,
    parsers: BTreeSet<&'static str>,
    kind: Option<&'static str>,
}

impl Field {
    fn add(&mut self, value: String, parser: Option<&'static str>) {
        let kind = number_like(&value);
        let known = *self.kind.get_or_insert(kind);
        if known != kind {
            let numbers = ["int", "float"];
            self.kind =
                Some(if numbers.contains(&known) && numbers.contains(&kind) { "float" } else { "string" });
        }
        self.parsers.extend(parser);
        if self.values.len() < MAX_VALUES {
            self.values.insert(value);
        }
    }
}

/// Fields of structured metadata and, where lines look like JSON or logfmt, of their texts.
fn fields_of(lines: &[Passed]) -> BTreeMap<String, Field> {
    let mut fields: BTreeMap<String, Field> = BTreeMap::new();
    for passed in lines {
        let line = passed.line();
        for (name, value) in line.metadata() {
            fields.entry(name).or_default().add(value, None);
        }
        for (name, value) in line.parsed().into_iter().filter(|(name, _)| !name.starts_with("__error")) {
            fields.entry(name).or_default().add(value, None);
        }
        let parser = if line.text().starts_with('{') { "json" } else { "logfmt" };
        if let Some(found) = parsed_by(parser, passed) {
            for (name, value) in found {
                fields.entry(name).or_default().add(value, Some(parser));
            }
        }
    }
    fields
}

/// What a parser finds in a line's text; nothing where it cannot read it.
fn parsed_by(parser: &str, passed: &Passed) -> Option<BTreeMap<String, String>> {
    use crate::logql::{Context, run};
    let stage = if parser == "json" { Stage::json() } else { Stage::logfmt() };
    let mut line = logql::Line::new(&passed.found);
    run(&[stage], &mut line, &Context::default());
    if line.error().is_some() { None } else { Some(line.parsed()) }
}

pub(super) async fn fields(State(api): State<Arc<Api>>, params: Params) -> Result<Json<JsonValue>, Failure> {
    let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(Failure::bad)?;
    let limit = limit.unwrap_or(DEFAULT_FIELDS);
    let lines = newest(&api, &params).await?;
    let found = api.run(move |_| fields_of(&lines)).await?;
    let shown: Vec<JsonValue> = found
        .iter()
        .take(limit)
        .map(|(name, field)| {
            json!({
                "label": name,
                "type": field.kind.unwrap_or("string"),
                "cardinality": field.values.len(),
                "parsers": if field.parsers.is_empty() { JsonValue::Null } else { json!(field.parsers) },
            })
        })
        .collect();
    Ok(Json(json!({ "fields": shown, "limit": limit })))
}

pub(super) async fn values(
    State(api): State<Arc<Api>>,
    Path(name): Path<String>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let limit = limit_of(&params, DEFAULT_FIELDS)?;
    let lines = newest(&api, &params).await?;
    let mut found = api.run(move |_| fields_of(&lines)).await?;
    let values: Vec<String> =
        found.remove(&name).unwrap_or_default().values.into_iter().take(limit).collect();
    Ok(Json(json!({ "values": values, "limit": limit })))
}

/// Lines that differ only in their variable parts, counted by step.
pub(super) async fn patterns(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), HOUR_NANOS)?;
    let steps = steps_of(&params, range)?;
    let text = params.get("query").unwrap_or("");
    let query = LogQuery { streams: logql::parse_selector(text)?, stages: Vec::new() };
    let lines = read(&api, (query, Some(text.to_owned())), range, MAX_LINES).await?;
    let found = api
        .run(move |_| {
            let mut counts: BTreeMap<(String, &'static str), BTreeMap<i64, u64>> = BTreeMap::new();
            for passed in &lines {
                let line = passed.line();
                let millis = line.found.record.time / 1_000_000;
                let step = steps.start + (millis - steps.start).div_euclid(steps.step) * steps.step;
                let key = (pattern(line.text()), line.stream().level());
                *counts.entry(key).or_default().entry(step / 1000).or_insert(0) += 1;
            }
            let mut all: Vec<_> = counts.into_iter().collect();
            all.sort_by_key(|(_, samples)| std::cmp::Reverse(samples.values().sum::<u64>()));
            all.truncate(MAX_PATTERNS);
            let shown = all.into_iter().map(|((pattern, level), samples)| {
                let samples: Vec<_> = samples.into_iter().map(|(time, count)| json!([time, count])).collect();
                json!({ "pattern": pattern, "level": level, "samples": samples })
            });
            shown.collect::<Vec<_>>()
        })
        .await?;
    Ok(success(found))
}

/// The line with each word that has a digit, or is long, replaced by a placeholder, and quoted texts too.
fn pattern(line: &str) -> String {
    const MAX_WORDS: usize = 64;
    let mut out: Vec<String> = Vec::new();
    for word in line.split_whitespace().take(MAX_WORDS) {
        let shown = match word.split_once('=') {
            Some((key, _)) if !key.is_empty() && !is_variable(key) => format!("{key}=<_>"),
            _ if is_variable(word) => "<_>".to_owned(),
            _ => word.to_owned(),
        };
        if shown != "<_>" || out.last().is_none_or(|last| last != "<_>") {
            out.push(shown);
        }
    }
    out.join(" ")
}

fn is_variable(word: &str) -> bool {
    const LONGEST: usize = 40;
    word.len() > LONGEST || word.bytes().any(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::pattern;

    #[test]
    fn lines_that_differ_in_ids_and_numbers_have_one_pattern() {
        let one = pattern("order ord_01J9 accepted in 12ms status=200 user=ann");
        assert_eq!(one, "order <_> accepted in <_> status=<_> user=<_>");
        assert_eq!(one, pattern("order ord_77XY accepted in 3ms status=404 user=bob"));
        assert_ne!(one, pattern("order ord_77XY refused in 3ms status=404 user=bob"));
    }
}
