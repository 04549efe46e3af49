//! The administration API: accounts, signing keys and the audit log, for tokens with `identity:admin`.

pub(crate) mod keys;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use quintet_http::Problem;
use quintet_http::extract::{Json, Query};
use quintet_types::UserId;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::bearer;
use crate::caller::Caller;
use crate::claims::AccessClaims;
use crate::fault::Fault;
use crate::scopes::Role;
use crate::users::{self, User, UserView};

const SCOPE: &str = "identity:admin";
const DEFAULT_LIMIT: u16 = 50;
const MAX_LIMIT: u16 = 200;

async fn authorize(app: &App, headers: &HeaderMap) -> Result<AccessClaims, Problem> {
    let token =
        bearer::from_header(headers).ok_or_else(|| Problem::unauthorized("a bearer token is needed"))?;
    let claims = bearer::active(app, token).await.map_err(|fault| fault.problem())?;
    let claims = claims.ok_or_else(|| {
        Problem::unauthorized("the token is not valid").with_challenge("Bearer error=\"invalid_token\"")
    })?;
    if claims.scopes().has(SCOPE) { Ok(claims) } else { Err(Problem::forbidden(SCOPE)) }
}

fn fault(error: impl Into<Fault>) -> Problem {
    error.into().problem()
}

/// Where a list goes on and how much of it is wanted.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Page {
    cursor: Option<String>,
    limit: Option<u16>,
}

impl Page {
    fn limit(&self) -> Result<i64, Problem> {
        match self.limit.unwrap_or(DEFAULT_LIMIT) {
            limit @ 1..=MAX_LIMIT => Ok(i64::from(limit)),
            _ => Err(Problem::bad_request("invalid_query", format!("limit is between 1 and {MAX_LIMIT}"))),
        }
    }
}

#[derive(Serialize)]
struct Listing<T> {
    items: Vec<T>,
    next_cursor: Option<String>,
}

/// `GET /admin/users`
pub(crate) async fn list_users(
    State(app): State<Shared>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    authorize(&app, &headers).await?;
    let limit = page.limit()?;
    let after = match page.cursor.as_deref().map(str::parse::<UserId>) {
        None => String::new(),
        Some(Ok(id)) => id.to_string(),
        Some(Err(_)) => {
            return Err(Problem::bad_request("invalid_cursor", "the cursor is not one of this list"));
        }
    };
    let users = users::list(&app.store, &after, limit + 1).await.map_err(fault)?;
    let shown = usize::try_from(limit).unwrap_or(users.len());
    let more = users.len() > shown;
    let items: Vec<UserView> = users.iter().take(shown).map(UserView::from).collect();
    let last = users.get(shown.saturating_sub(1)).filter(|_| more);
    Ok(Json(Listing { items, next_cursor: last.map(|user| user.id.to_string()) }).into_response())
}

/// A new account.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewUser {
    email: String,
    name: String,
    #[serde(deserialize_with = "wiped")]
    password: Zeroizing<String>,
    #[serde(default = "member")]
    role: Role,
}

/// A text that is wiped when dropped.
fn wiped<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}

fn member() -> Role {
    Role::Member
}

/// `POST /admin/users`
pub(crate) async fn create_user(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    Json(new): Json<NewUser>,
) -> Result<Response, Problem> {
    let claims = authorize(&app, &headers).await?;
    users::check_new(&new.email, &new.name, &new.password).map_err(|error| {
        Problem::unprocessable("invalid_user", error.to_string())
            .with_error(format!("/{}", error.field()), error.to_string())
    })?;
    let user = create(&app, &claims.sub, &new.email, &new.name, &new.password, new.role, &caller).await;
    match user {
        Ok(user) => {
            let location = format!("{}/admin/users/{}", app.issuer.prefix, user.id);
            let view = UserView::from(&user);
            Ok((StatusCode::CREATED, [(header::LOCATION, location)], Json(view)).into_response())
        }
        Err(Fault::Store(error)) if error.is_conflict() => {
            Err(Problem::conflict("email_taken", "an account with this e-mail address exists"))
        }
        Err(other) => Err(other.problem()),
    }
}

/// Makes an account; the fields were checked.
pub(crate) async fn create(
    app: &App,
    actor: &str,
    email: &str,
    name: &str,
    password: &Zeroizing<String>,
    role: Role,
    caller: &Caller,
) -> Result<User, Fault> {
    let now = app.now();
    let user = User {
        id: UserId::generate(app.clock.as_ref(), app.entropy.as_ref()),
        email: email.trim().to_owned(),
        // Nothing has shown that mail arrives there.
        email_verified: false,
        name: name.trim().to_owned(),
        role,
        disabled: false,
        password_hash: app.passwords.hash(password).await?,
        created_at: now,
    };
    let mut tx = app.store.begin().await?;
    users::insert(&mut tx, &user).await?;
    let event = Event {
        actor: actor.to_owned(),
        subject: user.id.to_string(),
        client_id: String::new(),
        detail: audit::detail([("role", role.name().to_owned())]),
    };
    audit::append(&mut tx, &app.vault, now, caller, Kind::UserCreated, event).await?;
    tx.commit().await?;
    Ok(user)
}

#[derive(Serialize)]
struct AuditListing {
    items: Vec<audit::Entry>,
    next_cursor: Option<String>,
    /// Whether every entry shown follows from the one before it.
    intact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    broken_at: Option<i64>,
}

/// `GET /admin/audit`
pub(crate) async fn list_audit(
    State(app): State<Shared>,
    headers: HeaderMap,
    Query(page): Query<Page>,
) -> Result<Response, Problem> {
    authorize(&app, &headers).await?;
    let limit = page.limit()?;
    let before = match page.cursor.as_deref().map(str::parse::<i64>) {
        None => i64::MAX,
        Some(Ok(seq)) if seq > 0 => seq,
        Some(_) => return Err(Problem::bad_request("invalid_cursor", "the cursor is not one of this list")),
    };
    let page = audit::page(&app.store, &app.vault, before, limit).await.map_err(fault)?;
    let oldest = page.entries.last().map(|entry| entry.seq).filter(|seq| *seq > 1);
    Ok(Json(AuditListing {
        next_cursor: oldest.map(|seq| seq.to_string()),
        intact: page.broken_at.is_none(),
        broken_at: page.broken_at,
        items: page.entries,
    })
    .into_response())
}
