//! Which answers a shared cache may store, and for how long they are fresh (RFC 9111 sections 3 and 4.2).
//!
//! Stricter than the RFC wherever an answer could be one person's or an attacker's: nothing is stored without the
//! upstream saying so (or the route's own `default_ttl_s`), nothing with `Set-Cookie`, no client error but 404 and
//! 410, nothing that was asked for with a cookie unless the answer says that it is for all.

use http::header::{
    ACCEPT_ENCODING, ACCESS_CONTROL_ALLOW_ORIGIN, AGE, AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH,
    CONTENT_RANGE, COOKIE, DATE, ETAG, EXPIRES, HeaderMap, HeaderName, LAST_MODIFIED, ORIGIN, SET_COOKIE,
    TRANSFER_ENCODING, VARY,
};
use http::{Response, StatusCode, Version};

use super::Policy;
use super::control::AnswerControl;
use crate::validators::http_date;

/// More names than this in `Vary` make every answer one of its own.
const MAX_VARY: usize = 8;
/// What the gateway itself tells the upstream of each client: an answer that varies by it is for that client.
const PER_CLIENT: [&str; 6] =
    ["x-forwarded-for", "forwarded", "x-request-id", "x-client-request-id", "traceparent", "tracestate"];

/// When an object is fresh. Times in seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Lifetime {
    /// When the answer arrived, in milliseconds since the Unix epoch.
    pub(crate) received: i64,
    /// Its age then.
    pub(crate) initial_age: u64,
    pub(crate) fresh_for: u64,
    pub(crate) always_validate: bool,
    pub(crate) while_revalidating: u64,
    pub(crate) if_error: u64,
}

impl Lifetime {
    /// Seconds at `now`, in milliseconds.
    pub(crate) fn age(&self, now: i64) -> u64 {
        let resident = u64::try_from(now.saturating_sub(self.received)).unwrap_or(0) / 1_000;
        self.initial_age.saturating_add(resident)
    }
}

/// What of the request decides whether its answer may be stored.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    /// With credentials, the client's or the session's.
    pub(crate) authorized: bool,
    /// With a cookie that the upstream gets.
    pub(crate) cookie: bool,
}

/// How an answer is stored.
#[derive(Debug)]
pub(crate) struct Storable {
    pub(crate) lifetime: Lifetime,
    pub(crate) vary: Vec<HeaderName>,
}

/// The way an answer came: whether its end is known to be its end.
pub(crate) fn is_delimited<B>(answer: &Response<B>) -> bool {
    answer.version() == Version::HTTP_2
        || answer.headers().contains_key(CONTENT_LENGTH)
        || answer.headers().contains_key(TRANSFER_ENCODING)
}

/// How an answer that arrived at `now` is stored, or why it is not.
pub(crate) fn storable(
    policy: &Policy,
    asked: Asked,
    status: StatusCode,
    headers: &HeaderMap,
    now: i64,
) -> Result<Storable, &'static str> {
    let control = AnswerControl::read(headers);
    if control.no_store || control.private {
        return Err("not-public");
    }
    if !is_understood(status) || headers.contains_key(CONTENT_RANGE) {
        return Err("status");
    }
    if headers.contains_key(SET_COOKIE) {
        return Err("set-cookie");
    }
    if asked.authorized && !control.for_all {
        return Err("authorization");
    }
    let vary = vary(policy, headers).ok_or("vary")?;
    // An authorized request may be that of a session, whose token is not the client's own header.
    if asked.authorized && vary.contains(&AUTHORIZATION) {
        return Err("vary");
    }
    if asked.cookie && !control.for_all && !vary.contains(&COOKIE) {
        return Err("cookie");
    }
    let lifetime = lifetime(policy, asked, &control, status, headers, now).ok_or("no-lifetime")?;
    let has_validator = headers.contains_key(ETAG) || headers.contains_key(LAST_MODIFIED);
    let usable = !lifetime.always_validate && lifetime.initial_age < lifetime.fresh_for;
    if !usable && !has_validator && lifetime.if_error == 0 {
        return Err("no-lifetime");
    }
    Ok(Storable { lifetime, vary })
}

/// Those that mean the same to every client. An attacker can bring most errors about with a request that only he sends.
fn is_understood(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 410)
}

/// The names in `Vary`; None for an answer that is for one client.
fn vary(policy: &Policy, headers: &HeaderMap) -> Option<Vec<HeaderName>> {
    let mut names: Vec<HeaderName> = Vec::new();
    for value in headers.get_all(VARY) {
        for name in value.to_str().ok()?.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
            let own = PER_CLIENT.contains(&name.as_str()) || policy.edited.contains(&name);
            if name.as_str() == "*" || own || names.len() >= MAX_VARY {
                return None;
            }
            if !names.contains(&name) {
                names.push(name);
            }
        }
    }
    // Upstreams forget to say it, and then one client's coding or origin would be everybody's.
    let origin = headers.get(ACCESS_CONTROL_ALLOW_ORIGIN).is_some_and(|origin| origin != "*");
    for (depends, name) in [(headers.contains_key(CONTENT_ENCODING), ACCEPT_ENCODING), (origin, ORIGIN)] {
        if depends && !names.contains(&name) {
            names.push(name);
        }
    }
    Some(names)
}

fn lifetime(
    policy: &Policy,
    asked: Asked,
    control: &AnswerControl,
    status: StatusCode,
    headers: &HeaderMap,
    now: i64,
) -> Option<Lifetime> {
    let now_s = u64::try_from(now / 1_000).unwrap_or(0);
    let date = http_date(headers, &DATE);
    let by_default = policy.default_ttl > 0 && status == StatusCode::OK && !asked.cookie && !asked.authorized;
    let fresh_for = if let Some(lifetime) = control.lifetime {
        lifetime
    } else if headers.contains_key(EXPIRES) {
        // Anything but one date means: already expired (RFC 9111 section 5.3).
        let once = headers.get_all(EXPIRES).iter().nth(1).is_none();
        let expires = http_date(headers, &EXPIRES).filter(|_| once).unwrap_or(0);
        expires.saturating_sub(date.unwrap_or(now_s))
    } else if control.no_cache || control.public {
        0
    } else if by_default {
        policy.default_ttl
    } else {
        return None;
    };
    let apparent = date.map_or(0, |date| now_s.saturating_sub(date));
    let stated = headers.get(AGE).and_then(|age| age.to_str().ok()).and_then(|age| age.trim().parse().ok());
    let of_route = |value: u64| if control.shared_lifetime { 0 } else { value };
    let window = |own: Option<u64>, route: u64| {
        if control.strict { 0 } else { own.unwrap_or_else(|| of_route(route)) }
    };
    Some(Lifetime {
        received: now,
        initial_age: stated.unwrap_or(0).max(apparent),
        fresh_for,
        always_validate: control.no_cache,
        while_revalidating: window(control.stale_while_revalidate, policy.stale_while_revalidate),
        if_error: window(control.stale_if_error, policy.stale_if_error),
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    const NOW: i64 = 1_000_000_000_000;

    fn check(
        asked: Asked,
        status: u16,
        pairs: &[(&'static str, &'static str)],
    ) -> Result<Lifetime, &'static str> {
        let mut headers = HeaderMap::new();
        for &(name, value) in pairs {
            headers.append(name, HeaderValue::from_static(value));
        }
        let status = StatusCode::from_u16(status).unwrap();
        storable(&Policy::default(), asked, status, &headers, NOW).map(|stored| stored.lifetime)
    }

    const NOBODY: Asked = Asked { authorized: false, cookie: false };
    const AUTHORIZED: Asked = Asked { authorized: true, cookie: false };
    const COOKIE_SENT: Asked = Asked { authorized: false, cookie: true };

    #[test]
    fn what_is_not_said_to_be_public_and_fresh_is_not_stored() {
        for (reason, pairs) in [
            ("no-lifetime", &[][..]),
            ("no-lifetime", &[("etag", "\"a\"")]),
            ("no-lifetime", &[("last-modified", "Thu, 01 Jan 1998 00:00:00 GMT")]),
            ("no-lifetime", &[("cache-control", "max-age=0")]),
            ("no-lifetime", &[("cache-control", "no-cache")]),
            ("no-lifetime", &[("expires", "0")]),
            ("not-public", &[("cache-control", "max-age=60, private")]),
            ("not-public", &[("cache-control", "max-age=60"), ("cache-control", "no-store")]),
            ("set-cookie", &[("cache-control", "public, max-age=60"), ("set-cookie", "a=1")]),
            ("vary", &[("cache-control", "max-age=60"), ("vary", "accept, *")]),
            ("vary", &[("cache-control", "max-age=60"), ("vary", "X-Forwarded-For")]),
            ("status", &[("cache-control", "max-age=60"), ("content-range", "bytes 0-1/2")]),
        ] {
            assert_eq!(check(NOBODY, 200, pairs), Err(reason), "{pairs:?}");
        }
    }

    #[test]
    fn errors_that_a_client_can_bring_about_are_not_stored() {
        for status in [206, 304, 400, 401, 403, 405, 413, 414, 416, 421, 431, 500, 501, 502, 503, 504] {
            assert_eq!(
                check(NOBODY, status, &[("cache-control", "public, max-age=60")]),
                Err("status"),
                "{status}"
            );
        }
        assert!(check(NOBODY, 404, &[("cache-control", "max-age=5")]).is_ok());
    }

    #[test]
    fn answers_to_somebody_are_stored_only_when_they_are_for_all() {
        let plain = &[("cache-control", "max-age=60")];
        assert_eq!(check(AUTHORIZED, 200, plain), Err("authorization"));
        assert_eq!(check(COOKIE_SENT, 200, plain), Err("cookie"));
        assert!(check(COOKIE_SENT, 200, &[("cache-control", "max-age=60"), ("vary", "cookie")]).is_ok());
        for all in ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"] {
            let pairs = &[("cache-control", all)];
            assert!(check(AUTHORIZED, 200, pairs).is_ok() && check(COOKIE_SENT, 200, pairs).is_ok(), "{all}");
            let varies = &[("cache-control", all), ("vary", "authorization")];
            assert_eq!(check(AUTHORIZED, 200, varies), Err("vary"), "{all}");
        }
    }

    #[test]
    fn codings_and_origins_vary_even_if_the_upstream_forgets_to_say_so() {
        let vary = |pairs: &[(HeaderName, &'static str)]| {
            let pair =
                |(name, value): &(HeaderName, &'static str)| (name.clone(), HeaderValue::from_static(value));
            let headers: HeaderMap = pairs.iter().map(pair).collect();
            super::vary(&Policy::default(), &headers).unwrap()
        };
        assert_eq!(vary(&[(CONTENT_ENCODING, "gzip")]), [ACCEPT_ENCODING]);
        assert_eq!(vary(&[(CONTENT_ENCODING, "gzip"), (VARY, "accept-encoding")]), [ACCEPT_ENCODING]);
        assert_eq!(vary(&[(ACCESS_CONTROL_ALLOW_ORIGIN, "https://a.test")]), [ORIGIN]);
        assert!(vary(&[(ACCESS_CONTROL_ALLOW_ORIGIN, "*")]).is_empty());
    }

    #[test]
    fn lifetimes_come_from_the_most_particular_source() {
        let date = "Sun, 09 Sep 2001 01:46:40 GMT";
        let later = "Sun, 09 Sep 2001 01:47:40 GMT";
        let of = |pairs: &[(&'static str, &'static str)]| check(NOBODY, 200, pairs).unwrap();
        assert_eq!(of(&[("cache-control", "max-age=9, s-maxage=7"), ("expires", later)]).fresh_for, 7);
        assert_eq!(of(&[("date", date), ("expires", later)]).fresh_for, 60);
        assert_eq!(of(&[("expires", later)]).fresh_for, 60);
        let aged = of(&[("cache-control", "max-age=90"), ("age", "30"), ("date", date)]);
        assert_eq!((aged.initial_age, aged.age(NOW + 5_999)), (30, 35));
        let early = of(&[("cache-control", "max-age=90"), ("date", "Sun, 09 Sep 2001 01:46:20 GMT")]);
        assert_eq!(early.initial_age, 20);
    }

    #[test]
    fn must_revalidate_closes_the_windows_for_stale_answers() {
        let windows = |text: &'static str| {
            let lifetime = check(NOBODY, 200, &[("cache-control", text)]).unwrap();
            (lifetime.while_revalidating, lifetime.if_error)
        };
        assert_eq!(windows("max-age=1, stale-while-revalidate=2, stale-if-error=3"), (2, 3));
        assert_eq!(windows("s-maxage=1, stale-while-revalidate=2"), (2, 0));
        assert_eq!(windows("max-age=1, stale-while-revalidate=2, stale-if-error=3, must-revalidate"), (0, 0));
        assert_eq!(windows("max-age=1, stale-if-error=3, proxy-revalidate"), (0, 0));
    }
}
