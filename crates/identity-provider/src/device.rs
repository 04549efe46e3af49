//! The device authorization grant (RFC 8628): a device without a browser shows a short code, and a person who is signed
//! in elsewhere enters it and decides.
//!
//! Two secrets belong to one request: the device's, 256 bits, and the person's, eight letters. Both are stored as keyed
//! hashes. A decision to allow writes an ordinary authorization code under the device's secret, so that the token endpoint
//! exchanges it once and notices a second time as it does with every code.
//!
//! Guessing the short code is slowed by who guesses: only a signed-in person may enter one (§5.1), and wrong ones count
//! against them as wrong passwords do.

pub(crate) mod page;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::{IntoResponse as _, Response};
use quintet_store::{Row, Store, Tx, args};
use quintet_types::Entropy;
use serde_json::{Value, json};

use crate::app::{App, Shared};
use crate::client_auth;
use crate::clients::GrantType;
use crate::params::Params;
use crate::scopes::Scopes;
use crate::time::span;
use crate::token::{OAuthError, Refusal, no_store, resource};
use crate::vault::{BearerSecret, Purpose};

/// How long a person has to enter the code.
const LIFETIME: std::time::Duration = std::time::Duration::from_mins(10);

/// Least time between two polls of a device, in seconds; each poll that comes too early adds as much (§3.5).
const INTERVAL: i64 = 5;

/// The slowest that a device is made to poll.
const MOST_INTERVAL: i64 = 60;

/// Letters that are neither vowels nor taken for one another (§6.1): eight of them are 34 bits.
const LETTERS: &[u8] = b"BCDFGHJKLMNPQRSTVWXZ";
const CODE_LETTERS: usize = 8;

/// `POST /device_authorization`
pub(crate) async fn post(State(app): State<Shared>, headers: HeaderMap, body: Body) -> Response {
    match begin(&app, &headers, body).await {
        Ok(answer) => no_store(Json(answer).into_response()),
        Err(refusal) => refusal.into_response(),
    }
}

async fn begin(app: &App, headers: &HeaderMap, body: Body) -> Result<Value, Refusal> {
    let params = Params::read(headers, body).await?;
    let client = client_auth::authenticate(app, headers, &params, "/device_authorization").await?;
    if !client.may(GrantType::DeviceCode) {
        return Err(OAuthError::UnauthorizedClient.because("this client may not use this grant type"));
    }
    let wanted = params.get("scope").map_or(client.scopes, Scopes::requested) & client.scopes;
    if wanted.is_empty() {
        return Err(OAuthError::InvalidScope.because("this client may have none of the scopes asked for"));
    }
    let resource = resource(&client, &params).map_err(|text| OAuthError::InvalidTarget.because(text))?;
    let secret = BearerSecret::draw(app.entropy.as_ref(), "");
    let code = draw_code(app.entropy.as_ref());
    let mut tx = app.store.begin().await?;
    tx.execute(
        "INSERT INTO identity_device_requests (code_hash, user_code_hash, client_id, scope, resource, expires_at, \
         poll_seconds) VALUES ($1, $2, $3, $4, $5, $6, $7)",
        args![
            app.vault.hash(Purpose::Code, secret.reveal()),
            app.vault.hash(Purpose::UserCode, &code),
            &client.id,
            wanted.to_string(),
            resource,
            app.now() + span(LIFETIME),
            INTERVAL
        ],
    )
    .await?;
    tx.commit().await?;
    let shown = format!("{}-{}", code.get(..4).unwrap_or_default(), code.get(4..).unwrap_or_default());
    let uri = app.issuer.endpoint("/device");
    Ok(json!({
        "device_code": secret.reveal(),
        "user_code": shown,
        "verification_uri": uri,
        "verification_uri_complete": format!("{uri}?user_code={shown}"),
        "expires_in": LIFETIME.as_secs(),
        "interval": INTERVAL,
    }))
}

fn draw_code(entropy: &dyn Entropy) -> String {
    let mut code = String::with_capacity(CODE_LETTERS);
    while code.len() < CODE_LETTERS {
        let mut byte = [0u8; 1];
        entropy.fill(&mut byte);
        // 240 is the greatest multiple of 20 in a byte; what is above would favour the first letters.
        if byte[0] < 240
            && let Some(letter) = LETTERS.get(usize::from(byte[0]) % LETTERS.len())
        {
            code.push(char::from(*letter));
        }
    }
    code
}

/// A code as a person typed it: case, hyphen and spaces do not matter (§6.1).
fn normalized(typed: &str) -> Option<String> {
    let letters: String =
        typed.chars().filter(|c| !c.is_whitespace() && *c != '-').map(|c| c.to_ascii_uppercase()).collect();
    let known = letters.len() == CODE_LETTERS && letters.bytes().all(|byte| LETTERS.contains(&byte));
    known.then_some(letters)
}

/// A device that waits for a person.
#[derive(Debug, Clone)]
pub(crate) struct Waiting {
    code_hash: String,
    pub(crate) client_id: String,
    pub(crate) scope: String,
    resource: Option<String>,
    expires_at: i64,
    poll_seconds: i64,
    polled_at: Option<i64>,
    decision: Option<String>,
}

const COLUMNS: &str = "SELECT code_hash, client_id, scope, resource, expires_at, poll_seconds, polled_at, decision \
     FROM identity_device_requests WHERE ";

impl Waiting {
    fn read(row: &Row) -> Result<Self, quintet_store::Error> {
        Ok(Self {
            code_hash: row.get("code_hash")?,
            client_id: row.get("client_id")?,
            scope: row.get("scope")?,
            resource: row.get("resource")?,
            expires_at: row.get("expires_at")?,
            poll_seconds: row.get("poll_seconds")?,
            polled_at: row.get("polled_at")?,
            decision: row.get("decision")?,
        })
    }

    async fn find(store: &Store, by: &str, hash: String) -> Result<Option<Self>, quintet_store::Error> {
        let sql = quintet_store::Sql::dynamic(format!("{COLUMNS}{by} = $1"));
        store.fetch_optional(sql, args![hash]).await?.as_ref().map(Self::read).transpose()
    }

    /// The undecided request whose short code was typed.
    async fn typed(app: &App, typed: &str) -> Result<Option<Self>, quintet_store::Error> {
        let Some(code) = normalized(typed) else { return Ok(None) };
        let found =
            Self::find(&app.store, "user_code_hash", app.vault.hash(Purpose::UserCode, &code)).await?;
        Ok(found.filter(|waiting| waiting.decision.is_none() && waiting.expires_at > app.now()))
    }

    /// Writes a decision; `false` when there is one.
    async fn decide(&self, tx: &mut Tx, decision: &'static str) -> Result<bool, quintet_store::Error> {
        let updated = tx
            .execute(
                "UPDATE identity_device_requests SET decision = $1 WHERE code_hash = $2 AND decision IS NULL",
                args![decision, &self.code_hash],
            )
            .await?;
        Ok(updated == 1)
    }
}

const NOT_VALID: Refusal = OAuthError::InvalidGrant.because("the device code is not valid");

/// Whether the device with this secret may exchange it now (§3.4, §3.5).
pub(crate) async fn poll(app: &App, client_id: &str, secret: &str) -> Result<(), Refusal> {
    let hash = app.vault.hash(Purpose::Code, secret);
    let waiting = Waiting::find(&app.store, "code_hash", hash).await?.ok_or(NOT_VALID)?;
    if waiting.client_id != client_id {
        return Err(NOT_VALID);
    }
    let now = app.now();
    match waiting.decision.as_deref() {
        Some("allowed") => return Ok(()),
        Some(_) => return Err(OAuthError::AccessDenied.because("the person did not allow this")),
        None => {}
    }
    if waiting.expires_at <= now {
        return Err(OAuthError::ExpiredToken.because("nobody entered the code in time; begin again"));
    }
    let early = waiting.polled_at.is_some_and(|at| now - at < waiting.poll_seconds * 1_000_000);
    let seconds =
        if early { (waiting.poll_seconds + INTERVAL).min(MOST_INTERVAL) } else { waiting.poll_seconds };
    let mut tx = app.store.begin().await?;
    tx.execute(
        "UPDATE identity_device_requests SET polled_at = $1, poll_seconds = $2 WHERE code_hash = $3",
        args![now, seconds, &waiting.code_hash],
    )
    .await?;
    tx.commit().await?;
    if early {
        Err(OAuthError::SlowDown.because("poll less often: five seconds more between two polls"))
    } else {
        Err(OAuthError::AuthorizationPending.because("the person has not decided yet"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed_and_nothing_else_is() {
        for (typed, read) in [
            ("WDJB-MJHT", Some("WDJBMJHT")),
            (" wdjb mjht ", Some("WDJBMJHT")),
            ("WDJBMJH", None),
            ("WDJB-MJHTX", None),
            ("AEIO-UAEI", None),
            ("", None),
        ] {
            assert_eq!(normalized(typed).as_deref(), read, "{typed}");
        }
    }
}
