//! What a business module is, and the HTTP habits that all of them share: permissions in the
//! signature of a handler, the organization a request is for, keyset pages, conditional requests,
//! idempotent commands, running a transaction again when the database asks for it, and how an API
//! describes itself.
//!
//! It exists because four modules and the queue's API need exactly the same answers here and a client must not
//! be able to tell them apart. It holds no business rule and no table except that of
//! [`idempotency`], whose row has to be written in the caller's transaction.

pub mod conditional;
#[cfg(any(test, feature = "fuzzing"))]
#[doc(hidden)]
pub mod fuzzing;
pub mod idempotency;
pub mod openapi;
pub mod page;
pub mod permission;
pub mod reference;
pub mod report;
pub mod retry;
pub mod tenancy;

use std::time::Duration;

use quintet_http::problem::Problem;
use utoipa_axum::router::OpenApiRouter;

pub use permission::{Allowed, Permission, Within};
pub use report::Report;
pub use tenancy::{Role, Settings};

/// One business module, as the core API mounts it.
pub struct Module {
    /// The module's tables; migrated at start.
    pub schema: &'static quintet_store::Module,
    /// The module's routes, relative to `/api/v1`, with their OpenAPI description.
    pub routes: OpenApiRouter,
    /// What of it can be exported.
    pub reports: &'static [Report],
}

/// How long a client should wait before it asks again after the database was out of reach.
const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The public answer to a failed database call; the details go to the log, once.
pub fn store_problem(error: &quintet_store::Error) -> Problem {
    if error.is_transient() {
        tracing::warn!(error = error as &dyn std::error::Error, "database out of reach or busy");
        return Problem::unavailable(RETRY_AFTER);
    }
    Problem::internal(error)
}
