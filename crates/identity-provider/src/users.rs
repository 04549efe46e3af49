//! Accounts: their rows and the rules for a new one.
//!
//! Knows neither HTTP nor how passwords are hashed. An address is compared by its trimmed,
//! lower-case form, and shown as it was written.

use quintet_store::{Row, Sql, Store, Tx, args};
use quintet_types::UserId;
use serde::Serialize;
use thiserror::Error;

use crate::passwords::{MAX_PASSWORD_BYTES, MIN_PASSWORD_CHARS};
use crate::scopes::Role;

/// RFC 5321 §4.5.3.1 bounds a path at 256 octets including its brackets.
const MAX_EMAIL_BYTES: usize = 254;
const MAX_NAME_CHARS: usize = 200;

/// An account.
#[derive(Debug, Clone)]
pub(crate) struct User {
    pub(crate) id: UserId,
    pub(crate) email: String,
    pub(crate) email_verified: bool,
    pub(crate) name: String,
    pub(crate) role: Role,
    pub(crate) disabled: bool,
    pub(crate) password_hash: String,
    pub(crate) created_at: i64,
}

/// What is wrong with the wish for a new account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum InvalidUser {
    /// Not a mailbox.
    #[error("an e-mail address has the form name@host and at most 254 bytes")]
    Email,
    /// Empty, too long, or with control characters.
    #[error("a name has 1 to 200 characters")]
    Name,
    /// Outside the length allowed.
    #[error("a password has at least 12 characters and at most 512 bytes")]
    Password,
}

impl InvalidUser {
    /// The field that is wrong.
    pub(crate) const fn field(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Name => "name",
            Self::Password => "password",
        }
    }
}

/// An address as accounts are looked up by.
pub(crate) fn email_key(email: &str) -> String {
    email.trim().to_lowercase()
}

/// Checks the fields of a new account.
pub(crate) fn check_new(email: &str, name: &str, password: &str) -> Result<(), InvalidUser> {
    let email = email.trim();
    let well_formed = email.len() <= MAX_EMAIL_BYTES
        && !email.chars().any(|c| c.is_whitespace() || c.is_control())
        && email.rsplit_once('@').is_some_and(|(local, host)| !local.is_empty() && !host.is_empty());
    if !well_formed {
        return Err(InvalidUser::Email);
    }
    let name = name.trim();
    if name.is_empty() || name.chars().count() > MAX_NAME_CHARS || name.chars().any(char::is_control) {
        return Err(InvalidUser::Name);
    }
    check_password(password)
}

/// Checks a new password.
pub(crate) fn check_password(password: &str) -> Result<(), InvalidUser> {
    if password.len() > MAX_PASSWORD_BYTES || password.chars().count() < MIN_PASSWORD_CHARS {
        return Err(InvalidUser::Password);
    }
    Ok(())
}

const COLUMNS: &str = "id, email, email_verified, name, role, disabled, password_hash, created_at";

fn from_row(row: &Row) -> Result<User, quintet_store::Error> {
    Ok(User {
        id: row.parse("id")?,
        email: row.get("email")?,
        email_verified: row.get("email_verified")?,
        name: row.get("name")?,
        role: row.parse("role")?,
        disabled: row.get("disabled")?,
        password_hash: row.get("password_hash")?,
        created_at: row.get("created_at")?,
    })
}

/// The account with this address.
pub(crate) async fn by_email(store: &Store, email: &str) -> Result<Option<User>, quintet_store::Error> {
    let sql =
        quintet_store::Sql::dynamic(format!("SELECT {COLUMNS} FROM identity_users WHERE email_key = $1"));
    store.fetch_optional(sql, args![email_key(email)]).await?.as_ref().map(from_row).transpose()
}

/// The account with this id.
pub(crate) async fn by_id(store: &Store, id: &str) -> Result<Option<User>, quintet_store::Error> {
    let sql = quintet_store::Sql::dynamic(format!("SELECT {COLUMNS} FROM identity_users WHERE id = $1"));
    store.fetch_optional(sql, args![id]).await?.as_ref().map(from_row).transpose()
}

/// One page of accounts in the order of their ids.
pub(crate) async fn list(store: &Store, after: &str, limit: i64) -> Result<Vec<User>, quintet_store::Error> {
    let sql = quintet_store::Sql::dynamic(format!(
        "SELECT {COLUMNS} FROM identity_users WHERE id > $1 ORDER BY id LIMIT $2"
    ));
    store.fetch_all(sql, args![after, limit]).await?.iter().map(from_row).collect()
}

/// Writes a new account; a second one with the same address is a conflict.
pub(crate) async fn insert(tx: &mut Tx, user: &User) -> Result<(), quintet_store::Error> {
    tx.execute(
        "INSERT INTO identity_users (id, email, email_key, email_verified, name, role, disabled, password_hash, \
         created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $9)",
        args![
            user.id,
            &user.email,
            email_key(&user.email),
            user.email_verified,
            &user.name,
            user.role.name(),
            user.disabled,
            &user.password_hash,
            user.created_at
        ],
    )
    .await
    .map(drop)
}

const HOLD: Sql = Sql::per_dialect(
    "SELECT password_hash FROM identity_users WHERE id = $1 AND disabled = FALSE",
    "SELECT password_hash FROM identity_users WHERE id = $1 AND disabled = FALSE FOR UPDATE",
);

/// Whether the account is as `user` was read, and nobody else changes it before the transaction's end: enabled, and with
/// the same password if that was proof. Checking one takes long enough for it to be replaced meanwhile.
pub(crate) async fn hold(tx: &mut Tx, user: &User, by_password: bool) -> Result<bool, quintet_store::Error> {
    let Some(row) = tx.fetch_optional(&HOLD, args![user.id]).await? else { return Ok(false) };
    Ok(!by_password || row.get::<String>("password_hash")? == user.password_hash)
}

/// Replaces the stored hash, unless the password changed meanwhile.
pub(crate) async fn rehash(
    tx: &mut Tx,
    user: &User,
    password_hash: &str,
    now: i64,
) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_users SET password_hash = $1, updated_at = $2 WHERE id = $3 AND password_hash = $4",
        args![password_hash, now, user.id, &user.password_hash],
    )
    .await
    .map(drop)
}

/// Gives an account another password.
pub(crate) async fn set_password(
    tx: &mut Tx,
    user: &User,
    password_hash: &str,
    now: i64,
) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_users SET password_hash = $1, updated_at = $2 WHERE id = $3",
        args![password_hash, now, user.id],
    )
    .await
    .map(drop)
}

/// Notes that mail to the account's address arrives, unless the address changed meanwhile.
pub(crate) async fn verify_email(tx: &mut Tx, user: &User, now: i64) -> Result<(), quintet_store::Error> {
    tx.execute(
        "UPDATE identity_users SET email_verified = TRUE, updated_at = $1 WHERE id = $2 AND email_key = $3",
        args![now, user.id, email_key(&user.email)],
    )
    .await
    .map(drop)
}

/// An account as the administration API shows it.
#[derive(Debug, Serialize)]
pub(crate) struct UserView {
    id: UserId,
    email: String,
    email_verified: bool,
    name: String,
    role: Role,
    disabled: bool,
    created_at: String,
}

impl From<&User> for UserView {
    fn from(user: &User) -> Self {
        Self {
            id: user.id,
            email: user.email.clone(),
            email_verified: user.email_verified,
            name: user.name.clone(),
            role: user.role,
            disabled: user.disabled,
            created_at: quintet_types::time::from_micros(user.created_at).to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_differ_in_case_and_margin_are_one_account() {
        assert_eq!(email_key(" Ada@Example.COM "), email_key("ada@example.com"));
    }

    #[test]
    fn what_makes_no_account_is_named_by_field() {
        let good = "correct horse battery";
        let long = "x".repeat(513);
        for (email, name, password, expected) in [
            ("ada@example.com", "Ada", good, Ok(())),
            ("ada", "Ada", good, Err(InvalidUser::Email)),
            ("a da@example.com", "Ada", good, Err(InvalidUser::Email)),
            ("@example.com", "Ada", good, Err(InvalidUser::Email)),
            ("ada@example.com", "  ", good, Err(InvalidUser::Name)),
            ("ada@example.com", "Ada\n", "short", Err(InvalidUser::Password)),
            ("ada@example.com", "A\u{7}da", good, Err(InvalidUser::Name)),
            ("ada@example.com", "Ada", &long, Err(InvalidUser::Password)),
        ] {
            assert_eq!(check_new(email, name, password), expected, "{email} {name}");
        }
    }
}
