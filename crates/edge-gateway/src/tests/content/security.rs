//! Headers that tell browsers what to forbid.

use axum::Router;
use axum::body::Body;
use axum::routing::any;
use bytes::Bytes;
use http::Response;

use super::asking;
use crate::config::Plan;
use crate::tests::harness::*;

const APP: &str = "[[upstreams]]\nname = \"app\"\naddresses = [\"unix:DIR/app.sock\"]\n";

fn answering(headers: &'static [(&'static str, &'static str)]) -> Router {
    Router::new().fallback(any(move || async move {
        let mut response = Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        response.body(Body::from("page")).unwrap()
    }))
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> Option<&'r str> {
    let all: Vec<_> = response.headers().get_all(name).iter().collect();
    assert!(all.len() <= 1, "{name}: {all:?}");
    all.first().map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn the_default_set_is_added_and_names_no_software() {
    let more = format!(
        "[content]\nsecurity_headers = true\n{APP}[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\n\
                        [[routes]]\npath_prefix = \"/bare\"\nupstream = \"app\"\nsecurity_headers = false\n"
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("app", answering(&[("server", "app/1.2"), ("x-powered-by", "app")]));
    let response = fixture.client().request(asking("/", &[])).await.unwrap();
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&response, "referrer-policy"), Some("strict-origin-when-cross-origin"));
    assert_eq!(header(&response, "x-frame-options"), Some("SAMEORIGIN"));
    assert_eq!(header(&response, "content-security-policy"), Some("frame-ancestors 'self'"));
    assert_eq!((header(&response, "server"), header(&response, "x-powered-by")), (None, None));
    assert_eq!(header(&response, "cross-origin-opener-policy"), None);
    let bare = fixture.client().request(asking("/bare", &[])).await.unwrap();
    assert_eq!(header(&bare, "server"), Some("app/1.2"));
    assert_eq!(header(&bare, "x-content-type-options"), None);
}

#[tokio::test]
async fn what_the_upstream_sent_stays_unless_it_is_overridden() {
    let settings = "content_security_policy = \"default-src 'self'\", frame_ancestors = [\"self\", \"https://a.example\"], \
                    permissions_policy = \"camera=()\", cross_origin_opener_policy = \"same-origin\", server = \"keep\"";
    let more = format!(
        "{APP}[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\nsecurity_headers = {{ {settings} }}\n\
         [[routes]]\npath_prefix = \"/override\"\nupstream = \"app\"\nsecurity_headers = {{ {settings}, override = true }}\n\
         response_headers = {{ set = {{ permissions-policy = \"the route's own\" }} }}\n"
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve(
        "app",
        answering(&[
            ("server", "app"),
            ("referrer-policy", "origin"),
            ("content-security-policy", "img-src x"),
        ]),
    );
    let kept = fixture.client().request(asking("/", &[])).await.unwrap();
    assert_eq!(header(&kept, "referrer-policy"), Some("origin"));
    assert_eq!(header(&kept, "content-security-policy"), Some("img-src x"));
    assert_eq!(header(&kept, "permissions-policy"), Some("camera=()"));
    assert_eq!(header(&kept, "cross-origin-opener-policy"), Some("same-origin"));
    assert_eq!(header(&kept, "server"), Some("app"));
    let replaced = fixture.client().request(asking("/override", &[])).await.unwrap();
    assert_eq!(header(&replaced, "referrer-policy"), Some("strict-origin-when-cross-origin"));
    assert_eq!(
        header(&replaced, "content-security-policy"),
        Some("default-src 'self'; frame-ancestors 'self' https://a.example")
    );
    assert_eq!(header(&replaced, "permissions-policy"), Some("the route's own"));
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_key() {
    let route = |settings: &str| {
        format!(
            "{APP}[[routes]]\npath_prefix = \"/\"\nupstream = \"app\"\nsecurity_headers = {{ {settings} }}\n"
        )
    };
    let fixture = Fixture::start(&route("")).await;
    for (settings, key) in [
        ("referrer_policy = \"nobody\"", "referrer_policy"),
        ("frame_ancestors = [\"none\", \"self\"]", "frame_ancestors"),
        ("frame_ancestors = [\"'self'\"]", "frame_ancestors"),
        ("content_security_policy = \"frame-ancestors 'none'\"", "content_security_policy"),
        ("permissions_policy = \"a\\nb\"", "permissions_policy"),
        ("cross_origin_resource_policy = \"x\"", "cross_origin_resource_policy"),
    ] {
        let message = Plan::new(&fixture.config(&route(settings))).unwrap_err().to_string();
        assert!(message.contains(&format!("routes.0.security_headers.{key}")), "{settings}: {message}");
    }
}
