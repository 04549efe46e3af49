//! `/telemetry/v1/read/…`: what this sink gives to others that join it to their answers, from its own storage alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use quintet_http::Problem;
use serde::de::DeserializeOwned;

use super::questions::{
    CallsAsked, ExemplarsAsked, LogsAsked, MeasuresAsked, SamplesAsked, SpansAsked, TracesAsked, matchers,
};
use super::wire;
use super::{MAX_SERIES, MAX_SPANS, PATIENCE, own};
use crate::api::{Api, catalog, loki, service_graph};
use crate::head::Found;
use crate::head::metrics::TooManySamples;
use crate::logql::{self, Direction, LogQl, Range, Search, parse_log};
use crate::model::codec::{Key, Record, encode_batch};
use crate::model::{Batch, Resource, Span};
use crate::promql::{Limits, Query};
use crate::storage::{TookTooLong, Wanted};
use crate::traceql::{self, search::candidates};

const MAX_QUESTION: usize = 64 * 1024;
/// Lines of one answer, as many as Loki's API gives.
pub(crate) const MAX_LINES: usize = 5000;

pub(crate) fn router() -> Router<Arc<Api>> {
    Router::new()
        .route("/samples", post(samples))
        .route("/series", post(series))
        .route("/exemplars", post(exemplars))
        .route("/catalog", post(known))
        .route("/traces", post(traces))
        .route("/spans", post(spans))
        .route("/calls", post(calls))
        .route("/logs", post(logs))
        .route("/measures", post(measures))
        .layer(DefaultBodyLimit::max(MAX_QUESTION))
}

fn question<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    serde_json::from_slice(body).map_err(|error| bad(error.to_string()))
}

/// When an answer is of use no more: by the question, or by this sink's own limit.
fn deadline(api: &Api, headers: &HeaderMap) -> Instant {
    let own = api.limits().deadline;
    let asked = headers.get(PATIENCE).and_then(|value| value.to_str().ok()?.parse::<u32>().ok());
    asked.map_or(own, |millis| own.min(Instant::now() + Duration::from_millis(millis.into())))
}

fn bad(detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, "invalid_question", detail.into())
}

fn too_much() -> Problem {
    let detail = "the answer is larger than one sink gives another; ask for a shorter time or fewer series";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "too_much", detail)
}

fn packed(plain: Option<Vec<u8>>) -> Result<Response, Problem> {
    let packed = plain.and_then(|plain| wire::pack(&plain)).ok_or_else(too_much)?;
    Ok(([(CONTENT_TYPE, "application/octet-stream")], packed).into_response())
}

async fn samples(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: SamplesAsked = question(&body)?;
    let deadline = deadline(&api, &headers);
    let matchers = matchers(&asked.matchers).map_err(bad)?;
    let plain = api
        .run_for_peer(move |api| {
            let mut left = asked.max_samples.min(api.limits().max_samples);
            let mut found = Vec::new();
            own(&api.storage, api.peers.labels(), &matchers, (asked.from, asked.to), |series| {
                left = left.checked_sub(series.samples.len()).ok_or(TooManySamples)?;
                if Instant::now() > deadline {
                    return Err(TooManySamples);
                }
                found.push(series);
                Ok::<_, TooManySamples>(())
            })
            .ok()?;
            Some(wire::put_selected(&found))
        })
        .await?;
    packed(plain)
}

async fn series(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, Problem> {
    let asked: SamplesAsked = question(&body)?;
    let matchers = matchers(&asked.matchers).map_err(bad)?;
    let plain = api
        .run_for_peer(move |api| {
            let sets = api.peers.own_label_sets(&api.storage, &matchers, (asked.from, asked.to));
            (sets.len() <= MAX_SERIES).then(|| wire::put_label_sets(sets.iter()))
        })
        .await?;
    packed(plain)
}

async fn exemplars(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let asked: ExemplarsAsked = question(&body)?;
    let selectors = asked.selectors.iter().map(|one| matchers(one)).collect::<Result<_, _>>().map_err(bad)?;
    let deadline = deadline(&api, &headers);
    let wanted =
        Wanted { selectors, from: asked.from, to: asked.to, most: asked.most.min(MAX_SERIES), deadline };
    let found = api.run_for_peer(move |api| api.peers.own_exemplars(&api.storage, &wanted)).await?;
    packed(found.map_or_else(|TookTooLong| None, |found| Some(wire::put_exemplars(&found.series))))
}

async fn known(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: catalog::Asked = question(&body)?;
    let deadline = deadline(&api, &headers);
    let sets = api.run_for_peer(move |api| catalog::own(api, &asked, deadline)).await?.map_err(bad)?;
    packed((sets.len() <= MAX_SERIES).then(|| wire::put_label_sets(sets.iter())))
}

async fn traces(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: TracesAsked = question(&body)?;
    let deadline = deadline(&api, &headers);
    let found = match asked {
        TracesAsked::Filters { query, from, to } => {
            let query = traceql::parse(&query).map_err(bad)?;
            api.run_for_peer(move |api| candidates(&api.storage, &query, (from, to), deadline).0).await?
        }
        TracesAsked::Tags(search) => {
            api.run_for_peer(move |api| search.newest(&api.storage, deadline)).await?
        }
    };
    packed(Some(wire::put_traces(&found)))
}

async fn spans(State(api): State<Arc<Api>>, body: Bytes) -> Result<Response, Problem> {
    let asked: SpansAsked = question(&body)?;
    let ids = asked.ids().ok_or_else(|| bad("a trace id has not 32 hexadecimal digits"))?;
    let plain = api
        .run_for_peer(move |api| {
            let own = api.storage.spans();
            let mut found = Vec::new();
            for id in &ids {
                found.extend(own.lookup_up_to::<Span>(Key::Trace(*id), MAX_SPANS));
                if found.len() > MAX_SPANS {
                    return None;
                }
            }
            Some(batch(found))
        })
        .await?;
    packed(plain)
}

async fn calls(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: CallsAsked = question(&body)?;
    let deadline = deadline(&api, &headers);
    let plain = api
        .run_for_peer(move |api| {
            let mut found = Vec::new();
            let visit = |span| found.push(service_graph::trimmed(span));
            service_graph::own(&api.storage, &asked, deadline, visit);
            Some(batch(found))
        })
        .await?;
    packed(plain)
}

async fn logs(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: LogsAsked = question(&body)?;
    let query = parse_log(&asked.query).map_err(|error| bad(error.to_string()))?;
    let (range, limit) = (Range { from: asked.from, to: asked.to }, asked.limit.min(MAX_LINES));
    let deadline = deadline(&api, &headers);
    let direction = if asked.forward { Direction::Forward } else { Direction::Backward };
    let plain = api
        .run_for_peer(move |api| {
            let search = Search::new(&api.storage, &query, deadline);
            let (found, _) = search.best(range, limit, direction).ok()?;
            Some(batch(found.into_iter().map(|passed| passed.found).collect()))
        })
        .await?;
    packed(plain)
}

async fn measures(State(api): State<Arc<Api>>, headers: HeaderMap, body: Bytes) -> Result<Response, Problem> {
    let asked: MeasuresAsked = question(&body)?;
    let steps = Query { start: asked.start, end: asked.end, step: asked.step };
    if steps.step <= 0 || steps.end.saturating_sub(steps.start) / steps.step > loki::MAX_STEPS {
        return Err(bad("too many steps"));
    }
    let LogQl::Metric(query) = logql::parse(&asked.query).map_err(|error| bad(error.to_string()))? else {
        return Err(bad("the query yields no numbers"));
    };
    let deadline = deadline(&api, &headers);
    let measured = api
        .run_for_peer(move |api| {
            query.measure(asked.place, &api.storage, steps, Limits { deadline, ..api.limits() })
        })
        .await?;
    match measured.ok_or_else(|| bad("there is no such range aggregation"))? {
        Ok(measures) => packed(Some(measures.encode())),
        Err(logql::Error::Timeout) => {
            Err(Problem::new(StatusCode::GATEWAY_TIMEOUT, "timeout", "it took longer than it may"))
        }
        Err(_) => Err(too_much()),
    }
}

/// Records as the log has them, each resource once.
fn batch<R: Record>(found: Vec<Found<R>>) -> Vec<u8> {
    let mut groups: BTreeMap<*const Resource, (Arc<Resource>, Vec<R>)> = BTreeMap::new();
    for Found { resource, record } in found {
        let group = groups.entry(Arc::as_ptr(&resource)).or_insert_with(|| (resource, Vec::new()));
        group.1.push(record);
    }
    let mut out = Vec::new();
    encode_batch(&Batch { groups: groups.into_values().collect() }, &mut out);
    out
}
