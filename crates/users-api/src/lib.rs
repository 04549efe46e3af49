//! What other modules may know of users: the account behind an id.
//!
//! Nothing here says how accounts are kept; implementations live in the users module.

use async_trait::async_trait;
use quintet_store::Tx;
use quintet_types::{OrganizationId, UserId};
use thiserror::Error;

/// A person or company that buys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The account's id.
    pub id: UserId,
    /// Where its mail goes.
    pub email: String,
    /// How it is addressed.
    pub name: String,
}

/// Why an account could not be given.
#[derive(Debug, Error)]
pub enum Error {
    /// There is no such account.
    #[error("account {0} does not exist")]
    UnknownAccount(UserId),
    /// The database failed.
    #[error("cannot read the account")]
    Store(#[from] quintet_store::Error),
}

/// The users module, as the other modules call it.
#[async_trait]
pub trait Users: Send + Sync {
    /// The account behind `id` of an organization, read in the caller's transaction. That of another organization does
    /// not exist.
    async fn account(&self, tx: &mut Tx, organization: OrganizationId, id: UserId) -> Result<Account, Error>;
}
