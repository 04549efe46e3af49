//! Token exchange (RFC 8693).

use std::time::Duration;

use axum::http::StatusCode;
use serde_json::json;

use super::harness::*;

const GRANT: (&str, &str) = ("grant_type", "urn:ietf:params:oauth:grant-type:token-exchange");
const KIND: (&str, &str) = ("subject_token_type", "urn:ietf:params:oauth:token-type:access_token");

async fn exchange(provider: &Provider, token: &str, more: &[(&str, &str)]) -> Answer {
    let mut pairs = vec![GRANT, KIND, ("subject_token", token)];
    pairs.extend_from_slice(more);
    provider.token("middle", &pairs).await
}

/// RFC 8693 §2 and §4.1.
#[tokio::test]
async fn a_service_acts_for_a_person_with_less_and_not_for_longer() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:read orders:write").await;
        let token = tokens["access_token"].as_str().unwrap();
        let before = claims(&tokens["access_token"]);
        provider.clock.advance(Duration::from_secs(100));
        let answer = exchange(&provider, token, &[("resource", "https://reports.example/")]).await;
        assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
        let answer = answer.json();
        assert_eq!(answer["issued_token_type"], KIND.1);
        assert_eq!((&answer["expires_in"], answer.get("refresh_token")), (&json!(200), None));
        let after = claims(&answer["access_token"]);
        assert_eq!(
            (&after["sub"], &after["sid"], &after["exp"]),
            (&before["sub"], &before["sid"], &before["exp"])
        );
        assert_eq!((&after["client_id"], &after["act"]), (&json!("middle"), &json!({ "sub": "middle" })));
        assert_eq!(
            (&after["aud"], &after["scope"]),
            (&json!("https://reports.example/"), &json!("orders:read"))
        );
        assert_ne!(after["jti"], before["jti"]);

        let chained = exchange(&provider, answer["access_token"].as_str().unwrap(), &[]).await.json();
        let act = json!({ "sub": "middle", "act": { "sub": "middle" } });
        assert_eq!(claims(&chained["access_token"])["act"], act);
        // Leaving the service out widens nothing, and neither does naming one.
        assert_eq!(claims(&chained["access_token"])["aud"], "https://reports.example/");
        let reports = answer["access_token"].as_str().unwrap();
        for more in [[("audience", "quintet")], [("audience", "https://unknown.example/")]] {
            assert_eq!(exchange(&provider, reports, &more).await.error(), "invalid_target", "{more:?}");
        }
        let same = [("audience", "https://reports.example/")];
        assert_eq!(exchange(&provider, token, &same).await.status, StatusCode::OK);
        // It ends with what it came from.
        let pairs = [("token", tokens["refresh_token"].as_str().unwrap())];
        provider.post("/identity/revoke", &[("authorization", &basic("console", SECRET))], &pairs).await;
        let token = chained["access_token"].as_str().unwrap();
        assert_eq!(exchange(&provider, token, &[]).await.error(), "invalid_request");
    }
}

#[tokio::test]
async fn what_the_policy_does_not_allow_is_not_exchanged() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid orders:write").await;
        let token = tokens["access_token"].as_str().unwrap();
        for (more, error) in [
            (vec![("scope", "orders:read")], "invalid_scope"),
            (vec![], "invalid_scope"),
            (vec![("resource", "https://unknown.example/")], "invalid_scope"),
            (
                vec![("requested_token_type", "urn:ietf:params:oauth:token-type:refresh_token")],
                "invalid_request",
            ),
            (vec![("actor_token", token)], "invalid_request"),
        ] {
            assert_eq!(exchange(&provider, token, &more).await.error(), error, "{more:?}");
        }
        let id_token = tokens["id_token"].as_str().unwrap();
        assert_eq!(exchange(&provider, id_token, &[]).await.error(), "invalid_request");
        let own = provider.service_token().await;
        let foreign = exchange(&provider, own["access_token"].as_str().unwrap(), &[]).await;
        assert_eq!(foreign.error(), "invalid_target", "tokens of `service` are not named");
        let pairs = [GRANT, KIND, ("subject_token", token)];
        assert_eq!(provider.token("service", &pairs).await.error(), "unauthorized_client");
    }
}
