//! From a failed request to what `why` says of it.

use http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::*;
use crate::tests::{ECHO, Fixture, get as get_request, post};

async fn ask(fixture: &Fixture, request_id: &str) -> (StatusCode, serde_json::Value) {
    let request = Request::get(format!("{PATH}{request_id}")).body(axum::body::Body::empty()).unwrap();
    let answer = routes(Arc::clone(&fixture.gateway)).oneshot(request).await.unwrap();
    let status = answer.status();
    let body = axum::body::to_bytes(answer.into_body(), 65_536).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap())
}

#[tokio::test]
async fn what_the_gateway_made_of_a_request_is_explained_by_its_id() {
    let more = ECHO.replace("[[routes]]", "restart_patience_ms = 0\n[[routes]]\nmax_body = 3");
    let fixture = Fixture::start(&more).await;
    let client = fixture.client();
    for (request, status, reason, change) in [
        (get_request("/a?secret=1"), 503, "upstream_down", "restart_patience_ms"),
        (post("/b", "four"), 413, "body_too_large", "max_body"),
        (get_request("/c/../d"), 400, "path_not_canonical", "resolved path"),
    ] {
        let answer = client.request(request).await.unwrap();
        assert_eq!(answer.status(), status);
        let id = answer.headers()["x-request-id"].to_str().unwrap();
        let (found, told) = ask(&fixture, id).await;
        assert_eq!(found, StatusCode::OK);
        assert_eq!((&told["reason"], &told["status"]), (&reason.into(), &status.into()), "{told}");
        assert!(told["change"].as_str().unwrap().contains(change), "{told}");
        assert!(!told.to_string().contains("secret"), "queries are not kept: {told}");
        let text = serde_json::from_value::<Answer>(told).unwrap().to_string();
        assert!(text.contains(&format!("answer    {status}")), "{text}");
    }
}

#[tokio::test]
async fn a_request_that_went_well_is_not_remembered() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", crate::tests::echo());
    let answer = fixture.client().request(get_request("/")).await.unwrap();
    let id = answer.headers()["x-request-id"].to_str().unwrap();
    assert_eq!(ask(&fixture, id).await.0, StatusCode::NOT_FOUND);
}
