//! Accounts: creating, reading and changing them.
//!
//! Invariants: one account for each e-mail address of an organization, compared without regard to case; a change
//! names the version it was made from; versions rise by one.

use async_trait::async_trait;
use quintet_module::conditional::Expected;
use quintet_module::page::{Slice, Window};
use quintet_module::retry::{self, Retryable};
use quintet_store::{Store, Tx};
use quintet_types::{OrganizationId, SharedClock, SystemEntropy, Timestamp, UserId};
use quintet_users_api as api;
use thiserror::Error;

use crate::table;

/// An account as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The account's id.
    pub id: UserId,
    /// The e-mail address as it was given.
    pub email: String,
    /// How the account is addressed.
    pub name: String,
    /// 1 when made, one more with each change.
    pub version: i64,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
}

/// An account to make.
#[derive(Debug, Clone)]
pub struct NewAccount {
    /// The e-mail address.
    pub email: String,
    /// How the account is addressed.
    pub name: String,
}

/// What to change about an account; what is absent stays.
#[derive(Debug, Clone, Default)]
pub struct Change {
    /// The new e-mail address.
    pub email: Option<String>,
    /// The new name.
    pub name: Option<String>,
}

/// A field that is not acceptable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Invalid {
    /// The e-mail address.
    #[error("an e-mail address looks like name@example.com and has at most 254 characters")]
    Email,
    /// The name.
    #[error("a name has 1 to 200 characters and no control characters")]
    Name,
}

/// Why an account could not be read, made or changed.
#[derive(Debug, Error)]
pub enum Error {
    /// A field is not acceptable.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// The address belongs to another account.
    #[error("the e-mail address belongs to another account")]
    EmailTaken,
    /// There is no such account.
    #[error("account {0} does not exist")]
    Unknown(UserId),
    /// The account changed since the version that the caller knows.
    #[error("the account has changed since")]
    Changed,
    /// The database failed.
    #[error("cannot read or write the account")]
    Store(#[source] quintet_store::Error),
}

impl From<quintet_store::Error> for Error {
    fn from(error: quintet_store::Error) -> Self {
        if error.is_conflict_on("users_accounts", "email_key") {
            Self::EmailTaken
        } else {
            Self::Store(error)
        }
    }
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// The accounts; cheap to clone.
#[derive(Clone)]
pub struct Accounts {
    store: Store,
    clock: SharedClock,
}

impl Accounts {
    /// The accounts in `store`.
    pub fn new(store: Store, clock: SharedClock) -> Self {
        Self { store, clock }
    }

    /// Makes an account.
    pub async fn create(&self, organization: OrganizationId, account: NewAccount) -> Result<Record, Error> {
        let now = self.clock.now();
        let record = Record {
            id: UserId::generate(&*self.clock, &SystemEntropy),
            email: checked_email(&account.email)?,
            name: checked_name(&account.name)?,
            version: 1,
            created_at: now,
            updated_at: now,
        };
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::insert(&mut tx, organization, &record, &record.email.to_lowercase()).await?;
            tx.commit().await?;
            Ok(record.clone())
        })
        .await
    }

    /// One account.
    pub async fn find(&self, organization: OrganizationId, id: UserId) -> Result<Record, Error> {
        table::find(&self.store, organization, id).await?.ok_or(Error::Unknown(id))
    }

    /// Accounts, newest first.
    pub async fn list(
        &self,
        organization: OrganizationId,
        window: Window<UserId>,
    ) -> Result<Slice<Record>, Error> {
        let below = window.upper_bound(UserId::PREFIX);
        let rows = table::list(&self.store, organization, below, window.fetch_limit()).await?;
        Ok(window.slice(rows))
    }

    /// Changes an account that is at an expected version.
    pub async fn change(
        &self,
        organization: OrganizationId,
        id: UserId,
        expected: &Expected,
        change: &Change,
    ) -> Result<Record, Error> {
        let email = change.email.as_deref().map(checked_email).transpose()?;
        let name = change.name.as_deref().map(checked_name).transpose()?;
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            let current = table::lock(&mut tx, organization, id).await?.ok_or(Error::Unknown(id))?;
            if !expected.accepts(current.version) {
                return Err(Error::Changed);
            }
            let changed = Record {
                email: email.clone().unwrap_or(current.email),
                name: name.clone().unwrap_or(current.name),
                version: current.version + 1,
                updated_at: self.clock.now(),
                ..current
            };
            table::update(&mut tx, &changed, &changed.email.to_lowercase()).await?;
            tx.commit().await?;
            Ok(changed)
        })
        .await
    }
}

#[async_trait]
impl api::Users for Accounts {
    async fn account(
        &self,
        tx: &mut Tx,
        organization: OrganizationId,
        id: UserId,
    ) -> Result<api::Account, api::Error> {
        let record = table::find_in(tx, organization, id).await?.ok_or(api::Error::UnknownAccount(id))?;
        Ok(api::Account { id: record.id, email: record.email, name: record.name })
    }
}

/// Not the whole of RFC 5321: what keeps a typing error and a header injection out. Whether the
/// address exists is found out by writing to it.
fn checked_email(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let (local, domain) = text.rsplit_once('@').ok_or(Invalid::Email)?;
    let labels = domain.split('.').all(|label| {
        !label.is_empty() && label.chars().all(|c| c.is_alphanumeric() || c == '-') && !label.starts_with('-')
    });
    let plain = !local.is_empty()
        && local.len() <= 64
        && !local.contains('@')
        && !local.chars().any(|c| c.is_whitespace() || c.is_control() || "<>()[]\\,;:\"".contains(c));
    if plain && labels && text.len() <= 254 { Ok(text.to_owned()) } else { Err(Invalid::Email) }
}

pub(crate) fn checked_name(text: &str) -> Result<String, Invalid> {
    let text = text.trim();
    let length = text.chars().count();
    let plain = !text.chars().any(char::is_control);
    if plain && (1..=200).contains(&length) { Ok(text.to_owned()) } else { Err(Invalid::Name) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_cannot_be_written_to_are_refused() {
        for text in [
            "ann@example.com",
            " ann@example.com ",
            "a.b+c@sub.example.co",
            "ann@localhost",
            "jürgen@bücher.de",
        ] {
            assert!(checked_email(text).is_ok(), "{text}");
        }
        let long = format!("{}@example.com", "a".repeat(65));
        for text in [
            "",
            "ann",
            "@example.com",
            "ann@",
            "a b@example.com",
            "ann@exa mple.com",
            "ann@example..com",
            "ann@example.com\r\nBcc: eve@example.com",
            "a@b@example.com",
            "Ann <ann@example.com>",
            &long,
        ] {
            assert_eq!(checked_email(text), Err(Invalid::Email), "{text}");
        }
    }

    #[test]
    fn a_name_is_trimmed_and_bounded() {
        assert_eq!(checked_name("  Ann Lee ").as_deref(), Ok("Ann Lee"));
        for text in ["", "   ", "Ann\nLee", &"x".repeat(201)] {
            assert_eq!(checked_name(text), Err(Invalid::Name), "{text:?}");
        }
    }
}
