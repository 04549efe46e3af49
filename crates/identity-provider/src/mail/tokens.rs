//! The secrets in links: each for one thing, for one person, for a short time, and once.
//!
//! The database holds keyed hashes. A token is bound to what it was asked for about (the password, or the
//! address, of that moment), so that it ends when that changes. Fetching a link uses nothing up, because
//! mail servers fetch links to look at them; only the form behind it does.

use quintet_store::{Store, Tx, args};

use crate::app::App;
use crate::users::{self, User};
use crate::vault::{BearerSecret, Purpose};

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum For {
    /// Choosing a new password.
    Reset,
    /// Showing that an address is one's own.
    Verify,
}

impl For {
    const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Verify => "verify",
        }
    }

    /// Life of a token in microseconds. ASVS 5.0 asks for at most ten minutes where a person waits for a
    /// code; a link that comes by mail gets three times that.
    pub(crate) const fn life(self) -> i64 {
        match self {
            Self::Reset => 30 * 60 * 1_000_000,
            Self::Verify => 24 * 3600 * 1_000_000,
        }
    }

    fn bound_to(self, app: &App, user: &User) -> String {
        let text = match self {
            Self::Reset => user.password_hash.clone(),
            Self::Verify => users::email_key(&user.email),
        };
        app.vault.hash(Purpose::Password, &text)
    }
}

fn hash(app: &App, purpose: For, token: &str) -> String {
    app.vault.hash_parts(Purpose::MailToken, &[purpose.name().as_bytes(), token.as_bytes()])
}

/// Writes a token for `user`. For nobody it writes one that opens nothing: asking about an account that
/// does not exist is the same work.
pub(crate) async fn issue(
    tx: &mut Tx,
    app: &App,
    purpose: For,
    user: Option<&User>,
) -> Result<BearerSecret, quintet_store::Error> {
    let secret = BearerSecret::draw(app.entropy.as_ref(), "");
    tx.execute(
        "INSERT INTO identity_mail_tokens (token_hash, user_id, bound_to, expires_at) VALUES ($1, $2, $3, $4)",
        args![
            hash(app, purpose, secret.reveal()),
            user.map(|user| user.id.to_string()),
            user.map(|user| purpose.bound_to(app, user)).unwrap_or_default(),
            app.now() + purpose.life()
        ],
    )
    .await?;
    Ok(secret)
}

/// The person whom a token is for, if it would be accepted.
pub(crate) async fn find(app: &App, purpose: For, token: &str) -> Result<Option<User>, quintet_store::Error> {
    let row = app
        .store
        .fetch_optional(
            "SELECT user_id, bound_to FROM identity_mail_tokens \
             WHERE token_hash = $1 AND used_at IS NULL AND expires_at > $2",
            args![hash(app, purpose, token), app.now()],
        )
        .await?;
    let Some(row) = row else { return Ok(None) };
    let Some(user_id) = row.get::<Option<String>>("user_id")? else { return Ok(None) };
    let bound_to: String = row.get("bound_to")?;
    let user = users::by_id(&app.store, &user_id).await?;
    Ok(user.filter(|user| !user.disabled && purpose.bound_to(app, user) == bound_to))
}

/// Uses a token up; `false` when somebody was faster.
pub(crate) async fn redeem(
    tx: &mut Tx,
    app: &App,
    purpose: For,
    token: &str,
) -> Result<bool, quintet_store::Error> {
    let now = app.now();
    let updated = tx
        .execute(
            "UPDATE identity_mail_tokens SET used_at = $1 \
             WHERE token_hash = $2 AND used_at IS NULL AND expires_at > $1",
            args![now, hash(app, purpose, token)],
        )
        .await?;
    Ok(updated == 1)
}

/// Deletes expired tokens.
pub(crate) async fn prune(store: &Store, now: i64) -> Result<u64, quintet_store::Error> {
    let mut tx = store.begin().await?;
    let deleted = tx.execute("DELETE FROM identity_mail_tokens WHERE expires_at < $1", args![now]).await?;
    tx.commit().await?;
    Ok(deleted)
}
