//! Clients that authenticate by a key or a certificate.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::harness::*;
use super::signing::*;

const GRANT: (&str, &str) = ("grant_type", "client_credentials");

async fn present(provider: &Provider, assertion: &str) -> Answer {
    let pairs = [("client_assertion_type", ASSERTION), ("client_assertion", assertion), GRANT];
    provider.post("/identity/token", &[], &pairs).await
}

/// RFC 7523 §3.
#[tokio::test]
async fn an_assertion_lets_its_client_in_once() {
    for provider in providers().await {
        let assertion = provider.key().assertion(&provider, "signer");
        let first = present(&provider, &assertion).await;
        assert_eq!(first.status, StatusCode::OK, "{first:?}");
        assert_eq!(claims(&first.json()["access_token"])["client_id"], "signer");
        let again = present(&provider, &assertion).await;
        assert_eq!((again.status, again.error().as_str()), (StatusCode::UNAUTHORIZED, "invalid_client"));
        // In any other process on the same database too.
        let config = config(provider.directory.path(), &provider.database.url);
        let app = open(config, &provider.database, &provider.clock).await.unwrap();
        let other = Provider { router: crate::routes::router(app.clone()), app, ..provider };
        assert_eq!(present(&other, &assertion).await.error(), "invalid_client");
    }
}

#[tokio::test]
async fn an_assertion_that_is_wrong_in_any_way_is_refused() {
    for provider in providers().await {
        let (key, stranger) = (provider.key(), ClientKey::fresh());
        let now = provider.app.now() / 1_000_000;
        let good = ClientKey::assertion_claims(&provider, "signer");
        let with = |name: &str, value: Value| {
            let mut claims = good.clone();
            claims[name] = value;
            claims["jti"] = if name == "jti" { claims["jti"].clone() } else { unique().into() };
            claims
        };
        for (name, value) in [
            ("aud", json!("https://elsewhere.example")),
            ("aud", json!(["https://elsewhere.example"])),
            ("exp", json!(now - 11)),
            ("exp", json!(now + 7200)),
            ("iat", json!(now + 60)),
            ("nbf", json!(now + 60)),
            ("iss", json!("console")),
            ("sub", json!("console")),
            ("jti", json!("")),
        ] {
            let answer =
                present(&provider, &key.sign(&json!({ "alg": "ES256" }), &with(name, value.clone()))).await;
            assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{name}={value}: {answer:?}");
        }
        let good = |jti: &str| with("jti", json!(jti));
        for (name, token) in [
            ("another key", stranger.sign(&json!({ "alg": "ES256" }), &good("a"))),
            ("none", key.sign(&json!({ "alg": "none" }), &good("b"))),
            ("a shared secret", key.sign(&json!({ "alg": "HS256" }), &good("c"))),
            ("an unknown kid", key.sign(&json!({ "alg": "ES256", "kid": "x" }), &good("d"))),
            ("its own jwk", stranger.sign(&json!({ "alg": "ES256", "jwk": stranger.jwk() }), &good("e"))),
            ("critical extensions", key.sign(&json!({ "alg": "ES256", "crit": ["b64"] }), &good("f"))),
        ] {
            assert_eq!(present(&provider, &token).await.status, StatusCode::UNAUTHORIZED, "{name}");
        }
        for audience in [json!(ISSUER), json!([format!("{ISSUER}/token")]), json!(["x", ISSUER])] {
            let answer =
                present(&provider, &key.sign(&json!({ "alg": "ES256" }), &with("aud", audience))).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        }
    }
}

/// RFC 6749 §2.3: one method, the registered one.
#[tokio::test]
async fn a_client_authenticates_by_its_own_method_alone() {
    for provider in providers().await {
        let assertion = provider.key().assertion(&provider, "service");
        assert_eq!(present(&provider, &assertion).await.error(), "invalid_client", "it has a secret");
        assert_eq!(provider.token("signer", &[GRANT]).await.error(), "invalid_client", "it has a key");
        assert_eq!(
            provider.post("/identity/token", &[], &[GRANT, ("client_id", "signer")]).await.error(),
            "invalid_client"
        );
        let assertion = provider.key().assertion(&provider, "signer");
        let both = [
            ("client_assertion_type", ASSERTION),
            ("client_assertion", &assertion),
            ("client_id", "signer"),
            ("client_secret", SECRET),
            GRANT,
        ];
        assert_eq!(provider.post("/identity/token", &[], &both).await.error(), "invalid_request");
        let other = [("client_assertion_type", "x"), ("client_assertion", &assertion), GRANT];
        assert_eq!(provider.post("/identity/token", &[], &other).await.error(), "invalid_request");
    }
}

/// FAPI 2.0 §5.3.2.1: the issuer as a string.
#[tokio::test]
async fn under_fapi2_an_assertion_names_the_issuer_and_nothing_else() {
    for provider in providers().await {
        for (audience, code) in [
            (json!(format!("{ISSUER}/par")), StatusCode::UNAUTHORIZED),
            (json!([ISSUER]), StatusCode::UNAUTHORIZED),
            (json!(ISSUER), StatusCode::BAD_REQUEST),
        ] {
            let mut claims = ClientKey::assertion_claims(&provider, "fapi");
            claims["aud"] = audience.clone();
            let assertion = provider.key().sign(&json!({ "alg": "ES256" }), &claims);
            let pairs = [("client_assertion_type", ASSERTION), ("client_assertion", assertion.as_str())];
            let answer = provider.post("/identity/par", &[], &pairs).await;
            assert_eq!(answer.status, code, "{audience}: {answer:?}");
        }
    }
}

/// RFC 8705 §2.1 and §3.
#[tokio::test]
async fn a_certificate_lets_its_client_in_and_binds_its_tokens() {
    for provider in providers().await {
        let pairs = [GRANT, ("client_id", "mtls")];
        let certificate = ":Y2VydGlmaWNhdGU=:";
        let names = "DNS:other.example, DNS:Robot.example";
        let shown = [("client-cert", certificate), ("x-quintet-client-names", names)];
        let answer = provider.post("/identity/token", &shown, &pairs).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let token = answer.json()["access_token"].clone();
        let thumbprint = claims(&token)["cnf"]["x5t#S256"].as_str().unwrap().to_owned();
        assert_eq!(thumbprint.len(), 43);
        for headers in [
            vec![],
            vec![("client-cert", certificate)],
            vec![("x-quintet-client-names", names)],
            vec![("client-cert", certificate), ("x-quintet-client-names", "DNS:robot.example.evil.test")],
            vec![("client-cert", certificate), ("x-quintet-client-names", "URI:robot.example")],
        ] {
            let answer = provider.post("/identity/token", &headers, &pairs).await;
            assert_eq!(answer.error(), "invalid_client", "{headers:?}");
        }
        let introspected = provider
            .post(
                "/identity/introspect",
                &[("authorization", &basic("service", SECRET))],
                &[("token", token.as_str().unwrap())],
            )
            .await;
        assert_eq!(introspected.json()["cnf"]["x5t#S256"], thumbprint);
    }
}

#[tokio::test]
async fn the_keys_at_a_jwks_uri_are_fetched_and_followed_when_they_rotate() {
    for provider in providers().await {
        let served = std::sync::Arc::new(std::sync::Mutex::new(provider.key().jwks()));
        let answer = std::sync::Arc::clone(&served);
        let router = axum::Router::new()
            .route("/jwks", axum::routing::get(move || async move { answer.lock().unwrap().clone() }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let uri = format!("http://{}/jwks", listener.local_addr().unwrap());
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(async move { axum::serve(listener, router).await.unwrap() });

        let mut config = config(provider.directory.path(), &provider.database.url);
        let signer =
            config["clients"].as_array_mut().unwrap().iter_mut().find(|client| client["id"] == "signer");
        let signer = signer.unwrap().as_object_mut().unwrap();
        signer.remove("jwks_file");
        signer.insert("jwks_uri".to_owned(), uri.into());
        let app = open(config, &provider.database, &provider.clock).await.unwrap();
        let provider = Provider { router: crate::routes::router(app.clone()), app, ..provider };
        let assertion = provider.key().assertion(&provider, "signer");
        assert_eq!(present(&provider, &assertion).await.status, StatusCode::OK);

        let rotated = ClientKey::fresh();
        let mut jwk = rotated.jwk();
        jwk["kid"] = json!("second");
        *served.lock().unwrap() = json!({ "keys": [jwk] }).to_string();
        let header = json!({ "alg": "ES256", "kid": "second" });
        let sign = || rotated.sign(&header, &ClientKey::assertion_claims(&provider, "signer"));
        assert_eq!(present(&provider, &sign()).await.error(), "invalid_client", "fetched a moment ago");
        provider.clock.advance(Duration::from_secs(11));
        assert_eq!(present(&provider, &sign()).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn a_client_that_cannot_be_held_to_its_profile_is_a_configuration_error() {
    let directory = tempfile::tempdir().unwrap();
    let check = |changes: Value, key: &str| {
        let mut config = config(directory.path(), "sqlite::memory:");
        let client = json!({
            "id": "new", "redirect_uris": ["https://new.example/cb"], "scopes": ["openid"],
        });
        let client =
            client.as_object().unwrap().clone().into_iter().chain(changes.as_object().unwrap().clone());
        config["clients"] = json!([Value::Object(client.collect())]);
        let config: crate::config::Config = serde_json::from_value(config).unwrap();
        let text = format!("{:?}", config.validate().unwrap_err());
        assert!(text.contains(&format!("clients.0.{key}")), "{text}");
    };
    check(json!({ "profile": "fapi2" }), "token_endpoint_auth_method");
    check(json!({ "token_endpoint_auth_method": "private_key_jwt" }), "token_endpoint_auth_method");
    check(json!({ "token_endpoint_auth_method": "client_secret_basic" }), "token_endpoint_auth_method");
    check(json!({ "token_endpoint_auth_method": "tls_client_auth" }), "token_endpoint_auth_method");
    check(json!({ "require_pkce": false }), "require_pkce");
    check(json!({ "require_signed_request_object": true }), "require_signed_request_object");
    check(json!({ "jwks_uri": "http://keys.example/jwks" }), "jwks_uri");
    check(json!({ "jwks_file": "/nowhere" }), "jwks_file");
    check(json!({ "resources": ["not a uri"] }), "resources");
    check(json!({ "grant_types": ["client_credentials"] }), "grant_types");
}
