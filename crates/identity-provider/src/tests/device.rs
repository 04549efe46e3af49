//! Devices without a browser (RFC 8628).

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::Value;

use super::harness::*;

const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

async fn begin(provider: &Provider) -> Value {
    let pairs = [("client_id", "tv"), ("scope", "openid offline_access orders:read users:write")];
    let answer = provider.post("/identity/device_authorization", &[], &pairs).await;
    assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
    answer.json()
}

async fn poll(provider: &Provider, begun: &Value) -> Answer {
    provider.clock.advance(Duration::from_secs(5));
    poll_at_once(provider, begun).await
}

async fn poll_at_once(provider: &Provider, begun: &Value) -> Answer {
    let code = begun["device_code"].as_str().unwrap();
    let pairs = [("grant_type", GRANT), ("client_id", "tv"), ("device_code", code)];
    provider.post("/identity/token", &[], &pairs).await
}

/// A person at the page, signed in.
async fn at_page(provider: &Provider) -> (Browser, Answer) {
    let (mut browser, _) = provider.sign_in("openid").await;
    let page = browser.get(provider, "/identity/device").await;
    assert_eq!(page.status, StatusCode::OK, "{page:?}");
    (browser, page)
}

async fn enter(
    provider: &Provider,
    browser: &mut Browser,
    page: &Answer,
    code: &str,
    decision: &str,
) -> Answer {
    let csrf = page.field("csrf");
    let pairs = [("csrf", csrf.as_str()), ("user_code", code), ("decision", decision)];
    browser.post(provider, "/identity/device", &pairs).await
}

/// RFC 8628 §3.
#[tokio::test]
async fn a_device_gets_tokens_once_a_person_has_allowed_it() {
    for provider in providers().await {
        let begun = begin(&provider).await;
        assert_eq!((&begun["expires_in"], &begun["interval"]), (&600.into(), &5.into()));
        assert_eq!(begun["verification_uri"], format!("{ISSUER}/device"));
        assert_eq!(poll(&provider, &begun).await.error(), "authorization_pending");
        let code = begun["user_code"].as_str().unwrap().to_ascii_lowercase();
        let (mut browser, page) = at_page(&provider).await;
        let asked = enter(&provider, &mut browser, &page, &code, "").await;
        assert!(
            asked.body.contains("Connect Wall display?") && asked.body.contains("Read orders"),
            "{asked:?}"
        );
        assert!(!asked.body.contains("user profiles"), "not what the client may never have");
        assert_eq!(poll(&provider, &begun).await.error(), "authorization_pending", "seen is not allowed");
        let done = enter(&provider, &mut browser, &page, &code, "allow").await;
        let allowed = browser.get(&provider, "/identity/account/access").await;
        assert!(allowed.body.contains("/identity/account/access/withdraw"), "{allowed:?}");
        assert_eq!(done.status, StatusCode::OK, "{done:?}");
        let tokens = poll(&provider, &begun).await;
        assert_eq!(tokens.json()["scope"], "openid offline_access orders:read", "{tokens:?}");
        assert_eq!(claims(&tokens.json()["id_token"])["aud"], "tv");
        let refresh = tokens.json()["refresh_token"].as_str().unwrap().to_owned();
        // A second exchange means that two hold the code: what the first got is taken back.
        assert_eq!(poll(&provider, &begun).await.error(), "invalid_grant");
        let pairs = [("grant_type", "refresh_token"), ("client_id", "tv"), ("refresh_token", &refresh)];
        assert_eq!(provider.post("/identity/token", &[], &pairs).await.error(), "invalid_grant");
        let again = enter(&provider, &mut browser, &page, &code, "allow").await;
        assert_eq!(again.status, StatusCode::UNPROCESSABLE_ENTITY, "{again:?}");
    }
}

/// RFC 8628 §3.5.
#[tokio::test]
async fn a_device_that_is_refused_late_or_impatient_is_told_so() {
    for provider in providers().await {
        let begun = begin(&provider).await;
        assert_eq!(poll(&provider, &begun).await.error(), "authorization_pending");
        assert_eq!(poll_at_once(&provider, &begun).await.error(), "slow_down");
        assert_eq!(poll(&provider, &begun).await.error(), "slow_down", "ten seconds now");
        let (mut browser, page) = at_page(&provider).await;
        enter(&provider, &mut browser, &page, begun["user_code"].as_str().unwrap(), "deny").await;
        assert_eq!(poll(&provider, &begun).await.error(), "access_denied");

        let late = begin(&provider).await;
        provider.clock.advance(Duration::from_mins(10));
        assert_eq!(poll(&provider, &late).await.error(), "expired_token");
        let page = browser.get(&provider, "/identity/device").await;
        let answer =
            enter(&provider, &mut browser, &page, late["user_code"].as_str().unwrap(), "allow").await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[tokio::test]
async fn a_device_code_is_of_no_use_to_another_client_or_as_another_code() {
    for provider in providers().await {
        let begun = begin(&provider).await;
        let (mut browser, page) = at_page(&provider).await;
        enter(&provider, &mut browser, &page, begun["user_code"].as_str().unwrap(), "allow").await;
        let code = begun["device_code"].as_str().unwrap();
        let foreign = [("grant_type", GRANT), ("device_code", code)];
        assert_eq!(provider.token("console", &foreign).await.error(), "unauthorized_client");
        for redirect in ["", CALLBACK] {
            let pairs = [("grant_type", "authorization_code"), ("code", code), ("redirect_uri", redirect)];
            let answer = provider.token("lenient", &pairs).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{answer:?}");
        }
        assert_eq!(poll(&provider, &begun).await.status, StatusCode::OK);
    }
}

/// RFC 8628 §5.1 and §5.4.
#[tokio::test]
async fn codes_are_entered_by_people_who_are_signed_in_and_cannot_be_guessed() {
    for provider in providers().await {
        let begun = begin(&provider).await;
        let complete = begun["verification_uri_complete"].as_str().unwrap();
        let path = complete.strip_prefix(ORIGIN).unwrap();
        let stranger = provider.get(path, &[]).await;
        assert_eq!(stranger.location().path(), "/identity/login");
        let (mut browser, page) = at_page(&provider).await;
        let filled = browser.get(&provider, path).await;
        assert_eq!(filled.field("csrf"), page.field("csrf"));
        assert_eq!(poll(&provider, &begun).await.error(), "authorization_pending", "a link decides nothing");
        let forged =
            [("csrf", "x"), ("user_code", begun["user_code"].as_str().unwrap()), ("decision", "allow")];
        assert_eq!(browser.post(&provider, "/identity/device", &forged).await.status, StatusCode::FORBIDDEN);
        for _ in 0..3 {
            let answer = enter(&provider, &mut browser, &page, "BBBB-BBBB", "allow").await;
            assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
        }
        let answer = enter(&provider, &mut browser, &page, "BBBB-BBBB", "allow").await;
        assert_eq!(answer.status, StatusCode::TOO_MANY_REQUESTS);
    }
}
