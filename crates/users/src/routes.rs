//! The HTTP side of accounts: wire types, permissions, and errors as problems.

mod organizations;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quintet_http::extract::{Json, Path, Query};
use quintet_http::problem::Problem;
use quintet_module::page::{Page, PageQuery};
use quintet_module::{Within, conditional, permissions, store_problem};
use quintet_types::{Timestamp, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::accounts::{Accounts, Change, Error, Invalid, NewAccount, Record};
use crate::organizations::Organizations;

permissions! {
    /// Reading accounts, and organizations one belongs to.
    UsersRead = "users:read";
    /// Making and changing accounts, organizations and their members.
    UsersWrite = "users:write";
}

pub(crate) fn router(accounts: Accounts, organizations: Organizations) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(find, change))
        .with_state(accounts)
        .merge(organizations::router(organizations))
}

/// An account to make.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewUser {
    /// Unique among the accounts of an organization, whatever the case.
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    email: String,
    #[schema(min_length = 1, max_length = 200, example = "Ann Lee")]
    name: String,
}

/// What to change about an account; what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct UserChange {
    #[serde(default)]
    #[schema(format = Email, max_length = 254, example = "ann@example.com")]
    email: Option<String>,
    #[serde(default)]
    #[schema(min_length = 1, max_length = 200, example = "Ann Lee")]
    name: Option<String>,
}

/// A person or company that buys.
#[derive(Debug, Serialize, ToSchema)]
struct User {
    #[schema(value_type = String, example = "usr_01k0000000e008000000000000")]
    id: UserId,
    #[schema(format = Email)]
    email: String,
    name: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
}

impl From<Record> for User {
    fn from(record: Record) -> Self {
        let Record { id, email, name, created_at, updated_at, version: _ } = record;
        Self { id, email, name, created_at, updated_at }
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        match &error {
            Error::Invalid(invalid) => {
                let pointer = match invalid {
                    Invalid::Email => "/email",
                    Invalid::Name => "/name",
                };
                Self::unprocessable("invalid_user", "the account is not acceptable")
                    .with_error(pointer, invalid.to_string())
            }
            Error::EmailTaken => Self::conflict("email_taken", error.to_string()),
            Error::Unknown(_) => Self::not_found("user"),
            Error::Changed => Self::precondition_failed(),
            Error::Store(error) => store_problem(error),
        }
    }
}

fn entity(status: StatusCode, record: Record) -> Response {
    let etag = conditional::etag(record.version);
    (status, [(header::ETAG, etag)], axum::Json(User::from(record))).into_response()
}

/// Make an account.
#[utoipa::path(
    post, path = "/users", tag = "users", operation_id = "create_user",
    request_body = NewUser,
    responses(
        (status = 201, description = "The account", body = User, headers(
            ("Location" = String, description = "Where the account is"),
            ("ETag" = String, description = "The account's version"))),
        (status = 409, description = "`email_taken`: another account has this address"),
        (status = 422, description = "`invalid_user`: a field is not acceptable"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn create(
    State(accounts): State<Accounts>,
    allowed: Within<UsersWrite>,
    Json(body): Json<NewUser>,
) -> Result<Response, Problem> {
    let record =
        accounts.create(allowed.organization, NewAccount { email: body.email, name: body.name }).await?;
    let location = format!("/api/v1/users/{}", record.id);
    Ok(([(header::LOCATION, location)], entity(StatusCode::CREATED, record)).into_response())
}

/// List accounts, newest first.
#[utoipa::path(
    get, path = "/users", tag = "users", operation_id = "list_users",
    params(PageQuery),
    responses((status = 200, description = "A page of accounts", body = Page<User>)),
    security(("oauth2" = ["users:read"])),
)]
async fn list(
    State(accounts): State<Accounts>,
    allowed: Within<UsersRead>,
    Query(query): Query<PageQuery>,
) -> Result<axum::Json<Page<User>>, Problem> {
    let slice = accounts.list(allowed.organization, query.window()?).await?;
    Ok(axum::Json(Page::new(slice, |record| record.id.to_string(), User::from)))
}

/// Read one account.
#[utoipa::path(
    get, path = "/users/{id}", tag = "users", operation_id = "read_user",
    params(("id" = String, Path, description = "The account's id", pattern = "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$")),
    responses(
        (status = 200, description = "The account", body = User, headers(
            ("ETag" = String, description = "The account's version, for `If-Match`"))),
        (status = 304, description = "The account is still as named in `If-None-Match`"),
        (status = 404, description = "There is no such account"),
    ),
    security(("oauth2" = ["users:read"])),
)]
async fn find(
    State(accounts): State<Accounts>,
    allowed: Within<UsersRead>,
    Path(id): Path<UserId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let record = accounts.find(allowed.organization, id).await?;
    let etag = conditional::etag(record.version);
    if conditional::is_fresh(&headers, &etag) {
        return Ok((StatusCode::NOT_MODIFIED, [(header::ETAG, etag)]).into_response());
    }
    Ok(entity(StatusCode::OK, record))
}

/// Change an account.
#[utoipa::path(
    patch, path = "/users/{id}", tag = "users", operation_id = "change_user",
    params(
        ("id" = String, Path, description = "The account's id", pattern = "^usr_[0-7][0-9a-hjkmnp-tv-z]{25}$"),
        ("If-Match" = String, Header, description = "The `ETag` of the version to change"),
    ),
    request_body = UserChange,
    responses(
        (status = 200, description = "The changed account", body = User, headers(
            ("ETag" = String, description = "The account's new version"))),
        (status = 404, description = "There is no such account"),
        (status = 409, description = "`email_taken`: another account has this address"),
        (status = 412, description = "`precondition_failed`: the account changed meanwhile"),
        (status = 422, description = "`invalid_user`: a field is not acceptable"),
        (status = 428, description = "`precondition_required`: send `If-Match`"),
    ),
    security(("oauth2" = ["users:write"])),
)]
async fn change(
    State(accounts): State<Accounts>,
    allowed: Within<UsersWrite>,
    Path(id): Path<UserId>,
    headers: HeaderMap,
    Json(body): Json<UserChange>,
) -> Result<Response, Problem> {
    let expected = conditional::Expected::from_headers(&headers)?;
    let change = Change { email: body.email, name: body.name };
    Ok(entity(StatusCode::OK, accounts.change(allowed.organization, id, &expected, &change).await?))
}
