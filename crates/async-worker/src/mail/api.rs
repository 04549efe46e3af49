//! `/jobs/v1/suppressions`: the addresses that get no mail. They are personal data, so even reading them needs the scope
//! to change them.

use axum::extract::State;
use http::StatusCode;
use lettre::Address;
use quintet_http::Problem;
use quintet_http::extract::{Json, Path, Query};
use quintet_module::Allowed;
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::suppressions::{Reason, Suppression, Suppressions};
use crate::page::{Listing, Page};
use crate::permissions::Write;

/// The longest path that SMTP carries (RFC 5321, section 4.5.3.1.3), without its brackets.
const MAX_ADDRESS_BYTES: usize = 254;

/// The routes, for who has a token.
pub(crate) fn routes(suppressions: Suppressions) -> OpenApiRouter {
    OpenApiRouter::new().routes(routes!(list, add)).routes(routes!(remove)).with_state(suppressions)
}

/// List the addresses that get no mail.
#[utoipa::path(
    get, path = "/jobs/v1/suppressions", tag = "mail", operation_id = "list_suppressions",
    params(Listing),
    responses(
        (status = 200, description = "A page of addresses, in their order", body = Page<Suppression>),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn list(
    _: Allowed<Write>,
    State(suppressions): State<Suppressions>,
    Query(query): Query<Listing>,
) -> Result<axum::Json<Page<Suppression>>, Problem> {
    let (after, limit) = query.window::<String>()?;
    let data = suppressions.list(&after.unwrap_or_default(), limit).await.map_err(failed)?;
    Ok(axum::Json(Page::of(data, limit, |suppression| suppression.address.clone())))
}

/// An address that gets no more mail.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = NewSuppression)]
struct New {
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    address: String,
    #[serde(default = "manual")]
    reason: Reason,
    #[serde(default)]
    detail: String,
}

fn manual() -> Reason {
    Reason::Manual
}

/// Send no more mail to an address.
#[utoipa::path(
    post, path = "/jobs/v1/suppressions", tag = "mail", operation_id = "add_suppression",
    request_body = New,
    responses(
        (status = 200, description = "It was on the list already, and stays there for its first reason"),
        (status = 201, description = "It is on the list"),
        (status = 422, description = "`invalid_address` or `invalid_body`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn add(
    allowed: Allowed<Write>,
    State(suppressions): State<Suppressions>,
    Json(new): Json<New>,
) -> Result<StatusCode, Problem> {
    let address = parse(&new.address)?;
    let added = suppressions.add(&address, new.reason, &new.detail).await.map_err(failed)?;
    tracing::info!(by = allowed.principal.claims.sub, reason = ?new.reason, added, "address suppressed");
    Ok(if added { StatusCode::CREATED } else { StatusCode::OK })
}

/// Send mail to an address again.
#[utoipa::path(
    delete, path = "/jobs/v1/suppressions/{address}", tag = "mail", operation_id = "remove_suppression",
    params(("address" = String, Path, description = "The address")),
    responses(
        (status = 204, description = "It is not on the list any more"),
        (status = 404, description = "It was not on the list"),
        (status = 422, description = "`invalid_address`"),
    ),
    security(("oauth2" = ["jobs:write"])),
)]
async fn remove(
    allowed: Allowed<Write>,
    State(suppressions): State<Suppressions>,
    Path(address): Path<String>,
) -> Result<StatusCode, Problem> {
    if !suppressions.remove(&parse(&address)?).await.map_err(failed)? {
        return Err(Problem::not_found("suppression"));
    }
    tracing::info!(by = allowed.principal.claims.sub, "address no longer suppressed");
    Ok(StatusCode::NO_CONTENT)
}

fn parse(text: &str) -> Result<Address, Problem> {
    let invalid = |detail: String| {
        Problem::unprocessable("invalid_address", "this is no e-mail address").with_error("/address", detail)
    };
    if text.len() > MAX_ADDRESS_BYTES {
        return Err(invalid(format!("an address has at most {MAX_ADDRESS_BYTES} bytes")));
    }
    text.parse().map_err(|error| invalid(format!("{error}")))
}

fn failed(error: quintet_store::Error) -> Problem {
    quintet_module::store_problem(&error)
}
