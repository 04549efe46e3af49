//! Which host a request is for: exactly one, in one spelling, and the one its TLS connection was made for.

use std::borrow::Cow;
use std::cell::OnceCell;
use std::net::Ipv6Addr;
use std::rc::Rc;

use http::StatusCode;
use http::header::{HOST, HeaderValue};
use http::request::Parts;
use http::uri::Scheme;
use quintet_http::problem::Problem;

use crate::connection::ConnectionState;
use crate::worker::View;

/// A host that a client asks for. The requests of a connection nearly all ask for the same, so that it is read and
/// checked once.
#[derive(Debug)]
pub(crate) struct Host {
    /// As the client wrote it. A copy: a request's value is a part of its whole read buffer, which must not stay with the
    /// connection.
    value: HeaderValue,
    text: Box<str>,
    /// In lower case, without port.
    name: Box<str>,
    /// What upstreams are told by `Forwarded` of requests for it.
    forwarded: OnceCell<HeaderValue>,
}

impl Host {
    fn read(bytes: &[u8]) -> Result<Self, Problem> {
        let value = HeaderValue::from_bytes(bytes).map_err(|_| bad_host())?;
        let text: Box<str> =
            value.to_str().ok().filter(|text| is_authority(text)).ok_or_else(bad_host)?.into();
        let name = host_name(&text).into();
        Ok(Self { value, text, name, forwarded: OnceCell::new() })
    }

    pub(super) fn value(&self) -> &HeaderValue {
        &self.value
    }

    /// The value of `Forwarded`, which `make` makes of the host once.
    pub(super) fn forwarded(&self, make: impl FnOnce(&str) -> HeaderValue) -> HeaderValue {
        self.forwarded.get_or_init(|| make(&self.text)).clone()
    }
}

/// The host by `Host` or `:authority`, which must agree where there are two.
fn host_of(state: &ConnectionState, parts: &Parts) -> Result<Rc<Host>, Problem> {
    let mut headers = parts.headers.get_all(HOST).iter();
    let header = headers.next();
    if headers.next().is_some() {
        return Err(bad_host());
    }
    let bytes = match (parts.uri.authority(), header) {
        (None, Some(header)) => header.as_bytes(),
        (Some(authority), None) => authority.as_str().as_bytes(),
        (Some(authority), Some(header))
            if header.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) =>
        {
            header.as_bytes()
        }
        _ => return Err(bad_host()),
    };
    let mut last = state.host.borrow_mut();
    match &*last {
        Some(last) if last.value.as_bytes() == bytes => Ok(Rc::clone(last)),
        _ => Ok(Rc::clone(last.insert(Rc::new(Host::read(bytes)?)))),
    }
}

/// What a request asks for, in one spelling.
pub(super) struct Asked {
    pub(super) host: Rc<Host>,
    /// Canonical.
    pub(super) path: String,
}

impl Asked {
    pub(super) fn read(state: &ConnectionState, view: &View, parts: &Parts) -> Result<Self, Problem> {
        if parts.uri.scheme().is_some_and(|scheme| *scheme != Scheme::HTTPS && *scheme != Scheme::HTTP) {
            return Err(Problem::bad_request("scheme_invalid", "the request is for neither https nor http"));
        }
        let host = host_of(state, parts)?;
        check_server_name(state, view, &host.name)?;
        let path = crate::path::canonical(parts.uri.path())
            .map_err(|error| Problem::bad_request("path_not_canonical", error.to_string()))?
            .into_owned();
        Ok(Self { host, path })
    }

    /// As the client wrote it.
    pub(super) fn host_text(&self) -> &str {
        &self.host.text
    }

    /// In lower case, without port.
    pub(super) fn host_name(&self) -> &str {
        &self.host.name
    }
}

pub(super) fn bad_host() -> Problem {
    Problem::bad_request("host_invalid", "the request must name exactly one host")
}

/// A name or an address, and perhaps a port. Narrower than RFC 3986, whose further characters are in no host's name
/// but in attacks on whoever puts the host into a link.
pub(super) fn is_authority(text: &str) -> bool {
    let (host, rest) = if let Some(inner) = text.strip_prefix('[') {
        match inner.split_once(']') {
            Some((address, rest)) if address.parse::<Ipv6Addr>().is_ok() => (address, rest),
            _ => return false,
        }
    } else {
        text.split_at(text.find(':').unwrap_or(text.len()))
    };
    let in_brackets = text.starts_with('[');
    let of_a_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    if !in_brackets && !host.bytes().all(of_a_name) {
        return false;
    }
    let port = match rest.strip_prefix(':') {
        Some(port) => {
            port.bytes().all(|byte| byte.is_ascii_digit()) && (port.is_empty() || port.parse::<u16>().is_ok())
        }
        None => rest.is_empty(),
    };
    port && !host.is_empty()
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
/// client checked may not cover it, and the client's own may not have been asked for.
fn check_server_name(state: &ConnectionState, view: &View, name: &str) -> Result<(), Problem> {
    let other = state.sni.borrow().as_deref().is_some_and(|sni| sni != name);
    let unasked = view.client_auth.as_ref().is_some_and(|auth| !auth.permits(name, state.verified.get()));
    if other || unasked {
        let detail = "the host is not the one the TLS connection was made for";
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, "misdirected", detail));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_authority_is_a_name_or_address_with_perhaps_a_port() {
        for good in ["a", "a.example.", "A_b-c~d:443", "10.0.0.1:1", "[::1]", "[fe80::1]:65535", "a:"] {
            assert!(is_authority(good), "{good}");
        }
        for bad in
            ["", ":1", "a:b", "a:1:2", "a:65536", "a b", "a@b", "a/b", "a,b", "[::1", "[x]", "[::1]x", "::1"]
        {
            assert!(!is_authority(bad), "{bad}");
        }
    }

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
