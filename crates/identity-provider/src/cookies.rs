//! The provider's cookies: all `__Host-`, Secure, HttpOnly, SameSite=Lax.
//!
//! The `__Host-` prefix keeps a sibling domain or plain HTTP from planting one (RFC 6265bis §4.1.3).
//! Lax and not Strict: a client's redirect to the authorization endpoint must find the session.

use axum::http::{HeaderMap, HeaderValue, header};
use cookie::time::Duration;
use cookie::{Cookie, SameSite};

/// The signed-in session.
pub(crate) const SESSION: &str = "__Host-quintet_sso";

/// Binds the login form to the browser that asked for it.
pub(crate) const LOGIN: &str = "__Host-quintet_login";

/// A sign-in whose password was right and whose second factor is still to come.
pub(crate) const PENDING: &str = "__Host-quintet_pending";

/// Tells a browser that signed in before from a stranger.
pub(crate) const DEVICE: &str = "__Host-quintet_device";

/// The longest value that is looked at.
const MAX_VALUE_BYTES: usize = 512;

/// The value of a cookie; absent when it is sent twice, which no browser does for `__Host-`.
pub(crate) fn read<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut values = headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .filter(|(found, value)| *found == name && value.len() <= MAX_VALUE_BYTES)
        .map(|(_, value)| value);
    values.next().filter(|_| values.next().is_none())
}

/// A `Set-Cookie` that lasts as long as the browser runs.
pub(crate) fn set(name: &'static str, value: &str) -> HeaderValue {
    write(build(name, value))
}

/// A `Set-Cookie` that lasts `seconds`.
pub(crate) fn set_lasting(name: &'static str, value: &str, seconds: i64) -> HeaderValue {
    let mut cookie = build(name, value);
    cookie.set_max_age(Duration::seconds(seconds));
    write(cookie)
}

/// A `Set-Cookie` that removes the cookie.
pub(crate) fn clear(name: &'static str) -> HeaderValue {
    set_lasting(name, "", 0)
}

fn build<'a>(name: &'static str, value: &'a str) -> Cookie<'a> {
    Cookie::build((name, value)).path("/").secure(true).http_only(true).same_site(SameSite::Lax).build()
}

fn write(cookie: Cookie<'_>) -> HeaderValue {
    // Names are constants and values base64url, which are header text.
    HeaderValue::from_str(&cookie.to_string()).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_has_every_protection() {
        assert_eq!(
            set(SESSION, "abc").to_str().unwrap(),
            "__Host-quintet_sso=abc; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
        assert!(clear(SESSION).to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn malformed_and_doubled_cookies_are_no_cookies() {
        let check = |text: &str, expected: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::COOKIE, text.parse().unwrap());
            assert_eq!(read(&headers, SESSION), expected, "{text}");
        };
        check("a=b; __Host-quintet_sso=token; c", Some("token"));
        check("__Host-quintet_sso=one; __Host-quintet_sso=two", None);
        check("x__Host-quintet_sso=token", None);
        check(&format!("__Host-quintet_sso={}", "x".repeat(513)), None);
    }
}
