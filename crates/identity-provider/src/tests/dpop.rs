//! Tokens that are bound to a key (RFC 9449).

use std::time::Duration;

use axum::http::{Method, StatusCode};
use quintet_auth::{Possession, Scheme, Verifier};
use serde_json::{Value, json};

use super::harness::*;
use super::signing::*;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");
const TOKEN: &str = "/identity/token";

async fn service(provider: &Provider, proof: &str) -> Answer {
    let authorization = basic("service", SECRET);
    let headers = [("authorization", authorization.as_str()), ("dpop", proof)];
    provider.post(TOKEN, &headers, &[GRANT]).await
}

/// RFC 9449 §5, §6.1, §8.
#[tokio::test]
async fn a_proof_with_our_nonce_binds_the_token_to_its_key() {
    for provider in providers().await {
        let key = ClientKey::fresh();
        let first = service(&provider, &key.prove(&ClientKey::proof_claims(&provider, TOKEN, "guess"))).await;
        assert_eq!((first.status, first.error().as_str()), (StatusCode::BAD_REQUEST, "use_dpop_nonce"));
        let nonce = first.header("dpop-nonce").to_owned();
        let proof = key.prove(&ClientKey::proof_claims(&provider, TOKEN, &nonce));
        let answer = service(&provider, &proof).await;
        assert_eq!(answer.json()["token_type"], "DPoP", "{answer:?}");
        assert_eq!(claims(&answer.json()["access_token"])["cnf"]["jkt"], key.thumbprint());
        assert!(!answer.header("dpop-nonce").is_empty());
        assert_eq!(service(&provider, &proof).await.error(), "invalid_dpop_proof", "a proof is good once");
        provider.clock.advance(Duration::from_mins(10));
        let old = service(&provider, &key.prove(&ClientKey::proof_claims(&provider, TOKEN, &nonce))).await;
        assert_eq!(old.error(), "use_dpop_nonce");
    }
}

/// RFC 9449 §4.3, item by item.
#[tokio::test]
async fn a_proof_that_is_wrong_in_any_way_is_refused() {
    for provider in providers().await {
        let (key, nonce) = (ClientKey::fresh(), provider.nonce().await);
        let now = provider.app.now() / 1_000_000;
        let header = json!({ "alg": "ES256", "typ": "dpop+jwt", "jwk": key.jwk() });
        let good = || ClientKey::proof_claims(&provider, TOKEN, &nonce);
        let claim = |name: &str, value: Value| {
            let mut claims = good();
            claims[name] = value;
            key.sign(&header, &claims)
        };
        let head = |name: &str, value: Value| {
            let mut header = header.clone();
            header[name] = value;
            key.sign(&header, &good())
        };
        let mut private = key.jwk();
        private["d"] = json!("c2VjcmV0");
        for (name, proof) in [
            ("htm", claim("htm", json!("GET"))),
            ("htu", claim("htu", json!("https://localhost:8443/identity/revoke"))),
            ("another server", claim("htu", json!("https://evil.example/identity/token"))),
            ("old", claim("iat", json!(now - 61))),
            ("early", claim("iat", json!(now + 11))),
            ("no jti", claim("jti", json!(""))),
            ("long jti", claim("jti", json!("x".repeat(257)))),
            ("typ", head("typ", json!("JWT"))),
            ("no key", head("jwk", Value::Null)),
            ("another key", head("jwk", ClientKey::fresh().jwk())),
            ("a private key", head("jwk", private)),
            ("none", head("alg", json!("none"))),
            ("RS256", head("alg", json!("RS256"))),
            ("no JWT", "x".to_owned()),
        ] {
            let answer = service(&provider, &proof).await;
            assert_eq!(answer.error(), "invalid_dpop_proof", "{name}: {answer:?}");
        }
        let authorization = basic("service", SECRET);
        let (one, two) = (key.prove(&good()), key.prove(&good()));
        let headers = [("authorization", authorization.as_str()), ("dpop", &one), ("dpop", &two)];
        assert_eq!(provider.post(TOKEN, &headers, &[GRANT]).await.error(), "invalid_dpop_proof");
        assert_eq!(service(&provider, &claim("iat", json!(now + 10))).await.status, StatusCode::OK);
        let query =
            service(&provider, &claim("htu", json!("https://LOCALHOST:8443/identity/token?x#y"))).await;
        assert_eq!(query.status, StatusCode::OK, "{query:?}");
    }
}

/// RFC 9449 §7.1 and §7.2.
#[tokio::test]
async fn a_bound_token_is_of_use_to_its_holder_alone() {
    for provider in providers().await {
        let (key, thief) = (ClientKey::fresh(), ClientKey::fresh());
        let (_, tokens) = sign_in_bound(&provider, &key).await;
        let token = tokens["access_token"].as_str().unwrap();
        let url = format!("{ISSUER}/userinfo");
        let ask = async |scheme: &str, proof: &str| {
            let authorization = format!("{scheme} {token}");
            let headers = [("authorization", authorization.as_str()), ("dpop", proof)];
            provider.send(request(Method::GET, "/identity/userinfo", &headers, String::new())).await.status
        };
        let proof = key.prove_with(&provider, "GET", &url, token);
        assert_eq!(ask("DPoP", &proof).await, StatusCode::OK);
        assert_eq!(ask("DPoP", &proof).await, StatusCode::UNAUTHORIZED, "used");
        assert_eq!(
            ask("Bearer", &key.prove_with(&provider, "GET", &url, token)).await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            ask("DPoP", &thief.prove_with(&provider, "GET", &url, token)).await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            ask("DPoP", &key.prove_with(&provider, "GET", &url, "other")).await,
            StatusCode::UNAUTHORIZED
        );
        assert_eq!(
            ask("DPoP", &key.prove_with(&provider, "POST", &url, token)).await,
            StatusCode::UNAUTHORIZED
        );
        let form = provider.post("/identity/userinfo", &[], &[("access_token", token)]).await;
        assert_eq!(form.status, StatusCode::UNAUTHORIZED);

        // The services hold it to the same.
        let jwks = provider.app.keys.jwks();
        let verifier = Verifier::with_static_keys(ISSUER, "quintet", &jwks, provider.clock.shared()).unwrap();
        assert_eq!(verifier.verify(token).await.unwrap_err().code(), "proof_invalid");
        let principal = verifier.verify_bound(token).await.unwrap();
        let orders = "https://localhost:8443/api/v1/orders";
        let confirm = |scheme, proof: &str| {
            let mut headers = axum::http::HeaderMap::new();
            headers.insert("dpop", proof.parse().unwrap());
            let possession =
                Possession { scheme, token, method: "GET", headers: &headers, certificate: None };
            let outcome =
                verifier.confirm(&principal.claims, &possession, || Some(format!("{orders}?limit=1")));
            outcome.map_err(quintet_auth::Rejection::code)
        };
        let proof = key.prove_with(&provider, "GET", orders, token);
        assert_eq!(confirm(Scheme::Dpop, &proof), Ok(()));
        assert_eq!(confirm(Scheme::Dpop, &proof), Err("proof_replayed"));
        let fresh = || key.prove_with(&provider, "GET", orders, token);
        assert_eq!(confirm(Scheme::Bearer, &fresh()), Err("proof_invalid"));
        assert_eq!(
            confirm(Scheme::Dpop, &thief.prove_with(&provider, "GET", orders, token)),
            Err("proof_invalid")
        );
        assert_eq!(
            confirm(Scheme::Dpop, &key.prove_with(&provider, "GET", &url, token)),
            Err("proof_invalid")
        );
    }
}

const NATIVE: [(&str, &str); 2] =
    [("client_id", "native"), ("redirect_uri", "http://127.0.0.1:49152/callback")];

async fn call(provider: &Provider, key: Option<&ClientKey>, pairs: &[(&str, &str)]) -> Answer {
    let nonce = provider.nonce().await;
    let proof = key.map(|key| key.prove(&ClientKey::proof_claims(provider, TOKEN, &nonce)));
    let headers: Vec<_> = proof.iter().map(|proof| ("dpop", proof.as_str())).collect();
    let mut all = vec![("client_id", "native")];
    all.extend_from_slice(pairs);
    provider.post(TOKEN, &headers, &all).await
}

async fn sign_in_bound(provider: &Provider, key: &ClientKey) -> (Browser, Value) {
    let mut browser = Browser::default();
    let changes = [NATIVE[0], NATIVE[1], ("scope", "openid offline_access")];
    let code = browser.sign_in(provider, &changes).await.sent_back("code").unwrap();
    let pairs =
        [("grant_type", "authorization_code"), ("code", &code), NATIVE[1], ("code_verifier", VERIFIER)];
    let tokens = call(provider, Some(key), &pairs).await;
    assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
    (browser, tokens.json())
}

/// RFC 9449 §5: a public client's refresh token needs the key.
#[tokio::test]
async fn the_refresh_token_of_a_public_client_is_bound_too() {
    for provider in providers().await {
        let key = ClientKey::fresh();
        let (_, tokens) = sign_in_bound(&provider, &key).await;
        let refresh =
            [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        assert_eq!(call(&provider, None, &refresh).await.error(), "invalid_grant");
        assert_eq!(call(&provider, Some(&ClientKey::fresh()), &refresh).await.error(), "invalid_grant");
        let answer = call(&provider, Some(&key), &refresh).await;
        assert_eq!(answer.json()["token_type"], "DPoP", "{answer:?}");
    }
}

/// RFC 9449 §10: a code for one key is of no use with another.
#[tokio::test]
async fn a_code_may_be_bound_to_a_key_beforehand() {
    for provider in providers().await {
        let key = ClientKey::fresh();
        let thumbprint = key.thumbprint();
        let changes = [NATIVE[0], NATIVE[1], ("scope", "openid"), ("dpop_jkt", &thumbprint)];
        let code = Browser::default().sign_in(&provider, &changes).await.sent_back("code").unwrap();
        let pairs =
            [("grant_type", "authorization_code"), ("code", &code), NATIVE[1], ("code_verifier", VERIFIER)];
        assert_eq!(call(&provider, None, &pairs).await.error(), "invalid_grant");
        assert_eq!(call(&provider, Some(&ClientKey::fresh()), &pairs).await.error(), "invalid_grant");
        assert_eq!(call(&provider, Some(&key), &pairs).await.status, StatusCode::OK);
    }
}

/// FAPI 2.0 §5.3: the whole way of a client under the profile.
#[tokio::test]
async fn a_fapi2_client_pushes_proves_and_keeps_its_refresh_token() {
    for provider in providers().await {
        let (key, dpop) = (provider.key(), ClientKey::fresh());
        let challenge = challenge();
        let nonce = provider.nonce().await;
        let send = async |path: &str, pairs: &[(&str, &str)], dpop: Option<&ClientKey>| {
            let assertion = key.assertion(&provider, "fapi");
            let proof = dpop.map(|dpop| dpop.prove(&ClientKey::proof_claims(&provider, path, &nonce)));
            let headers: Vec<_> = proof.iter().map(|proof| ("dpop", proof.as_str())).collect();
            let mut all = vec![("client_assertion_type", ASSERTION), ("client_assertion", &assertion)];
            all.extend_from_slice(pairs);
            provider.post(path, &headers, &all).await
        };
        let wanted = [
            ("redirect_uri", "https://bank.example/cb"),
            ("response_type", "code"),
            ("scope", "openid orders:read"),
            ("code_challenge", &challenge),
            ("code_challenge_method", "S256"),
        ];
        let pushed = send("/identity/par", &wanted, Some(&dpop)).await;
        assert_eq!(pushed.status, StatusCode::CREATED, "{pushed:?}");
        let pushed = pushed.json();
        let query = form(&[("client_id", "fapi"), ("request_uri", pushed["request_uri"].as_str().unwrap())]);
        let mut browser = Browser::default();
        let login = browser.get(&provider, &format!("/identity/authorize?{query}")).await.location();
        let page = browser.get(&provider, &format!("{}?{}", login.path(), login.query().unwrap())).await;
        let code = browser.submit(&provider, &page, ADMIN, ADMIN_PASSWORD).await.sent_back("code").unwrap();
        let redeem = [
            ("grant_type", "authorization_code"),
            ("code", code.as_str()),
            ("redirect_uri", "https://bank.example/cb"),
            ("code_verifier", VERIFIER),
        ];
        assert_eq!(send(TOKEN, &redeem, None).await.error(), "invalid_dpop_proof");
        assert_eq!(
            send(TOKEN, &redeem, Some(&ClientKey::fresh())).await.error(),
            "invalid_grant",
            "the push's key"
        );
        let tokens = send(TOKEN, &redeem, Some(&dpop)).await;
        assert_eq!(tokens.status, StatusCode::OK, "{tokens:?}");
        let tokens = tokens.json();
        let refresh =
            [("grant_type", "refresh_token"), ("refresh_token", tokens["refresh_token"].as_str().unwrap())];
        for _ in 0..3 {
            let answer = send(TOKEN, &refresh, Some(&ClientKey::fresh())).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(answer.json().get("refresh_token"), None, "not rotated");
        }
    }
}
