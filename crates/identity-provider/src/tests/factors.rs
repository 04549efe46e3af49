//! Second factors: setting them up, being asked for them, losing them.

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;
use zeroize::Zeroizing;

use super::harness::*;
use crate::factors::totp::Secret;

const STEP: Duration = Duration::from_secs(30);
const MFA: &str = "urn:quintet:acr:mfa";

/// What an authenticator app does with the secret on the page.
struct AuthenticatorApp(Secret);

impl AuthenticatorApp {
    fn scan(page: &Answer) -> Self {
        let text =
            page.body.split("<p class=\"secret\"><code>").nth(1).unwrap().split("</code>").next().unwrap();
        let (mut bits, mut count, mut bytes) = (0u32, 0, Vec::new());
        for letter in text.bytes().filter(|letter| *letter != b' ') {
            let five = if letter.is_ascii_digit() { letter - b'2' + 26 } else { letter - b'A' };
            bits = bits << 5 | u32::from(five);
            count += 5;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from(bits >> count & 0xff).unwrap());
            }
        }
        Self(Secret::from_bytes(Zeroizing::new(bytes)).unwrap())
    }

    fn code(&self, provider: &Provider) -> String {
        self.0.code_at(crate::time::seconds(provider.app.now()) / 30)
    }

    fn wrong_code(&self, provider: &Provider) -> String {
        let digits = self.code(provider);
        let last = if digits.ends_with('0') { "1" } else { "0" };
        // Two digits differ, so that it is none of the neighbouring steps' codes by a likely accident.
        format!("{}{last}", &digits[..5])
    }
}

impl Browser {
    /// Sets an app up on the account page of somebody who is signed in; the app and the recovery codes.
    async fn set_up_app(&mut self, provider: &Provider) -> (AuthenticatorApp, Vec<String>) {
        let page = self.get(provider, "/identity/account/totp").await;
        assert_eq!(page.status, StatusCode::OK, "{page:?}");
        let app = AuthenticatorApp::scan(&page);
        let answer = self.confirm_app(provider, &page, &app.code(provider)).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        (app, recovery_codes(&answer))
    }

    async fn confirm_app(&mut self, provider: &Provider, page: &Answer, code: &str) -> Answer {
        let (csrf, enrolment) = (page.field("csrf"), page.field("enrolment"));
        let mut pairs = vec![("csrf", csrf.as_str()), ("enrolment", &enrolment), ("code", code)];
        let request = page.body.contains("name=\"request\"").then(|| page.field("request"));
        pairs.extend(request.iter().map(|request| ("request", request.as_str())));
        self.post(provider, "/identity/account/totp", &pairs).await
    }

    /// The password, and then the page that asks for the second step.
    async fn half_way(&mut self, provider: &Provider, changes: &[(&str, &str)]) -> Answer {
        let answer = self.sign_in(provider, changes).await;
        self.follow(provider, &answer, "/identity/login/second").await
    }

    async fn follow(&mut self, provider: &Provider, answer: &Answer, path: &str) -> Answer {
        let location = answer.location();
        assert_eq!(location.path(), path, "{answer:?}");
        self.get(provider, &format!("{path}?{}", location.query().unwrap_or_default())).await
    }

    async fn second(&mut self, provider: &Provider, page: &Answer, kind: &str, code: &str) -> Answer {
        let (csrf, request) = (page.field("csrf"), page.field("request"));
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("use", kind), ("code", code)];
        self.post(provider, "/identity/login/second", &pairs).await
    }
}

fn recovery_codes(page: &Answer) -> Vec<String> {
    let list = page.body.split("<ul class=\"codes\">").nth(1).unwrap();
    list.split("<code>").skip(1).map(|rest| rest.split("</code>").next().unwrap().to_owned()).collect()
}

async fn signed_in(provider: &Provider) -> Browser {
    let mut browser = Browser::default();
    browser.sign_in(provider, &[]).await;
    browser
}

async fn id_token(provider: &Provider, answer: &Answer) -> serde_json::Value {
    let code = answer.sent_back("code").unwrap_or_else(|| panic!("{answer:?}"));
    claims(&provider.redeem(&code).await.json()["id_token"])
}

#[tokio::test]
async fn a_password_alone_signs_nobody_in_who_has_an_app_and_tokens_tell_of_both() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        provider.clock.advance(STEP);
        let mut browser = Browser::default();
        let page = browser.half_way(&provider, &[]).await;
        assert!(!browser.cookies.contains_key("__Host-quintet_sso"), "no session yet");
        let nobody = browser.clone().authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(nobody.sent_back("error").as_deref(), Some("login_required"));
        let answer = browser.second(&provider, &page, "app", &app.code(&provider)).await;
        let claims = id_token(&provider, &answer).await;
        assert_eq!((&claims["amr"], &claims["acr"]), (&json!(["pwd", "otp", "mfa"]), &json!(MFA)));
        assert!(!browser.cookies.contains_key("__Host-quintet_pending"));
    }
}

#[tokio::test]
async fn a_refreshed_token_keeps_what_the_sign_in_was_worth() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid offline_access").await;
        let before = claims(&tokens["id_token"]);
        assert_eq!((&before["amr"], &before["acr"]), (&json!(["pwd"]), &json!("urn:quintet:acr:password")));
        let mut browser = signed_in(&provider).await;
        browser.set_up_app(&provider).await;
        let answer = browser.authorize(&provider, &[("scope", "openid offline_access")]).await;
        let tokens = provider.redeem(&answer.sent_back("code").unwrap()).await.json();
        let newer = provider.refresh(tokens["refresh_token"].as_str().unwrap()).await.json();
        assert_eq!(claims(&newer["id_token"])["acr"], MFA);
        assert_eq!(claims(&newer["access_token"])["acr"], MFA);
    }
}

#[tokio::test]
async fn a_code_works_once_also_the_one_that_set_the_app_up() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        let code = app.code(&provider);
        let mut browser = Browser::default();
        let page = browser.half_way(&provider, &[]).await;
        let answer = browser.second(&provider, &page, "app", &code).await;
        assert_eq!(answer.status, StatusCode::UNPROCESSABLE_ENTITY, "the code of the set-up");
        provider.clock.advance(STEP);
        let code = app.code(&provider);
        let mut twin = browser.clone();
        assert!(browser.second(&provider, &page, "app", &code).await.sent_back("code").is_some());
        let replayed = twin.second(&provider, &page, "app", &code).await;
        assert_eq!(replayed.status, StatusCode::UNPROCESSABLE_ENTITY, "{replayed:?}");
        assert!(!twin.cookies.contains_key("__Host-quintet_sso"));
    }
}

#[tokio::test]
async fn of_many_uses_of_one_code_at_once_one_wins() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, codes) = owner.set_up_app(&provider).await;
        provider.clock.advance(STEP);
        for (kind, code) in [("app", app.code(&provider)), ("recovery", codes[0].clone())] {
            let mut browser = Browser::default();
            let page = browser.half_way(&provider, &[]).await;
            let tries = (0..3).map(|_| {
                let (mut browser, page, provider, code) = (browser.clone(), &page, &provider, &code);
                async move { browser.second(provider, page, kind, code).await.status }
            });
            let statuses = futures_util::future::join_all(tries).await;
            let won = statuses.iter().filter(|status| **status == StatusCode::SEE_OTHER).count();
            assert_eq!(won, 1, "{kind}: {statuses:?}");
            provider.clock.advance(STEP);
        }
    }
}

#[tokio::test]
async fn a_recovery_code_opens_once_and_new_ones_end_the_old() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (_, codes) = owner.set_up_app(&provider).await;
        assert_eq!(codes.len(), 10);
        let mut browser = Browser::default();
        let page = browser.half_way(&provider, &[]).await;
        let typed = codes[0].to_uppercase().replace('-', " ");
        let answer = browser.second(&provider, &page, "recovery", &typed).await;
        assert_eq!(id_token(&provider, &answer).await["acr"], MFA);
        let mut again = Browser::default();
        let page = again.half_way(&provider, &[]).await;
        let refused = again.second(&provider, &page, "recovery", &codes[0]).await;
        assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
        let security = owner.get(&provider, "/identity/account/security").await;
        assert!(security.body.contains("9 codes are left"), "{security:?}");
        let csrf = security.field("csrf");
        let renewed = owner.post(&provider, "/identity/account/recovery-codes", &[("csrf", &csrf)]).await;
        let renewed = recovery_codes(&renewed);
        let old = again.second(&provider, &page, "recovery", &codes[1]).await;
        assert_eq!(old.status, StatusCode::UNPROCESSABLE_ENTITY);
        let new = again.second(&provider, &page, "recovery", &renewed[1]).await;
        assert!(new.sent_back("code").is_some(), "{new:?}");
    }
}

#[tokio::test]
async fn guessing_codes_is_slowed_everywhere_but_not_for_a_known_browser() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        let mut last = StatusCode::OK;
        for place in ["203.0.113.9", "198.51.100.9", "192.0.2.9"] {
            let mut thief = Browser { address: Some(place), ..Browser::default() };
            let page = thief.half_way(&provider, &[]).await;
            for _ in 0..2 {
                last = thief.second(&provider, &page, "app", &app.wrong_code(&provider)).await.status;
            }
        }
        assert_eq!(last, StatusCode::TOO_MANY_REQUESTS, "two guesses from each of three places");
        provider.clock.advance(STEP);
        let mut owner = Browser { cookies: owner.cookies.clone(), address: Some("203.0.113.9") };
        owner.cookies.remove("__Host-quintet_sso");
        let page = owner.half_way(&provider, &[]).await;
        let answer = owner.second(&provider, &page, "app", &app.code(&provider)).await;
        assert!(answer.sent_back("code").is_some(), "{answer:?}");
    }
}

#[tokio::test]
async fn the_second_step_is_refused_from_another_site_and_after_the_password_changed_or_ten_minutes() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        provider.clock.advance(STEP);
        let mut browser = Browser::default();
        let page = browser.half_way(&provider, &[]).await;
        let (csrf, request, code) = (page.field("csrf"), page.field("request"), app.code(&provider));
        let cookies: Vec<_> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let cookies = cookies.join("; ");
        for (origin, csrf) in [("https://evil.example", csrf.as_str()), (ORIGIN, "forged")] {
            let headers = [("cookie", cookies.as_str()), ("origin", origin)];
            let pairs = [("csrf", csrf), ("request", &request), ("use", "app"), ("code", &code)];
            let answer = provider.post("/identity/login/second", &headers, &pairs).await;
            assert_eq!(answer.status, StatusCode::FORBIDDEN, "{origin}");
        }
        let mut late = browser.clone();
        provider.clock.advance(Duration::from_mins(11));
        let answer = late.second(&provider, &page, "app", &app.code(&provider)).await;
        assert_eq!(answer.location().path(), "/identity/login");

        let mut browser = Browser::default();
        let page = browser.half_way(&provider, &[]).await;
        let hash = provider.app.passwords.hash(&Zeroizing::new("another password".to_owned())).await.unwrap();
        let mut tx = provider.database.store.begin().await.unwrap();
        tx.execute("UPDATE identity_users SET password_hash = $1", quintet_store::args![hash]).await.unwrap();
        tx.commit().await.unwrap();
        let answer = browser.second(&provider, &page, "app", &app.code(&provider)).await;
        assert_eq!(answer.location().path(), "/identity/login");
    }
}

#[tokio::test]
async fn a_client_that_asks_for_two_factors_gets_them_without_a_new_password() {
    for provider in providers().await {
        let mut browser = signed_in(&provider).await;
        let mut other = browser.clone();
        // Nothing is set up yet: the request leads to setting an app up, and then on.
        let answer = browser.authorize(&provider, &[("acr_values", MFA)]).await;
        let page = browser.follow(&provider, &answer, "/identity/account/totp").await;
        let app = AuthenticatorApp::scan(&page);
        let codes = browser.confirm_app(&provider, &page, &app.code(&provider)).await;
        let onward = codes.body.split("class=\"button\" href=\"").nth(1).unwrap().split('"').next().unwrap();
        let onward = &onward.replace("&#x2f;", "/");
        let answer = browser.get(&provider, onward).await;
        assert_eq!(id_token(&provider, &answer).await["acr"], MFA);
        // The cookie from before was worth one factor; it is dead.
        let old = other.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(old.sent_back("error").as_deref(), Some("login_required"));
    }
}

#[tokio::test]
async fn an_older_session_is_raised_by_the_second_step_and_keeps_the_instant_of_its_password() {
    for provider in providers().await {
        let mut weak = signed_in(&provider).await;
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        let silent = weak.authorize(&provider, &[("acr_values", MFA), ("prompt", "none")]).await;
        assert_eq!(silent.sent_back("error").as_deref(), Some("login_required"));
        let plain = weak.authorize(&provider, &[]).await;
        let before = id_token(&provider, &plain).await;
        provider.clock.advance(STEP);
        let answer = weak.authorize(&provider, &[("acr_values", MFA)]).await;
        let page = weak.follow(&provider, &answer, "/identity/login/second").await;
        let answer = weak.second(&provider, &page, "app", &app.code(&provider)).await;
        let after = id_token(&provider, &answer).await;
        assert_eq!((&after["acr"], &after["auth_time"]), (&json!(MFA), &before["auth_time"]));
        // A recent password is another wish, and it is asked for first.
        provider.clock.advance(STEP);
        let answer = weak.authorize(&provider, &[("acr_values", MFA), ("max_age", "5")]).await;
        assert_eq!(answer.location().path(), "/identity/login");
    }
}

#[tokio::test]
async fn where_a_second_factor_is_required_nobody_reaches_a_client_without_it() {
    for provider in providers_with(|config| config["factors"] = json!({ "required": "administrators" })).await
    {
        let mut browser = Browser::default();
        let answer = browser.sign_in(&provider, &[]).await;
        let page = browser.follow(&provider, &answer, "/identity/account/totp").await;
        let silent = browser.authorize(&provider, &[("prompt", "none")]).await;
        assert_eq!(silent.sent_back("error").as_deref(), Some("login_required"));
        let app = AuthenticatorApp::scan(&page);
        browser.confirm_app(&provider, &page, &app.code(&provider)).await;
        assert!(browser.authorize(&provider, &[]).await.sent_back("code").is_some());
        let security = browser.get(&provider, "/identity/account/security").await;
        let csrf = security.field("csrf");
        let answer = browser.post(&provider, "/identity/account/totp/remove", &[("csrf", &csrf)]).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
    }
}

#[tokio::test]
async fn an_app_is_removed_with_its_codes_by_its_owner_alone_and_soon_after_a_sign_in() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, _) = owner.set_up_app(&provider).await;
        let security = owner.get(&provider, "/identity/account/security").await;
        let csrf = security.field("csrf");
        let forged = owner.post(&provider, "/identity/account/totp/remove", &[("csrf", "forged")]).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
        provider.clock.advance(Duration::from_mins(16));
        for path in ["/identity/account/totp/remove", "/identity/account/recovery-codes"] {
            let stale = owner.post(&provider, path, &[("csrf", &csrf)]).await;
            assert_eq!(stale.location().path(), "/identity/login", "{path}");
        }
        let page = owner.half_way(&provider, &[("prompt", "login")]).await;
        owner.second(&provider, &page, "app", &app.code(&provider)).await;
        let removed = owner.post(&provider, "/identity/account/totp/remove", &[("csrf", &csrf)]).await;
        assert_eq!(removed.location().path(), "/identity/account/security", "{removed:?}");
        let left = "SELECT (SELECT count(*) FROM identity_totp) + (SELECT count(*) FROM identity_recovery_codes) AS n";
        assert_eq!(provider.count(left).await, 0);
        assert!(Browser::default().sign_in(&provider, &[]).await.sent_back("code").is_some());
    }
}

#[tokio::test]
async fn an_app_is_not_set_up_by_a_wrong_code_nor_with_another_sessions_secret() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let page = owner.get(&provider, "/identity/account/totp").await;
        let app = AuthenticatorApp::scan(&page);
        let wrong = owner.confirm_app(&provider, &page, &app.wrong_code(&provider)).await;
        assert_eq!(wrong.status, StatusCode::UNPROCESSABLE_ENTITY);
        assert!(wrong.body.contains(&page.field("csrf")), "the same visit");
        let mut other = signed_in(&provider).await;
        let theirs = other.get(&provider, "/identity/account/totp").await;
        let (csrf, enrolment, code) = (theirs.field("csrf"), page.field("enrolment"), app.code(&provider));
        let pairs = [("csrf", csrf.as_str()), ("enrolment", &enrolment), ("code", &code)];
        let answer = other.post(&provider, "/identity/account/totp", &pairs).await;
        assert_eq!(answer.status, StatusCode::CONFLICT);
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_totp").await, 0);
    }
}

#[tokio::test]
async fn neither_the_secret_nor_a_recovery_code_is_stored_in_clear() {
    for provider in providers().await {
        let mut owner = signed_in(&provider).await;
        let (app, codes) = owner.set_up_app(&provider).await;
        let mut stored = String::new();
        for sql in [
            "SELECT sealed_secret AS t FROM identity_totp",
            "SELECT code_hash AS t FROM identity_recovery_codes",
            "SELECT detail || subject || actor AS t FROM identity_audit",
        ] {
            for row in provider.database.store.fetch_all(sql, Vec::new()).await.unwrap() {
                stored.push_str(&row.get::<String>("t").unwrap());
            }
        }
        let secret = app.0.text().replace(' ', "");
        for text in codes.iter().chain([&secret]) {
            assert!(!stored.contains(text.as_str()) && !stored.contains(&text.replace('-', "")));
        }
    }
}

#[tokio::test]
async fn the_account_is_shown_to_who_is_signed_in_with_everything_they_have() {
    for provider in providers().await {
        let nobody = Browser::default().get(&provider, "/identity/account/security").await;
        assert_eq!(nobody.location().as_str(), format!("{ISSUER}/login?to=security"));
        let mut weak = signed_in(&provider).await;
        let overview = weak.get(&provider, "/identity/").await;
        assert!(overview.body.contains(ADMIN) && overview.body.contains("Ada Admin"), "{overview:?}");
        let mut owner = signed_in(&provider).await;
        owner.set_up_app(&provider).await;
        let turned = weak.get(&provider, "/identity/").await;
        assert_eq!(turned.location().as_str(), format!("{ISSUER}/login/second?to=account"));
        assert_eq!(owner.get(&provider, "/identity/").await.status, StatusCode::OK);
    }
}
