//! Back-channel logout (OpenID Connect Back-Channel Logout 1.0): clients are told that a session has ended.
//!
//! Whoever ends a session writes one row for each client with a grant in it, in the same transaction
//! ([`crate::grants::revoke_session`]), so that no end is forgotten and none is told that did not come about. A task of
//! every node delivers what is due. A row is claimed by moving its next attempt, which a conditional update does for one
//! node alone; a node that dies in between leaves the attempt to the next. After [`MOST_ATTEMPTS`] the client is given up.

use std::sync::Arc;
use std::time::Duration;

use quintet_store::args;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::app::{App, Shared};
use crate::clients::Client;
use crate::fault::Fault;
use crate::keys::TokenType;
use crate::outbound::Outbound;
use crate::time::{seconds, span};

/// How often due deliveries are looked for.
const EVERY: Duration = Duration::from_secs(1);
/// Deliveries at once.
const AT_ONCE: usize = 64;
/// Deliveries to one client that are begun in a second, so that one that hangs leaves room for the others.
const OF_CLIENT: i64 = 4;
/// How long a client has to answer.
const TIMEOUT: Duration = Duration::from_secs(5);
/// Only the status counts.
const MOST_ANSWER: usize = 16 * 1024;
/// Attempts before a client is given up: about half an hour.
const MOST_ATTEMPTS: i64 = 8;
/// Pause after the first failure; each further one quadruples it, up to [`LONGEST_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_secs(2);
const LONGEST_PAUSE: Duration = Duration::from_mins(10);
/// How long a logout token is good for, in seconds (§2.4 recommends two minutes at most).
const TOKEN_LIFETIME: i64 = 120;

/// Where a client hears of ended sessions.
pub(crate) fn address(uri: &str) -> Result<Outbound, String> {
    Outbound::new(uri, TIMEOUT, MOST_ANSWER)
}

/// The claims of a logout token (§2.4).
#[derive(Serialize)]
struct LogoutClaims<'a> {
    iss: &'a str,
    sub: &'a str,
    aud: &'a str,
    iat: i64,
    exp: i64,
    jti: String,
    events: Value,
    sid: &'a str,
}

#[derive(Debug)]
struct Delivery {
    session_id: String,
    client_id: String,
    user_id: String,
    attempts: i64,
}

/// Delivers until `shutdown`.
pub(crate) async fn run(app: Shared, shutdown: CancellationToken) -> anyhow::Result<()> {
    let mut ticks = interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            _ = ticks.tick() => {}
        }
        while let Some(ended) = running.try_join_next() {
            log(ended);
        }
        if let Err(fault) = begin(&app, &mut running).await {
            fault.log();
        }
    }
}

type Ended = Result<Result<(), Fault>, tokio::task::JoinError>;

fn log(ended: Ended) {
    if let Ok(Err(fault)) = ended {
        fault.log();
    }
}

/// Makes the deliveries that are due, and waits for them.
#[cfg(test)]
pub(crate) async fn turn(app: &Shared) -> Result<(), Fault> {
    let mut running = JoinSet::new();
    begin(app, &mut running).await?;
    running.join_all().await.into_iter().collect()
}

/// Begins the deliveries that are due, as many as there is room for.
async fn begin(app: &Shared, running: &mut JoinSet<Result<(), Fault>>) -> Result<(), Fault> {
    let room = i64::try_from(AT_ONCE.saturating_sub(running.len())).unwrap_or_default();
    if room == 0 {
        return Ok(());
    }
    let rows = app
        .store
        .fetch_all(
            "SELECT session_id, client_id, user_id, attempts FROM \
                 (SELECT session_id, client_id, user_id, attempts, next_at, \
                         row_number() OVER (PARTITION BY client_id ORDER BY next_at) AS place \
                  FROM identity_logout_deliveries WHERE next_at <= $1) AS due \
             WHERE place <= $2 ORDER BY next_at LIMIT $3",
            args![app.now(), OF_CLIENT, room],
        )
        .await?;
    for row in rows {
        let delivery = Delivery {
            session_id: row.get("session_id")?,
            client_id: row.get("client_id")?,
            user_id: row.get("user_id")?,
            attempts: row.get("attempts")?,
        };
        let app = Arc::clone(app);
        running.spawn(async move { deliver(&app, &delivery).await });
    }
    Ok(())
}

async fn deliver(app: &App, delivery: &Delivery) -> Result<(), Fault> {
    let client = app.clients.find(&delivery.client_id);
    let Some(client) = client.filter(|client| client.security.backchannel_logout.is_some()) else {
        return forget(app, delivery).await;
    };
    if !claim(app, delivery).await? {
        return Ok(());
    }
    let outcome = if tell(app, &client, delivery).await? {
        "delivered"
    } else if delivery.attempts + 1 < MOST_ATTEMPTS {
        metrics::counter!("quintet_identity_logout_deliveries_total", "outcome" => "failed").increment(1);
        return Ok(());
    } else {
        tracing::warn!(client = %client.id, session = %delivery.session_id, "client was not told of a logout");
        "given_up"
    };
    metrics::counter!("quintet_identity_logout_deliveries_total", "outcome" => outcome).increment(1);
    forget(app, delivery).await
}

/// Moves the next attempt; `false` when another node did.
async fn claim(app: &App, delivery: &Delivery) -> Result<bool, Fault> {
    let doublings = u32::try_from(delivery.attempts.clamp(0, 16)).unwrap_or_default();
    let pause = FIRST_PAUSE.saturating_mul(4u32.saturating_pow(doublings)).min(LONGEST_PAUSE);
    let mut tx = app.store.begin().await?;
    let claimed = tx
        .execute(
            "UPDATE identity_logout_deliveries SET attempts = attempts + 1, next_at = $1 \
             WHERE session_id = $2 AND client_id = $3 AND attempts = $4",
            // Not before this attempt has ended, however slow the client is.
            args![
                app.now() + span(TIMEOUT) + span(pause),
                &delivery.session_id,
                &delivery.client_id,
                delivery.attempts
            ],
        )
        .await?;
    tx.commit().await?;
    Ok(claimed == 1)
}

/// Whether the client took the logout token (§2.8: 200, or 204 from some frameworks).
async fn tell(app: &App, client: &Client, delivery: &Delivery) -> Result<bool, Fault> {
    let Some(address) = &client.security.backchannel_logout else { return Ok(true) };
    let now = seconds(app.now());
    let claims = LogoutClaims {
        iss: &app.issuer.url,
        sub: &delivery.user_id,
        aud: &client.id,
        iat: now,
        exp: now + TOKEN_LIFETIME,
        jti: format!(
            "out_{}",
            quintet_types::id::encode(quintet_types::id::draw(app.clock.as_ref(), app.entropy.as_ref()))
        ),
        events: json!({ "http://schemas.openid.net/event/backchannel-logout": {} }),
        sid: &delivery.session_id,
    };
    let token = app.keys.sign(TokenType::Logout, &claims)?;
    match address.client.post_form(&address.path, &[("logout_token", &token)]).await {
        Ok(_) => Ok(true),
        Err(error) => {
            tracing::info!(%error, client = %client.id, attempt = delivery.attempts + 1, "logout not delivered");
            Ok(false)
        }
    }
}

async fn forget(app: &App, delivery: &Delivery) -> Result<(), Fault> {
    let mut tx = app.store.begin().await?;
    tx.execute(
        "DELETE FROM identity_logout_deliveries WHERE session_id = $1 AND client_id = $2",
        args![&delivery.session_id, &delivery.client_id],
    )
    .await?;
    Ok(tx.commit().await?)
}
