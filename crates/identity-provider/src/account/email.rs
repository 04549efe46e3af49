//! Showing that an e-mail address is one's own.
//!
//! The flag is set by the link that was mailed, and by nothing that a person or a client sends.

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use minijinja::context;

use super::{Page, Turned, Visit, answer, form, readable};
use crate::app::{App, Shared};
use crate::audit::{self, Event, Kind};
use crate::authorize::see_other;
use crate::caller::Caller;
use crate::login::next::Next;
use crate::login::reset::gone;
use crate::login::too_many;
use crate::mail::outbox;
use crate::mail::tokens::{self, For};
use crate::params::Params;
use crate::throttle::{AccountKey, Place};
use crate::time::retry_seconds;
use crate::users;
use crate::vault::Purpose;

const MICROS_PER_HOUR: i64 = 3600 * 1_000_000;

/// `POST /account/verify`: asks for the letter.
pub(crate) async fn ask(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        let visit = Visit::begin(&app, &headers, &Next::Page(Page::Overview)).await?;
        visit.check(&app, &headers, &params)?;
        send(&app, &visit).await
    };
    answer(&app, outcome.await)
}

async fn send(app: &App, visit: &Visit) -> Result<Response, Turned> {
    let user = &visit.session.user;
    let home = format!("{}/", app.issuer.prefix);
    let Some(mail) = app.mail.as_ref().filter(|_| !user.email_verified) else { return Ok(see_other(&home)) };
    // Only the signed-in owner comes here; what is bounded is how much mail they make.
    let key = AccountKey(app.vault.mac(Purpose::Account, &[b"verify", visit.user_id().as_bytes()]));
    if let Err(wait) = app.throttle.attempt(key, Place::Anywhere, app.now()) {
        let mut page = app.pages.message(StatusCode::TOO_MANY_REQUESTS, "That did not work", &too_many(wait));
        page.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_seconds(wait)));
        return Err(Turned::Away(Box::new(page)));
    }
    let mut tx = app.store.begin().await?;
    let secret = tokens::issue(&mut tx, app, For::Verify, Some(user)).await?;
    let values = context!(
        name => user.name.as_str(),
        host => app.issuer.host.as_str(),
        hours => For::Verify.life() / MICROS_PER_HOUR,
        link => format!("{}?token={}", app.issuer.endpoint("/verify"), secret.reveal()),
    );
    let letter = mail.letter(Some(&user.email), "verify", values)?;
    outbox::put(&mut tx, app, &letter, app.now() + For::Verify.life()).await?;
    tx.commit().await?;
    outbox::wake(app);
    let text = "We have sent you a letter with a link. It may take a minute to arrive.";
    Ok(app.pages.message(StatusCode::OK, "Look into your mail", text))
}

/// `GET /verify`: the page behind the link, which uses nothing up.
pub(crate) async fn get(State(app): State<Shared>, RawQuery(query): RawQuery) -> Response {
    let outcome = async {
        let params = readable(&app, Params::parse(query.unwrap_or_default().as_bytes()))?;
        let token = params.get("token").unwrap_or_default();
        let Some(user) = tokens::find(&app, For::Verify, token).await? else { return Ok(gone(&app)) };
        let values = context!(token, email => user.email.as_str());
        Ok(app.pages.render(StatusCode::OK, "verify.html", values, None)?)
    };
    answer(&app, outcome.await)
}

/// `POST /verify`. The token is the whole proof: the link is often opened where nobody is signed in, and
/// a form forged for it would need the token.
pub(crate) async fn confirm(
    State(app): State<Shared>,
    headers: HeaderMap,
    caller: Caller,
    body: Body,
) -> Response {
    let outcome = async {
        let params = form(&app, &headers, body).await?;
        let token = params.get("token").unwrap_or_default();
        let Some(user) = tokens::find(&app, For::Verify, token).await? else { return Ok(gone(&app)) };
        let now = app.now();
        let mut tx = app.store.begin().await?;
        if !tokens::redeem(&mut tx, &app, For::Verify, token).await? {
            return Ok(gone(&app));
        }
        users::verify_email(&mut tx, &user, now).await?;
        let user_id = user.id.to_string();
        let event = Event { actor: user_id.clone(), subject: user_id, ..Event::default() };
        audit::append(&mut tx, &app.vault, now, &caller, Kind::EmailVerified, event).await?;
        tx.commit().await?;
        Ok(app.pages.message(StatusCode::OK, "Thank you", "Your e-mail address is confirmed."))
    };
    answer(&app, outcome.await)
}
