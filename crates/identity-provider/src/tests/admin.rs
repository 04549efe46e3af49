//! The administration API and the audit log.

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};

use super::harness::*;

async fn call(provider: &Provider, method: Method, path: &str, token: &Value, body: &Value) -> Answer {
    let bearer = format!("Bearer {}", token.as_str().unwrap_or_default());
    let headers = [("authorization", bearer.as_str()), ("content-type", "application/json")];
    provider.send(request(method, path, &headers, body.to_string())).await
}

fn member() -> Value {
    json!({ "email": "Member@Example.com", "name": "Mia Member", "password": "a long enough password" })
}

#[tokio::test]
async fn an_administrator_creates_a_member_who_gets_a_members_scopes() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid identity:admin").await;
        let token = &tokens["access_token"];
        let created = call(&provider, Method::POST, "/identity/admin/users", token, &member()).await;
        assert_eq!(created.status, StatusCode::CREATED, "{created:?}");
        assert_eq!(created.json()["role"], "member");
        assert!(!created.body.contains("password"), "{created:?}");
        let again = call(&provider, Method::POST, "/identity/admin/users", token, &member()).await;
        assert_eq!((again.status, &again.json()["code"]), (StatusCode::CONFLICT, &json!("email_taken")));

        let mut browser = Browser::default();
        let changes = [("scope", "openid orders:write users:write identity:admin telemetry:read")];
        let page = browser.login_page(&provider, &changes).await;
        let answer = browser.submit(&provider, &page, "member@example.com", "a long enough password").await;
        let tokens = provider.redeem(&answer.sent_back("code").unwrap()).await.json();
        assert_eq!(tokens["scope"], "openid orders:write");
        let denied =
            call(&provider, Method::GET, "/identity/admin/users", &tokens["access_token"], &json!({})).await;
        assert_eq!((denied.status, &denied.json()["code"]), (StatusCode::FORBIDDEN, &json!("scope_missing")));
    }
}

#[tokio::test]
async fn every_administrative_path_is_closed_without_a_token() {
    for provider in providers().await {
        for (method, path) in [
            (Method::GET, "/identity/admin/users"),
            (Method::POST, "/identity/admin/users"),
            (Method::GET, "/identity/admin/audit"),
            (Method::GET, "/identity/admin/keys"),
            (Method::POST, "/identity/admin/keys"),
        ] {
            for token in [json!(""), json!("made-up"), provider.service_token().await["access_token"].clone()]
            {
                let answer = call(&provider, method.clone(), path, &token, &member()).await;
                let refused = [StatusCode::UNAUTHORIZED, StatusCode::FORBIDDEN].contains(&answer.status);
                assert!(refused, "{method} {path}: {answer:?}");
                assert_eq!(answer.header("content-type"), "application/problem+json");
            }
        }
        assert_eq!(provider.count("SELECT count(*) AS n FROM identity_users").await, 1);
    }
}

#[tokio::test]
async fn bad_input_is_named_by_field() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid identity:admin").await;
        for (body, status, pointer) in [
            (json!({ "email": "x", "name": "X", "password": "a long enough password" }), 422, "/email"),
            (json!({ "email": "x@y", "name": "X", "password": "short" }), 422, "/password"),
            (
                json!({ "email": "x@y", "name": "X", "password": "a long enough password", "role": "root" }),
                422,
                "/role",
            ),
            (
                json!({ "email": "x@y", "name": "X", "password": "a long enough password", "more": 1 }),
                422,
                "/more",
            ),
        ] {
            let answer =
                call(&provider, Method::POST, "/identity/admin/users", &tokens["access_token"], &body).await;
            assert_eq!(answer.status.as_u16(), status, "{body}");
            assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        }
        for path in [
            "/identity/admin/users?limit=0",
            "/identity/admin/users?limit=201",
            "/identity/admin/users?cursor=x",
        ] {
            let answer = call(&provider, Method::GET, path, &tokens["access_token"], &json!({})).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
        }
    }
}

#[tokio::test]
async fn the_list_of_accounts_goes_on_where_it_stopped() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid identity:admin").await;
        let token = &tokens["access_token"];
        for number in 0..3 {
            let mut user = member();
            user["email"] = json!(format!("m{number}@example.com"));
            assert_eq!(
                call(&provider, Method::POST, "/identity/admin/users", token, &user).await.status,
                StatusCode::CREATED
            );
        }
        let mut seen = Vec::new();
        let mut path = "/identity/admin/users?limit=2".to_owned();
        loop {
            let page = call(&provider, Method::GET, &path, token, &json!({})).await.json();
            seen.extend(page["items"].as_array().unwrap().iter().map(|user| user["email"].to_string()));
            let Some(cursor) = page["next_cursor"].as_str() else { break };
            path = format!("/identity/admin/users?limit=2&cursor={cursor}");
        }
        assert_eq!(seen.len(), 4, "{seen:?}");
    }
}

#[tokio::test]
async fn a_changed_dropped_or_inserted_audit_event_breaks_the_chain() {
    for tampering in [
        "UPDATE identity_audit SET actor = 'usr_somebody' WHERE seq = 2",
        "DELETE FROM identity_audit WHERE seq = 3",
        "UPDATE identity_audit SET hash = 'x' WHERE seq = 1",
    ] {
        for provider in providers().await {
            let (_, tokens) = provider.sign_in("openid identity:admin").await;
            let path = "/identity/admin/audit";
            let before = call(&provider, Method::GET, path, &tokens["access_token"], &json!({})).await.json();
            assert_eq!(before["intact"], true, "{before}");
            let kinds: Vec<_> =
                before["items"].as_array().unwrap().iter().map(|item| item["kind"].clone()).collect();
            assert_eq!(kinds, ["grant.issued", "code.issued", "login.succeeded", "user.created"]);
            let mut tx = provider.database.store.begin().await.unwrap();
            assert_eq!(tx.execute(tampering, Vec::new()).await.unwrap(), 1);
            tx.commit().await.unwrap();
            let after = call(&provider, Method::GET, path, &tokens["access_token"], &json!({})).await.json();
            assert_eq!(after["intact"], false, "{tampering}");
        }
    }
}

#[tokio::test]
async fn an_audit_event_says_from_where() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid identity:admin").await;
        let path = "/identity/admin/audit?limit=3";
        let page = call(&provider, Method::GET, path, &tokens["access_token"], &json!({})).await.json();
        let login = &page["items"][2];
        assert_eq!((&login["kind"], &login["address"]), (&json!("login.succeeded"), &json!("192.0.2.10")));
        assert_eq!(page["next_cursor"], "2");
    }
}

#[tokio::test]
async fn an_administrator_rotates_the_signing_key_and_old_tokens_stay_good() {
    for provider in providers().await {
        let (_, tokens) = provider.sign_in("openid identity:admin").await;
        let token = &tokens["access_token"];
        let path = "/identity/admin/keys";
        let before = call(&provider, Method::GET, path, token, &json!({})).await.json();
        assert_eq!(before["items"][0]["state"], "active", "{before}");
        provider.clock.advance(std::time::Duration::from_secs(1));
        let made = call(&provider, Method::POST, path, token, &json!({})).await;
        assert_eq!((made.status, &made.json()["state"]), (StatusCode::CREATED, &json!("active")));
        let after = call(&provider, Method::GET, path, token, &json!({})).await.json();
        let states: Vec<_> = after["items"].as_array().unwrap().iter().map(|key| &key["state"]).collect();
        assert_eq!(states, ["retired", "active"], "and the old token is still taken");
        let fresh = provider.service_token().await["access_token"].as_str().unwrap().to_owned();
        let kid = made.json()["kid"].as_str().unwrap().to_owned();
        assert_eq!(quintet_auth::Compact::parse(&fresh).unwrap().key_id, Some(kid));
        let path = "/identity/admin/audit?limit=1";
        let audit = call(&provider, Method::GET, path, token, &json!({})).await.json();
        assert_eq!(audit["items"][0]["kind"], "signing_key.rotated");
    }
}
