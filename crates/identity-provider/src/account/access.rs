//! Where one is signed in, and which applications one let in: seen, signed out, withdrawn.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::{Value, context};

use super::security::event;
use super::{Page, Turned, Visit, answer, form, shown};
use crate::app::{App, Shared};
use crate::audit::{self, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::login::next::Next;
use crate::params::Params;
use crate::sessions::{Listed, agent};
use crate::{consents, grants, sessions};

const HERE: Next = Next::Page(Page::Access);

/// `GET /account/access`
pub(crate) async fn get(State(app): State<Shared>, headers: HeaderMap) -> Response {
    answer(&app, show(&app, &headers).await)
}

async fn show(app: &App, headers: &HeaderMap) -> Result<Response, Turned> {
    let visit = Visit::begin(app, headers, &HERE).await?;
    let listed = sessions::list(&app.store, &visit.user_id(), app.lifetimes.session, app.now()).await?;
    let others = listed.iter().any(|session| session.id != visit.session.id);
    let rows: Vec<Value> = listed.iter().map(|session| row(session, &visit)).collect();
    let allowed = consents::list(&app.store, &visit.user_id()).await?;
    let applications: Vec<Value> = allowed
        .iter()
        .map(|consent| {
            let client = app.clients.find(&consent.client_id);
            let scopes: Vec<&str> = consent.scopes.descriptions().collect();
            context!(
                id => consent.client_id.as_str(),
                name => client.as_ref().map_or(consent.client_id.as_str(), |client| client.name.as_str()),
                scopes => Value::from(scopes),
                since => shown(consent.granted_at),
            )
        })
        .collect();
    let values = context!(
        page => Page::Access.name(),
        csrf => visit.csrf(app),
        sessions => Value::from(rows),
        others,
        applications => Value::from(applications),
    );
    Ok(app.pages.render(StatusCode::OK, "access.html", values, None)?)
}

fn row(session: &Listed, visit: &Visit) -> Value {
    context!(
        id => session.id.as_str(),
        agent => agent::describe(&session.agent),
        address => session.address.as_str(),
        since => shown(session.auth_at),
        seen => shown(session.last_seen_at),
        here => session.id == visit.session.id,
    )
}

fn back(app: &App) -> Response {
    see_other(&format!("{}{}", app.issuer.prefix, Page::Access.path()))
}

/// `POST /account/access/end`: signs one other browser out, or all of them.
pub(crate) async fn end(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        sign_out(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn sign_out(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Turned> {
    let visit = Visit::begin(app, headers, &HERE).await?;
    visit.check(app, headers, params)?;
    let wanted = params.get("id");
    let now = app.now();
    let listed = sessions::list(&app.store, &visit.user_id(), app.lifetimes.session, now).await?;
    // Of the visitor's own sessions alone, and never the one that they are using: that is what signing
    // out is for.
    let ended: Vec<&str> = listed
        .iter()
        .map(|session| session.id.as_str())
        .filter(|id| *id != visit.session.id && wanted.is_none_or(|wanted| wanted == *id))
        .collect();
    if ended.is_empty() {
        return Ok(back(app));
    }
    let mut tx = app.store.begin().await?;
    for id in &ended {
        sessions::end(&mut tx, id, now).await?;
        grants::revoke_session(&mut tx, id, "", now).await?;
    }
    let event = event(&visit, [("sessions", ended.join(" "))]);
    audit::append(&mut tx, &app.vault, now, caller, Kind::SessionsEnded, event).await?;
    tx.commit().await?;
    Ok(back(app))
}

/// `POST /account/access/withdraw`: takes an application's permission back.
pub(crate) async fn withdraw(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        let visit = Visit::begin(&app, &headers, &HERE).await?;
        visit.check(&app, &headers, &params)?;
        let client_id = params.get("id").unwrap_or_default();
        let now = app.now();
        let mut tx = app.store.begin().await?;
        let withdrawn = consents::withdraw(&mut tx, &visit.user_id(), client_id).await?;
        grants::revoke_client(&mut tx, &visit.user_id(), client_id, now).await?;
        if withdrawn {
            let mut event = event(&visit, []);
            client_id.clone_into(&mut event.client_id);
            audit::append(&mut tx, &app.vault, now, &caller, Kind::ConsentWithdrawn, event).await?;
        }
        tx.commit().await?;
        Ok(back(&app))
    };
    answer(&app, outcome.await)
}
