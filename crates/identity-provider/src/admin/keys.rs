//! The signing keys: which there are and what each is for, and a new one at once.

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use quintet_http::Problem;
use quintet_http::extract::Json;
use serde_json::{Value, json};

use super::{authorize, fault};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::caller::Caller;
use crate::keys::KeyFacts;

fn view(key: &KeyFacts) -> Value {
    json!({
        "kid": key.kid,
        "state": key.state.name(),
        "activates_at": quintet_types::time::from_micros(key.activates_at).to_string(),
    })
}

/// `GET /admin/keys`
pub(crate) async fn list(State(app): State<Shared>, headers: HeaderMap) -> Result<Response, Problem> {
    authorize(&app, &headers).await?;
    let items: Vec<_> = app.keys.facts().iter().map(view).collect();
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(json!({ "items": items }))).into_response())
}

/// `POST /admin/keys`: a new key signs from now on; the ones before stay published for what they signed.
pub(crate) async fn rotate(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
) -> Result<Response, Problem> {
    let claims = authorize(&app, &headers).await?;
    let kid = app.keys.rotate(app.now()).await.map_err(fault)?;
    record(&app, &claims.sub, &kid, &caller).await.map_err(fault)?;
    let made = app.keys.facts().into_iter().find(|key| key.kid == kid);
    Ok((StatusCode::CREATED, Json(made.as_ref().map(view))).into_response())
}

async fn record(app: &App, actor: &str, kid: &str, caller: &Caller) -> Result<(), quintet_store::Error> {
    let event = Event { actor: actor.to_owned(), subject: kid.to_owned(), ..Event::default() };
    let mut tx = app.store.begin().await?;
    audit::append(&mut tx, &app.vault, app.now(), caller, Kind::KeyRotated, event).await?;
    tx.commit().await
}
