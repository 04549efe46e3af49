//! What a route matches.

use http::Method;
use http::header::HeaderName;
use quintet_service::Invalid;
use serde::Deserialize;

use super::{Place, RouteSection};
use crate::router::{Conditions, HostRule, PathRule, Template, Test};

/// Conditions and hosts per route; each costs a comparison per request that comes so far.
const MAX_CONDITIONS: usize = 32;
const MAX_EXPRESSION: usize = 256;
/// Bytes of a compiled expression.
const MAX_COMPILED: usize = 64 * 1024;

/// A header or query parameter, and what it must be: exactly one of `value`, `pattern` and `present`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FieldMatch {
    pub(crate) name: String,
    /// Exactly this.
    pub(crate) value: Option<String>,
    /// A regular expression (syntax of the `regex-lite` crate: ASCII classes) found anywhere in the value; at most 256 bytes.
    pub(crate) pattern: Option<String>,
    /// Whether it must be there or must not be.
    pub(crate) present: Option<bool>,
}

pub(super) fn path(place: Place, section: &RouteSection) -> Result<PathRule, Invalid> {
    match (&section.path_prefix, &section.path_exact, &section.path_template) {
        (Some(prefix), None, None) => Ok(PathRule::Prefix(canonical(place, "path_prefix", prefix)?)),
        (None, Some(exact), None) => Ok(PathRule::Exact(canonical(place, "path_exact", exact)?)),
        (None, None, Some(template)) => {
            Ok(PathRule::Template(place.parsed("path_template", Template::parse(template))?))
        }
        _ => place
            .refuse("path_prefix", "needs exactly one of `path_prefix`, `path_exact` and `path_template`"),
    }
}

fn canonical(place: Place, field: &str, path: &str) -> Result<String, Invalid> {
    if path.contains(['?', '#']) {
        return place.refuse(field, "must be a path without query; use `query` for its parameters");
    }
    if path.contains(['{', '}']) {
        return place.refuse(field, "holds a brace; captures belong in `path_template`");
    }
    match crate::path::canonical(path) {
        Ok(canonical) if canonical == path => Ok(canonical.into_owned()),
        Ok(canonical) => place.refuse(field, &format!("would never match; write it as `{canonical}`")),
        Err(error) => place.refuse(field, &error.to_string()),
    }
}

pub(super) fn hosts(place: Place, hosts: &[String]) -> Result<Vec<HostRule>, Invalid> {
    hosts.iter().map(|host| place.parsed("hosts", HostRule::parse(host))).collect()
}

pub(super) fn conditions(place: Place, section: &RouteSection) -> Result<Option<Box<Conditions>>, Invalid> {
    let mut conditions = Conditions::default();
    for text in &section.methods {
        conditions.methods.push(method(place, text)?);
    }
    for (at, field) in section.headers.iter().enumerate() {
        let key = format!("headers.{at}");
        let Ok(name) = HeaderName::from_bytes(field.name.as_bytes()) else {
            return place.refuse(&format!("{key}.name"), &format!("`{}` is no header name", field.name));
        };
        conditions.headers.push((name, test(place, &key, field)?));
    }
    for (at, field) in section.query.iter().enumerate() {
        conditions.query.push((field.name.clone(), test(place, &format!("query.{at}"), field)?));
    }
    let count = conditions.count();
    if count > MAX_CONDITIONS {
        return place.refuse("headers", &format!("more than {MAX_CONDITIONS} conditions on one route"));
    }
    Ok((count > 0).then(|| Box::new(conditions)))
}

fn method(place: Place, text: &str) -> Result<Method, Invalid> {
    match Method::from_bytes(text.as_bytes()) {
        Ok(method) if text.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'-') => Ok(method),
        _ => place.refuse("methods", &format!("`{text}` must be a method in capitals, such as \"GET\"")),
    }
}

fn test(place: Place, key: &str, field: &FieldMatch) -> Result<Test, Invalid> {
    match (&field.value, &field.pattern, field.present) {
        (Some(value), None, None) => Ok(Test::Equals(value.clone())),
        (None, Some(pattern), None) => {
            expression(pattern).or_else(|message| place.refuse(&format!("{key}.pattern"), &message))
        }
        (None, None, Some(true)) => Ok(Test::Present),
        (None, None, Some(false)) => Ok(Test::Absent),
        _ => place.refuse(key, "needs exactly one of `value`, `pattern` and `present`"),
    }
}

fn expression(pattern: &str) -> Result<Test, String> {
    if pattern.len() > MAX_EXPRESSION {
        return Err(format!("must be at most {MAX_EXPRESSION} bytes"));
    }
    regex_lite::RegexBuilder::new(pattern).size_limit(MAX_COMPILED).build().map(Test::Matches).map_err(
        |error| format!("is no expression that can be used, or compiles to more than 64 KiB: {error}"),
    )
}
