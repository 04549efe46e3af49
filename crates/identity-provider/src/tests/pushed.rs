//! Authorization requests that are pushed, signed, or answered by a form; resources and response parameters.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::{Value, json};

use super::harness::*;
use super::signing::*;

fn wanted(challenge: &str) -> Vec<(&str, &str)> {
    vec![
        ("redirect_uri", CALLBACK),
        ("response_type", "code"),
        ("scope", "openid orders:read"),
        ("state", "st&te"),
        ("nonce", "n-0S6"),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
    ]
}

async fn push(provider: &Provider, client: &str, pairs: &[(&str, &str)]) -> Answer {
    provider.signed("/identity/par", client, pairs).await
}

async fn open_pushed(provider: &Provider, browser: &mut Browser, client: &str, uri: &str) -> Answer {
    let query = form(&[("client_id", client), ("request_uri", uri)]);
    browser.get(provider, &format!("/identity/authorize?{query}")).await
}

async fn sign_in_pushed(provider: &Provider, client: &str, pushed: &Answer) -> Answer {
    assert_eq!(pushed.status, StatusCode::CREATED, "{pushed:?}");
    let mut browser = Browser::default();
    let uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
    let answer = open_pushed(provider, &mut browser, client, &uri).await;
    let location = answer.location();
    let page = browser.get(provider, &format!("{}?{}", location.path(), location.query().unwrap())).await;
    browser.submit(provider, &page, ADMIN, ADMIN_PASSWORD).await
}

/// RFC 9126 §2 and §4.
#[tokio::test]
async fn a_pushed_request_signs_a_person_in_and_is_good_once_and_for_its_client() {
    for provider in providers().await {
        let challenge = challenge();
        let pushed = push(&provider, "signer", &wanted(&challenge)).await;
        assert_eq!(pushed.json()["expires_in"], 90);
        let uri = pushed.json()["request_uri"].as_str().unwrap().to_owned();
        let foreign = open_pushed(&provider, &mut Browser::default(), "console", &uri).await;
        assert_eq!(foreign.status, StatusCode::BAD_REQUEST, "{foreign:?}");
        let answer = sign_in_pushed(&provider, "signer", &pushed).await;
        assert_eq!(answer.sent_back("state").as_deref(), Some("st&te"));
        assert_eq!(answer.sent_back("iss").as_deref(), Some(ISSUER), "RFC 9207");
        let tokens = provider
            .signed("/identity/token", "signer", &code_grant(&answer.sent_back("code").unwrap()))
            .await;
        assert_eq!(tokens.json()["scope"], "openid orders:read", "{tokens:?}");

        let again = open_pushed(&provider, &mut Browser::default(), "signer", &uri).await;
        assert_eq!(again.status, StatusCode::BAD_REQUEST, "{again:?}");
        let late = push(&provider, "signer", &wanted(&challenge)).await;
        provider.clock.advance(Duration::from_secs(91));
        let uri = late.json()["request_uri"].as_str().unwrap().to_owned();
        let late = open_pushed(&provider, &mut Browser::default(), "signer", &uri).await;
        assert_eq!(late.status, StatusCode::BAD_REQUEST, "{late:?}");
    }
}

/// RFC 9126 §2.3: what the authorization endpoint would refuse is refused when it is pushed.
#[tokio::test]
async fn a_bad_request_is_refused_when_it_is_pushed() {
    for provider in providers().await {
        let challenge = challenge();
        for (name, value, error) in [
            ("redirect_uri", "https://evil.example/", "invalid_request"),
            ("response_type", "token", "unsupported_response_type"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("request_uri", "urn:ietf:params:oauth:request_uri:x", "invalid_request"),
            ("resource", "https://unknown.example/", "invalid_target"),
            ("response_mode", "fragment", "invalid_request"),
        ] {
            let mut pairs = wanted(&challenge);
            pairs.retain(|(found, _)| *found != name);
            pairs.push((name, value));
            let answer = push(&provider, "signer", &pairs).await;
            assert_eq!((answer.status, answer.error().as_str()), (StatusCode::BAD_REQUEST, error), "{name}");
        }
        let unknown = provider.post("/identity/par", &[], &wanted(&challenge)).await;
        assert_eq!(unknown.error(), "invalid_client");
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_pushed_requests").await, 0);
    }
}

/// FAPI 2.0 §5.3.2.2: requests come pushed, and their parameters from nowhere else.
#[tokio::test]
async fn a_client_that_must_push_gets_nothing_otherwise() {
    for provider in providers().await {
        let answer = Browser::default().authorize(&provider, &[("client_id", "fapi")]).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("invalid_request"));
    }
}

/// RFC 9101 §5 and §6.
#[tokio::test]
async fn a_signed_request_counts_and_what_is_beside_it_does_not() {
    for provider in providers().await {
        let now = provider.app.now() / 1_000_000;
        let good = |extra: Value| {
            let mut claims = json!({
                "iss": "signer", "aud": ISSUER, "exp": now + 60, "nbf": now, "client_id": "signer",
                "redirect_uri": CALLBACK, "response_type": "code", "scope": "openid", "state": "signed",
                "code_challenge": challenge(), "code_challenge_method": "S256", "max_age": 300,
            });
            for (name, value) in extra.as_object().unwrap() {
                claims[name] = value.clone();
            }
            claims
        };
        let header = json!({ "alg": "ES256", "typ": "oauth-authz-req+jwt" });
        let key = provider.key();
        let send = async |object: String| {
            let changes = [("client_id", "signer"), ("request", object.as_str()), ("state", "outer")];
            Browser::default().authorize(&provider, &changes).await
        };
        let mut browser = Browser::default();
        let object = key.sign(&header, &good(json!({})));
        let answer = browser
            .sign_in(&provider, &[("client_id", "signer"), ("request", &object), ("state", "x")])
            .await;
        assert_eq!(answer.sent_back("state").as_deref(), Some("signed"), "{answer:?}");
        let code = answer.sent_back("code").unwrap();
        let tokens = provider.signed("/identity/token", "signer", &code_grant(&code)).await.json();
        assert_eq!(tokens["scope"], "openid", "not the wider scope of the query");

        for (name, object) in [
            ("aud", key.sign(&header, &good(json!({ "aud": "https://elsewhere.example" })))),
            ("exp", key.sign(&header, &good(json!({ "exp": now - 60 })))),
            ("long", key.sign(&header, &good(json!({ "exp": now + 7200 })))),
            ("nbf", key.sign(&header, &good(json!({ "nbf": now + 60 })))),
            ("client_id", key.sign(&header, &good(json!({ "client_id": "console" })))),
            ("iss", key.sign(&header, &good(json!({ "iss": "console" })))),
            ("nested", key.sign(&header, &good(json!({ "request": "x" })))),
            ("key", ClientKey::fresh().sign(&header, &good(json!({})))),
            ("none", key.sign(&json!({ "alg": "none" }), &good(json!({})))),
            ("typ", key.sign(&json!({ "alg": "ES256", "typ": "at+jwt" }), &good(json!({})))),
        ] {
            let answer = send(object).await;
            assert_eq!(answer.sent_back("error").as_deref(), Some("invalid_request_object"), "{name}");
        }
        let once = key.sign(&header, &good(json!({ "jti": "once" })));
        assert_eq!(send(once.clone()).await.location().path(), "/identity/login");
        assert_eq!(send(once).await.sent_back("error").as_deref(), Some("invalid_request_object"));
        let unsigned = Browser::default().authorize(&provider, &[("request", &object)]).await;
        assert_eq!(unsigned.sent_back("error").as_deref(), Some("request_not_supported"), "it has no keys");
        let fetched =
            Browser::default().authorize(&provider, &[("request_uri", "https://evil.example/r")]).await;
        assert_eq!(fetched.sent_back("error").as_deref(), Some("request_uri_not_supported"));
    }
}

/// OAuth 2.0 Form Post Response Mode §2.
#[tokio::test]
async fn a_form_carries_the_answer_to_the_client_and_to_nobody_else() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let answer = browser.sign_in(&provider, &[("response_mode", "form_post")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let plain = answer.body.replace("&#x2f;", "/");
        assert!(plain.contains(&format!("action=\"{CALLBACK}\"")), "{answer:?}");
        assert!(plain.contains(&format!("name=\"iss\" value=\"{ISSUER}\"")), "{answer:?}");
        assert_eq!(answer.field("state"), "st&amp;te");
        let policy = answer.header("content-security-policy");
        assert!(policy.contains("form-action 'self' https://localhost:8443;"), "{policy}");
        assert!(policy.ends_with("script-src 'self'"), "{policy}");
        assert_eq!(
            (answer.header("cache-control"), answer.header("referrer-policy")),
            ("no-store", "no-referrer")
        );
        assert_eq!(provider.redeem(&answer.field("code")).await.status, StatusCode::OK);
        let script = provider.get("/identity/assets/form-post.js", &[]).await;
        assert_eq!(script.header("content-type"), "text/javascript; charset=utf-8");

        let error =
            browser.authorize(&provider, &[("response_mode", "form_post"), ("response_type", "token")]).await;
        assert_eq!(error.field("error"), "unsupported_response_type");
    }
}

/// RFC 8707 §2, RFC 9068 §2.2: one audience per token.
#[tokio::test]
async fn a_token_is_for_the_one_resource_that_was_named() {
    const REPORTS: &str = "https://reports.example/";
    for provider in providers().await {
        let changes = [("client_id", "signer"), ("resource", REPORTS)];
        let code = Browser::default().sign_in(&provider, &changes).await.sent_back("code").unwrap();
        let mut pairs = code_grant(&code).to_vec();
        pairs.push(("resource", "https://other.example/"));
        let wider = provider.signed("/identity/token", "signer", &pairs).await;
        assert_eq!(wider.error(), "invalid_target");
        let tokens = provider.signed("/identity/token", "signer", &code_grant(&code)).await.json();
        assert_eq!(claims(&tokens["access_token"])["aud"], REPORTS);
        // Userinfo is not that resource.
        let bearer = format!("Bearer {}", tokens["access_token"].as_str().unwrap());
        let userinfo = provider.get("/identity/userinfo", &[("authorization", &bearer)]).await;
        assert_eq!(userinfo.status, StatusCode::UNAUTHORIZED);
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let pairs = [("grant_type", "refresh_token"), ("refresh_token", refresh)];
        let refreshed = provider.signed("/identity/token", "signer", &pairs).await.json();
        assert_eq!(claims(&refreshed["access_token"])["aud"], REPORTS);

        let pairs = [("grant_type", "client_credentials"), ("resource", REPORTS)];
        let own = provider.signed("/identity/token", "signer", &pairs).await.json();
        assert_eq!(claims(&own["access_token"])["aud"], REPORTS);
        assert_eq!(provider.token("service", &pairs).await.error(), "invalid_target");
    }
}

/// RFC 9700 §2.1.1 and §4.8.2.
#[tokio::test]
async fn a_client_let_off_pkce_may_still_use_it_and_nobody_may_take_it_away() {
    for provider in providers().await {
        let without = [("client_id", "lenient"), ("code_challenge", ""), ("code_challenge_method", "")];
        let code = Browser::default().sign_in(&provider, &without).await.sent_back("code").unwrap();
        let downgraded = provider.token("lenient", &code_grant(&code)).await;
        assert_eq!(downgraded.error(), "invalid_grant", "a verifier for a code without a challenge");
        let answer = provider.token("lenient", &code_grant(&code)[..3]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let code = Browser::default()
            .sign_in(&provider, &[("client_id", "lenient")])
            .await
            .sent_back("code")
            .unwrap();
        assert_eq!(provider.token("lenient", &code_grant(&code)[..3]).await.error(), "invalid_request");
        assert_eq!(provider.token("lenient", &code_grant(&code)).await.status, StatusCode::OK);
        let half = [("client_id", "lenient"), ("code_challenge", "")];
        let answer = Browser::default().authorize(&provider, &half).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("invalid_request"));
    }
}
