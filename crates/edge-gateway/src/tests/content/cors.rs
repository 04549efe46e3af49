//! Scripts of other origins.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::asking;
use crate::config::Plan;
use crate::tests::harness::*;

const APP: &str = "[[upstreams]]\nname = \"app\"\naddresses = [\"unix:DIR/app.sock\"]\n";

fn route(cors: &str) -> String {
    format!(
        "{APP}[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\nmethods = [\"GET\", \"PUT\"]\ncors = {{ {cors} }}\n"
    )
}

/// An upstream with CORS opinions of its own.
fn opinionated() -> Router {
    Router::new().fallback(any(|| async {
        Response::builder()
            .header("access-control-allow-origin", "*")
            .header("access-control-allow-credentials", "true")
            .header("access-control-allow-private-network", "true")
            .header("x-total", "7")
            .body(Body::from("read"))
            .unwrap()
    }))
}

fn preflight(path: &str, origin: &str, method: &str) -> Request<Bytes> {
    let mut request = asking(
        path,
        &[
            ("origin", origin),
            ("access-control-request-method", method),
            ("access-control-request-headers", "authorization"),
        ],
    );
    *request.method_mut() = Method::OPTIONS;
    request
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> Option<&'r str> {
    let mut all = response.headers().get_all(name).iter();
    let first = all.next().map(|value| value.to_str().unwrap());
    assert!(all.next().is_none(), "{name} is there twice");
    first
}

fn vary(response: &Response<Bytes>) -> String {
    let all = response.headers().get_all("vary").iter().map(|value| value.to_str().unwrap());
    all.collect::<Vec<_>>().join(", ")
}

#[tokio::test]
async fn a_preflight_is_answered_at_the_edge_without_credentials() {
    let rules = "allowed_origins = [\"https://app.example\", \"https://*.shop.example\"], allowed_methods = [\"GET\", \"PUT\"], \
                 allowed_headers = [\"authorization\", \"content-type\"], credentials = true, max_age_s = 60";
    let identity =
        format!("[identity]\nissuer = \"{ISSUER}\"\naudience = \"api\"\njwks = \"unix:DIR/idp.sock\"\n");
    // No upstream runs, and the route wants a token: only the edge can answer.
    let fixture = Fixture::start(&format!("{}auth = \"token\"\n{identity}", route(rules))).await;
    for origin in ["https://app.example", "https://eu.shop.example"] {
        let response = fixture.client().request(preflight("/a", origin, "PUT")).await.unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(header(&response, "access-control-allow-origin"), Some(origin));
        assert_eq!(header(&response, "access-control-allow-credentials"), Some("true"));
        assert_eq!(header(&response, "access-control-allow-methods"), Some("GET, PUT"));
        assert_eq!(header(&response, "access-control-allow-headers"), Some("authorization, content-type"));
        assert_eq!(header(&response, "access-control-max-age"), Some("60"));
        assert_eq!(header(&response, "access-control-allow-private-network"), None);
        assert_eq!(vary(&response), "origin, access-control-request-method, access-control-request-headers");
    }
    let refused = fixture.client().request(preflight("/a", "https://evil.example", "PUT")).await.unwrap();
    assert_eq!(refused.status(), StatusCode::FORBIDDEN);
    assert_eq!(problem_code(&refused), "cors_origin_refused");
    assert_eq!(header(&refused, "access-control-allow-origin"), None);
    // A refusal of the request itself can be read by the script, or it could not sign in again.
    let denied = fixture.client().request(asking("/a", &[("origin", "https://app.example")])).await.unwrap();
    assert_eq!(denied.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&denied, "access-control-allow-origin"), Some("https://app.example"));
    // The route does not take what the preflight asks for, and OPTIONS itself neither.
    let other = fixture.client().request(preflight("/a", "https://app.example", "DELETE")).await.unwrap();
    assert_eq!(other.status(), StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn the_edge_alone_says_who_may_read_an_answer() {
    let mut fixture = Fixture::start(&route(
        "allowed_origins = [\"https://app.example\"], exposed_headers = [\"x-total\"]",
    ))
    .await;
    fixture.serve("app", opinionated());
    let client = fixture.client();
    let allowed = client.request(asking("/", &[("origin", "https://app.example")])).await.unwrap();
    assert_eq!(&allowed.body()[..], b"read");
    assert_eq!(header(&allowed, "access-control-allow-origin"), Some("https://app.example"));
    assert_eq!(header(&allowed, "access-control-expose-headers"), Some("x-total"));
    assert_eq!(header(&allowed, "access-control-allow-credentials"), None);
    assert_eq!(header(&allowed, "access-control-allow-private-network"), None);
    assert_eq!(vary(&allowed), "origin");
    for others in [&[("origin", "https://evil.example")][..], &[("origin", "null")], &[]] {
        let response = client.request(asking("/", others)).await.unwrap();
        assert_eq!(&response.body()[..], b"read");
        assert_eq!(header(&response, "access-control-allow-origin"), None, "{others:?}");
        assert_eq!(header(&response, "access-control-expose-headers"), None);
        assert_eq!(vary(&response), "origin", "a shared cache must keep them apart");
    }
}

#[tokio::test]
async fn any_origin_is_a_star_that_needs_no_vary() {
    let mut fixture = Fixture::start(&route("allowed_origins = [\"*\"]")).await;
    fixture.serve("app", opinionated());
    let response = fixture.client().request(asking("/", &[("origin", "https://a.example")])).await.unwrap();
    assert_eq!(header(&response, "access-control-allow-origin"), Some("*"));
    assert_eq!(header(&response, "access-control-allow-credentials"), None);
    assert_eq!(vary(&response), "");
}

#[tokio::test]
async fn rules_that_cannot_be_are_refused_by_key() {
    let fixture = Fixture::start(&route("allowed_origins = [\"*\"]")).await;
    for (rules, key) in [
        ("", "allowed_origins"),
        ("allowed_origins = [\"*\"], credentials = true", "allowed_origins"),
        (
            "allowed_origins = [\"https://a.example\"], allowed_headers = [\"*\"], credentials = true",
            "allowed_headers",
        ),
        (
            "allowed_origins = [\"https://a.example\"], allowed_methods = [\"*\"], credentials = true",
            "allowed_methods",
        ),
        (
            "allowed_origins = [\"https://a.example\"], exposed_headers = [\"*\"], credentials = true",
            "exposed_headers",
        ),
        ("allowed_origins = [\"*\", \"https://a.example\"]", "allowed_origins"),
        ("allowed_origins = [\"https://a.example/\"]", "allowed_origins"),
        ("allowed_origins = [\"https://*.example\"]", "allowed_origins"),
        ("allowed_origins = [\"https://a.example\"], allowed_headers = [\"a b\"]", "allowed_headers"),
        ("allowed_origins = [\"https://a.example\"], max_age_s = 86401", "max_age_s"),
    ] {
        let message = Plan::new(&fixture.config(&route(rules))).unwrap_err().to_string();
        assert!(message.contains(&format!("routes.0.cors.{key}")), "{rules}: {message}");
    }
    let on = format!("{APP}[content]\ncors = true\n[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\n");
    assert!(Plan::new(&fixture.config(&on)).unwrap_err().to_string().contains("content.cors"));
}
