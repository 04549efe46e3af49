//! The users module: the accounts that buy, and the organizations that everything belongs to.
//!
//! Owns the tables `users_*` and the routes `/users`, `/organizations` and `/invitations`. Other modules see only `quintet-users-api`.
//! It does not sign anybody in: identities live with the identity provider.

mod accounts;
mod organizations;
mod reports;
mod routes;
mod schema;
mod table;

pub use accounts::{Accounts, Change, Error, Invalid, NewAccount, Record};
pub use organizations::{Members, Organizations};
pub use reports::REPORTS;
pub use routes::{UsersRead, UsersWrite};
pub use schema::SCHEMA;

/// The module, ready to be mounted.
pub fn module(accounts: Accounts, organizations: Organizations) -> quintet_module::Module {
    quintet_module::Module {
        schema: &SCHEMA,
        routes: routes::router(accounts, organizations),
        reports: REPORTS,
    }
}
