//! `identity-provider`: OpenID Connect and OAuth 2 for the fleet.
//!
//! Sign-in, tokens, accounts and the audit log. It owns the `identity` database and shares it with
//! nobody; other binaries know it by its URLs and its public keys alone.

mod account;
mod admin;
mod app;
mod audit;
mod authorize;
mod backchannel;
mod bearer;
mod caller;
mod claims;
mod client_auth;
mod clients;
mod config;
mod consents;
mod cookies;
mod device;
mod discovery;
mod dpop;
mod factors;
mod fault;
mod forms;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
mod grants;
mod introspect;
mod jar;
mod keys;
mod login;
mod logout;
mod mail;
mod outbound;
mod pages;
mod par;
mod params;
mod passwords;
mod provider;
mod replay;
mod revoke;
mod routes;
mod schema;
mod scopes;
mod sessions;
mod throttle;
mod time;
mod token;
mod upkeep;
mod userinfo;
mod users;
mod vault;

#[cfg(test)]
mod tests;

use std::process::ExitCode;

/// Runs the program until it is told to stop.
pub fn run() -> ExitCode {
    quintet_service::run::<provider::IdentityProvider>()
}
