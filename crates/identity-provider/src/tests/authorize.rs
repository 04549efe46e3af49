//! The authorization endpoint and the consent page.

use std::time::Duration;

use axum::http::{Method, StatusCode};

use super::harness::*;

#[tokio::test]
async fn a_person_signs_in_and_the_client_gets_a_code_with_state_and_issuer() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let answer = browser.sign_in(&provider, &[]).await;
        let location = answer.location();
        assert!(location.as_str().starts_with(&format!("{CALLBACK}?code=")), "{location}");
        assert_eq!(answer.sent_back("state").as_deref(), Some("st&te"));
        assert_eq!(answer.sent_back("iss").as_deref(), Some(ISSUER));
        // Signed in once, the next request needs no form.
        let again = browser.authorize(&provider, &[("prompt", "none")]).await;
        assert!(again.sent_back("code").is_some(), "{again:?}");
    }
}

#[tokio::test]
async fn authorize_answers_a_post_like_a_get() {
    for provider in providers().await {
        let challenge = challenge();
        let pairs = [
            ("client_id", "console"),
            ("redirect_uri", CALLBACK),
            ("response_type", "code"),
            ("scope", "openid"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let answer = provider.post("/identity/authorize", &[], &pairs).await;
        assert_eq!(answer.location().path(), "/identity/login");
    }
}

#[tokio::test]
async fn an_unknown_client_or_redirect_is_shown_to_the_person_and_never_redirected() {
    for provider in providers().await {
        for changes in [
            ("client_id", "nobody"),
            ("client_id", ""),
            ("redirect_uri", "https://localhost:8443/.auth/callback/"),
            ("redirect_uri", "https://evil.example/.auth/callback"),
            ("redirect_uri", "https://localhost:8443.evil.example/.auth/callback"),
            ("redirect_uri", ""),
        ] {
            let answer = Browser::default().authorize(&provider, &[changes]).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{changes:?}");
            assert!(answer.headers.get("location").is_none(), "{changes:?}");
            assert!(answer.header("content-security-policy").starts_with("default-src 'none'"));
        }
        let twice =
            format!("/identity/authorize?client_id=console&client_id=console&redirect_uri={CALLBACK}");
        assert_eq!(provider.get(&twice, &[]).await.status, StatusCode::BAD_REQUEST);
    }
}

#[tokio::test]
async fn a_wrong_request_goes_back_to_the_client_with_the_error_the_specification_names() {
    for provider in providers().await {
        for (name, value, error) in [
            ("code_challenge", "", "invalid_request"),
            ("code_challenge", "short", "invalid_request"),
            ("code_challenge_method", "plain", "invalid_request"),
            ("code_challenge_method", "", "invalid_request"),
            ("response_type", "token", "unsupported_response_type"),
            ("response_type", "code id_token", "unsupported_response_type"),
            ("response_type", "", "invalid_request"),
            ("response_mode", "fragment", "invalid_request"),
            ("scope", "", "invalid_scope"),
            ("prompt", "none login", "invalid_request"),
            ("prompt", "create", "invalid_request"),
            ("prompt", "none", "login_required"),
            ("max_age", "-1", "invalid_request"),
            ("request", "eyJ", "request_not_supported"),
            ("request_uri", "https://evil.example/", "request_uri_not_supported"),
            ("registration", "{}", "registration_not_supported"),
            ("id_token_hint", "x.y.z", "invalid_request"),
        ] {
            let answer = Browser::default().authorize(&provider, &[(name, value)]).await;
            assert_eq!(answer.sent_back("error").as_deref(), Some(error), "{name}={value}: {answer:?}");
            assert_eq!(answer.sent_back("state").as_deref(), Some("st&te"), "{name}={value}");
            assert_eq!(answer.sent_back("iss").as_deref(), Some(ISSUER), "{name}={value}");
            assert!(answer.location().as_str().starts_with(CALLBACK), "{name}={value}");
        }
    }
}

#[tokio::test]
async fn prompt_login_and_max_age_ask_for_the_password_again_and_accept_the_answer() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        for changes in [("prompt", "login"), ("max_age", "60"), ("max_age", "0")] {
            provider.clock.advance(Duration::from_secs(90));
            let answer = browser.sign_in(&provider, &[changes]).await;
            assert!(answer.sent_back("code").is_some(), "{changes:?}: {answer:?}");
        }
        provider.clock.advance(Duration::from_secs(90));
        let recent = browser.authorize(&provider, &[("max_age", "120")]).await;
        assert!(recent.sent_back("code").is_some(), "{recent:?}");
    }
}

#[tokio::test]
async fn max_age_zero_is_not_satisfied_by_a_session_from_before() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        provider.clock.advance(Duration::from_secs(1));
        let answer = browser.authorize(&provider, &[("max_age", "0"), ("prompt", "none")]).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("login_required"));
    }
}

#[tokio::test]
async fn a_session_ends_after_its_lifetime_and_when_idle() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        provider.clock.advance(Duration::from_hours(3));
        let idle = browser.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(idle.sent_back("error").as_deref(), Some("login_required"));

        browser.sign_in(&provider, &[]).await;
        for _ in 0..11 {
            provider.clock.advance(Duration::from_hours(1));
            let answer = browser.authorize(&provider, &[("prompt", "none")]).await;
            assert!(answer.sent_back("code").is_some(), "{answer:?}");
        }
        provider.clock.advance(Duration::from_hours(1));
        let old = browser.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(old.sent_back("error").as_deref(), Some("login_required"));
    }
}

#[tokio::test]
async fn a_sign_in_that_took_too_long_starts_again() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        provider.clock.advance(Duration::from_secs(3601));
        let answer = browser.submit(&provider, &page, ADMIN, ADMIN_PASSWORD).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST);
        assert!(answer.body.contains("took too long"), "{answer:?}");
    }
}

async fn consent_page(provider: &Provider, browser: &mut Browser) -> Answer {
    let changes = [
        ("client_id", "partner"),
        ("redirect_uri", PARTNER_CALLBACK),
        ("scope", "openid email orders:read identity:admin"),
    ];
    browser.sign_in(provider, &changes).await
}

#[tokio::test]
async fn a_foreign_client_needs_consent_once_and_gets_no_more_than_it_is_registered_for() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = consent_page(&provider, &mut browser).await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        assert!(page.body.contains("Allow Partner &lt;Ltd&gt;?"), "{page:?}");
        assert!(page.body.contains("Read orders") && !page.body.contains("audit log"), "{page:?}");
        assert!(
            page.header("content-security-policy").ends_with("form-action 'self' https://partner.example")
        );

        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("decision", "allow")];
        let answer = browser.post(&provider, "/identity/consent", &pairs).await;
        // The query of a registered redirect is kept.
        assert!(
            answer.location().as_str().starts_with("https://partner.example/callback?from=quintet&code=")
        );

        let again = [
            ("client_id", "partner"),
            ("redirect_uri", PARTNER_CALLBACK),
            ("scope", "openid orders:read"),
            ("prompt", "none"),
        ];
        assert!(browser.authorize(&provider, &again).await.sent_back("code").is_some());
    }
}

#[tokio::test]
async fn refusing_consent_tells_the_client_and_stores_nothing() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = consent_page(&provider, &mut browser).await;
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("decision", "deny")];
        let answer = browser.post(&provider, "/identity/consent", &pairs).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("access_denied"));
        let quiet = [("client_id", "partner"), ("redirect_uri", PARTNER_CALLBACK), ("prompt", "none")];
        let answer = browser.authorize(&provider, &quiet).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("consent_required"));
    }
}

#[tokio::test]
async fn consent_given_from_another_site_or_without_the_token_counts_for_nothing() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = consent_page(&provider, &mut browser).await;
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let cookie = format!("__Host-quintet_sso={}", browser.cookies["__Host-quintet_sso"]);
        for (origin, csrf) in [("https://evil.example", csrf.as_str()), (ORIGIN, "wrong")] {
            let headers = [("cookie", cookie.as_str()), ("origin", origin)];
            let pairs = [("csrf", csrf), ("request", request.as_str()), ("decision", "allow")];
            let answer = provider.post("/identity/consent", &headers, &pairs).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        }
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_consents").await, 0);
    }
}

#[tokio::test]
async fn discovery_names_endpoints_that_exist() {
    for provider in providers().await {
        let paths = [
            "/identity/.well-known/openid-configuration",
            "/identity/.well-known/oauth-authorization-server",
            "/.well-known/oauth-authorization-server/identity",
        ];
        for path in paths {
            let document = provider.get(path, &[]).await.json();
            assert_eq!(document["issuer"], ISSUER, "{path}");
            for (name, value) in document.as_object().unwrap() {
                if !name.ends_with("_endpoint") && name != "jwks_uri" {
                    continue;
                }
                let path = value.as_str().unwrap().strip_prefix(ORIGIN).unwrap();
                let answer = provider.send(request(Method::GET, path, &[], String::new())).await;
                assert_ne!(answer.status, StatusCode::NOT_FOUND, "{name}");
            }
        }
    }
}

#[tokio::test]
async fn a_consent_counts_for_whoever_gave_it_and_for_nobody_who_is_sent_with_the_request() {
    for provider in providers().await {
        let password = zeroize::Zeroizing::new("another good password".to_owned());
        let (email, caller) = ("eve@example.com", crate::caller::Caller::default());
        let member = crate::scopes::Role::Member;
        crate::admin::create(&provider.app, "test", email, "Eve", &password, member, &caller).await.unwrap();
        let partner =
            [("client_id", "partner"), ("redirect_uri", PARTNER_CALLBACK), ("scope", "openid email")];
        let mut eve = Browser::default();
        let login = eve.login_page(&provider, &partner).await;
        let csrf = eve.submit(&provider, &login, email, &password).await.field("csrf");
        // A request that Eve's session does not satisfy comes back sealed, and she allows it.
        provider.clock.advance(std::time::Duration::from_mins(1));
        let recent = [&partner[..], &[("max_age", "30")]].concat();
        let sealed = |answer: &Answer| {
            let location = answer.location();
            location.query_pairs().find(|(name, _)| name == "request").unwrap().1.into_owned()
        };
        let request = sealed(&eve.authorize(&provider, &recent).await);
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("decision", "allow")];
        let allowed = sealed(&eve.post(&provider, "/identity/consent", &pairs).await);

        let mut victim = Browser::default();
        let page = victim.get(&provider, &format!("/identity/login?request={allowed}")).await;
        let answer = victim.submit(&provider, &page, ADMIN, ADMIN_PASSWORD).await;
        assert!(answer.body.contains("Allow Partner"), "{answer:?}");
    }
}
