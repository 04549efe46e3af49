//! The layer as a caller meets it: status, code and challenge.

#![expect(clippy::unwrap_used, reason = "helpers of tests stop the test right there")]

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use http::{Request, Response, StatusCode};
use quintet_auth::{Principal, Verifier};
use quintet_http::{Limits, Problem, standard};
use quintet_testkit::issuer::TestIssuer;
use serde_json::Value;
use tower::ServiceExt;

async fn write(principal: Principal) -> Result<String, Problem> {
    principal.require("orders:write")?;
    Ok(principal.subject().to_owned())
}

fn router(verifier: Arc<Verifier>) -> Router {
    let guarded = Router::new().route("/orders", get(write)).layer(quintet_auth::layer(verifier));
    let forgotten = Router::new().route("/forgotten", get(write));
    standard(guarded.merge(forgotten), &Limits::default())
}

async fn send(router: &Router, path: &str, authorization: &[&str]) -> Response<Body> {
    let mut request = Request::get(path);
    for value in authorization {
        request = request.header("authorization", *value);
    }
    router.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn body(response: Response<Body>) -> Value {
    let bytes = axum::body::to_bytes(response.into_body(), 64 * 1024).await.unwrap();
    serde_json::from_slice(&bytes).unwrap()
}

#[tokio::test]
async fn a_good_token_with_the_scope_reaches_the_handler() {
    let issuer = TestIssuer::new();
    let router = router(issuer.verifier());
    let bearer = issuer.bearer("usr_1", &["orders:write"]);
    for value in [bearer.clone(), bearer.replace("Bearer", "bearer"), bearer.replace("Bearer ", "BEARER   ")]
    {
        assert_eq!(send(&router, "/orders", &[&value]).await.status(), StatusCode::OK, "{value}");
    }
}

#[tokio::test]
async fn each_refusal_has_its_code_and_challenge() {
    let issuer = TestIssuer::new();
    let router = router(issuer.verifier());
    let good = issuer.bearer("usr_1", &["orders:write"]);
    let expired = format!("Bearer {}", issuer.token("usr_1").expires_in(-60).mint());
    let invalid = "Bearer error=\"invalid_token\"";
    for (authorization, status, code, challenge) in [
        (vec![], 401, "token_missing", "Bearer"),
        (vec!["Basic dXNlcjpwYXNz"], 401, "token_missing", "Bearer"),
        (vec!["Bearer"], 401, "token_missing", "Bearer"),
        (vec!["Bearer  "], 401, "token_missing", "Bearer"),
        (vec!["Bearer x"], 401, "token_malformed", invalid),
        (vec!["Bearer x y z"], 401, "token_malformed", invalid),
        (vec![good.as_str(), good.as_str()], 401, "token_malformed", invalid),
        (vec![expired.as_str()], 401, "token_expired", invalid),
        (
            vec![issuer.bearer("usr_1", &["orders:read"]).as_str()],
            403,
            "scope_missing",
            "Bearer error=\"insufficient_scope\", scope=\"orders:write\"",
        ),
    ] {
        let response = send(&router, "/orders", &authorization).await;
        assert_eq!(response.status().as_u16(), status, "{authorization:?}");
        assert_eq!(response.headers()["content-type"], "application/problem+json");
        let sent = response.headers()["www-authenticate"].to_str().unwrap();
        assert!(sent.starts_with(challenge), "{authorization:?}: {sent}");
        let body = body(response).await;
        assert_eq!(body["code"], code, "{authorization:?}: {body}");
        assert!(body["request_id"].is_string(), "{body}");
    }
}

#[tokio::test]
async fn a_route_whose_layer_was_forgotten_denies() {
    let issuer = TestIssuer::new();
    let response =
        send(&router(issuer.verifier()), "/forgotten", &[&issuer.bearer("usr_1", &["orders:write"])]).await;
    assert_eq!(response.status(), StatusCode::UNAUTHORIZED);
}
