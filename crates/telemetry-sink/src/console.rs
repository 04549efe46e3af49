//! The console's files, embedded at build time, and how they are served.
//!
//! Files whose names carry a content hash (everything below `assets/`) are cached for good; the rest
//! is revalidated by a strong ETag. A navigation to an unknown path gets `index.html`, since the page
//! routes itself; anything else that is missing is a 404 problem.
//!
//! The files hold no data, so they need no token. The policy headers allow only files of this origin.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::{IntoResponse, Response};
use axum::routing::any;
use http::header::{
    ACCEPT, ACCEPT_ENCODING, ALLOW, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_SECURITY_POLICY,
    CONTENT_TYPE, ETAG, IF_NONE_MATCH, REFERRER_POLICY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use quintet_http::Problem;

/// One embedded file.
pub(crate) struct Asset {
    /// Below the root, without a leading slash.
    pub(crate) path: &'static str,
    pub(crate) media_type: &'static str,
    /// A strong validator, with its quotes.
    pub(crate) etag: &'static str,
    pub(crate) plain: &'static [u8],
    /// Smaller than `plain`, or absent.
    pub(crate) gzip: Option<&'static [u8]>,
}

include!(concat!(env!("OUT_DIR"), "/console_assets.rs"));

const POLICY: &str =
    "default-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; object-src 'none'";

const ABSENT: &str = "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
<title>Quintet telemetry</title>\n<h1>The console is not part of this build</h1>\n\
<p>This telemetry sink was built without the console's files. The query API works all the same.</p>\n\
<p>To get the console: install Node.js 20 or newer, then run <code>cargo xtask up</code> again.</p>\n</html>\n";

/// Serves everything that no other route takes. One route for all files keeps the metrics' labels few.
pub(crate) fn router() -> Router {
    Router::new().route("/", any(serve)).route("/{*file}", any(serve))
}

async fn serve(request: Request) -> Response {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let problem = Problem::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path supports GET and HEAD",
        );
        let mut response = problem.into_response();
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = answer(ASSETS, request.uri().path(), request.headers());
    if request.method() == Method::HEAD {
        *response.body_mut() = Body::empty();
    }
    response
}

fn answer(assets: &[Asset], path: &str, headers: &HeaderMap) -> Response {
    let name = path.trim_start_matches('/');
    let find = |name: &str| assets.iter().find(|asset| asset.path == name);
    if let Some(asset) = find(if name.is_empty() { "index.html" } else { name }) {
        return file(asset, headers);
    }
    if !is_navigation(name, headers) {
        return Problem::new(StatusCode::NOT_FOUND, "route_not_found", "there is no such file")
            .into_response();
    }
    match find("index.html") {
        Some(index) => file(index, headers),
        None => absent(),
    }
}

/// A browser opening a page, not a script or style asking for its file.
fn is_navigation(name: &str, headers: &HeaderMap) -> bool {
    let last = name.rsplit('/').next().unwrap_or("");
    let accepts_html = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .any(|value| value.contains("text/html") || (name.is_empty() && value.contains("*/*")));
    (accepts_html || (name.is_empty() && !headers.contains_key(ACCEPT))) && !last.contains('.')
}

fn file(asset: &Asset, headers: &HeaderMap) -> Response {
    let immutable = asset.path.starts_with("assets/");
    let cache = if immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let gzip = asset.gzip.filter(|_| accepts_gzip(headers));
    // Two encodings of one file are two representations and need two strong validators.
    let etag = match gzip {
        Some(_) => format!("{}-gzip\"", asset.etag.trim_end_matches('"')),
        None => asset.etag.to_owned(),
    };
    let unchanged = headers.get(IF_NONE_MATCH).and_then(|value| value.to_str().ok()).is_some_and(|known| {
        known.trim() == "*" || known.split(',').any(|one| one.trim().trim_start_matches("W/") == etag)
    });
    let body = gzip.unwrap_or(asset.plain);
    let mut response = Response::new(if unchanged { Body::empty() } else { Body::from(body) });
    if unchanged {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
    }
    let out = response.headers_mut();
    secure(out);
    out.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    out.insert(VARY, HeaderValue::from_static("accept-encoding"));
    if let Ok(etag) = HeaderValue::from_str(&etag) {
        out.insert(ETAG, etag);
    }
    if !unchanged {
        out.insert(CONTENT_TYPE, HeaderValue::from_static(asset.media_type));
        out.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if gzip.is_some() {
            out.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
    }
    response
}

fn accepts_gzip(headers: &HeaderMap) -> bool {
    let values = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"))
            && !parts.any(|part| part.replace(' ', "").trim_end_matches('0').trim_end_matches('.') == "q=")
    })
}

fn absent() -> Response {
    let mut response = Response::new(Body::from(ABSENT));
    *response.status_mut() = StatusCode::OK;
    let headers = response.headers_mut();
    secure(headers);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    response
}

fn secure(headers: &mut HeaderMap) {
    let fixed: [(HeaderName, &'static str); 6] = [
        (CONTENT_SECURITY_POLICY, POLICY),
        (X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (X_FRAME_OPTIONS, "DENY"),
        (REFERRER_POLICY, "same-origin"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILES: &[Asset] = &[
        Asset {
            path: "index.html",
            media_type: "text/html; charset=utf-8",
            etag: "\"abc\"",
            plain: b"<html>plain</html>",
            gzip: Some(b"zipped"),
        },
        Asset {
            path: "assets/app-1f2e.js",
            media_type: "text/javascript",
            etag: "\"def\"",
            plain: b"js",
            gzip: None,
        },
    ];

    fn get(path: &str, headers: &[(HeaderName, &'static str)]) -> Response {
        let headers =
            headers.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        answer(FILES, path, &headers)
    }

    fn header(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn navigations_get_the_page_and_missing_files_get_404() {
        let html = (ACCEPT, "text/html,application/xhtml+xml");
        assert_eq!(
            header(&get("/logs", std::slice::from_ref(&html)), CONTENT_TYPE),
            "text/html; charset=utf-8"
        );
        assert_eq!(get("/assets/gone.js", &[html]).status(), StatusCode::NOT_FOUND);
        assert_eq!(get("/logs", &[(ACCEPT, "*/*")]).status(), StatusCode::NOT_FOUND);
        assert_eq!(get("/", &[(ACCEPT, "*/*")]).status(), StatusCode::OK);
        assert_eq!(get("/../etc/passwd", &[]).status(), StatusCode::NOT_FOUND);
    }

    #[test]
    fn hashed_files_are_cached_for_good_and_the_page_is_revalidated() {
        assert!(header(&get("/assets/app-1f2e.js", &[]), CACHE_CONTROL).contains("immutable"));
        assert_eq!(header(&get("/", &[]), CACHE_CONTROL), "no-cache");
        assert_eq!(get("/", &[(IF_NONE_MATCH, "\"abc\"")]).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(get("/", &[(IF_NONE_MATCH, "\"old\"")]).status(), StatusCode::OK);
    }

    #[test]
    fn compressed_files_go_only_to_clients_that_accept_them_and_have_their_own_validator() {
        let zipped = get("/", &[(ACCEPT_ENCODING, "br, gzip")]);
        assert_eq!(header(&zipped, CONTENT_ENCODING), "gzip");
        assert_eq!(header(&zipped, ETAG), "\"abc-gzip\"");
        assert_eq!(header(&get("/", &[(ACCEPT_ENCODING, "gzip;q=0")]), CONTENT_ENCODING), "");
        assert_eq!(header(&get("/", &[]), ETAG), "\"abc\"");
    }

    #[test]
    fn every_file_carries_the_policy_headers() {
        for path in ["/", "/assets/app-1f2e.js"] {
            let response = get(path, &[]);
            assert!(header(&response, CONTENT_SECURITY_POLICY).starts_with("default-src 'self'"));
            assert_eq!(header(&response, X_CONTENT_TYPE_OPTIONS), "nosniff");
        }
    }

    #[test]
    fn a_build_without_the_console_says_how_to_get_it() {
        let headers = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static("text/html"))]);
        let response = answer(&[], "/", &headers);
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(header(&response, CONTENT_TYPE), "text/html; charset=utf-8");
    }
}
