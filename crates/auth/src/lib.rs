//! Verification of access tokens and checks of what they permit. It never issues a token.
//!
//! A token is a JWT as RFC 9068 describes it, signed with ES256 or EdDSA by the identity provider,
//! whose public keys are fetched from its JWKS endpoint and cached.
//!
//! Invariants:
//! - Only ES256 and EdDSA, each only with a key of its own kind; keys come from the configured
//!   endpoint alone, never from a token (`jku`, `x5u` and `x5c` are not read; `jwk` in DPoP proofs alone).
//! - Only access tokens: `typ` must be `at+jwt`, so an ID token opens nothing.
//! - A token that is bound to a key or a certificate is accepted from its holder alone.
//! - Once keys are loaded, an outage of the provider does not stop verification, and tokens with
//!   unknown key ids cannot make this service hammer the provider.

mod binding;
mod claims;
pub mod dpop;
mod jwk;
mod jwks;
mod jws;
mod layer;
mod rejection;
mod verifier;

pub use binding::{CLIENT_CERT, Possession, Scheme, certificate_thumbprint, presented};
pub use claims::{Claims, Confirmation};
pub use jwk::{Algorithm, JwkError, PublicKey};
pub use jwks::{JwksError, public_keys};
pub use jws::{Compact, CompactError};
pub use layer::{AuthLayer, AuthService, Principal, layer};
pub use rejection::Rejection;
pub use verifier::{Settings, Verifier};
