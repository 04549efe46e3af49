//! Routes behind a door as they are served, and asking them as a client does, for the tests of every API of this binary.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use http::{Request, StatusCode};
use quintet_auth::Verifier;
use serde_json::Value;
use tower::ServiceExt as _;
use utoipa_axum::router::OpenApiRouter;

use crate::description;

pub(crate) fn router(routes: OpenApiRouter, verifier: Arc<Verifier>) -> Router {
    description::router(routes, verifier, "https://localhost:8443/identity").unwrap()
}

/// The answer's status and its JSON, null where it has none. `bearer` is the whole `Authorization` header.
pub(crate) async fn call(
    router: &Router,
    method: &str,
    path: &str,
    bearer: Option<&str>,
    body: &Value,
) -> (StatusCode, Value) {
    let mut request = Request::builder().method(method).uri(path).header("content-type", "application/json");
    if let Some(bearer) = bearer {
        request = request.header("authorization", bearer);
    }
    let response = router.clone().oneshot(request.body(Body::from(body.to_string())).unwrap()).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, serde_json::from_slice(&body).unwrap_or_default())
}
