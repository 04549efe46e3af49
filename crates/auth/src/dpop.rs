//! DPoP proofs (RFC 9449 §4.3): that whoever presents a token holds the key it is bound to.
//!
//! A proof is a token that the client signs for one request: its method, its URL, the moment, and the access token that
//! goes with it. It is good once. Where it is kept in mind that it was used differs: a resource remembers in memory
//! (`Seen`), because a proof lives for a minute and names one server's URL; the provider in its database.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use aws_lc_rs::digest;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::{HeaderMap, HeaderName, Uri};
use serde::Deserialize;
use thiserror::Error;

use crate::jwk::{Algorithm, PublicKey};
use crate::jws::{Compact, CompactError};

/// The header with the proof.
pub const DPOP: HeaderName = HeaderName::from_static("dpop");

/// The algorithms a proof may be signed with, as metadata lists them.
pub const PROOF_ALGORITHMS: [&str; 3] = ["ES256", "EdDSA", "PS256"];

/// How old a proof may be, and how far ahead of us the client's clock, in seconds. FAPI 2.0 §5.3.2.1 wants at least ten
/// seconds ahead accepted.
pub const MOST_AGE: i64 = 60;
const MOST_AHEAD: i64 = 10;

/// Longest `jti` and `nonce`.
const MOST_TEXT: usize = 256;

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProofError {
    /// No `DPoP` header.
    #[error("a DPoP proof is missing")]
    Missing,
    /// Several `DPoP` headers (§4.3, item 1).
    #[error("there are several DPoP proofs")]
    Several,
    /// Not a signed token.
    #[error("the DPoP proof cannot be read: {0}")]
    Compact(#[from] CompactError),
    /// Another `typ`, algorithm or key than a proof has, or claims that are missing.
    #[error("the DPoP proof is malformed: {0}")]
    Malformed(&'static str),
    /// The signature is not that of its key.
    #[error("the DPoP proof's signature does not fit")]
    Signature,
    /// For another method or URL.
    #[error("the DPoP proof is for another request")]
    Target,
    /// Too old, or from the future.
    #[error("the DPoP proof is not of this moment; check the client's clock")]
    Stale,
    /// For another access token.
    #[error("the DPoP proof is for another access token")]
    Token,
    /// By another key than the token is bound to.
    #[error("the DPoP proof is by another key than the token is bound to")]
    Key,
    /// Used before.
    #[error("the DPoP proof was used before")]
    Replayed,
}

/// A proof whose signature, method, URL and time were checked.
#[derive(Debug)]
pub struct Proof {
    /// Of the key that signed it (RFC 7638); what a token's `cnf.jkt` says.
    pub thumbprint: String,
    /// `jti`.
    pub id: String,
    /// The server's nonce that it repeats.
    pub nonce: Option<String>,
    access_token_hash: Option<String>,
}

#[derive(Deserialize)]
struct Claims {
    jti: String,
    htm: String,
    htu: String,
    iat: i64,
    nonce: Option<String>,
    ath: Option<String>,
}

/// The one proof among a request's headers.
pub fn header(headers: &HeaderMap) -> Result<Option<&str>, ProofError> {
    let mut values = headers.get_all(DPOP).iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(ProofError::Several);
    }
    value.to_str().map(Some).map_err(|_| ProofError::Compact(CompactError::Parts))
}

impl Proof {
    /// Checks a proof for a request with `method` to `url`, at `now` in seconds since the Unix epoch.
    pub fn check(proof: &str, method: &str, url: &str, now: i64) -> Result<Self, ProofError> {
        let compact = Compact::parse(proof)?;
        if compact.kind != "dpop+jwt" {
            return Err(ProofError::Malformed("its type is not dpop+jwt"));
        }
        if compact.algorithm == Algorithm::Rs256 {
            return Err(ProofError::Malformed("its algorithm is not accepted"));
        }
        let jwk = compact.key.as_ref().ok_or(ProofError::Malformed("it has no jwk"))?;
        let key = PublicKey::from_jwk(jwk).map_err(|_| ProofError::Malformed("its jwk is not usable"))?;
        if !compact.is_signed_by(&key) {
            return Err(ProofError::Signature);
        }
        let claims: Claims = compact.claims()?;
        let short = |text: &str| !text.is_empty() && text.len() <= MOST_TEXT;
        if !short(&claims.jti) || claims.nonce.as_deref().is_some_and(|nonce| !short(nonce)) {
            return Err(ProofError::Malformed("its jti or nonce is empty or too long"));
        }
        if claims.htm != method || !same_target(&claims.htu, url) {
            return Err(ProofError::Target);
        }
        if !(now - MOST_AGE..=now + MOST_AHEAD).contains(&claims.iat) {
            return Err(ProofError::Stale);
        }
        Ok(Self {
            thumbprint: key.thumbprint(),
            id: claims.jti,
            nonce: claims.nonce,
            access_token_hash: claims.ath,
        })
    }

    /// Whether it was made for this access token (`ath`).
    pub fn is_for(&self, token: &str) -> bool {
        let hash = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, token.as_bytes()));
        self.access_token_hash.as_deref() == Some(hash.as_str())
    }
}

/// Whether two URLs are the same but for query and fragment, after what RFC 3986 §6.2.2 and §6.2.3 say of case and
/// default ports.
fn same_target(claimed: &str, actual: &str) -> bool {
    let parts = |text: &str| {
        let uri: Uri = text.parse().ok()?;
        let scheme = uri.scheme_str()?.to_ascii_lowercase();
        let authority = uri.authority()?;
        // Credentials in a URL are no part of a request's target.
        if authority.as_str().contains('@') {
            return None;
        }
        let port = authority.port_u16().unwrap_or(if scheme == "https" { 443 } else { 80 });
        Some((scheme, authority.host().to_ascii_lowercase(), port, uri.path().to_owned()))
    };
    parts(claimed).is_some_and(|claimed| parts(actual) == Some(claimed))
}

/// The proofs that a process saw, until they are too old to be accepted.
#[derive(Debug, Default)]
pub(crate) struct Seen(Mutex<HashMap<[u8; 16], i64>>);

/// 2 MB; a thousand bound requests a second for a minute.
const MOST_SEEN: usize = 65_536;

/// What became of noting a proof.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Noted {
    First,
    Again,
    /// There is no room, and forgetting one would let it be used again.
    Full,
}

impl Seen {
    pub(crate) fn note(&self, proof: &Proof, now: i64) -> Noted {
        let hash = digest::digest(&digest::SHA256, format!("{}\n{}", proof.thumbprint, proof.id).as_bytes());
        let Some(key) = hash.as_ref().first_chunk::<16>().copied() else { return Noted::Full };
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if seen.len() >= MOST_SEEN {
            seen.retain(|_, until| *until >= now);
        }
        if seen.get(&key).is_some_and(|until| *until >= now) {
            return Noted::Again;
        }
        if seen.len() >= MOST_SEEN {
            return Noted::Full;
        }
        seen.insert(key, now + MOST_AGE + MOST_AHEAD);
        Noted::First
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_compared_without_query_case_and_default_port() {
        let check = |claimed, expected: bool| {
            assert_eq!(same_target(claimed, "https://api.example/api/v1/orders?x=1"), expected, "{claimed}");
        };
        check("https://api.example/api/v1/orders", true);
        check("HTTPS://API.example:443/api/v1/orders?y=2#z", true);
        check("https://api.example:8443/api/v1/orders", false);
        check("http://api.example/api/v1/orders", false);
        check("https://api.example/api/v1/orders/", false);
        check("https://api.example.evil.test/api/v1/orders", false);
        check("https://user@api.example/api/v1/orders", false);
        check("/api/v1/orders", false);
        check("", false);
    }

    /// RFC 9449 §4.2 and the thumbprint of §6.1.
    #[test]
    fn the_specifications_example_is_a_good_proof_at_its_time_for_its_request() {
        const PROOF: &str = "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0\
            VjNoUklDUkRZOXpDa0RscEJoRjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10\
            NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJqdGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjo\
            iUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxNTYyMjYyNjE2fQ.\
            2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg";
        const URL: &str = "https://server.example.com/token";
        let at = 1_562_262_616;
        let proof = Proof::check(PROOF, "POST", URL, at).unwrap();
        assert_eq!(proof.thumbprint, "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I");
        assert_eq!(Proof::check(PROOF, "GET", URL, at).unwrap_err(), ProofError::Target);
        assert_eq!(Proof::check(PROOF, "POST", URL, at + 61).unwrap_err(), ProofError::Stale);
        assert_eq!(Proof::check(PROOF, "POST", URL, at - 11).unwrap_err(), ProofError::Stale);
        let forged = PROOF.replace("2-GxA6T8", "2-GxA6T9");
        assert_eq!(Proof::check(&forged, "POST", URL, at).unwrap_err(), ProofError::Signature);
    }

    #[test]
    fn a_full_memory_of_proofs_refuses_and_makes_room_as_they_age() {
        let seen = Seen::default();
        let proof = |id: usize| Proof {
            thumbprint: "k".to_owned(),
            id: id.to_string(),
            nonce: None,
            access_token_hash: None,
        };
        for id in 0..MOST_SEEN {
            assert_eq!(seen.note(&proof(id), 0), Noted::First);
        }
        assert_eq!(seen.note(&proof(1), 0), Noted::Again);
        assert_eq!(seen.note(&proof(MOST_SEEN), 0), Noted::Full);
        assert_eq!(seen.note(&proof(MOST_SEEN), 100), Noted::First);
    }
}
