//! How one signs in: the factors there are, new recovery codes, removal.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use minijinja::{Value, context};
use zeroize::Zeroizing;

use super::{Page, Turned, Visit, answer, form, shown};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::factors::passkeys::{self, Passkey};
use crate::factors::{self, Assurance, recovery, totp};
use crate::login::next::Next;
use crate::params::Params;

const HERE: Next = Next::Page(Page::Security);

/// `GET /account/security`
pub(crate) async fn get(State(app): State<Shared>, headers: HeaderMap) -> Response {
    answer(&app, show(&app, &headers).await)
}

async fn show(app: &App, headers: &HeaderMap) -> Result<Response, Turned> {
    let visit = Visit::begin(app, headers, &HERE).await?;
    let app_facts = totp::facts(&app.store, &visit.user_id()).await?;
    let keys: Vec<Value> = passkeys::of(&app.store, &visit.user_id()).await?.iter().map(listed).collect();
    let values = context!(
        page => Page::Security.name(),
        passkeys => Value::from(keys),
        csrf => visit.csrf(app),
        has_app => app_facts.is_some(),
        app_added => app_facts.map(|facts| shown(facts.created_at)).unwrap_or_default(),
        app_used => app_facts.and_then(|facts| facts.last_used_at).map(shown).unwrap_or_default(),
        has_factor => visit.enrolled.any(),
        codes_left => visit.enrolled.recovery_codes,
        required => app.factors.least(&visit.session.user) > Assurance::OneFactor,
    );
    Ok(app.pages.render(StatusCode::OK, "security.html", values, None)?)
}

fn listed(passkey: &Passkey) -> Value {
    context!(
        id => passkey.id.as_str(),
        name => passkey.name.as_str(),
        synced => passkey.backed_up,
        added => shown(passkey.created_at),
        used => passkey.last_used_at.map(shown).unwrap_or_default(),
    )
}

/// An event about the visitor's own account.
pub(crate) fn event<const N: usize>(visit: &Visit, pairs: [(&str, String); N]) -> Event {
    Event {
        actor: visit.user_id(),
        subject: visit.user_id(),
        client_id: String::new(),
        detail: audit::detail(pairs),
    }
}

/// Keeps the last factor of who must have one.
pub(crate) fn refuse_last(app: &App, visit: &Visit) -> Result<(), Turned> {
    if app.factors.least(&visit.session.user) == Assurance::OneFactor || visit.enrolled.count() > 1 {
        return Ok(());
    }
    let text = "Your administrator asks for a second step, so the last one cannot be removed. \
                Set another one up first.";
    Err(Turned::Away(Box::new(app.pages.message(StatusCode::CONFLICT, "That did not work", text))))
}

/// The page that shows new recovery codes, this once.
pub(crate) fn codes_page(
    app: &App,
    codes: &[Zeroizing<String>],
    continue_to: &str,
) -> Result<Response, Turned> {
    let codes: Vec<String> = codes.iter().map(|code| code.to_string()).collect();
    let values = context!(page => Page::Security.name(), codes => Value::from(codes), continue_to);
    Ok(app.pages.render(StatusCode::OK, "codes.html", values, None)?)
}

/// `POST /account/recovery-codes`
pub(crate) async fn renew_codes(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        renew(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn renew(app: &App, headers: &HeaderMap, params: &Params, caller: &Caller) -> Result<Response, Turned> {
    let visit = Visit::recent(app, headers, &HERE).await?;
    visit.check(app, headers, params)?;
    if !visit.enrolled.any() {
        return Ok(see_other(&format!("{}{}", app.issuer.prefix, Page::Security.path())));
    }
    let now = app.now();
    let mut tx = app.store.begin().await?;
    let codes = recovery::replace(&mut tx, &app.vault, app.entropy.as_ref(), &visit.user_id(), now).await?;
    audit::append(&mut tx, &app.vault, now, caller, Kind::RecoveryCodesMade, event(&visit, [])).await?;
    tx.commit().await?;
    codes_page(app, &codes, &format!("{}{}", app.issuer.prefix, Page::Security.path()))
}

/// `POST /account/totp/remove`
pub(crate) async fn remove_totp(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        remove(&app, &headers, &params, &caller).await
    };
    answer(&app, outcome.await)
}

async fn remove(
    app: &App,
    headers: &HeaderMap,
    params: &Params,
    caller: &Caller,
) -> Result<Response, Turned> {
    let visit = Visit::recent(app, headers, &HERE).await?;
    visit.check(app, headers, params)?;
    refuse_last(app, &visit)?;
    let now = app.now();
    let mut tx = app.store.begin().await?;
    let removed = totp::remove(&mut tx, &visit.user_id()).await?;
    factors::drop_orphaned_codes(&mut tx, &visit.user_id()).await?;
    if removed {
        let event = event(&visit, [("factor", "totp".to_owned())]);
        audit::append(&mut tx, &app.vault, now, caller, Kind::FactorRemoved, event).await?;
    }
    tx.commit().await?;
    Ok(see_other(&format!("{}{}", app.issuer.prefix, Page::Security.path())))
}
