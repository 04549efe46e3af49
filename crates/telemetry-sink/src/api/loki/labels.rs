//! Labels, their values and streams.

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::extract::{Path, State};
use serde_json::json;

use super::{Answer, Failure, HOUR_NANOS, label_map, now_nanos, range_of, success};
use crate::api::Api;
use crate::api::catalog::{self, Asked};
use crate::api::params::Params;
use crate::logql::search::selects;
use crate::logql::{self, Range, Stream};
use crate::model::{Labels, LogRecord, Matcher};
use crate::peers::questions;
use crate::storage::Storage;

const MAX_STREAMS: usize = 10_000;

/// The label sets of the streams that a selector means, at most [`MAX_STREAMS`].
pub(in crate::api) fn streams_of(storage: &Storage, range: Range, matchers: &[Matcher]) -> BTreeSet<Labels> {
    let mut found = BTreeSet::new();
    storage.logs().streams::<LogRecord>(range.from, range.to, |resource, severity| {
        let stream = Stream { resource, severity };
        if found.len() < MAX_STREAMS && selects(matchers, stream) {
            found.insert(stream.labels());
        }
    });
    found
}

/// Those of all sinks.
pub(super) fn streams(api: &Api, range: Range, matchers: &[Matcher]) -> BTreeSet<Labels> {
    let Range { from, to } = range;
    catalog::joined(api, &Asked::Streams { matchers: questions::asked(matchers), from, to })
}

fn selector(params: &Params) -> Result<Vec<Matcher>, Failure> {
    match params.get("query").map(str::trim) {
        None | Some("" | "{}") => Ok(Vec::new()),
        Some(text) => Ok(logql::parse_selector(text)?),
    }
}

pub(super) async fn names(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let matchers = selector(&params)?;
    let names = api
        .run(move |api| {
            let streams = streams(api, range, &matchers);
            let names = streams.iter().flat_map(Labels::iter).map(|(name, _)| name.to_owned());
            names.collect::<BTreeSet<String>>()
        })
        .await?;
    Ok(success(names))
}

pub(super) async fn values(State(api): State<Arc<Api>>, Path(name): Path<String>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), 6 * HOUR_NANOS)?;
    let matchers = selector(&params)?;
    let values = api
        .run(move |api| {
            let streams = streams(api, range, &matchers);
            let name = if name == "detected_level" { logql::LEVEL } else { &name };
            let values = streams.iter().filter_map(|labels| labels.get(name)).map(str::to_owned);
            values.collect::<BTreeSet<String>>()
        })
        .await?;
    Ok(success(values))
}

pub(super) async fn series(State(api): State<Arc<Api>>, params: Params) -> Answer {
    let range = range_of(&params, now_nanos(&api), HOUR_NANOS)?;
    let given = params.all("match[]").chain(params.all("match"));
    let selectors = given.map(logql::parse_selector).collect::<Result<Vec<_>, _>>()?;
    let found = api
        .run(move |api| {
            let all = if selectors.is_empty() { vec![Vec::new()] } else { selectors };
            let sets: BTreeSet<Labels> =
                all.iter().flat_map(|matchers| streams(api, range, matchers)).collect();
            sets.iter().map(|labels| json!(label_map(labels))).collect::<Vec<_>>()
        })
        .await?;
    Ok(success(found))
}
