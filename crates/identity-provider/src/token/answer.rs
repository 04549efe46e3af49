//! What the token, revocation and introspection endpoints answer: RFC 6749 §5.1 and §5.2.

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::clients::ClientError;
use crate::fault::Fault;
use crate::keys::KeyError;
use crate::params::ParamsError;

/// A successful answer.
#[derive(Debug, Serialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) token_type: &'static str,
    pub(super) expires_in: i64,
    pub(super) scope: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) refresh_token: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) id_token: Option<String>,
    /// RFC 8693 §2.2.1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) issued_token_type: Option<&'static str>,
}

/// The `error` of an error answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OAuthError {
    InvalidRequest,
    InvalidClient,
    InvalidGrant,
    InvalidScope,
    UnauthorizedClient,
    UnsupportedGrantType,
    /// RFC 8628 §3.5, these four.
    AuthorizationPending,
    SlowDown,
    AccessDenied,
    ExpiredToken,
    /// RFC 8707 §2.
    InvalidTarget,
    /// RFC 9449 §5.
    InvalidDpopProof,
    /// RFC 9449 §8.
    UseDpopNonce,
}

impl OAuthError {
    /// The refusal with words for the client's developer.
    pub(crate) const fn because(self, description: &'static str) -> Refusal {
        Refusal::Client(self, Cow::Borrowed(description))
    }

    /// The same with words made for this request.
    pub(crate) fn explained(self, description: String) -> Refusal {
        Refusal::Client(self, Cow::Owned(description))
    }

    const fn code(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid_request",
            Self::InvalidClient => "invalid_client",
            Self::InvalidGrant => "invalid_grant",
            Self::InvalidScope => "invalid_scope",
            Self::UnauthorizedClient => "unauthorized_client",
            Self::UnsupportedGrantType => "unsupported_grant_type",
            Self::AuthorizationPending => "authorization_pending",
            Self::SlowDown => "slow_down",
            Self::AccessDenied => "access_denied",
            Self::ExpiredToken => "expired_token",
            Self::InvalidTarget => "invalid_target",
            Self::InvalidDpopProof => "invalid_dpop_proof",
            Self::UseDpopNonce => "use_dpop_nonce",
        }
    }
}

/// Why a request was not carried out.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The client's doing.
    Client(OAuthError, Cow<'static, str>),
    /// The body could not be read.
    Params(ParamsError),
    /// Ours.
    Fault(Fault),
}

impl From<ClientError> for Refusal {
    fn from(error: ClientError) -> Self {
        match error {
            ClientError::Malformed => {
                OAuthError::InvalidRequest.because("the client authentication is malformed")
            }
            ClientError::Rejected => {
                OAuthError::InvalidClient.because("the client could not be authenticated")
            }
        }
    }
}

impl From<ParamsError> for Refusal {
    fn from(error: ParamsError) -> Self {
        Self::Params(error)
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl From<quintet_store::Error> for Refusal {
    fn from(error: quintet_store::Error) -> Self {
        Self::Fault(error.into())
    }
}

impl From<KeyError> for Refusal {
    fn from(error: KeyError) -> Self {
        Self::Fault(error.into())
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::Client(error, description) => {
                // §5.2: 401 for a client that failed to authenticate, 400 for everything else.
                let unauthenticated = error == OAuthError::InvalidClient;
                let status = if unauthenticated { StatusCode::UNAUTHORIZED } else { StatusCode::BAD_REQUEST };
                let mut response = respond(status, error.code(), &description);
                if unauthenticated {
                    let challenge = HeaderValue::from_static("Basic realm=\"quintet\", charset=\"UTF-8\"");
                    response.headers_mut().insert(header::WWW_AUTHENTICATE, challenge);
                }
                response
            }
            Self::Params(error) => respond(error.status(), "invalid_request", &error.to_string()),
            Self::Fault(fault) => {
                fault.log();
                let (code, text) = if fault.retry_after().is_some() {
                    ("temporarily_unavailable", "the provider cannot answer right now")
                } else {
                    ("server_error", "the provider failed to answer this request")
                };
                fault.stamp(respond(fault.status(), code, text))
            }
        }
    }
}

/// An error answer as RFC 6749 §5.2 has it.
pub(crate) fn respond(status: StatusCode, error: &'static str, description: &str) -> Response {
    metrics::counter!("quintet_identity_token_errors_total", "error" => error).increment(1);
    let body = serde_json::json!({ "error": error, "error_description": description });
    no_store((status, Json(body)).into_response())
}

/// RFC 6749 §5.1: answers with tokens are never cached.
pub(crate) fn no_store(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::PRAGMA, HeaderValue::from_static("no-cache"));
    response
}
