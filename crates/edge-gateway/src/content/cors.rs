//! Cross-origin requests by scripts (Fetch standard, "CORS protocol").
//!
//! The gateway answers preflights itself, before authorization: a browser sends them without credentials. It
//! is the one who speaks for the route: what the upstream says of CORS is dropped, so that no answer has two
//! opinions. An answer that depends on the origin says so in `Vary` even where no origin was sent, or a shared
//! cache would give it to a script. Requests from public sites to private networks are not allowed to anyone.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, HeaderMap, HeaderName, HeaderValue,
    ORIGIN,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quintet_http::problem::Problem;

use super::vary;
use crate::answer;
use crate::body::ResponseBody;

const ALLOW_PRIVATE_NETWORK: HeaderName = HeaderName::from_static("access-control-allow-private-network");

/// A route's rules for scripts of other origins.
#[derive(Debug)]
pub(crate) struct Cors {
    pub(crate) any_origin: bool,
    pub(crate) origins: Vec<OriginRule>,
    pub(crate) headers: CorsHeaders,
}

/// What is said to those who are allowed.
#[derive(Debug)]
pub(crate) struct CorsHeaders {
    pub(crate) methods: Option<HeaderValue>,
    pub(crate) headers: Option<HeaderValue>,
    pub(crate) exposed: Option<HeaderValue>,
    pub(crate) credentials: bool,
    pub(crate) max_age: HeaderValue,
}

/// Which origins are allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum OriginRule {
    Exact(String),
    /// All hosts below one: what the origin begins with (`https://`) and ends with (`.example.com:8443`).
    Below {
        start: String,
        end: String,
    },
}

impl OriginRule {
    /// Reads an origin as browsers write it, or one with `*.` before the host.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, authority) =
            text.split_once("://").ok_or("must begin with a scheme such as https://")?;
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (authority, None),
        };
        let host_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-._[:]".contains(&b);
        let below = host.strip_prefix("*.");
        let name = below.unwrap_or(host);
        let scheme_byte = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"+-.".contains(&b);
        if scheme.is_empty()
            || !scheme.bytes().all(scheme_byte)
            || name.is_empty()
            || !name.bytes().all(host_byte)
        {
            return Err("must be scheme://host or scheme://host:port in lower case, without a path");
        }
        match port {
            Some(port) if port.parse::<u16>().is_err() => return Err("has a port that is none"),
            Some("443") if scheme == "https" => {
                return Err("must not name the default port: browsers leave it out");
            }
            Some("80") if scheme == "http" => {
                return Err("must not name the default port: browsers leave it out");
            }
            _ => {}
        }
        let Some(name) = below else { return Ok(Self::Exact(text.to_owned())) };
        if !name.contains('.') {
            return Err("must not allow all hosts of a top-level domain");
        }
        let port = port.map(|port| format!(":{port}")).unwrap_or_default();
        Ok(Self::Below { start: format!("{scheme}://"), end: format!(".{name}{port}") })
    }

    fn allows(&self, origin: &str) -> bool {
        match self {
            Self::Exact(exact) => origin == exact,
            Self::Below { start, end } => {
                let label =
                    origin.strip_prefix(start.as_str()).and_then(|rest| rest.strip_suffix(end.as_str()));
                label.is_some_and(|labels| {
                    let inside = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"-_".contains(&b);
                    labels.split('.').all(|label| !label.is_empty() && label.bytes().all(inside))
                })
            }
        }
    }
}

/// The origin of a request's script, if it has exactly one.
pub(super) fn origin(request: &Parts) -> Option<HeaderValue> {
    let mut all = request.headers.get_all(ORIGIN).iter();
    let origin = all.next().cloned();
    origin.filter(|_| all.next().is_none())
}

/// The method that a preflight asks for.
pub(crate) fn preflight_method(request: &Parts) -> Option<Method> {
    if !request.headers.contains_key(ORIGIN) {
        return None;
    }
    let method = request.headers.get(ACCESS_CONTROL_REQUEST_METHOD)?;
    Method::from_bytes(method.as_bytes()).ok()
}

impl Cors {
    fn allows(&self, origin: &HeaderValue) -> bool {
        self.any_origin
            || origin.to_str().is_ok_and(|origin| self.origins.iter().any(|rule| rule.allows(origin)))
    }

    /// The answer to a preflight. What the route does not allow is told by what it does allow: the
    /// browser compares, and says to the developer what is missing.
    pub(crate) fn preflight(&self, request: &Parts) -> Result<Response<ResponseBody>, Problem> {
        let origin = origin(request).filter(|origin| self.allows(origin)).ok_or_else(|| {
            let detail = "scripts of this origin may not use this address";
            Problem::new(StatusCode::FORBIDDEN, "cors_origin_refused", detail)
        })?;
        let mut response = answer::respond(StatusCode::NO_CONTENT, None, bytes::Bytes::new());
        let headers = response.headers_mut();
        self.allow(&origin, headers);
        for (name, value) in [
            (ACCESS_CONTROL_ALLOW_METHODS, self.headers.methods.as_ref()),
            (ACCESS_CONTROL_ALLOW_HEADERS, self.headers.headers.as_ref()),
            (ACCESS_CONTROL_MAX_AGE, Some(&self.headers.max_age)),
        ] {
            if let Some(value) = value {
                headers.insert(name, value.clone());
            }
        }
        for name in [ORIGIN, ACCESS_CONTROL_REQUEST_METHOD, ACCESS_CONTROL_REQUEST_HEADERS] {
            vary(headers, &HeaderValue::from_name(name));
        }
        Ok(response)
    }

    /// Says in an answer who may read it.
    pub(super) fn apply(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        for name in [
            ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_ALLOW_CREDENTIALS,
            ACCESS_CONTROL_ALLOW_METHODS,
            ACCESS_CONTROL_ALLOW_HEADERS,
            ACCESS_CONTROL_EXPOSE_HEADERS,
            ACCESS_CONTROL_MAX_AGE,
            ALLOW_PRIVATE_NETWORK,
        ] {
            headers.remove(name);
        }
        if !self.any_origin {
            vary(headers, &HeaderValue::from_name(ORIGIN));
        }
        if let Some(origin) = origin.filter(|origin| self.allows(origin)) {
            self.allow(origin, headers);
            if let Some(exposed) = &self.headers.exposed {
                headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
            }
        }
    }

    fn allow(&self, origin: &HeaderValue, headers: &mut HeaderMap) {
        let whom = if self.any_origin { HeaderValue::from_static("*") } else { origin.clone() };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, whom);
        if self.headers.credentials {
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(rule: &str, origin: &str) -> bool {
        OriginRule::parse(rule).unwrap().allows(origin)
    }

    #[test]
    fn an_exact_rule_allows_that_origin_alone() {
        assert!(allows("https://app.example", "https://app.example"));
        for other in [
            "http://app.example",
            "https://app.example:8443",
            "https://app.example.evil.test",
            "https://evil-app.example",
            "https://app.example/",
            "null",
        ] {
            assert!(!allows("https://app.example", other), "{other}");
        }
    }

    #[test]
    fn a_wildcard_allows_hosts_below_and_nothing_that_only_looks_like_one() {
        for host in ["https://a.shop.example", "https://a.b-c.shop.example"] {
            assert!(allows("https://*.shop.example", host), "{host}");
        }
        for other in [
            "https://shop.example",
            "https://.shop.example",
            "https://evilshop.example",
            "http://a.shop.example",
            "https://a.shop.example:444",
            "https://evil.test/a.shop.example",
            "https://evil.test#.shop.example",
            "https://user@.shop.example",
            "https://a..shop.example",
            "https://a.shop.example.evil.test",
        ] {
            assert!(!allows("https://*.shop.example", other), "{other}");
        }
        assert!(allows("https://*.shop.example:8443", "https://a.shop.example:8443"));
        assert!(allows("http://[::1]:8080", "http://[::1]:8080"));
    }

    #[test]
    fn what_no_browser_would_send_is_refused() {
        for bad in [
            "",
            "app.example",
            "https://",
            "https://app.example/",
            "https://App.example",
            "https://app.example:443",
            "http://app.example:80",
            "https://*.com",
            "https://*",
            "https://a.*.example",
            "https://app.example:x",
            "null",
        ] {
            assert!(OriginRule::parse(bad).is_err(), "{bad}");
        }
    }
}
