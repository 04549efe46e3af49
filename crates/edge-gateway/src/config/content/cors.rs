//! `cors`: which other sites' scripts may use a route.

use http::Method;
use http::header::{HeaderName, HeaderValue};
use quintet_service::Invalid;
use serde::Deserialize;

use crate::config::invalid;
use crate::content::{Cors, CorsHeaders, OriginRule};

const MAX_ORIGINS: usize = 256;
/// Browsers cap it themselves: two hours or a day.
const LONGEST_AGE_S: u32 = 86_400;

/// Which other sites' scripts may use a route, and for what (Fetch standard).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CorsSection {
    /// `https://host`, `https://*.host` for all below, or `["*"]` for any. At most 256.
    pub(crate) allowed_origins: Vec<String>,
    pub(crate) allowed_methods: Vec<String>,
    /// Request headers beside those that need no permission; `["*"]` for any but Authorization.
    pub(crate) allowed_headers: Vec<String>,
    /// Answer headers that scripts may read beside those that need no permission.
    pub(crate) exposed_headers: Vec<String>,
    /// Scripts may send cookies and read the answer. Not with a `*` anywhere.
    pub(crate) credentials: bool,
    /// How long browsers remember the answer to a preflight. At most 86400.
    pub(crate) max_age_s: u32,
}

impl Default for CorsSection {
    fn default() -> Self {
        Self {
            allowed_origins: Vec::new(),
            allowed_methods: ["GET", "HEAD", "POST"].map(str::to_owned).to_vec(),
            allowed_headers: Vec::new(),
            exposed_headers: Vec::new(),
            credentials: false,
            max_age_s: 600,
        }
    }
}

pub(super) fn check(key: &str, section: &CorsSection) -> Result<Cors, Invalid> {
    let refuse = |field: &str, message: &str| invalid(&format!("{key}.{field}"), message);
    if section.allowed_origins.is_empty() || section.allowed_origins.len() > MAX_ORIGINS {
        return refuse("allowed_origins", "must name 1 to 256 origins; leave `cors` out to allow none");
    }
    if section.max_age_s > LONGEST_AGE_S {
        return refuse("max_age_s", "must be at most 86400");
    }
    for (field, list) in [
        ("allowed_origins", &section.allowed_origins),
        ("allowed_methods", &section.allowed_methods),
        ("allowed_headers", &section.allowed_headers),
        ("exposed_headers", &section.exposed_headers),
    ] {
        let any = list.iter().any(|one| one == "*");
        if any && section.credentials {
            return refuse(field, "must not be `*` with `credentials`; name what is allowed");
        }
        if any && list.len() > 1 {
            return refuse(field, "`*` must stand alone");
        }
    }
    let any_origin = section.allowed_origins.iter().any(|one| one == "*");
    let mut origins = Vec::new();
    for text in section.allowed_origins.iter().filter(|_| !any_origin) {
        match OriginRule::parse(text) {
            Ok(rule) => origins.push(rule),
            Err(message) => return refuse("allowed_origins", &format!("`{text}` {message}")),
        }
    }
    let is_name = |text: &String| HeaderName::from_bytes(text.as_bytes()).is_ok();
    let is_method = |text: &String| text == "*" || Method::from_bytes(text.as_bytes()).is_ok();
    Ok(Cors {
        any_origin,
        origins,
        headers: CorsHeaders {
            methods: list(key, "allowed_methods", &section.allowed_methods, is_method)?,
            headers: list(key, "allowed_headers", &section.allowed_headers, is_name)?,
            exposed: list(key, "exposed_headers", &section.exposed_headers, is_name)?,
            credentials: section.credentials,
            max_age: HeaderValue::from(section.max_age_s),
        },
    })
}

fn list(
    key: &str,
    field: &str,
    list: &[String],
    valid: impl Fn(&String) -> bool,
) -> Result<Option<HeaderValue>, Invalid> {
    let refused =
        |text: &str| invalid(&format!("{key}.{field}"), &format!("`{text}` is no method or header name"));
    if let Some(bad) = list.iter().find(|one| !valid(one)) {
        return refused(bad);
    }
    if list.is_empty() {
        return Ok(None);
    }
    let text = list.join(", ");
    HeaderValue::from_str(&text).map(Some).or_else(|_| refused(&text))
}
