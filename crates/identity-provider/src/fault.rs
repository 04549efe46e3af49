//! What goes wrong on our side, and how each kind of endpoint says so.
//!
//! A fault is logged once, here, when it becomes an answer; the answer says nothing of its cause.

use std::time::Duration;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use quintet_http::Problem;
use thiserror::Error;

use crate::keys::KeyError;
use crate::passwords::PasswordError;
use crate::time::retry_seconds;
use crate::vault::VaultError;

/// How soon trying again makes sense when the database is away or busy.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A failure of the provider.
#[derive(Debug, Error)]
pub(crate) enum Fault {
    /// The database.
    #[error("the identity database failed")]
    Store(#[from] quintet_store::Error),
    /// The signing keys.
    #[error("the signing keys failed")]
    Keys(#[from] KeyError),
    /// Sealing.
    #[error("sealing failed")]
    Vault(#[from] VaultError),
    /// Password hashing, overload included.
    #[error("password hashing failed")]
    Password(#[from] PasswordError),
    /// A template.
    #[error("a page could not be rendered")]
    Page(#[from] minijinja::Error),
}

impl Fault {
    /// When trying again makes sense, for faults of the moment.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Store(error) | Self::Keys(KeyError::Store(error)) if error.is_transient() => {
                Some(RETRY_AFTER)
            }
            Self::Password(PasswordError::Overloaded { retry_after }) => Some(*retry_after),
            _ => None,
        }
    }

    /// The HTTP status.
    pub(crate) fn status(&self) -> StatusCode {
        match self {
            Self::Password(PasswordError::Overloaded { .. }) => StatusCode::TOO_MANY_REQUESTS,
            _ if self.retry_after().is_some() => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// Logs the fault, unless it is ordinary overload, which metrics count.
    pub(crate) fn log(&self) {
        if !matches!(self, Self::Password(PasswordError::Overloaded { .. })) {
            let error: &dyn std::error::Error = self;
            tracing::error!(error, "request failed");
        }
    }

    /// The answer of a JSON API.
    pub(crate) fn problem(&self) -> Problem {
        match (self.status(), self.retry_after()) {
            (StatusCode::TOO_MANY_REQUESTS, Some(retry_after)) => Problem::too_many(retry_after),
            (_, Some(retry_after)) => {
                self.log();
                Problem::unavailable(retry_after)
            }
            (_, None) => Problem::internal(self),
        }
    }

    /// Adds `Retry-After` to an answer about this fault.
    pub(crate) fn stamp(&self, mut response: Response) -> Response {
        if let Some(retry_after) = self.retry_after() {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_seconds(retry_after)));
        }
        response
    }

    /// A plain answer for when not even a page can be rendered.
    pub(crate) fn bare(&self) -> Response {
        self.log();
        self.stamp(self.status().into_response())
    }
}
