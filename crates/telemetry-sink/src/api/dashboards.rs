//! `/telemetry/v1/dashboards`: the dashboards that people keep, as documents with entity tags.
//!
//! Reading needs what queries need; a change needs `telemetry:write` as well and is one audit line. A change says what it
//! expects: `If-None-Match: *` that there is none yet, `If-Match` which version is there (RFC 9110, section 13).

use std::sync::Arc;

use axum::extract::State;
use axum::middleware::from_fn;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderValue, StatusCode};
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::{Body, Path};
use serde_json::json;

use crate::dashboards::{Dashboards, Expected, StoreError};

/// The scope without which nothing is changed.
const WRITE: &str = "telemetry:write";

/// The routes, behind token and scopes.
pub(crate) fn router(dashboards: Arc<Dashboards>, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/telemetry/v1/dashboards", get(list))
        .route("/telemetry/v1/dashboards/{id}", get(show).put(put).delete(delete))
        .layer(from_fn(super::scoped))
        .layer(quintet_auth::layer(verifier))
        .with_state(dashboards)
}

async fn list(State(dashboards): State<Arc<Dashboards>>) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(json!({ "data": dashboards.list() }))).into_response()
}

async fn show(
    State(dashboards): State<Arc<Dashboards>>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let (bytes, etag) = run(move || dashboards.get(&id)).await?;
    let held = listed(&headers, &IF_NONE_MATCH);
    let fresh = held.is_some_and(|tags| tags.iter().any(|tag| tag == "*" || strong(tag) == etag));
    let mut response = if fresh {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(CONTENT_TYPE, "application/json")], Bytes::from(bytes)).into_response()
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(tagged(response, &etag))
}

async fn put(
    State(dashboards): State<Arc<Dashboards>>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
    Body(body): Body,
) -> Result<Response, Problem> {
    principal.require(WRITE)?;
    let expected = expected(&headers)?;
    let (one, fresh) = run(move || dashboards.put(&id, &body, &expected)).await?;
    audit(&principal, if fresh { "create" } else { "replace" }, &one.id);
    let status = if fresh { StatusCode::CREATED } else { StatusCode::OK };
    let etag = one.etag.clone();
    Ok(tagged((status, Json(one)).into_response(), &etag))
}

async fn delete(
    State(dashboards): State<Arc<Dashboards>>,
    principal: Principal,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    let expected = expected(&headers)?;
    let named = id.clone();
    run(move || dashboards.delete(&id, &expected)).await?;
    audit(&principal, "delete", &named);
    Ok(StatusCode::NO_CONTENT)
}

/// Files are read and synced off the runtime's threads.
async fn run<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Problem> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|error| Problem::internal(&error))?;
    done.map_err(Problem::from)
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Invalid(invalid) => Self::unprocessable("invalid_dashboard", invalid.to_string())
                .with_error(invalid.pointer, invalid.detail),
            StoreError::Unknown => Self::not_found("dashboard"),
            StoreError::Changed => Self::new(
                StatusCode::PRECONDITION_FAILED,
                "precondition_failed",
                "the dashboard is not what the request expects: somebody changed, deleted or made it before",
            ),
            StoreError::TooMany => Self::conflict("too_many_dashboards", error.to_string()),
            StoreError::Io(source) if is_full(&source) => Self::new(
                StatusCode::INSUFFICIENT_STORAGE,
                "disk_full",
                "the disk of the telemetry sink is full; free space and try again",
            ),
            StoreError::Io(source) => Self::internal(&source),
        }
    }
}

fn is_full(error: &std::io::Error) -> bool {
    matches!(error.kind(), std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded)
}

/// What a change expects to be there.
fn expected(headers: &HeaderMap) -> Result<Expected, Problem> {
    if let Some(tags) = listed(headers, &IF_MATCH) {
        let any = tags.iter().any(|tag| tag == "*");
        // A compressing proxy weakens tags; what is behind them is the same document all the same.
        let versions = tags.iter().map(|tag| strong(tag).to_owned()).collect();
        return Ok(if any { Expected::Any } else { Expected::Versions(versions) });
    }
    match listed(headers, &IF_NONE_MATCH) {
        Some(tags) if tags.iter().any(|tag| tag == "*") => Ok(Expected::Nothing),
        _ => Err(Problem::new(
            StatusCode::PRECONDITION_REQUIRED,
            "precondition_required",
            "send If-Match with the ETag that a GET of this dashboard returned, or If-None-Match: * for a new one",
        )),
    }
}

fn strong(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

/// The values of a list header (RFC 9110, section 5.3); none where it is missing.
fn listed(headers: &HeaderMap, name: &HeaderName) -> Option<Vec<String>> {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    let tags: Vec<_> = values.flat_map(|value| value.split(',')).map(|tag| tag.trim().to_owned()).collect();
    (!tags.is_empty()).then_some(tags)
}

fn tagged(mut response: Response, etag: &str) -> Response {
    if let Ok(etag) = HeaderValue::from_str(etag) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
}

/// One line for each change: who, what, to what.
fn audit(principal: &Principal, action: &'static str, dashboard: &str) {
    let claims = &principal.claims;
    tracing::info!(
        actor = claims.sub,
        client = claims.client_id,
        action,
        dashboard,
        "a dashboard was changed"
    );
}
