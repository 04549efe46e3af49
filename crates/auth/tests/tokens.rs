//! Which tokens a verifier accepts, and what it says of each it does not.

use std::time::Duration;

use aws_lc_rs::hmac;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use quintet_auth::{JwksError, Rejection, Verifier};
use quintet_testkit::FakeClock;
use quintet_testkit::issuer::TestIssuer;
use serde_json::{Value, json};

async fn code(issuer: &TestIssuer, token: &str) -> Result<(), &'static str> {
    issuer.verifier().verify(token).await.map(|_| ()).map_err(Rejection::code)
}

#[tokio::test]
async fn a_valid_token_is_accepted_with_its_claims() {
    let issuer = TestIssuer::new();
    let token = issuer
        .token("usr_1")
        .scopes(&["orders:read", "orders:write"])
        .roles(&["admin"])
        .claim("email", "a@example.com")
        .claim("unknown", json!({"deep": [1]}))
        .mint();
    let principal = issuer.verifier().verify(&token).await.unwrap();
    assert_eq!(principal.subject(), "usr_1");
    assert_eq!(principal.claims.email.as_deref(), Some("a@example.com"));
    assert!(principal.has_scope("orders:write") && principal.has_role("admin"));
    assert!(principal.require("orders:read").is_ok());
    for scope in ["orders", "orders:", "ORDERS:READ", "", "orders:read orders:write"] {
        assert_eq!(principal.require(scope).unwrap_err().code, "scope_missing", "{scope:?}");
    }
    assert_eq!(principal.require_role("member").unwrap_err().code, "role_missing");
}

#[tokio::test]
async fn one_of_several_audiences_is_enough_and_a_prefix_is_not() {
    let issuer = TestIssuer::new();
    for (audience, outcome) in [
        (json!(["other", "quintet"]), Ok(())),
        (json!("quintet"), Ok(())),
        (json!("quintet2"), Err("token_wrong_audience")),
        (json!("quinte"), Err("token_wrong_audience")),
        (json!([]), Err("token_wrong_audience")),
        (json!(["other"]), Err("token_wrong_audience")),
        (json!(7), Err("token_malformed")),
        (json!(null), Err("token_malformed")),
    ] {
        let token = issuer.token("usr_1").audience(audience.clone()).mint();
        assert_eq!(code(&issuer, &token).await, outcome, "{audience}");
    }
}

#[tokio::test]
async fn the_issuer_is_compared_exactly() {
    let issuer = TestIssuer::new();
    let own = issuer.issuer.clone();
    for other in [
        format!("{own}/"),
        own.to_uppercase(),
        format!("{own}x"),
        "https://issuer.test".to_owned(),
        String::new(),
    ] {
        let token = issuer.token("usr_1").issuer(&other).mint();
        assert_eq!(code(&issuer, &token).await, Err("token_wrong_issuer"), "{other}");
    }
}

#[tokio::test]
async fn expired_and_future_tokens_are_rejected_beyond_thirty_seconds_of_leeway() {
    let clock = FakeClock::default();
    let issuer = TestIssuer::with_clock(clock.shared());
    for (expires_in, outcome) in [
        (300, Ok(())),
        (1, Ok(())),
        (-29, Ok(())),
        (-30, Err("token_expired")),
        (-3600, Err("token_expired")),
        (i64::MIN / 4, Err("token_expired")),
        (i64::MAX / 2, Ok(())),
    ] {
        let token = issuer.token("usr_1").expires_in(expires_in).mint();
        assert_eq!(code(&issuer, &token).await, outcome, "expires in {expires_in}");
    }
    for (valid_in, outcome) in [(-10, Ok(())), (30, Ok(())), (31, Err("token_not_yet_valid"))] {
        let token = issuer.token("usr_1").valid_in(valid_in).mint();
        assert_eq!(code(&issuer, &token).await, outcome, "valid in {valid_in}");
    }
    for extreme in [json!(i64::MAX), json!(i64::MIN), json!(1e300), json!("300"), json!(null), json!(-1)] {
        let token = issuer.token("usr_1").claim("nbf", extreme.clone()).claim("exp", extreme).mint();
        assert!(code(&issuer, &token).await.is_err());
    }
}

#[tokio::test]
async fn time_is_that_of_the_clock_given() {
    let clock = FakeClock::default();
    let issuer = TestIssuer::with_clock(clock.shared());
    let (verifier, token) = (issuer.verifier(), issuer.token("usr_1").expires_in(300).mint());
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(Duration::from_secs(329));
    assert!(verifier.verify(&token).await.is_ok());
    clock.advance(Duration::from_secs(1));
    assert_eq!(verifier.verify(&token).await.unwrap_err(), Rejection::Expired);
}

#[tokio::test]
async fn an_id_token_or_any_other_type_is_rejected() {
    let issuer = TestIssuer::new();
    for typ in [
        json!("JWT"),
        json!(null),
        json!(""),
        json!("at+jwt2"),
        json!("logout+jwt"),
        json!("x/at+jwt"),
        json!(1),
    ] {
        let token = issuer.token("usr_1").header("typ", typ.clone()).mint();
        assert_eq!(code(&issuer, &token).await, Err("token_malformed"), "{typ}");
    }
    for typ in ["at+jwt", "AT+JWT", "application/at+jwt"] {
        let token = issuer.token("usr_1").header("typ", typ).mint();
        assert_eq!(code(&issuer, &token).await, Ok(()), "{typ}");
    }
}

#[tokio::test]
async fn algorithm_none_is_rejected_with_and_without_a_signature() {
    let issuer = TestIssuer::new();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let signed = issuer.token("usr_1").header("alg", alg).mint();
        assert_eq!(code(&issuer, &signed).await, Err("token_malformed"), "{alg}");
        let unsigned = issuer.token("usr_1").header("alg", alg).mint_with(|_| Vec::new());
        assert_eq!(code(&issuer, &unsigned).await, Err("token_malformed"), "{alg}");
    }
    let stripped = issuer.token("usr_1").mint_with(|_| Vec::new());
    assert_eq!(code(&issuer, &stripped).await, Err("token_signature"));
}

#[tokio::test]
async fn the_public_key_used_as_an_hmac_secret_opens_nothing() {
    let issuer = TestIssuer::new();
    for secret in [issuer.public_point().to_vec(), issuer.jwks().into_bytes(), Vec::new()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, &secret);
        let sign = |signed: &str| hmac::sign(&key, signed.as_bytes()).as_ref().to_vec();
        let honest = issuer.token("usr_1").header("alg", "HS256").mint_with(sign);
        assert_eq!(code(&issuer, &honest).await, Err("token_malformed"));
        let disguised = issuer.token("usr_1").mint_with(sign);
        assert_eq!(code(&issuer, &disguised).await, Err("token_signature"));
    }
}

#[tokio::test]
async fn other_algorithms_are_rejected_even_with_a_good_signature() {
    let issuer = TestIssuer::new();
    for alg in ["RS256", "PS256", "ES384", "ES512", "ES256K", "es256", "EdDSA"] {
        let token = issuer.token("usr_1").header("alg", alg).mint();
        assert_eq!(code(&issuer, &token).await, Err("token_malformed"), "{alg}");
    }
}

#[tokio::test]
async fn another_key_is_rejected_under_a_known_and_under_an_unknown_key_id() {
    let (issuer, attacker) = (TestIssuer::new(), TestIssuer::new());
    let forged = issuer.token("usr_1").mint_with_key_of(&attacker);
    assert_eq!(code(&issuer, &forged).await, Err("token_signature"));
    assert_eq!(code(&issuer, &attacker.token("usr_1").mint()).await, Err("token_unknown_key"));
    let nameless = issuer.token("usr_1").header("kid", Value::Null).mint();
    assert_eq!(code(&issuer, &nameless).await, Err("token_malformed"));
}

#[tokio::test]
async fn keys_that_the_token_brings_along_are_ignored() {
    let (issuer, attacker) = (TestIssuer::new(), TestIssuer::new());
    for (name, value) in [
        ("jwk", attacker.jwk()),
        ("jku", json!("https://attacker.test/jwks.json")),
        ("x5u", json!("https://attacker.test/chain.pem")),
        ("x5c", json!(["AAAA"])),
    ] {
        let forged = issuer.token("usr_1").header(name, value.clone()).mint_with_key_of(&attacker);
        assert_eq!(code(&issuer, &forged).await, Err("token_signature"), "{name}");
        let honest = issuer.token("usr_1").header(name, value).mint();
        assert_eq!(code(&issuer, &honest).await, Ok(()), "{name} is only ignored");
    }
    let critical = issuer.token("usr_1").header("crit", json!(["exp"])).mint();
    assert_eq!(code(&issuer, &critical).await, Err("token_malformed"));
}

#[tokio::test]
async fn a_changed_claim_breaks_the_signature() {
    let issuer = TestIssuer::new();
    let token = issuer.token("usr_1").scopes(&["orders:read"]).mint();
    let parts: Vec<&str> = token.split('.').collect();
    let claims = String::from_utf8(URL_SAFE_NO_PAD.decode(parts[1]).unwrap()).unwrap();
    let raised = URL_SAFE_NO_PAD.encode(claims.replace("orders:read", "identity:admin"));
    assert_eq!(code(&issuer, &format!("{}.{raised}.{}", parts[0], parts[2])).await, Err("token_signature"));
}

#[tokio::test]
async fn a_signature_of_the_wrong_shape_is_rejected() {
    let issuer = TestIssuer::new();
    for signature in [vec![0; 64], vec![0xff; 64], vec![0; 63], vec![0; 65], vec![1; 4096]] {
        let token = issuer.token("usr_1").mint_with(|_| signature.clone());
        assert_eq!(code(&issuer, &token).await, Err("token_signature"), "{} bytes", signature.len());
    }
}

#[tokio::test]
async fn required_claims_must_be_there() {
    let issuer = TestIssuer::new();
    for claim in ["iss", "sub", "aud", "client_id", "exp", "iat", "jti"] {
        let token = issuer.token("usr_1").without(claim).mint();
        assert_eq!(code(&issuer, &token).await, Err("token_malformed"), "{claim}");
    }
    let plain = issuer.token("usr_1").without("scope").mint();
    assert!(!issuer.verifier().verify(&plain).await.unwrap().has_scope(""));
}

#[tokio::test]
async fn garbage_is_malformed_and_never_a_panic() {
    let issuer = TestIssuer::new();
    let good = issuer.token("usr_1").mint();
    let long = "x".repeat(1 << 20);
    let deep = URL_SAFE_NO_PAD.encode("[".repeat(8_000));
    for token in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "ä.ö.ü",
        "e30.e30.e30",
        "\0.\0.\0",
        &long,
        &format!("{good}="),
        &format!("{good}."),
        &format!(".{good}"),
        &good.replace('.', ""),
        &format!("{deep}.{deep}."),
        &format!(" {good}"),
        &format!("{good}\n"),
    ] {
        let shown: String = token.chars().take(40).collect();
        assert_eq!(code(&issuer, token).await, Err("token_malformed"), "{shown:?}");
    }
    // Every single-byte change of a good token is refused.
    for position in 0..good.len() {
        let mut bytes = good.clone().into_bytes();
        bytes[position] = if bytes[position] == b'A' { b'B' } else { b'A' };
        let token = String::from_utf8(bytes).unwrap();
        assert!(code(&issuer, &token).await.is_err(), "changed at {position}");
    }
}

#[tokio::test]
async fn ed25519_keys_verify_and_do_not_mix_with_es256() {
    let issuer = TestIssuer::new();
    let pair = Ed25519KeyPair::generate().unwrap();
    let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
    let jwks = json!({"keys": [
        {"kty": "OKP", "crv": "Ed25519", "kid": "ed", "x": x, "use": "sig"}, issuer.jwk(),
    ]});
    let clock = quintet_types::SystemClock::shared();
    let verifier = Verifier::with_static_keys(&issuer.issuer, "quintet", &jwks.to_string(), clock).unwrap();
    let sign = |signed: &str| pair.sign(signed.as_bytes()).as_ref().to_vec();

    let good = issuer.token("usr_1").header("alg", "EdDSA").header("kid", "ed").mint_with(sign);
    assert!(verifier.verify(&good).await.is_ok());
    assert!(verifier.verify(&issuer.token("usr_1").mint()).await.is_ok());
    let mixed = issuer.token("usr_1").header("kid", "ed").mint();
    assert_eq!(verifier.verify(&mixed).await.unwrap_err().code(), "token_malformed");
}

#[tokio::test]
async fn unusable_keys_are_skipped_and_a_set_of_only_those_is_an_error() {
    let issuer = TestIssuer::new();
    let mut encryption = issuer.jwk();
    encryption["use"] = json!("enc");
    let mut nameless = issuer.jwk();
    nameless.as_object_mut().unwrap().remove("kid");
    let mut off_curve = issuer.jwk();
    off_curve["x"] = json!(URL_SAFE_NO_PAD.encode([1; 32]));
    let mut mislabelled = issuer.jwk();
    mislabelled["alg"] = json!("RS256");
    let mut short = issuer.jwk();
    short["y"] = json!("AA");
    let rsa = json!({"kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB"});
    let secret = json!({"kty": "oct", "kid": "s", "k": "c2VjcmV0"});
    let bad = [encryption, nameless, off_curve, mislabelled, short, rsa, secret, json!(7)];

    let parse = |keys: &[Value]| {
        let jwks = json!({ "keys": keys }).to_string();
        Verifier::with_static_keys(&issuer.issuer, "quintet", &jwks, quintet_types::SystemClock::shared())
    };
    for key in &bad {
        assert!(matches!(parse(std::slice::from_ref(key)), Err(JwksError::Empty)), "{key}");
    }
    let mut with_good = bad.to_vec();
    with_good.push(issuer.jwk());
    let verifier = parse(&with_good).unwrap();
    assert!(verifier.verify(&issuer.token("usr_1").mint()).await.is_ok());
    assert!(matches!(parse(&[]), Err(JwksError::Empty)));
    let clock = quintet_types::SystemClock::shared();
    assert!(matches!(Verifier::with_static_keys("i", "a", "{", clock), Err(JwksError::Document(_))));
}
