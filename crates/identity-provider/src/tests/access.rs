//! Where people are signed in and what they allowed: seen and ended by them alone.

use axum::http::StatusCode;

use super::harness::*;

const PAGE: &str = "/identity/account/access";

impl Browser {
    async fn end(&mut self, provider: &Provider, id: Option<&str>) -> Answer {
        // A page that has a form whatever there is to end.
        let csrf = self.get(provider, "/identity/account/totp").await.field("csrf");
        let mut pairs = vec![("csrf", csrf.as_str())];
        pairs.extend(id.map(|id| ("id", id)));
        self.post(provider, "/identity/account/access/end", &pairs).await
    }

    async fn is_signed_in(&mut self, provider: &Provider) -> bool {
        self.authorize(provider, &[("prompt", "none")]).await.sent_back("code").is_some()
    }
}

#[tokio::test]
async fn another_browser_is_signed_out_from_here_with_its_tokens_and_this_one_stays() {
    for provider in providers().await {
        let (mut phone, tokens) = provider.sign_in("openid").await;
        let (mut laptop, mine) = provider.sign_in("openid").await;
        let page = laptop.get(&provider, PAGE).await;
        assert_eq!(page.body.matches("<li>").count(), 2, "{page:?}");
        assert_eq!(page.body.matches("this browser").count(), 1);
        assert!(page.body.contains("192.0.2.10"), "{page:?}");
        let other = page.field("id");
        assert_eq!(laptop.end(&provider, Some(&other)).await.location().path(), PAGE);
        assert!(!phone.is_signed_in(&provider).await);
        assert_eq!(
            provider.refresh(tokens["refresh_token"].as_str().unwrap()).await.error(),
            "invalid_grant"
        );
        assert!(laptop.is_signed_in(&provider).await);
        assert_eq!(provider.refresh(mine["refresh_token"].as_str().unwrap()).await.status, StatusCode::OK);
    }
}

#[tokio::test]
async fn everywhere_else_is_signed_out_at_once() {
    for provider in providers().await {
        let mut others = Vec::new();
        for _ in 0..3 {
            others.push(provider.sign_in("openid").await.0);
        }
        let (mut here, _) = provider.sign_in("openid").await;
        here.end(&provider, None).await;
        for mut other in others {
            assert!(!other.is_signed_in(&provider).await);
        }
        assert!(here.is_signed_in(&provider).await);
        let noted = "SELECT count(*) AS n FROM identity_audit WHERE kind = 'sessions.ended'";
        assert_eq!(provider.count(noted).await, 1);
    }
}

#[tokio::test]
async fn nobody_ends_somebody_elses_session_nor_by_a_forged_form() {
    for provider in providers().await {
        let (mut owner, _) = provider.sign_in("openid").await;
        let (mut second, _) = provider.sign_in("openid").await;
        let id = owner.get(&provider, PAGE).await.field("id");
        let password = zeroize::Zeroizing::new("another good password".to_owned());
        let (email, caller) = ("eve@example.com", crate::caller::Caller::default());
        let member = crate::scopes::Role::Member;
        crate::admin::create(&provider.app, "test", email, "Eve", &password, member, &caller).await.unwrap();
        let mut eve = Browser::default();
        let page = eve.login_page(&provider, &[]).await;
        eve.submit(&provider, &page, email, &password).await;
        assert!(!eve.get(&provider, PAGE).await.body.contains(&id));
        eve.end(&provider, Some(&id)).await;
        eve.end(&provider, None).await;
        let forged = owner.post(&provider, "/identity/account/access/end", &[("csrf", "forged")]).await;
        assert_eq!(forged.status, StatusCode::FORBIDDEN);
        assert!(owner.is_signed_in(&provider).await && second.is_signed_in(&provider).await);
        let nobody = Browser::default().get(&provider, PAGE).await;
        assert_eq!(nobody.location().as_str(), format!("{ISSUER}/login?to=access"));
    }
}

#[tokio::test]
async fn a_withdrawn_consent_is_asked_for_again() {
    for provider in providers().await {
        let (mut browser, _) = provider.sign_in("openid").await;
        let partner =
            [("client_id", "partner"), ("redirect_uri", PARTNER_CALLBACK), ("scope", "openid email")];
        let ask = browser.authorize(&provider, &partner).await;
        let (csrf, request) = (ask.field("csrf"), ask.field("request"));
        let pairs = [("csrf", csrf.as_str()), ("request", &request), ("decision", "allow")];
        browser.post(&provider, "/identity/consent", &pairs).await;
        let page = browser.get(&provider, PAGE).await;
        assert!(
            page.body.contains("Partner &lt;Ltd&gt;") && page.body.contains("see your e-mail"),
            "{page:?}"
        );
        assert!(browser.authorize(&provider, &partner).await.sent_back("code").is_some(), "not asked twice");
        let csrf = page.field("csrf");
        for (csrf, status) in [("forged", StatusCode::FORBIDDEN), (csrf.as_str(), StatusCode::SEE_OTHER)] {
            let pairs = [("csrf", csrf), ("id", "partner")];
            let answer = browser.post(&provider, "/identity/account/access/withdraw", &pairs).await;
            assert_eq!(answer.status, status);
        }
        let asked = browser.authorize(&provider, &partner).await;
        assert!(asked.body.contains("Allow Partner"), "{asked:?}");
    }
}
