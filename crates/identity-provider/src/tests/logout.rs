//! RP-initiated logout and the account page.

use axum::http::StatusCode;

use super::harness::*;

#[tokio::test]
async fn an_id_token_of_this_session_signs_out_at_once_and_redirects_back() {
    for provider in providers().await {
        let (mut browser, tokens) = provider.sign_in("openid offline_access").await;
        let hint = tokens["id_token"].as_str().unwrap();
        let query = form(&[("id_token_hint", hint), ("post_logout_redirect_uri", ORIGIN), ("state", "s")]);
        let answer = browser.get(&provider, &format!("/identity/logout?{query}")).await;
        assert_eq!(answer.location().as_str(), format!("{ORIGIN}/?state=s"));
        assert!(!browser.cookies.contains_key("__Host-quintet_sso"));
        let refreshed = provider.refresh(tokens["refresh_token"].as_str().unwrap()).await;
        assert_eq!(refreshed.error(), "invalid_grant", "the grant ended with the session");
        let again = browser.get(&provider, &format!("/identity/logout?{query}")).await;
        assert_eq!(again.status, StatusCode::SEE_OTHER, "signing out twice is no error");
    }
}

#[tokio::test]
async fn without_proof_the_person_is_asked_and_a_forged_answer_does_nothing() {
    for provider in providers().await {
        let (mut browser, _) = provider.sign_in("openid").await;
        let page = browser.get(&provider, "/identity/logout").await;
        assert!(page.body.contains("Sign out?"), "{page:?}");
        let forged =
            browser.post(&provider, "/identity/logout", &[("confirmed", "yes"), ("csrf", "x")]).await;
        assert!(forged.body.contains("Sign out?"), "{forged:?}");
        let account = browser.get(&provider, "/identity/").await;
        assert!(account.body.contains("Ada Admin"), "{account:?}");

        let csrf = page.field("csrf");
        let done =
            browser.post(&provider, "/identity/logout", &[("confirmed", "yes"), ("csrf", &csrf)]).await;
        assert!(done.body.contains("You are signed out"), "{done:?}");
        assert_eq!(browser.get(&provider, "/identity/").await.location().path(), "/identity/login");
    }
}

#[tokio::test]
async fn another_sessions_id_token_does_not_sign_out_without_asking() {
    for provider in providers().await {
        let (_, other) = provider.sign_in("openid").await;
        let (mut browser, _) = provider.sign_in("openid").await;
        let query = form(&[("id_token_hint", other["id_token"].as_str().unwrap())]);
        let page = browser.get(&provider, &format!("/identity/logout?{query}")).await;
        assert!(page.body.contains("Sign out?"), "{page:?}");
    }
}

#[tokio::test]
async fn nobody_is_redirected_to_an_address_that_is_not_registered() {
    for provider in providers().await {
        let (mut browser, tokens) = provider.sign_in("openid").await;
        let hint = tokens["id_token"].as_str().unwrap();
        for pairs in [
            vec![("id_token_hint", hint), ("post_logout_redirect_uri", "https://evil.example")],
            vec![("post_logout_redirect_uri", ORIGIN)],
            vec![("client_id", "partner"), ("post_logout_redirect_uri", ORIGIN)],
            vec![("id_token_hint", hint), ("client_id", "partner")],
            vec![("id_token_hint", "x.y.z")],
        ] {
            let answer = browser.get(&provider, &format!("/identity/logout?{}", form(&pairs))).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{pairs:?}");
        }
    }
}
