//! Which host a request is for: exactly one, in one spelling, and the one its TLS connection was made for.

use std::borrow::Cow;

use http::StatusCode;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use quintet_http::problem::Problem;

use crate::connection::ConnectionState;

/// The value of `Host` or `:authority`, which must agree where there are two.
fn host_of(parts: &Parts) -> Result<HeaderValue, Problem> {
    let mut headers = parts.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(bad_host());
    }
    match (parts.uri.authority(), header) {
        (None, Some(header)) => Ok(header.clone()),
        (Some(authority), None) => HeaderValue::from_str(authority.as_str()).map_err(|_| bad_host()),
        (Some(authority), Some(header))
            if header.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            Ok(header.clone())
        }
        _ => Err(bad_host()),
    }
}

/// What a request asks for, in one spelling.
pub(super) struct Asked {
    /// As the client wrote it.
    pub(super) host: HeaderValue,
    /// In lower case, without port.
    pub(super) name: String,
    /// Canonical.
    pub(super) path: String,
}

impl Asked {
    pub(super) fn read(state: &ConnectionState, parts: &Parts) -> Result<Self, Problem> {
        let host = host_of(parts)?;
        let name = host_name(host.to_str().map_err(|_| bad_host())?).into_owned();
        check_server_name(state, &name)?;
        let path = crate::path::canonical(parts.uri.path())
            .map_err(|error| Problem::bad_request("path_not_canonical", error.to_string()))?
            .into_owned();
        Ok(Self { host, name, path })
    }

    pub(super) fn host_text(&self) -> &str {
        self.host.to_str().unwrap_or_default()
    }
}

pub(super) fn bad_host() -> Problem {
    Problem::bad_request("host_invalid", "the request must name exactly one host")
}

/// The host in lower case, without its port.
pub(crate) fn host_name(host: &str) -> Cow<'_, str> {
    let name = match host.rsplit_once(':') {
        // The last colon of a bare IPv6 address in brackets is not a port's.
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return name.to_ascii_lowercase().into();
    }
    name.into()
}

/// A connection made for one host must not be used for another (RFC 9110 section 7.4): the certificate that the
/// client checked may not cover it.
fn check_server_name(state: &ConnectionState, name: &str) -> Result<(), Problem> {
    match state.sni.borrow().as_deref() {
        Some(sni) if sni != name => Err(Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "misdirected",
            "the host is not the one the TLS connection was made for",
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn host_names_lose_port_and_case() {
        for (host, name) in [
            ("a.example", "a.example"),
            ("A.Example:8443", "a.example"),
            ("a.example.", "a.example"),
            ("[::1]:8443", "[::1]"),
            ("[::1]", "[::1]"),
            ("127.0.0.1:1", "127.0.0.1"),
        ] {
            assert_eq!(host_name(host), name);
        }
    }
}
