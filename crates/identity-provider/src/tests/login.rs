//! The sign-in page: what it accepts, what it gives away, how it slows guessing.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::StatusCode;

use super::harness::*;

#[tokio::test]
async fn the_page_works_without_script_and_carries_a_strict_policy() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[("login_hint", "\"><script>")]).await;
        // The form needs no script; the one there is, our own file, offers passkeys.
        let ours = "<script src=\"/identity/assets/passkeys.js\" defer></script>";
        assert!(!page.body.replace(ours, "").contains("<script"), "{page:?}");
        let policy = page.header("content-security-policy");
        assert!(
            policy.contains("default-src 'none'")
                && policy.contains("frame-ancestors 'none'")
                && policy.contains("script-src 'self'")
                && !policy.contains("unsafe"),
            "{policy}"
        );
        assert_eq!(page.header("cache-control"), "no-store");
        assert_eq!(page.header("x-frame-options"), "DENY");
        let style = provider.get("/identity/assets/style.css", &[]).await;
        assert_eq!((style.status, style.header("content-type")), (StatusCode::OK, "text/css; charset=utf-8"));
    }
}

#[tokio::test]
async fn a_login_without_the_forms_token_or_from_another_site_is_refused() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        let (csrf, sealed) = (page.field("csrf"), page.field("request"));
        let cookie = format!("__Host-quintet_login={}", browser.cookies["__Host-quintet_login"]);
        for (cookie, origin, csrf) in [
            (cookie.as_str(), "https://evil.example", csrf.as_str()),
            (cookie.as_str(), "null", csrf.as_str()),
            (cookie.as_str(), ORIGIN, "forged"),
            ("", ORIGIN, csrf.as_str()),
        ] {
            let headers = [("cookie", cookie), ("origin", origin)];
            let pairs = [
                ("csrf", csrf),
                ("request", sealed.as_str()),
                ("email", ADMIN),
                ("password", ADMIN_PASSWORD),
            ];
            let answer = provider.post("/identity/login", &headers, &pairs).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin} {csrf}");
            assert!(!answer.header("set-cookie").contains("quintet_sso"), "{answer:?}");
        }
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_sessions").await, 0);
    }
}

#[tokio::test]
async fn an_unknown_account_and_a_wrong_password_look_the_same() {
    for provider in providers().await {
        let attempt = async |email: &str| {
            let mut browser = Browser::default();
            let page = browser.login_page(&provider, &[]).await;
            let answer = browser.submit(&provider, &page, email, "not the password at all").await;
            let mut body = answer.body.replace(email, "EMAIL");
            // What differs from page to page whoever asks.
            for drawn in ["name=\"csrf\" value=\"", "name=\"request\" value=\"", "data-challenge=\""] {
                let mut parts = body.split(drawn);
                let first = parts.next().unwrap_or_default().to_owned();
                body = parts.fold(first, |text, part| text + drawn + part.split_once('"').unwrap().1);
            }
            let mut headers: Vec<_> =
                answer.headers.iter().map(|(name, value)| (name.to_string(), value.clone())).collect();
            headers.sort_by(|a, b| a.0.cmp(&b.0));
            (answer.status, headers, body)
        };
        let hashes = provider.app.passwords.hashed();
        let known = attempt(ADMIN).await;
        let after_known = provider.app.passwords.hashed();
        let unknown = attempt("nobdy@example.com").await;
        assert_eq!(known, unknown);
        assert_eq!(known.0, StatusCode::UNPROCESSABLE_ENTITY);
        // The same work: one hash each.
        assert_eq!((after_known - hashes, provider.app.passwords.hashed() - after_known), (1, 1));
        assert_eq!(
            provider.count("SELECT count(*) AS n FROM identity_audit WHERE kind = 'login.failed'").await,
            2
        );
    }
}

#[tokio::test]
async fn guessing_is_slowed_here_and_the_owner_elsewhere_is_not() {
    for provider in providers().await {
        let mut owner = Browser { address: Some("198.51.100.7"), ..Browser::default() };
        let mut attacker = Browser { address: Some("203.0.113.9"), ..Browser::default() };
        for email in [ADMIN, "nobody@example.com"] {
            let page = attacker.login_page(&provider, &[]).await;
            for _ in 0..3 {
                let wrong = attacker.submit(&provider, &page, email, "guess").await;
                assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY, "{wrong:?}");
            }
            // Even the right password has to wait now, for a known and an unknown account alike.
            let slowed = attacker.submit(&provider, &page, email, ADMIN_PASSWORD).await;
            assert_eq!(slowed.status, StatusCode::TOO_MANY_REQUESTS);
            assert_eq!(slowed.header("retry-after"), "1");
        }
        let answer = owner.sign_in(&provider, &[]).await;
        assert!(answer.sent_back("code").is_some(), "{answer:?}");
        provider.clock.advance(Duration::from_secs(2));
        let answer = attacker.sign_in(&provider, &[]).await;
        assert!(answer.sent_back("code").is_some(), "the delay is over: {answer:?}");
    }
}

#[tokio::test]
async fn a_known_browser_in_the_attackers_network_can_still_sign_in() {
    for provider in providers().await {
        let mut owner = Browser { address: Some("203.0.113.7"), ..Browser::default() };
        owner.sign_in(&provider, &[]).await;
        let mut attacker = Browser { address: Some("203.0.113.9"), ..Browser::default() };
        let page = attacker.login_page(&provider, &[]).await;
        for _ in 0..3 {
            attacker.submit(&provider, &page, ADMIN, "guess").await;
        }
        assert_eq!(
            attacker.submit(&provider, &page, ADMIN, "guess").await.status,
            StatusCode::TOO_MANY_REQUESTS
        );
        let answer = owner.sign_in(&provider, &[("prompt", "login")]).await;
        assert!(answer.sent_back("code").is_some(), "{answer:?}");
    }
}

#[tokio::test]
async fn signing_in_changes_the_session_cookie_and_the_old_one_is_dead() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        let mut before = browser.clone();
        browser.sign_in(&provider, &[("prompt", "login")]).await;
        assert_ne!(before.cookies["__Host-quintet_sso"], browser.cookies["__Host-quintet_sso"]);
        let old = before.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(old.sent_back("error").as_deref(), Some("login_required"));
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_sessions").await, 1);
    }
}

#[tokio::test]
async fn a_malformed_or_made_up_cookie_is_nobody() {
    for provider in providers().await {
        for value in ["x", "", "%00", &"a".repeat(43), &"A".repeat(4000)] {
            let mut browser = Browser::default();
            browser.cookies.insert("__Host-quintet_sso".to_owned(), value.to_owned());
            let answer = browser.authorize(&provider, &[("prompt", "none")]).await;
            assert_eq!(answer.sent_back("error").as_deref(), Some("login_required"), "{value}");
        }
    }
}

#[tokio::test]
async fn an_overlong_password_and_an_oversize_form_are_refused_cheaply() {
    for provider in providers().await {
        let mut browser = Browser::default();
        let page = browser.login_page(&provider, &[]).await;
        let long = browser.submit(&provider, &page, ADMIN, &"x".repeat(8_000)).await;
        assert_eq!(long.status, StatusCode::UNPROCESSABLE_ENTITY);
        let page = browser.login_page(&provider, &[]).await;
        let huge = browser.submit(&provider, &page, ADMIN, &"x".repeat(40_000)).await;
        assert_eq!(huge.status, StatusCode::PAYLOAD_TOO_LARGE);
    }
}

#[tokio::test]
async fn a_disabled_account_cannot_sign_in_and_its_session_is_over() {
    for provider in providers().await {
        let mut browser = Browser::default();
        browser.sign_in(&provider, &[]).await;
        let mut tx = provider.database.store.begin().await.unwrap();
        tx.execute("UPDATE identity_users SET disabled = TRUE", Vec::new()).await.unwrap();
        tx.commit().await.unwrap();
        let answer = browser.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(answer.sent_back("error").as_deref(), Some("login_required"));
        let answer = browser.sign_in(&provider, &[]).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY);
    }
}

#[tokio::test]
async fn a_weaker_stored_hash_is_replaced_at_the_next_sign_in() {
    for provider in providers().await {
        let weak = crate::passwords::Settings { memory_kib: 32, iterations: 1, ..Default::default() };
        let weak = crate::passwords::Passwords::new(&weak, Arc::new(quintet_types::SystemEntropy)).unwrap();
        let hash = weak.hash(&zeroize::Zeroizing::new(ADMIN_PASSWORD.to_owned())).await.unwrap();
        let mut tx = provider.database.store.begin().await.unwrap();
        tx.execute("UPDATE identity_users SET password_hash = $1", quintet_store::args![hash]).await.unwrap();
        tx.commit().await.unwrap();
        assert!(Browser::default().sign_in(&provider, &[]).await.sent_back("code").is_some());
        let updated = "SELECT count(*) AS n FROM identity_users WHERE password_hash LIKE '%m=64,%'";
        assert_eq!(provider.count(updated).await, 1);
        assert!(Browser::default().sign_in(&provider, &[]).await.sent_back("code").is_some());
    }
}

#[derive(Clone, Default)]
struct Captured(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Captured {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_secret_reaches_the_log_the_audit_log_or_the_database_in_clear() {
    let captured = Captured::default();
    let writer = captured.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    tracing::info!("capturing");
    for provider in providers().await {
        let (browser, tokens) = provider.sign_in("openid email offline_access").await;
        let refresh = tokens["refresh_token"].as_str().unwrap();
        let newer = provider.refresh(refresh).await.json();
        provider.clock.advance(Duration::from_mins(1));
        assert_eq!(provider.refresh(refresh).await.status, StatusCode::BAD_REQUEST);
        let mut other = Browser::default();
        let page = other.login_page(&provider, &[]).await;
        other.submit(&provider, &page, "typed-password-as-name", "typed-password").await;

        let mut stored = String::new();
        for sql in [
            "SELECT actor || subject || detail AS t FROM identity_audit",
            "SELECT token_hash AS t FROM identity_refresh_tokens",
            "SELECT token_hash AS t FROM identity_sessions",
            "SELECT code_hash AS t FROM identity_codes",
            "SELECT password_hash AS t FROM identity_users",
            "SELECT sealed_key AS t FROM identity_signing_keys",
        ] {
            for row in provider.database.store.fetch_all(sql, Vec::new()).await.unwrap() {
                stored.push_str(&row.get::<String>("t").unwrap());
            }
        }
        let logged = String::from_utf8_lossy(&captured.0.lock().unwrap()).into_owned();
        assert!(
            logged.contains("capturing") && logged.contains("grant revoked"),
            "the log was captured: {logged}"
        );
        let session = browser.cookies["__Host-quintet_sso"].clone();
        for secret in [
            ADMIN_PASSWORD,
            SECRET,
            VERIFIER,
            refresh,
            newer["refresh_token"].as_str().unwrap(),
            newer["access_token"].as_str().unwrap(),
            &session,
            "typed-password",
        ] {
            assert!(!logged.contains(secret), "a secret was logged");
            assert!(!stored.contains(secret), "a secret was stored");
        }
    }
}

#[tokio::test]
async fn a_password_that_was_replaced_while_it_was_checked_starts_no_session() {
    for provider in providers().await {
        let app = &provider.app;
        let checked = crate::users::by_email(&app.store, ADMIN).await.unwrap().unwrap();
        let mut tx = app.store.begin().await.unwrap();
        crate::users::set_password(&mut tx, &checked, "another hash", app.now()).await.unwrap();
        tx.commit().await.unwrap();
        let next = crate::login::next::Next::Page(crate::account::Page::Security);
        let (headers, caller) = (http::HeaderMap::new(), crate::caller::Caller::default());
        let password = crate::factors::Methods::PASSWORD;
        let answer = crate::login::finish(app, &headers, &checked, password, &next, &caller).await.unwrap();
        assert_eq!(answer.headers()["location"], "/identity/login?to=security");
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_sessions").await, 0);
    }
}
