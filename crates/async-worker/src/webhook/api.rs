//! `/jobs/v1/webhooks/endpoints`: who is told, what became of it, and the secrets, each shown once.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use http::StatusCode;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_module::Allowed;
use quintet_types::{JobId, SystemEntropy};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::deliveries::Delivery;
use super::endpoints::{Endpoint, EndpointError, Endpoints};
use super::publish::{body, is_event_type};
use super::schema::{DeliveryId, EndpointId, MessageId};
use super::send::Sender;
use super::{Args, Deliver};
use crate::page::{List, Listing, Page};
use crate::permissions::{Read, Write};

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

/// The routes, for who has a token.
pub(crate) fn routes(endpoints: Endpoints, sender: Arc<Sender>) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list, create))
        .routes(routes!(one, delete))
        .routes(routes!(enable))
        .routes(routes!(disable))
        .routes(routes!(rotate))
        .routes(routes!(ping))
        .routes(routes!(deliveries))
        .with_state(Api { endpoints, sender })
}

/// List the endpoints.
#[utoipa::path(
    get, path = "/jobs/v1/webhooks/endpoints", tag = "webhooks", operation_id = "list_endpoints",
    responses(
        (status = 200, description = "All of them, newest first", body = List<Endpoint>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn list(_: Allowed<Read>, State(api): State<Api>) -> Result<axum::Json<List<Endpoint>>, Problem> {
    let data = api.endpoints.list().await.map_err(problem)?;
    Ok(axum::Json(List { data }))
}

/// An endpoint to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewEndpoint)]
struct New {
    #[schema(format = "uri", example = "https://example.com/webhooks")]
    url: String,
    #[serde(default)]
    #[schema(max_length = 500)]
    description: String,
    /// The events it wants, such as `order.placed`; all when empty.
    #[serde(default)]
    #[schema(max_items = 50)]
    event_types: Vec<String>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = CreatedEndpoint)]
struct Created {
    #[serde(flatten)]
    endpoint: Endpoint,
    secret: String,
}

/// Make an endpoint. Its secret is shown this once.
#[utoipa::path(
    post, path = "/jobs/v1/webhooks/endpoints", tag = "webhooks", operation_id = "create_endpoint",
    request_body = New,
    responses(
        (status = 201, description = "The endpoint and its secret", body = Created),
        (status = 409, description = "`too_many_endpoints`"),
        (status = 422, description = "`invalid_endpoint`: a field is not acceptable; `invalid_body`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn create(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Json(new): Json<New>,
) -> Result<(StatusCode, axum::Json<Created>), Problem> {
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
    tracing::info!(by = allowed.principal.claims.sub, endpoint = %endpoint.id, "webhook endpoint created");
    let created = Created { endpoint, secret: secret.expose().to_owned() };
    Ok((StatusCode::CREATED, axum::Json(created)))
}

/// Read one endpoint.
#[utoipa::path(
    get, path = "/jobs/v1/webhooks/endpoints/{id}", tag = "webhooks", operation_id = "read_endpoint",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The endpoint", body = Endpoint),
        (status = 404, description = "There is no such endpoint"),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn one(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    api.endpoints.find(id).await.map(axum::Json).map_err(problem)
}

/// Delete an endpoint.
#[utoipa::path(
    delete, path = "/jobs/v1/webhooks/endpoints/{id}", tag = "webhooks", operation_id = "delete_endpoint",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 204, description = "It is gone, with the record of its deliveries"),
        (status = 404, description = "There is no such endpoint"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn delete(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<StatusCode, Problem> {
    api.endpoints.delete(id).await.map_err(problem)?;
    tracing::info!(by = allowed.principal.claims.sub, endpoint = %id, "webhook endpoint deleted");
    Ok(StatusCode::NO_CONTENT)
}

/// Enable an endpoint, with a clean record.
#[utoipa::path(
    post, path = "/jobs/v1/webhooks/endpoints/{id}/enable", tag = "webhooks", operation_id = "enable_endpoint",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The endpoint", body = Endpoint),
        (status = 404, description = "There is no such endpoint"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn enable(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    switch(&allowed, &api, id, None).await
}

/// Disable an endpoint.
#[utoipa::path(
    post, path = "/jobs/v1/webhooks/endpoints/{id}/disable", tag = "webhooks", operation_id = "disable_endpoint",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The endpoint", body = Endpoint),
        (status = 404, description = "There is no such endpoint"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn disable(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
) -> Result<axum::Json<Endpoint>, Problem> {
    switch(&allowed, &api, id, Some("an operator disabled it")).await
}

async fn switch(
    allowed: &Allowed<Write>,
    api: &Api,
    id: EndpointId,
    reason: Option<&str>,
) -> Result<axum::Json<Endpoint>, Problem> {
    api.endpoints.switch(id, reason).await.map_err(problem)?;
    tracing::info!(by = allowed.principal.claims.sub, endpoint = %id, enabled = reason.is_none(), "webhook endpoint switched");
    api.endpoints.find(id).await.map(axum::Json).map_err(problem)
}

#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct Overlap {
    /// How long the secret before it goes on signing.
    #[param(maximum = 720, default = 24)]
    overlap_hours: Option<u64>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = RotatedSecret)]
struct Rotated {
    secret: String,
    overlap_hours: u64,
}

/// Give an endpoint a new secret, shown this once.
#[utoipa::path(
    post, path = "/jobs/v1/webhooks/endpoints/{id}/rotate-secret", tag = "webhooks", operation_id = "rotate_secret",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$"), Overlap),
    responses(
        (status = 200, description = "The secret, and how long the one before it goes on signing", body = Rotated),
        (status = 404, description = "There is no such endpoint"),
        (status = 409, description = "`too_many_secrets`: wait until one of them has ended"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn rotate(
    allowed: Allowed<Write>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
    Query(overlap): Query<Overlap>,
) -> Result<axum::Json<Rotated>, Problem> {
    let overlap_hours = overlap.overlap_hours.unwrap_or(DEFAULT_OVERLAP_HOURS);
    if overlap_hours > MAX_OVERLAP_HOURS {
        return Err(Problem::bad_request("invalid_overlap", format!("at most {MAX_OVERLAP_HOURS} hours")));
    }
    let secret = api.endpoints.rotate(id, Duration::from_hours(overlap_hours)).await.map_err(problem)?;
    tracing::info!(by = allowed.principal.claims.sub, endpoint = %id, overlap_hours, "webhook secret rotated");
    Ok(axum::Json(Rotated { secret: secret.expose().to_owned(), overlap_hours }))
}

#[derive(Serialize, ToSchema)]
struct Pinged {
    #[schema(value_type = String)]
    job_id: JobId,
    #[schema(value_type = String)]
    message_id: MessageId,
}

/// Deliver the event `webhook.ping` to an endpoint, whatever it wants to hear.
#[utoipa::path(
    post, path = "/jobs/v1/webhooks/endpoints/{id}/ping", tag = "webhooks", operation_id = "ping_endpoint",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 202, description = "The job that delivers it", body = Pinged),
        (status = 404, description = "There is no such endpoint"),
        (status = 409, description = "`endpoint_disabled`: enable it first"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn ping(
    _: Allowed<Write>,
    State(api): State<Api>,
    Path(endpoint_id): Path<EndpointId>,
) -> Result<(StatusCode, axum::Json<Pinged>), Problem> {
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

/// List the attempts to deliver to an endpoint, newest first.
#[utoipa::path(
    get, path = "/jobs/v1/webhooks/endpoints/{id}/deliveries", tag = "webhooks", operation_id = "list_deliveries",
    params(("id" = String, Path, description = "The endpoint's id", pattern = "^whe_[0-7][0-9a-hjkmnp-tv-z]{25}$"), Listing),
    responses(
        (status = 200, description = "A page of attempts", body = Page<Delivery>),
    ),
    security(("oauth2" = ["jobs:read"])),
)]
async fn deliveries(
    _: Allowed<Read>,
    State(api): State<Api>,
    Path(id): Path<EndpointId>,
    Query(query): Query<Listing>,
) -> Result<axum::Json<Page<Delivery>>, Problem> {
    let (cursor, limit) = query.window::<DeliveryId>()?;
    let data = api.endpoints.deliveries(id, cursor, limit).await.map_err(problem)?;
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
