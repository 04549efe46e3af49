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
use crate::api::params::Params;
use crate::head::Found;
use crate::model::{Resource, Span};
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
fn each(api: &Api, (from, to): (i64, i64), mut visit: impl FnMut(&Found<Span>)) {
    let deadline = api.limits().deadline;
    let mut left = MAX_SPANS;
    api.storage.spans().scan(
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

#[derive(Default)]
struct Names {
    resource: BTreeSet<String>,
    span: BTreeSet<String>,
    event: BTreeSet<String>,
}

fn insert(set: &mut BTreeSet<String>, name: &str) {
    if set.len() < MAX_VALUES && !set.contains(name) {
        set.insert(name.to_owned());
    }
}

async fn names(api: &Arc<Api>, params: &Params) -> Result<Names, Failure> {
    let range = bounds(params, now_nanos(api))?;
    let names = api
        .run(move |api| {
            let mut names = Names::default();
            each(api, range, |span| {
                insert(&mut names.resource, "service.name");
                span.resource.attributes.iter().for_each(|(name, _)| insert(&mut names.resource, name));
                span.record.attributes.iter().for_each(|(name, _)| insert(&mut names.span, name));
                for event in &span.record.events {
                    event.attributes.iter().for_each(|(name, _)| insert(&mut names.event, name));
                }
            });
            names
        })
        .await?;
    Ok(names)
}

pub(super) async fn names_v1(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let names = names(&api, &params).await?;
    let all: BTreeSet<String> = names.resource.into_iter().chain(names.span).collect();
    Ok(Json(json!({ "tagNames": all })))
}

pub(super) async fn names_v2(
    State(api): State<Arc<Api>>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let names = names(&api, &params).await?;
    let asked = params.get("scope").unwrap_or("").to_owned();
    let scopes = [
        ("resource", json!(names.resource)),
        ("span", json!(names.span)),
        ("event", json!(names.event)),
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

/// Each value with its type.
async fn values(
    api: &Arc<Api>,
    tag: &str,
    params: &Params,
) -> Result<BTreeMap<String, &'static str>, Failure> {
    // The older route has names without a scope.
    let bare = || Field::Attribute { scope: Scope::Any, name: tag.to_owned() };
    let field = parse_field(tag).unwrap_or_else(|_| bare());
    if matches!(field, Field::Status | Field::Kind) {
        let words: &[&str] = if field == Field::Status {
            &["error", "ok", "unset"]
        } else {
            &["client", "consumer", "internal", "producer", "server", "unspecified"]
        };
        return Ok(words.iter().map(|word| ((*word).to_owned(), "keyword")).collect());
    }
    let (from, to) = bounds(params, now_nanos(api))?;
    let found = api
        .run(move |api| {
            let mut found = BTreeMap::new();
            let of_trace = matches!(field, Field::RootName | Field::RootService);
            each(api, (from, to), |span| {
                let value = match &field {
                    Field::RootName if span.record.parent.is_none() => field_value(&Field::Name, span, None),
                    Field::RootService if span.record.parent.is_none() => {
                        Some(crate::model::Value::Text(span.resource.service.clone()))
                    }
                    _ if of_trace => None,
                    field => field_value(field, span, None),
                };
                if let Some(value) = value
                    && found.len() < MAX_VALUES
                {
                    let (kind, text) = text_of(&value);
                    found.entry(text).or_insert(kind);
                }
            });
            found
        })
        .await?;
    Ok(found)
}

pub(super) async fn values_v1(
    State(api): State<Arc<Api>>,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let found = values(&api, &tag, &params).await?;
    Ok(Json(json!({ "tagValues": found.keys().collect::<Vec<_>>() })))
}

pub(super) async fn values_v2(
    State(api): State<Arc<Api>>,
    Path(tag): Path<String>,
    params: Params,
) -> Result<Json<JsonValue>, Failure> {
    let found = values(&api, &tag, &params).await?;
    let shown: Vec<_> = found.iter().map(|(value, kind)| json!({ "type": kind, "value": value })).collect();
    Ok(Json(json!({ "tagValues": shown })))
}
