//! Accounts: uniqueness, conditional changes, pages, bad input.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Answer, Api, apis};

async fn patch(api: &Api, path: &str, if_match: Option<&str>, body: Value) -> Answer {
    let bearer = api.everything();
    let mut headers = vec![("authorization", &*bearer), ("content-type", "application/json")];
    headers.extend(if_match.map(|etag| ("if-match", etag)));
    api.send(Method::PATCH, path, &headers, body.to_string()).await
}

#[tokio::test]
async fn an_address_belongs_to_one_account_whatever_its_case() {
    for api in apis().await {
        let made =
            api.post("/api/v1/users", json!({ "email": "Ann@example.com", "name": "Ann" })).await.expect(201);
        assert_eq!(made.header("location"), format!("/api/v1/users/{}", made.text("id")));
        let second = json!({ "email": "ann@EXAMPLE.com", "name": "Other" });
        api.post("/api/v1/users", second).await.refused(409, "email_taken");
        let bob = format!("/api/v1/users/{}", api.user("bob@example.com").await);
        patch(&api, &bob, Some("*"), json!({ "email": "ANN@example.com" })).await.refused(409, "email_taken");
    }
}

#[tokio::test]
async fn a_change_names_the_version_it_was_made_from() {
    for api in apis().await {
        let path = format!("/api/v1/users/{}", api.user("ann@example.com").await);
        let read = api.get(&path).await.expect(200);
        let etag = read.header("etag");
        patch(&api, &path, None, json!({ "name": "A" })).await.refused(428, "precondition_required");
        let changed = patch(&api, &path, Some(etag), json!({ "name": "Ann" })).await.expect(200);
        assert_eq!(changed.text("name"), "Ann");
        assert_eq!(changed.text("email"), "ann@example.com");
        assert_ne!(changed.header("etag"), etag);
        patch(&api, &path, Some(etag), json!({ "name": "Late" })).await.refused(412, "precondition_failed");
        assert_eq!(api.get(&path).await.text("name"), "Ann");

        let bearer = api.everything();
        let headers = [("authorization", &*bearer), ("if-none-match", changed.header("etag"))];
        let fresh = api.send(Method::GET, &path, &headers, "").await.expect(304);
        assert!(fresh.bytes.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_changes_from_one_version_one_is_412() {
    for api in apis().await {
        let path = format!("/api/v1/users/{}", api.user("ann@example.com").await);
        let answers = futures_util::future::join_all(
            (0..10).map(|n| patch(&api, &path, Some("\"v1\""), json!({ "name": format!("name {n}") }))),
        )
        .await;
        assert_eq!(answers.iter().filter(|answer| answer.status == 200).count(), 1, "{}", api.name);
        assert_eq!(answers.iter().filter(|answer| answer.status == 412).count(), 9, "{}", api.name);
    }
}

#[tokio::test]
async fn pages_hold_every_account_once_newest_first() {
    for api in apis().await {
        let mut made = Vec::new();
        for n in 0..45 {
            made.push(api.user(&format!("user{n}@example.com")).await);
        }
        made.reverse();
        let listed: Vec<String> = api
            .all("/api/v1/users")
            .await
            .iter()
            .map(|user| user["id"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(listed, made);
        api.get("/api/v1/users?limit=0").await.refused(400, "invalid_limit");
        api.get("/api/v1/users?cursor=x").await.refused(400, "invalid_cursor");
        api.get("/api/v1/users?page=2").await.refused(400, "invalid_query");
    }
}

#[tokio::test]
async fn bad_input_is_a_problem_that_says_where() {
    let api = apis().await.remove(0);
    let cases = [
        (json!({ "email": "nonsense", "name": "A" }), "invalid_user", "/email"),
        (json!({ "email": "a@example.com", "name": " " }), "invalid_user", "/name"),
        (json!({ "email": "a@example.com", "name": "A", "admin": true }), "invalid_body", "/admin"),
        (json!({ "email": 1, "name": "A" }), "invalid_body", "/email"),
    ];
    for (body, code, pointer) in cases {
        let answer = api.post("/api/v1/users", body.clone()).await;
        assert_eq!(answer.json()["errors"][0]["pointer"], pointer, "{body}");
        answer.refused(422, code);
    }
    api.get("/api/v1/users/itm_01k0000000e008000000000000").await.refused(400, "invalid_path");
    api.get("/api/v1/users/usr_01k0000000e008000000000000").await.refused(404, "not_found");
    let bearer = api.everything();
    let headers = [("authorization", &*bearer), ("content-type", "application/json")];
    api.send(Method::POST, "/api/v1/users", &headers, "{").await.refused(400, "malformed_json");
    let large = format!("{{\"name\":\"{}\"}}", "x".repeat(2 << 20));
    api.send(Method::POST, "/api/v1/users", &headers, large).await.refused(413, "body_too_large");
    let headers = [("authorization", &*bearer), ("content-type", "text/plain")];
    api.send(Method::POST, "/api/v1/users", &headers, "{}").await.refused(415, "unsupported_media_type");
    api.send(Method::DELETE, "/api/v1/users", &headers, "").await.refused(405, "method_not_allowed");
}
