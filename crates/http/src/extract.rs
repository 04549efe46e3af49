//! Axum extractors whose rejections are problems that say where the input is wrong.
//!
//! Syntax errors are 400 with line and column; a well-formed document of the wrong shape is 422
//! with a JSON pointer; a missing or wrong media type is 415; too large is 413. Unknown fields
//! are errors where the type says `deny_unknown_fields`.

use std::error::Error;

use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, StatusCode};
use http_body_util::BodyExt;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_path_to_error::{Path as ErrorPath, Segment};

use crate::middleware::BodyTooLarge;
use crate::problem::Problem;

/// A JSON body, in or out.
#[derive(Debug, Clone, Copy, Default)]
pub struct Json<T>(pub T);

/// The query string.
#[derive(Debug, Clone, Copy, Default)]
pub struct Query<T>(pub T);

/// The parameters of the matched route.
#[derive(Debug, Clone, Copy, Default)]
pub struct Path<T>(pub T);

/// An `application/x-www-form-urlencoded` body.
#[derive(Debug, Clone, Copy, Default)]
pub struct Form<T>(pub T);

/// A whole body as bytes, within the route's limit.
#[derive(Debug, Clone, Default)]
pub struct Body(pub Bytes);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        axum::Json(self.0).into_response()
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(unsupported("application/json"));
        }
        parse_json(&read(request).await?).map(Self)
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Form<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        if essence(request.headers()).as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(unsupported("application/x-www-form-urlencoded"));
        }
        let bytes = read(request).await?;
        parse_pairs(&bytes)
            .map(Self)
            .map_err(|(path, detail)| shape(StatusCode::UNPROCESSABLE_ENTITY, "invalid_form", path, detail))
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parse_pairs(parts.uri.query().unwrap_or_default().as_bytes())
            .map(Self)
            .map_err(|(path, detail)| shape(StatusCode::BAD_REQUEST, "invalid_query", path, detail))
    }
}

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(rejection) if rejection.status().is_server_error() => Err(Problem::internal(&rejection)),
            Err(rejection) => Err(Problem::bad_request("invalid_path", rejection.body_text())),
        }
    }
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Self, Problem> {
        read(request).await.map(Self)
    }
}

/// Reads the whole body; the standard layers bound its size and its time.
pub async fn read(request: Request) -> Result<Bytes, Problem> {
    request
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .map_err(|error| body_problem(&error))
}

/// The problem for a body that could not be read: 413 if it was too large, else 400.
/// For handlers that stream a body themselves.
pub fn body_problem(error: &(dyn Error + 'static)) -> Problem {
    let mut cause = Some(error);
    while let Some(current) = cause {
        if let Some(too_large) = current.downcast_ref::<BodyTooLarge>() {
            return Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "body_too_large", too_large.to_string());
        }
        cause = current.source();
    }
    Problem::bad_request("body_unreadable", "the request body ended before it was complete")
}

/// Parses JSON as [`Json`] does, for bodies that arrive another way.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let value = serde_path_to_error::deserialize(&mut deserializer).map_err(|error| {
        let path = pointer(error.path());
        json_problem(path, error.inner())
    })?;
    deserializer.end().map_err(|error| json_problem(String::new(), &error))?;
    Ok(value)
}

fn json_problem(path: String, error: &serde_json::Error) -> Problem {
    let text = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let reason = text.strip_suffix(&place).unwrap_or(&text);
    if error.is_data() {
        return shape(StatusCode::UNPROCESSABLE_ENTITY, "invalid_body", path, reason.to_owned());
    }
    let detail =
        format!("the body is not valid JSON: {reason} at line {}, column {}", error.line(), error.column());
    Problem::bad_request("malformed_json", detail)
}

/// Wrong shape: the field, where one is known, is named in `errors` and in the words.
fn shape(status: StatusCode, code: &'static str, pointer: String, reason: String) -> Problem {
    if pointer.is_empty() {
        return Problem::new(status, code, reason.clone()).with_error("", reason);
    }
    Problem::new(status, code, format!("{pointer}: {reason}")).with_error(pointer, reason)
}

fn parse_pairs<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, (String, String)> {
    let deserializer = serde_urlencoded::Deserializer::new(form_urlencoded::parse(bytes));
    serde_path_to_error::deserialize(deserializer).map_err(|error| {
        let name = pointer(error.path()).trim_start_matches('/').to_owned();
        (name, error.into_inner().to_string())
    })
}

/// RFC 6901: `/items/0/quantity`, with `~` and `/` in keys escaped.
fn pointer(path: &ErrorPath) -> String {
    path.iter().fold(String::new(), |mut text, segment| {
        match segment {
            Segment::Seq { index } => {
                text.push('/');
                text.push_str(&index.to_string());
            }
            Segment::Map { key } => {
                text.push('/');
                text.push_str(&key.replace('~', "~0").replace('/', "~1"));
            }
            Segment::Enum { .. } | Segment::Unknown => {}
        }
        text
    })
}

fn unsupported(expected: &str) -> Problem {
    let detail = format!("the body must be sent with Content-Type: {expected}");
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// The media type without parameters, in lower case.
fn essence(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    Some(value.split(';').next()?.trim().to_ascii_lowercase())
}

fn is_json(headers: &HeaderMap) -> bool {
    essence(headers).is_some_and(|media| {
        media == "application/json" || (media.starts_with("application/") && media.ends_with("+json"))
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Line {
        sku: String,
        quantity: u32,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "only its shape matters")]
    struct Order {
        lines: Vec<Line>,
    }

    fn check(json: &str, status: u16, code: &str, pointer: Option<&str>) -> String {
        let problem = parse_json::<Order>(json.as_bytes()).unwrap_err();
        assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{json}: {problem:?}");
        assert_eq!(problem.errors.first().map(|error| error.pointer.as_str()), pointer, "{json}");
        problem.detail
    }

    #[test]
    fn malformed_json_is_400_with_line_and_column() {
        let detail = check("{\n  \"lines\": [}", 400, "malformed_json", None);
        assert!(detail.ends_with("line 2, column 13"), "{detail}");
        check("", 400, "malformed_json", None);
        check("{\"lines\":[]} x", 400, "malformed_json", None);
        check("\u{0}\u{1}", 400, "malformed_json", None);
    }

    #[test]
    fn wrong_shape_is_422_with_a_json_pointer() {
        check(r#"{"lines":[{"sku":"a","quantity":"1"}]}"#, 422, "invalid_body", Some("/lines/0/quantity"));
        check(r#"{"lines":[{"sku":"a","quantity":-1}]}"#, 422, "invalid_body", Some("/lines/0/quantity"));
        check(r#"{"lines":[{"sku":"a"}]}"#, 422, "invalid_body", Some("/lines/0"));
        check("[]", 422, "invalid_body", Some(""));
    }

    #[test]
    fn an_unknown_field_is_422_and_named() {
        let detail = check(r#"{"lines":[],"l/i~ne":1}"#, 422, "invalid_body", Some("/l~1i~0ne"));
        assert!(detail.contains("unknown field"), "{detail}");
    }

    #[test]
    fn deep_nesting_is_refused_without_a_stack_overflow() {
        let deep = "[".repeat(100_000);
        let problem = parse_json::<serde_json::Value>(deep.as_bytes()).unwrap_err();
        assert_eq!(problem.code, "malformed_json");
    }

    #[test]
    fn only_json_media_types_are_json() {
        for (value, json) in [
            ("application/json", true),
            ("application/json; charset=utf-8", true),
            ("Application/JSON", true),
            ("application/merge-patch+json", true),
            ("text/plain", false),
            ("text/json-ish", false),
            ("application/jsonp", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CONTENT_TYPE, value.parse().unwrap());
            assert_eq!(is_json(&headers), json, "{value}");
        }
        assert!(!is_json(&HeaderMap::new()));
    }
}
