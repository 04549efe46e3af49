//! An API's description: `openapi.json` and a page that shows it, `docs`, beneath the API's path.
//!
//! Both are public, like the contract they describe. Everything the page needs is served from
//! here: it works without a network and under a strict content security policy.

use axum::Router;
use axum::body::Bytes;
use axum::http::{HeaderName, HeaderValue, header};
use axum::response::IntoResponse;
use axum::routing::get;
use serde_json::Value;

use crate::openapi::Api;

const PAGE: &str = include_str!("reference/page.html");
const SCRIPT: &str = include_str!("reference/page.js");
const STYLE: &str = include_str!("reference/page.css");

const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' \
                      blob:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The routes beneath `base`, such as `/api`, for a finished document.
///
/// # Errors
/// When the document cannot be written as JSON.
pub fn router(api: &Api, base: &str, document: &Value) -> Result<Router, serde_json::Error> {
    let document = Bytes::from(serde_json::to_vec(document)?);
    let page = PAGE.replace("{title}", api.title).replace("{base}", base);
    Ok(Router::new()
        .route(&format!("{base}/openapi.json"), file(document, "application/json"))
        .route(&format!("{base}/docs"), file(page.into(), "text/html; charset=utf-8"))
        .route(&format!("{base}/docs/page.js"), file(SCRIPT.into(), "text/javascript; charset=utf-8"))
        .route(&format!("{base}/docs/page.css"), file(STYLE.into(), "text/css; charset=utf-8")))
}

fn file(bytes: Bytes, media_type: &'static str) -> axum::routing::MethodRouter {
    get(move || async move {
        let headers: [(HeaderName, HeaderValue); 4] = [
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type)),
            (header::CACHE_CONTROL, HeaderValue::from_static("no-cache")),
            (header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY)),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        ];
        (headers, bytes).into_response()
    })
}
