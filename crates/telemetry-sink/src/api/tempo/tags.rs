//! Tags and their values, of the spans of the asked time.
//!
//! At most [`MAX_SPANS`] spans are looked at, the newest ones, and [`MAX_VALUES`] values told apart.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::{Path, State};
use serde_json::{Value as JsonValue, json};

use super::{Failure, bounds, now_nanos, text_of};
use crate::api::Api;
use crate::api::catalog::{self, Asked};
use crate::api::params::Params;
use crate::head::Found;
use crate::model::{Labels, Resource, Span, Value};
use crate::storage::Storage;
use crate::traceql::{Field, Scope, field_value, parse_field};

const MAX_SPANS: usize = 200_000;
const MAX_VALUES: usize = 1000;
const INTRINSICS: [&str; 15] = [
    "duration",
    "event:name",
    "instrumentation:name",
    "kind",
    "name",
    "nestedSetParent",
    "rootName",
    "rootServiceName",
    "span:id",
    "status",
    "statusMessage",
    "trace:duration",
    "trace:id",
    "trace:rootName",
    "trace:rootService",
];

/// Visits the newest spans of the asked time.
fn each(storage: &Storage, (from, to): (i64, i64), deadline: Instant, mut visit: impl FnMut(&Found<Span>)) {
    let mut left = MAX_SPANS;
    storage.spans().scan(
        from,
        to,
        |_: &Resource, _| true,
        |span: Found<Span>| {
            visit(&span);
            left -= 1;
            if left == 0 || Instant::now() > deadline {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        },
    );
}

/// `scope` and `name` of each attribute.
pub(in crate::api) fn own_names(storage: &Storage, range: (i64, i64), deadline: Instant) -> BTreeSet<Labels> {
    let mut names: BTreeMap<&str, BTreeSet<String>> = BTreeMap::new();
    let mut insert = |scope: &'static str, name: &str| {
        let of_scope = names.entry(scope).or_default();
        if of_scope.len() < MAX_VALUES && !of_scope.contains(name) {
            of_scope.insert(name.to_owned());
        }
    };
    each(storage, range, deadline, |span| {
        insert("resource", "service.name");
        span.resource.attributes.iter().for_each(|(name, _)| insert("resource", name));
        span.record.attributes.iter().for_each(|(name, _)| insert("span", name));
        for event in &span.record.events {
            event.attributes.iter().for_each(|(name, _)| insert("event", name));
        }
    });
    let labels = |scope: &str, name: &String| [("scope", scope), ("name", name)].into_iter().collect();
    names.iter().flat_map(|(scope, names)| names.iter().map(|name| labels(scope, name))).collect()
}

/// Names by their scope.
async fn names(api: &Arc<Api>, params: &Params) -> Result<BTreeMap<String, BTreeSet<String>>, Failure> {
    let (from, to) = bounds(params, now_nanos(api))?;
    let found = api.run(move |api| catalog::joined(api, &Asked::Tags { from, to })).await?;
    let mut names: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for labels in &found {
        if let (Some(scope), Some(name)) = (labels.get("scope"), labels.get("name")) {
            names.entry(scope.to_owned()).or_default().insert(name.to_owned());
        }
    }
    Ok(names)
}

pub(super) async fn names_v1(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let mut names = names(&api, &params).await?;
    let all: BTreeSet<String> =
        ["resource", "span"].into_iter().filter_map(|scope| names.remove(scope)).flatten().collect();
    Ok(Json(json!({ "tagNames": all })))
}

pub(super) async fn names_v2(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let names = names(&api, &params).await?;
    let asked = params.get("scope").unwrap_or("").to_owned();
    let of = |scope: &str| json!(names.get(scope).into_iter().flatten().collect::<Vec<_>>());
    let scopes = [
        ("resource", of("resource")),
        ("span", of("span")),
        ("event", of("event")),
        ("intrinsic", json!(INTRINSICS)),
    ];
    let shown: Vec<JsonValue> = scopes
        .into_iter()
        .filter(|(scope, tags)| {
            (asked.is_empty() || asked == "none" || asked == *scope)
                && tags.as_array().is_some_and(|tags| !tags.is_empty())
        })
        .map(|(scope, tags)| json!({ "name": scope, "tags": tags }))
        .collect();
    Ok(Json(json!({ "scopes": shown })))
}

/// The older route has names without a scope.
fn field_of(tag: &str) -> Field {
    let bare = || Field::Attribute { scope: Scope::Any, name: tag.to_owned() };
    parse_field(tag).unwrap_or_else(|_| bare())
}

/// `value` and `kind` of each that a tag has.
pub(in crate::api) fn own_values(
    storage: &Storage,
    tag: &str,
    range: (i64, i64),
    deadline: Instant,
) -> BTreeSet<Labels> {
    let field = field_of(tag);
    let is_of_trace = matches!(field, Field::RootName | Field::RootService);
    let mut found: BTreeMap<String, &'static str> = BTreeMap::new();
    each(storage, range, deadline, |span| {
        let value = match &field {
            Field::RootName if span.record.parent.is_none() => field_value(&Field::Name, span, None),
            Field::RootService if span.record.parent.is_none() => {
                Some(Value::Text(span.resource.service.clone()))
            }
            _ if is_of_trace => None,
            field => field_value(field, span, None),
        };
        if let Some(value) = value
            && found.len() < MAX_VALUES
        {
            let (kind, text) = text_of(&value);
            found.entry(text).or_insert(kind);
        }
    });
    let labels = |(value, kind): (&String, &&str)| {
        [("value", value.as_str()), ("kind", *kind)].into_iter().collect::<Labels>()
    };
    found.iter().map(labels).collect()
}

/// Each value with its type.
async fn values(api: &Arc<Api>, tag: String, params: &Params) -> Result<BTreeMap<String, String>, Failure> {
    let field = field_of(&tag);
    if matches!(field, Field::Status | Field::Kind) {
        let words: &[&str] = if field == Field::Status {
            &["error", "ok", "unset"]
        } else {
            &["client", "consumer", "internal", "producer", "server", "unspecified"]
        };
        return Ok(words.iter().map(|word| ((*word).to_owned(), "keyword".to_owned())).collect());
    }
    let (from, to) = bounds(params, now_nanos(api))?;
    let found = api.run(move |api| catalog::joined(api, &Asked::TagValues { tag, from, to })).await?;
    let text = |labels: &Labels, name: &str| labels.get(name).unwrap_or_default().to_owned();
    Ok(found.iter().map(|labels| (text(labels, "value"), text(labels, "kind"))).take(MAX_VALUES).collect())
}

pub(super) async fn values_v1(
    State(api): State<Arc<Api>>,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let found = values(&api, tag, &params).await?;
    Ok(Json(json!({ "tagValues": found.keys().collect::<Vec<_>>() })))
}

pub(super) async fn values_v2(
    State(api): State<Arc<Api>>,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let found = values(&api, tag, &params).await?;
    let shown: Vec<_> = found.iter().map(|(value, kind)| json!({ "type": kind, "value": value })).collect();
    Ok(Json(json!({ "tagValues": shown })))
}
