//! Why a token is not accepted, and the answer that follows.

use std::time::Duration;

use http::StatusCode;
use quintet_http::Problem;
use thiserror::Error;

use crate::dpop::{PROOF_ALGORITHMS, ProofError};

/// Why a request is not let in. The text is safe to show to the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// There is no bearer token.
    #[error("a bearer token is required")]
    Missing,
    /// It is no access token of ours: not a JWT, another type, or another algorithm.
    #[error("the token is not a valid access token: {0}")]
    Malformed(&'static str),
    /// It has expired.
    #[error("the token has expired")]
    Expired,
    /// It is not valid yet.
    #[error("the token is not valid yet")]
    NotYetValid,
    /// Another issuer made it.
    #[error("the token comes from another issuer")]
    WrongIssuer,
    /// It is meant for another service.
    #[error("the token is meant for another audience")]
    WrongAudience,
    /// The issuer does not publish the key it names.
    #[error("the token is signed with a key the issuer does not publish")]
    UnknownKey,
    /// The signature does not fit.
    #[error("the token's signature is not valid")]
    Signature,
    /// It is bound to a key, and the request does not prove to hold it.
    #[error(transparent)]
    Proof(#[from] ProofError),
    /// It is bound to a certificate that this connection was not made with.
    #[error("the token is bound to another client certificate")]
    Certificate,
    /// No keys could be fetched since start, so nothing can be said about the token.
    #[error("tokens cannot be verified right now")]
    Unavailable,
}

impl Rejection {
    /// The stable code that clients match on.
    pub fn code(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Malformed(_) => "token_malformed",
            Self::Expired => "token_expired",
            Self::NotYetValid => "token_not_yet_valid",
            Self::WrongIssuer => "token_wrong_issuer",
            Self::WrongAudience => "token_wrong_audience",
            Self::UnknownKey => "token_unknown_key",
            Self::Signature => "token_signature",
            Self::Proof(ProofError::Replayed) => "proof_replayed",
            Self::Proof(_) => "proof_invalid",
            Self::Certificate => "token_wrong_certificate",
            Self::Unavailable => "auth_unavailable",
        }
    }
}

impl From<Rejection> for Problem {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Unavailable => {
                Problem::new(StatusCode::SERVICE_UNAVAILABLE, rejection.code(), rejection.to_string())
                    .with_retry_after(Duration::from_secs(1))
            }
            // RFC 6750 §3.1: no error code where no credentials were presented.
            Rejection::Missing => {
                Problem::new(StatusCode::UNAUTHORIZED, rejection.code(), rejection.to_string())
                    .with_challenge("Bearer")
            }
            // RFC 9449 §7.1.
            Rejection::Proof(_) => {
                let algorithms = PROOF_ALGORITHMS.join(" ");
                Problem::new(StatusCode::UNAUTHORIZED, rejection.code(), rejection.to_string())
                    .with_challenge(format!("DPoP error=\"invalid_dpop_proof\", algs=\"{algorithms}\""))
            }
            _ => Problem::new(StatusCode::UNAUTHORIZED, rejection.code(), rejection.to_string())
                .with_challenge(format!("Bearer error=\"invalid_token\", error_description=\"{rejection}\"")),
        }
    }
}
