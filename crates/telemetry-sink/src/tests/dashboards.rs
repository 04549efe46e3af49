//! Dashboards as the console keeps them: entity tags decide, scopes guard, bad ones are refused with a reason.

use super::*;
use http::header::{ETAG, IF_MATCH, IF_NONE_MATCH};
use http::{HeaderMap, HeaderName, Method};

const READ: &[&str] = &["telemetry:read"];
const WRITE: &[&str] = &["telemetry:read", "telemetry:write"];

impl Sink {
    async fn change(
        &self,
        method: Method,
        id: &str,
        scopes: &[&str],
        header: Option<(HeaderName, &str)>,
        body: &str,
    ) -> (StatusCode, HeaderMap, Json) {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("/telemetry/v1/dashboards/{id}"))
            .header("authorization", self.issuer.bearer("usr_2", scopes));
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let response =
            self.router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
        let (status, headers) = (response.status(), response.headers().clone());
        let body = axum::body::to_bytes(response.into_body(), 4 << 20).await.unwrap();
        (status, headers, serde_json::from_slice(&body).unwrap_or(Json::Null))
    }
}

fn document(title: &str) -> String {
    json!({ "version": 1, "title": title, "panels": [] }).to_string()
}

#[tokio::test]
async fn a_dashboard_is_made_read_changed_and_deleted() {
    let sink = sink();
    let new = Some((IF_NONE_MATCH, "*"));
    let (status, headers, made) = sink.change(Method::PUT, "one", WRITE, new.clone(), &document("One")).await;
    assert_eq!((status, &made["title"]), (StatusCode::CREATED, &json!("One")), "{made}");
    let etag = headers[ETAG].to_str().unwrap().to_owned();
    assert_eq!(made["etag"], json!(etag));
    let (status, _, problem) = sink.change(Method::PUT, "one", WRITE, new, &document("Again")).await;
    assert_eq!((status, &problem["code"]), (StatusCode::PRECONDITION_FAILED, &json!("precondition_failed")));

    let (status, headers, read) = sink.change(Method::GET, "one", READ, None, "").await;
    assert_eq!((status, headers[ETAG].to_str().unwrap()), (StatusCode::OK, etag.as_str()));
    assert_eq!(read.to_string(), document("One"));
    let held = Some((IF_NONE_MATCH, etag.as_str()));
    assert_eq!(sink.change(Method::GET, "one", READ, held, "").await.0, StatusCode::NOT_MODIFIED);

    // As a proxy that compresses hands it on.
    let weak = format!("W/{etag}");
    let (status, headers, _) =
        sink.change(Method::PUT, "one", WRITE, Some((IF_MATCH, &weak)), &document("Two")).await;
    assert_eq!(status, StatusCode::OK);
    let newer = headers[ETAG].to_str().unwrap().to_owned();
    let stale = Some((IF_MATCH, etag.as_str()));
    for method in [Method::PUT, Method::DELETE] {
        let (status, ..) = sink.change(method, "one", WRITE, stale.clone(), &document("Three")).await;
        assert_eq!(status, StatusCode::PRECONDITION_FAILED);
    }
    let list = sink.ok("/telemetry/v1/dashboards").await;
    let one = &list["data"][0];
    assert_eq!((&one["id"], &one["title"], &one["panels"]), (&json!("one"), &json!("Two"), &json!(0)));

    let (status, ..) = sink.change(Method::DELETE, "one", WRITE, Some((IF_MATCH, &newer)), "").await;
    assert_eq!(status, StatusCode::NO_CONTENT);
    assert_eq!(sink.ok("/telemetry/v1/dashboards").await["data"], json!([]));
    for method in [Method::GET, Method::DELETE] {
        let (status, ..) = sink.change(method, "one", WRITE, Some((IF_MATCH, "*")), "").await;
        assert_eq!(status, StatusCode::NOT_FOUND);
    }
}

#[tokio::test]
async fn whoever_may_only_read_changes_no_dashboard_and_a_change_says_what_it_expects() {
    let sink = sink();
    for method in [Method::PUT, Method::DELETE] {
        let any = Some((IF_MATCH, "*"));
        let (status, _, problem) = sink.change(method.clone(), "one", READ, any, &document("One")).await;
        assert_eq!((status, &problem["code"]), (StatusCode::FORBIDDEN, &json!("scope_missing")));
        let (status, _, problem) = sink.change(method, "one", WRITE, None, &document("One")).await;
        assert_eq!(status, StatusCode::PRECONDITION_REQUIRED, "{problem}");
    }
}

#[tokio::test]
async fn a_dashboard_that_the_console_could_not_draw_is_refused_with_its_place() {
    let sink = sink();
    for (id, body, pointer) in [
        ("one", "{".to_owned(), ""),
        (
            "one",
            json!({ "version": 1, "title": "T", "panels": [{ "kind": "stat", "w": 25 }] }).to_string(),
            "/panels/0/w",
        ),
        ("One", document("One"), "/id"),
        ("..%2Fone", document("One"), "/id"),
    ] {
        let (status, _, problem) =
            sink.change(Method::PUT, id, WRITE, Some((IF_NONE_MATCH, "*")), &body).await;
        assert_eq!(status, StatusCode::UNPROCESSABLE_ENTITY, "{id} {problem}");
        assert_eq!(problem["errors"][0]["pointer"], pointer, "{id} {problem}");
    }
    assert_eq!(sink.ok("/telemetry/v1/dashboards").await["data"], json!([]));
}
