//! Letters on their way to the mail server.
//!
//! A row of identity_outbox is one letter, sealed and bound to its id, because it may hold a link that
//! opens an account. Whoever moves `next_at` on by a conditional update has the letter for the length of
//! a lease; a process that dies meanwhile leaves it to the next. So a letter is handed over at least
//! once, under one Message-ID. It is given up when its link has expired or after a number of attempts.

use std::time::Duration;

use quintet_store::{Row, Tx, args};
use tokio_util::sync::CancellationToken;

use super::{Letter, Undelivered};
use crate::app::{App, Shared};
use crate::fault::Fault;
use crate::time::span;
use crate::vault::Sealing;

/// Rows looked at in one turn.
const BATCH: i64 = 8;
/// Longer than any attempt may take.
const LEASE: Duration = Duration::from_mins(2);
const FIRST_DELAY: Duration = Duration::from_secs(5);
const MAX_ATTEMPTS: i64 = 12;
/// Letters of other processes and those to be tried again are found this soon.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// A mail server that is away for long must not fill the database.
const MAX_LETTERS: i64 = 10_000;

/// Writes a letter as part of `tx`; the caller commits and then calls [`wake`].
pub(crate) async fn put(tx: &mut Tx, app: &App, letter: &Letter, expires_at: i64) -> Result<(), Fault> {
    let waiting: i64 = tx.fetch_one("SELECT count(*) AS n FROM identity_outbox", args![]).await?.get("n")?;
    if waiting >= MAX_LETTERS {
        count("dropped");
        tracing::error!(waiting, "the outbox is full; a letter was not written");
        return Ok(());
    }
    let drawn = quintet_types::id::draw(app.clock.as_ref(), app.entropy.as_ref());
    let id = format!("ltr_{}", quintet_types::id::encode(drawn));
    let json = serde_json::to_vec(letter).map_err(crate::keys::KeyError::from)?;
    let sealed = app.vault.seal(Sealing::Letter, &id, &json)?;
    tx.execute(
        "INSERT INTO identity_outbox (id, sealed_letter, attempts, next_at, expires_at) \
         VALUES ($1, $2, 0, $3, $4)",
        args![id, sealed, app.now(), expires_at],
    )
    .await?;
    Ok(())
}

/// Tells this process's delivery that a letter was committed.
pub(crate) fn wake(app: &App) {
    if let Some(mail) = &app.mail {
        mail.written.notify_one();
    }
}

/// Delivers until `shutdown`.
pub(crate) async fn run(app: Shared, shutdown: CancellationToken) -> anyhow::Result<()> {
    let Some(mail) = &app.mail else { return Ok(()) };
    loop {
        let again = match deliver_due(&app).await {
            Ok(looked_at) => looked_at == usize::try_from(BATCH).unwrap_or_default(),
            Err(fault) => {
                fault.log();
                false
            }
        };
        if again && !shutdown.is_cancelled() {
            continue;
        }
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            () = mail.written.notified() => {}
            () = tokio::time::sleep(LOOK_EVERY) => {}
        }
    }
}

/// Tries what is due; returns how many letters were looked at.
pub(crate) async fn deliver_due(app: &App) -> Result<usize, Fault> {
    let rows = app
        .store
        .fetch_all(
            "SELECT id, sealed_letter, attempts, next_at, expires_at FROM identity_outbox \
             WHERE next_at <= $1 ORDER BY next_at LIMIT $2",
            args![app.now(), BATCH],
        )
        .await?;
    for row in &rows {
        deliver(app, row).await?;
    }
    Ok(rows.len())
}

async fn deliver(app: &App, row: &Row) -> Result<(), Fault> {
    let (id, attempts): (String, i64) = (row.get("id")?, row.get::<i64>("attempts")? + 1);
    if !claim(app, &id, row.get("next_at")?).await? {
        return Ok(());
    }
    if row.get::<i64>("expires_at")? <= app.now() || attempts > MAX_ATTEMPTS {
        count("expired");
        tracing::warn!(letter = %id, attempts, "letter given up");
        return remove(app, &id).await;
    }
    let json = app.vault.open(Sealing::Letter, &id, &row.get::<String>("sealed_letter")?)?;
    let letter: Letter = serde_json::from_slice(&json).map_err(crate::keys::KeyError::from)?;
    let Some(mail) = &app.mail else { return Ok(()) };
    match mail.send(&id, &letter, app.now()).await {
        Ok(()) => {
            count("delivered");
            remove(app, &id).await
        }
        Err(error @ (Undelivered::Refused(_) | Undelivered::Malformed)) => {
            count("refused");
            note(&id, attempts, &error);
            remove(app, &id).await
        }
        Err(error @ (Undelivered::Later(_) | Undelivered::Timeout)) => {
            count("retried");
            note(&id, attempts, &error);
            postpone(app, &id, attempts).await
        }
    }
}

fn note(letter: &str, attempts: i64, error: &Undelivered) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(letter, attempts, error, "letter not delivered");
}

async fn claim(app: &App, id: &str, seen: i64) -> Result<bool, Fault> {
    let mut tx = app.store.begin().await?;
    let sql =
        "UPDATE identity_outbox SET next_at = $1, attempts = attempts + 1 WHERE id = $2 AND next_at = $3";
    let claimed = tx.execute(sql, args![app.now() + span(LEASE), id, seen]).await? == 1;
    tx.commit().await?;
    Ok(claimed)
}

async fn postpone(app: &App, id: &str, attempts: i64) -> Result<(), Fault> {
    let doublings = u32::try_from(attempts - 1).unwrap_or(0).min(7);
    let mut tx = app.store.begin().await?;
    let at = app.now() + span(FIRST_DELAY * 2u32.pow(doublings));
    tx.execute("UPDATE identity_outbox SET next_at = $1 WHERE id = $2", args![at, id]).await?;
    Ok(tx.commit().await?)
}

async fn remove(app: &App, id: &str) -> Result<(), Fault> {
    let mut tx = app.store.begin().await?;
    tx.execute("DELETE FROM identity_outbox WHERE id = $1", args![id]).await?;
    Ok(tx.commit().await?)
}

fn count(outcome: &'static str) {
    metrics::counter!("quintet_identity_letters_total", "outcome" => outcome).increment(1);
}
