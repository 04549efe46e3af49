//! What the admin listener tells of a gateway under way.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use http::{Request, StatusCode};
use tower::ServiceExt as _;

use super::*;
use crate::tests::{ECHO, Fixture, echo, get};
use crate::upstream::Condition;

async fn status(fixture: &Fixture) -> Status {
    let request = Request::get(status::PATH).body(Body::empty()).unwrap();
    let answer = routes(Arc::clone(&fixture.gateway)).oneshot(request).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    serde_json::from_slice(&to_bytes(answer.into_body(), 65_536).await.unwrap()).unwrap()
}

#[tokio::test]
async fn the_status_has_what_the_running_configuration_has() {
    let balanced = ECHO.replace("[[routes]]", "balance = \"p2c-ewma\"\n[[routes]]");
    let mut fixture = Fixture::start(&balanced).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    assert_eq!(client.request(get("/")).await.unwrap().status(), 200);
    let told = status(&fixture).await;
    assert_eq!((told.connections_open, told.routes.as_slice()), (1, &["/".to_owned()][..]));
    let endpoint = &told.upstreams[0].endpoints[0];
    assert_eq!((endpoint.health, endpoint.in_flight, endpoint.ejections), (Condition::Up, 0, 0));
    assert!(endpoint.latency_ms.is_some_and(|latency| latency > 0.0), "{told:?}");
    fixture.reload(&ECHO.replace("\"/\"", "\"/new\"").replace("echo", "other")).unwrap();
    let told = status(&fixture).await;
    assert_eq!((told.routes.as_slice(), told.generation), (&["/new".to_owned()][..], 1));
    assert_eq!(told.upstreams[0].upstream, "other");
}

#[tokio::test]
async fn an_address_that_takes_no_connections_is_told_as_ejected() {
    let fixture = Fixture::start(&ECHO.replace("[[routes]]", "restart_patience_ms = 0\n[[routes]]")).await;
    assert_eq!(fixture.client().request(get("/")).await.unwrap().status(), 503);
    let told = status(&fixture).await;
    let endpoint = &told.upstreams[0].endpoints[0];
    assert_eq!((endpoint.health, endpoint.ejections), (Condition::Ejected, 1), "{told:?}");
}
