//! `/jobs/v1/suppressions`: the addresses that get no mail. They are personal data, so even reading them needs the scope
//! to change them.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::routing::{delete, get};
use http::StatusCode;
use lettre::Address;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use serde::{Deserialize, Serialize};

use super::suppressions::{Reason, Suppression, Suppressions};

const WRITE: &str = "jobs:write";
const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;

pub(crate) fn router(suppressions: Suppressions, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/jobs/v1/suppressions", get(list).post(add))
        .route("/jobs/v1/suppressions/{address}", delete(remove))
        .layer(quintet_auth::layer(verifier))
        .with_state(suppressions)
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Page {
    limit: Option<u32>,
    cursor: Option<String>,
}

/// A page in an envelope; `cursor` takes `next_cursor` to go on.
#[derive(Debug, Serialize)]
struct List {
    data: Vec<Suppression>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_cursor: Option<String>,
}

async fn list(
    principal: Principal,
    State(suppressions): State<Suppressions>,
    Query(page): Query<Page>,
) -> Result<axum::Json<List>, Problem> {
    principal.require(WRITE)?;
    let limit = page.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MAX_LIMIT).contains(&limit) {
        return Err(Problem::bad_request("invalid_limit", format!("limit is from 1 to {MAX_LIMIT}")));
    }
    let after = page.cursor.unwrap_or_default();
    let data = suppressions.list(&after, limit).await.map_err(failed)?;
    let full = u32::try_from(data.len()).is_ok_and(|length| length == limit);
    let next_cursor = data.last().filter(|_| full).map(|last| last.address.clone());
    Ok(axum::Json(List { data, next_cursor }))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct New {
    address: String,
    #[serde(default = "manual")]
    reason: Reason,
    #[serde(default)]
    detail: String,
}

fn manual() -> Reason {
    Reason::Manual
}

async fn add(
    principal: Principal,
    State(suppressions): State<Suppressions>,
    Json(new): Json<New>,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    let address = parse(&new.address)?;
    let added = suppressions.add(&address, new.reason, &new.detail).await.map_err(failed)?;
    tracing::info!(by = principal.claims.sub, reason = ?new.reason, added, "address suppressed");
    Ok(if added { StatusCode::CREATED } else { StatusCode::OK })
}

async fn remove(
    principal: Principal,
    State(suppressions): State<Suppressions>,
    Path(address): Path<String>,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    if !suppressions.remove(&parse(&address)?).await.map_err(failed)? {
        return Err(Problem::not_found("suppression"));
    }
    tracing::info!(by = principal.claims.sub, "address no longer suppressed");
    Ok(StatusCode::NO_CONTENT)
}

fn parse(text: &str) -> Result<Address, Problem> {
    text.parse().map_err(|error| {
        Problem::unprocessable("invalid_address", "this is no e-mail address")
            .with_error("/address", format!("{error}"))
    })
}

fn failed(error: quintet_store::Error) -> Problem {
    quintet_module::store_problem(&error)
}
