//! `/jobs/v1/webhooks/endpoints`: who is told, what became of it, and the secrets, each shown once.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::{get, post};
use http::StatusCode;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_types::{JobId, SystemEntropy};
use serde::{Deserialize, Serialize};

use super::deliveries::Delivery;
use super::endpoints::{Endpoint, EndpointError, Endpoints};
use super::publish::{body, is_event_type};
use super::schema::{DeliveryId, EndpointId, MessageId};
use super::send::Sender;
use super::{Args, Deliver};
use crate::page::{self, List, Listing, Page};

const READ: &str = "jobs:read";
const WRITE: &str = "jobs:write";
const MAX_EVENT_TYPES: usize = 50;
const MAX_DESCRIPTION: usize = 500;
/// How long a replaced secret goes on signing unless the request says otherwise.
const DEFAULT_OVERLAP_HOURS: u64 = 24;
const MAX_OVERLAP_HOURS: u64 = 24 * 30;

#[derive(Clone)]
struct Api {
    endpoints: Endpoints,
    sender: Arc<Sender>,
}

pub(crate) fn router(endpoints: Endpoints, sender: Arc<Sender>, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/jobs/v1/webhooks/endpoints", get(list).post(create))
        .route("/jobs/v1/webhooks/endpoints/{id}", get(one).delete(delete))
        .route("/jobs/v1/webhooks/endpoints/{id}/enable", post(enable))
        .route("/jobs/v1/webhooks/endpoints/{id}/disable", post(disable))
        .route("/jobs/v1/webhooks/endpoints/{id}/rotate-secret", post(rotate))
        .route("/jobs/v1/webhooks/endpoints/{id}/ping", post(ping))
        .route("/jobs/v1/webhooks/endpoints/{id}/deliveries", get(deliveries))
        .layer(quintet_auth::layer(verifier))
        .with_state(Api { endpoints, sender })
}

async fn list(principal: Principal, State(api): State<Api>) -> Result<axum::Json<List<Endpoint>>, Problem> {
    principal.require(READ)?;
    let data = api.endpoints.list().await.map_err(problem)?;
    Ok(axum::Json(List { data }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    url: String,
    #[serde(default)]
    description: String,
    #[serde(default)]
    event_types: Vec<String>,
}

#[derive(Serialize)]
struct Created {
    #[serde(flatten)]
    endpoint: Endpoint,
    secret: String,
}

async fn create(
    principal: Principal,
    State(api): State<Api>,
    Json(new): Json<New>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
    principal.require(WRITE)?;
    let invalid = |pointer: &str, detail: String| {
        Problem::unprocessable("invalid_endpoint", detail.clone()).with_error(pointer, detail)
    };
    api.sender.target(&new.url).map_err(|detail| invalid("/url", detail))?;
    if new.description.len() > MAX_DESCRIPTION {
        return Err(invalid("/description", format!("at most {MAX_DESCRIPTION} bytes")));
    }
    if new.event_types.len() > MAX_EVENT_TYPES || !new.event_types.iter().all(|name| is_event_type(name)) {
        let detail = format!("at most {MAX_EVENT_TYPES} names such as order.placed");
        return Err(invalid("/event_types", detail));
    }
    let made = api.endpoints.create(&new.url, &new.description, &new.event_types).await;
    let (endpoint, secret) = made.map_err(problem)?;
    tracing::info!(by = principal.claims.sub, endpoint = %endpoint.id, "webhook endpoint created");
    let created = Created { endpoint, secret: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

async fn one(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    principal.require(READ)?;
    api.endpoints.find(id).await.map(axum::Json).map_err(problem)
}

async fn delete(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    api.endpoints.delete(id).await.map_err(problem)?;
    tracing::info!(by = principal.claims.sub, endpoint = %id, "webhook endpoint deleted");
    Ok(StatusCode::NO_CONTENT)
}

async fn enable(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    switch(&principal, &api, id, None).await
}

async fn disable(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    switch(&principal, &api, id, Some("an operator disabled it")).await
}

async fn switch(
    principal: &Principal,
    api: &Api,
    id: EndpointId,
    reason: Option<&str>,
) -> Result<axum::Json<Endpoint>, Problem> {
    principal.require(WRITE)?;
    api.endpoints.switch(id, reason).await.map_err(problem)?;
    tracing::info!(by = principal.claims.sub, endpoint = %id, enabled = reason.is_none(), "webhook endpoint switched");
    api.endpoints.find(id).await.map(axum::Json).map_err(problem)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Overlap {
    overlap_hours: Option<u64>,
}

#[derive(Serialize)]
struct Rotated {
    secret: String,
    overlap_hours: u64,
}

async fn rotate(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
    Query(overlap): Query<Overlap>,
) -> Result<axum::Json<Rotated>, Problem> {
    principal.require(WRITE)?;
    let overlap_hours = overlap.overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS);
    if overlap_hours > MAX_OVERLAP_HOURS {
        return Err(Problem::bad_request("invalid_overlap", format!("at most {MAX_OVERLAP_HOURS} hours")));
    }
    let secret = api.endpoints.rotate(id, Duration::from_hours(overlap_hours)).await.map_err(problem)?;
    tracing::info!(by = principal.claims.sub, endpoint = %id, overlap_hours, "webhook secret rotated");
    Ok(axum::Json(Rotated { secret: secret.expose().to_owned(), overlap_hours }))
}

#[derive(Serialize)]
struct Pinged {
    job_id: JobId,
    message_id: MessageId,
}

/// Enqueues a delivery of the event `webhook.ping`, whatever the endpoint wants to hear.
async fn ping(
    principal: Principal,
    State(api): State<Api>,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<(StatusCode, axum::Json<Pinged>), Problem> {
    principal.require(WRITE)?;
    if !api.endpoints.find(endpoint_id).await.map_err(problem)?.enabled {
        return Err(Problem::conflict("endpoint_disabled", "enable the endpoint first"));
    }
    let clock = api.endpoints.clock.as_ref();
    let message_id = MessageId::generate(clock, &SystemEntropy);
    let body = body(Deliver::PING, clock.now(), &serde_json::json!({}))
        .map_err(|error| Problem::internal(&error))?;
    let args = Args { endpoint_id, message_id, event_type: Deliver::PING.to_owned(), body };
    let job_id = enqueue(&api, &args).await.map_err(|error| match error {
        quintet_jobs::Error::Store(error) => quintet_module::store_problem(&error),
        error => Problem::internal(&error),
    })?;
    Ok((StatusCode::ACCEPTED, axum::Json(Pinged { job_id, message_id })))
}

async fn enqueue(api: &Api, args: &Args) -> Result<JobId, quintet_jobs::Error> {
    let mut tx = api.endpoints.store.begin().await?;
    // Once: whoever pings looks at the answer now.
    let job = args.job().max_attempts(1);
    let enqueued = quintet_jobs::enqueue(&mut tx, api.endpoints.clock.as_ref(), job).await?;
    tx.commit().await?;
    Ok(enqueued.id)
}

async fn deliveries(
    principal: Principal,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
    Query(query): Query<Listing<DeliveryId>>,
) -> Result<axum::Json<Page<Delivery>>, Problem> {
    principal.require(READ)?;
    let limit = page::limit(query.limit)?;
    let data = api.endpoints.deliveries(id, query.cursor, limit).await.map_err(problem)?;
    Ok(axum::Json(Page::of(data, limit, |delivery| delivery.id)))
}

fn problem(error: EndpointError) -> Problem {
    match &error {
        EndpointError::Unknown => Problem::not_found("endpoint"),
        EndpointError::TooMany => Problem::conflict("too_many_endpoints", error.to_string()),
        EndpointError::TooManySecrets => Problem::conflict("too_many_secrets", error.to_string()),
        EndpointError::Store(error) => quintet_module::store_problem(error),
        EndpointError::Secret(_) => Problem::internal(&error),
    }
}
