//! Purging by the admin listener: `POST /gateway/cache/purge`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Json, Router};
use quintet_http::problem::Problem;
use serde::Deserialize;

use crate::gateway::Gateway;

/// What is forgotten: exactly one of these.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Purge {
    /// All answers to this address, `https://host/path?query`.
    url: Option<String>,
    /// All answers to addresses that begin so.
    prefix: Option<String>,
    /// Everything.
    all: Option<bool>,
}

/// The admin listener's part of the cache.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/gateway/cache/purge", post(purge)).with_state(gateway)
}

async fn purge(State(gateway): State<Arc<Gateway>>, Query(what): Query<Purge>) -> Response {
    let cache = &gateway.cache;
    let purged = match (what.url, what.prefix, what.all) {
        (Some(url), None, None) if is_address(&url) => cache.purge(|key| key == url),
        (None, Some(prefix), None) if is_address(&prefix) => cache.purge(|key| key.starts_with(&prefix)),
        (None, None, Some(true)) => cache.purge(|_| true),
        _ => {
            let detail = "needs one of `url`, `prefix` (each as https://host/path) and `all=true`";
            return Problem::bad_request("purge_invalid", detail).into_response();
        }
    };
    tracing::info!(purged, "cache purged");
    Json(serde_json::json!({ "purged": purged })).into_response()
}

/// With a path, so that `https://a.example` does not mean `https://a.example.org/` too.
fn is_address(text: &str) -> bool {
    let rest = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|rest| rest.find('/').is_some_and(|at| at > 0))
}
