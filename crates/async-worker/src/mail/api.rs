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
use serde::Deserialize;

use super::suppressions::{Reason, Suppression, Suppressions};
use crate::page::{self, Listing, Page};

const WRITE: &str = "jobs:write";

pub(crate) fn router(suppressions: Suppressions, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/jobs/v1/suppressions", get(list).post(add))
        .route("/jobs/v1/suppressions/{address}", delete(remove))
        .layer(quintet_auth::layer(verifier))
        .with_state(suppressions)
}

async fn list(
    principal: Principal,
    State(suppressions): State<Suppressions>,
    Query(query): Query<Listing<String>>,
) -> Result<axum::Json<Page<Suppression>>, Problem> {
    principal.require(WRITE)?;
    let limit = page::limit(query.limit)?;
    let after = query.cursor.unwrap_or_default();
    let data = suppressions.list(&after, limit).await.map_err(failed)?;
    Ok(axum::Json(Page::of(data, limit, |suppression| suppression.address.clone())))
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
