//! DPoP at this provider (RFC 9449): proofs at the token endpoint and with bound tokens, and the nonces that keep proofs
//! from being made in advance (§8).
//!
//! A nonce is the keyed hash of a stretch of time, so every node knows it and none stores it. Proofs at the token
//! endpoint must repeat a recent one; what was used is remembered in the database ([`crate::replay`]).

use axum::http::{HeaderMap, HeaderName, HeaderValue};
use axum::response::Response;
use quintet_auth::dpop::{self, MOST_AGE, Proof};

use crate::app::App;
use crate::fault::Fault;
use crate::replay;
use crate::time::seconds;
use crate::token::{OAuthError, Refusal};
use crate::vault::Purpose;

/// The header that carries a nonce to the client (§8.1).
const NONCE: HeaderName = HeaderName::from_static("dpop-nonce");

/// A nonce is good while its stretch lasts and during the next.
const STRETCH_SECONDS: i64 = 300;

/// Half of the hash cannot be guessed either, and travels in every proof.
const NONCE_CHARS: usize = 22;

fn nonce(app: &App, stretches_ago: i64) -> String {
    let stretch = seconds(app.now()).div_euclid(STRETCH_SECONDS) - stretches_ago;
    let mut text = app.vault.hash_parts(Purpose::DpopNonce, &[&stretch.to_be_bytes()]);
    text.truncate(NONCE_CHARS);
    text
}

/// The checked proof of a request to the endpoint at `path`, if it has one.
pub(crate) async fn proof(app: &App, headers: &HeaderMap, path: &str) -> Result<Option<Proof>, Refusal> {
    let refused = |error: dpop::ProofError| OAuthError::InvalidDpopProof.explained(error.to_string());
    let Some(text) = dpop::header(headers).map_err(refused)? else { return Ok(None) };
    let now = seconds(app.now());
    let proof = Proof::check(text, "POST", &app.issuer.endpoint(path), now).map_err(refused)?;
    let fresh = proof.nonce.as_deref().is_some_and(|sent| (0..2).any(|ago| sent == nonce(app, ago)));
    if !fresh {
        return Err(
            OAuthError::UseDpopNonce.because("the DPoP proof must repeat the nonce of the header DPoP-Nonce")
        );
    }
    if !note(app, &proof).await? {
        return Err(OAuthError::InvalidDpopProof.because("the DPoP proof was used before"));
    }
    Ok(Some(proof))
}

/// Notes a proof as used; `false` when it was before.
pub(crate) async fn note(app: &App, proof: &Proof) -> Result<bool, Fault> {
    let until = (seconds(app.now()) + 2 * MOST_AGE) * 1_000_000;
    replay::first_use(app, replay::Kind::Proof, &proof.thumbprint, &proof.id, until).await
}

/// Gives the client that proves possession the nonce for its next proof.
pub(crate) fn with_nonce(app: &App, request: &HeaderMap, mut response: Response) -> Response {
    if request.contains_key(dpop::DPOP)
        && let Ok(value) = HeaderValue::from_str(&nonce(app, 0))
    {
        response.headers_mut().insert(NONCE, value);
    }
    response
}
