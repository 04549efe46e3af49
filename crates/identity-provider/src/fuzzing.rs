//! What the fuzz targets in `fuzz/` call: bytes as a stranger sends them, and a panic when a promise about them breaks.
#![expect(clippy::expect_used, reason = "a panic is how a fuzz target reports what it found")]

use std::sync::LazyLock;

use url::Url;

use crate::authorize::request::{code_challenge, max_age, prompt};
use crate::clients::{Client, GrantType, Security};
use crate::factors::passkeys::cose::PublicKey;
use crate::factors::passkeys::webauthn::{Assertion, Registration, RelyingParty};
use crate::params::Params;
use crate::scopes::Scopes;
use crate::token::code::proves;
use crate::vault::{SEALING_KEY_BYTES, Vault, parse_sealing_key};

const REDIRECTS: [&str; 2] = ["https://app.example/callback", "http://127.0.0.1/callback"];

static CLIENT: LazyLock<Client> = LazyLock::new(|| Client {
    id: "app".to_owned(),
    name: "App".to_owned(),
    secret: None,
    redirect_uris: REDIRECTS.map(|uri| Url::parse(uri).expect("a URL")).into(),
    redirect_texts: REDIRECTS.map(str::to_owned).into(),
    post_logout_redirect_uris: Vec::new(),
    grant_types: vec![GrantType::AuthorizationCode],
    scopes: Scopes::all(),
    consent: false,
    introspection: false,
    refresh_grace: 0,
    security: Security::default(),
});

/// The parameters of an authorization request are read or refused, and nothing but a registered redirect is followed.
pub fn authorization_request(data: &[u8]) {
    let Ok(params) = Params::parse(data) else { return };
    if let Ok(challenge) = code_challenge(&params) {
        assert!(challenge.len() == 43 && challenge.is_ascii());
    }
    if let Ok(prompt) = prompt(&params) {
        assert!(!(prompt.none && (prompt.login || prompt.consent)));
    }
    if let Ok(Some(seconds)) = max_age(&params) {
        assert!(seconds >= 0);
    }
    let scopes = Scopes::requested(params.get("scope").unwrap_or_default());
    assert!(Scopes::requested(&scopes.to_string()) == scopes, "a scope is lost on the way");
    let Some(wanted) = params.get("redirect_uri") else { return };
    if let Some(to) = CLIENT.redirect(wanted) {
        let registered = REDIRECTS.contains(&wanted);
        let loopback =
            to.scheme() == "http" && to.host_str() == Some("127.0.0.1") && to.path() == "/callback";
        assert!(registered || loopback, "{wanted} leads to {to}");
    }
}

/// No verifier proves a challenge but the one it was made from (RFC 7636, appendix B).
pub fn pkce(data: &[u8]) {
    const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
    const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert_eq!(proves(text, CHALLENGE), text == VERIFIER);
    assert_eq!(proves(VERIFIER, text), text == CHALLENGE);
}

/// What a client signs is read or refused: only a key without private members is one, and only who holds it signs by it.
pub fn signed_token(data: &[u8]) {
    const NOW: i64 = 1_562_262_616;
    const URL: &str = "https://server.example.com/token";
    if let Ok(value) = serde_json::from_slice::<serde_json::Value>(data)
        && let Ok(key) = quintet_auth::PublicKey::from_jwk(&value)
    {
        assert!(key.thumbprint().len() == 43, "a thumbprint is a SHA-256");
        assert!(value.get("d").is_none_or(serde_json::Value::is_null), "a private key was taken");
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(proof) = quintet_auth::dpop::Proof::check(text, "POST", URL, NOW) {
        assert!(!proof.id.is_empty() && proof.id.len() <= 256);
        assert!(!proof.is_for(text), "no proof is for itself");
    }
    if let Ok(compact) = quintet_auth::Compact::parse(text) {
        assert!(!compact.is_signed_by(&STRANGER), "a signature by a key that nobody here holds");
        let _ = compact.claims::<serde_json::Value>();
    }
}

/// The key of RFC 8037, appendix A.
static STRANGER: LazyLock<quintet_auth::PublicKey> = LazyLock::new(|| {
    let x = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
    let jwk = serde_json::json!({ "kty": "OKP", "crv": "Ed25519", "x": x });
    quintet_auth::PublicKey::from_jwk(&jwk).expect("a public key")
});

static VAULT: LazyLock<Vault> =
    LazyLock::new(|| Vault::new(&[0x5a; SEALING_KEY_BYTES]).expect("a key of the right length"));

/// Nothing that was not sealed here opens; what was, opens as what it is.
pub fn sealed_flow(data: &[u8]) {
    let sealed = VAULT.seal_flow(data).expect("memory can be sealed");
    assert_eq!(VAULT.open_flow(&sealed).expect("what was sealed opens").as_slice(), data);
    assert!(VAULT.open_signing_key("flow", &sealed).is_err(), "one kind stands in for another");
    let Ok(text) = std::str::from_utf8(data) else { return };
    assert!(VAULT.open_flow(text).is_err(), "a forged flow opened");
    let _ = parse_sealing_key(text);
}

/// What stands before the 32 bytes of an Ed25519 key in COSE.
const ED25519_HEAD: [u8; 10] = [0xa4, 0x01, 0x01, 0x03, 0x27, 0x20, 0x06, 0x21, 0x58, 32];

/// What a browser answers for a passkey is read or refused, and a key never ends beyond its bytes. The challenge is taken
/// for ours, so that the rest is reached.
pub fn passkey_answer(data: &[u8]) {
    if let Some((_, length)) = PublicKey::read(data) {
        assert!(length <= data.len());
        assert!(
            PublicKey::read(data.get(..length).unwrap_or_default()).is_some(),
            "a key needs what follows it"
        );
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    let party = RelyingParty { id: "id.example", origin: "https://id.example" };
    if let Ok(Ok(registered)) = Registration::parse(text).map(|answer| answer.verify(party, |_| true)) {
        assert!(PublicKey::read(&registered.public_key).is_some(), "a key was stored that cannot be read");
    }
    if let Ok(answer) = Assertion::parse(text) {
        assert!(
            answer.verify(party, &[ED25519_HEAD.as_slice(), &[7; 32]].concat(), |_| true).is_err(),
            "a signature was made without the key"
        );
    }
}

#[cfg(test)]
mod tests {
    use quintet_testkit::replay;

    #[test]
    fn authorization_request() {
        replay("authorization_request", super::authorization_request);
    }

    #[test]
    fn passkey_answer() {
        replay("passkey_answer", super::passkey_answer);
    }

    #[test]
    fn pkce() {
        replay("pkce", super::pkce);
    }

    #[test]
    fn signed_token() {
        replay("signed_token", super::signed_token);
    }

    #[test]
    fn sealed_flow() {
        replay("sealed_flow", super::sealed_flow);
    }
}
