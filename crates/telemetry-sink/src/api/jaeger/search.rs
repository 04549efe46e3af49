//! Which traces Jaeger's search finds.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Instant;

use serde::{Deserialize, Serialize};
use serde_json::Value as JsonValue;

use super::{Failure, MAX_LIMIT, bad};
use crate::api::params::Params;
use crate::head::Found;
use crate::model::codec::{Key, REQUEST_ID_NAMES};
use crate::model::{Resource, Span, SpanStatus, TraceId, attribute};
use crate::promql::parse_duration;
use crate::storage::Storage;

const DEFAULT_LIMIT: usize = 20;
const HOUR_MICROS: i64 = 3_600_000_000;

/// What spans a trace must have one of.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Search {
    service: Option<String>,
    operation: Option<String>,
    tags: BTreeMap<String, String>,
    /// Nanoseconds.
    from: i64,
    to: i64,
    min_duration: i64,
    max_duration: i64,
    limit: usize,
}

impl Search {
    pub(super) fn of(params: &Params, now_micros: i64) -> Result<Self, Failure> {
        let micros = |name: &str| params.parsed(name, |text| text.parse::<i64>().ok()).map_err(bad);
        let nanos = |micros: i64| micros.saturating_mul(1000);
        let lookback = params.parsed("lookback", lookback_micros).map_err(bad)?.unwrap_or(HOUR_MICROS);
        let end = micros("end")?.unwrap_or(now_micros);
        let start = micros("start")?.unwrap_or_else(|| end.saturating_sub(lookback));
        let limit = params.parsed("limit", |text| text.parse::<usize>().ok()).map_err(bad)?;
        let filled = |name: &str| params.get(name).filter(|text| !text.is_empty()).map(str::to_owned);
        let search = Self {
            service: filled("service"),
            operation: filled("operation").filter(|name| name != "all"),
            tags: tags(params)?,
            from: nanos(start),
            to: nanos(end).saturating_add(1000),
            min_duration: params.parsed("minDuration", duration_nanos).map_err(bad)?.unwrap_or(0),
            max_duration: params.parsed("maxDuration", duration_nanos).map_err(bad)?.unwrap_or(i64::MAX),
            limit: limit.unwrap_or(DEFAULT_LIMIT).min(MAX_LIMIT),
        };
        if search.service.is_none() && search.request_id().is_none() && search.tags.is_empty() {
            return Err(bad("parameter 'service' is required, unless tags are given"));
        }
        Ok(search)
    }

    pub(super) fn limit(&self) -> usize {
        self.limit
    }

    /// The newest traces of this sink that have a matching span, newest first, and when that began.
    pub(crate) fn newest(&self, storage: &Storage, deadline: Instant) -> Vec<(TraceId, i64)> {
        let snapshot = storage.spans();
        let mut newest: BTreeMap<TraceId, i64> = BTreeMap::new();
        let mut take = |found: &Found<Span>| {
            let start = newest.entry(found.record.trace_id).or_insert(i64::MIN);
            *start = (*start).max(found.record.start);
        };
        if let Some(id) = self.request_id() {
            let found = snapshot.lookup::<Span>(Key::Request(id));
            found.iter().filter(|found| self.accepts(found)).for_each(&mut take);
        } else {
            let of_service =
                |resource: &Resource, _| self.service.as_ref().is_none_or(|name| *name == resource.service);
            snapshot.scan(self.from, self.to, of_service, |found: Found<Span>| {
                if self.accepts(&found) {
                    take(&found);
                }
                if Instant::now() > deadline { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
        }
        let mut found: Vec<_> = newest.into_iter().collect();
        found.sort_by_key(|(_, start)| Reverse(*start));
        found.truncate(self.limit.min(MAX_LIMIT));
        found
    }

    fn request_id(&self) -> Option<&str> {
        REQUEST_ID_NAMES.iter().find_map(|name| self.tags.get(*name)).map(String::as_str)
    }

    fn accepts(&self, found: &Found<Span>) -> bool {
        let span = &found.record;
        self.service.as_ref().is_none_or(|service| *service == found.resource.service)
            && self.operation.as_ref().is_none_or(|name| *name == span.name)
            && span.start >= self.from
            && span.start < self.to
            && (self.min_duration..=self.max_duration).contains(&span.duration_nanos())
            && self.tags.iter().all(|(name, value)| tag_matches(found, name, value))
    }
}

/// `1h`, `2d`; `custom` goes with explicit times.
fn lookback_micros(text: &str) -> Option<i64> {
    if text == "custom" {
        return Some(HOUR_MICROS);
    }
    parse_duration(text)?.checked_mul(1000)
}

/// `100ms`, `1.5s`, `50us`: Go's durations of one unit.
#[expect(clippy::cast_possible_truncation, reason = "the range is checked first")]
fn duration_nanos(text: &str) -> Option<i64> {
    let split = text.find(|letter: char| letter.is_alphabetic() || letter == 'µ')?;
    let (number, unit) = text.split_at_checked(split)?;
    let scale = match unit {
        "ns" => 1.0,
        "us" | "µs" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        "m" => 6e10,
        "h" => 3.6e12,
        _ => return None,
    };
    let nanos = number.parse::<f64>().ok()? * scale;
    (nanos.is_finite() && (0.0..9e18).contains(&nanos)).then_some(nanos as i64)
}

/// `tags={"a":"b"}` and `tag=a:b`.
fn tags(params: &Params) -> Result<BTreeMap<String, String>, Failure> {
    let mut tags = BTreeMap::new();
    for text in params.all("tags").filter(|text| !text.is_empty()) {
        let object: BTreeMap<String, JsonValue> = serde_json::from_str(text)
            .map_err(|error| bad(format!("malformed 'tags' parameter, cannot unmarshal JSON: {error}")))?;
        tags.extend(object.into_iter().map(|(name, value)| match value {
            JsonValue::String(text) => (name, text),
            other => (name, other.to_string()),
        }));
    }
    for text in params.all("tag") {
        let (name, value) =
            text.split_once(':').ok_or_else(|| bad("malformed 'tag' parameter, expecting key:value"))?;
        tags.insert(name.to_owned(), value.to_owned());
    }
    Ok(tags)
}

fn tag_matches(found: &Found<Span>, name: &str, value: &str) -> bool {
    let span = &found.record;
    match name {
        "error" => (span.status == SpanStatus::Error) == (value == "true"),
        "span.kind" => span.kind.as_str() == value,
        "otel.status_code" => span.status.as_str().eq_ignore_ascii_case(value),
        _ => [&span.attributes, &found.resource.attributes]
            .into_iter()
            .any(|attributes| attribute(attributes, name).is_some_and(|found| found.to_text() == value)),
    }
}
