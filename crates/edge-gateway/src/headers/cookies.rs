//! Cookies: those that are the gateway's own are read here and do not go on.

use http::HeaderMap;
use http::header::{COOKIE, HeaderValue};

/// The value of the cookie `name`, if it is sent exactly once.
pub(crate) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let mut found = None;
    for header in headers.get_all(COOKIE) {
        for pair in header.to_str().ok()?.split(';') {
            if let Some((key, value)) = pair.trim().split_once('=')
                && key == name
            {
                if found.is_some() {
                    return None;
                }
                found = Some(value);
            }
        }
    }
    found
}

/// Takes the cookies of these names out of the request: they are the gateway's own. However they were sent: a name
/// given twice, or beside bytes that are not ASCII, counts for nothing here but would still reach the upstream.
pub(crate) fn strip_cookies(headers: &mut HeaderMap, names: &[&str]) {
    let ours = |pair: &&[u8]| {
        let name = pair.split(|byte| *byte == b'=').next().unwrap_or_default().trim_ascii_end();
        names.iter().any(|own| own.as_bytes() == name)
    };
    if !cookie_pairs(headers).any(|pair| ours(&pair)) {
        return;
    }
    let kept = cookie_pairs(headers).filter(|pair| !ours(pair)).collect::<Vec<_>>().join(&b"; "[..]);
    headers.remove(COOKIE);
    if !kept.is_empty()
        && let Ok(value) = HeaderValue::from_bytes(&kept)
    {
        headers.insert(COOKIE, value);
    }
}

fn cookie_pairs(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let values = headers.get_all(COOKIE).into_iter();
    let pairs = values.flat_map(|value| value.as_bytes().split(|byte| *byte == b';'));
    pairs.map(<[u8]>::trim_ascii).filter(|pair| !pair.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::headers::tests::map;

    #[test]
    fn our_cookies_are_taken_out_and_others_stay() {
        let mut headers = map(&[("cookie", "a=1; __Host-quintet_session=x.y; b=2"), ("cookie", "c=3")]);
        assert_eq!(cookie(&headers, "__Host-quintet_session"), Some("x.y"));
        strip_cookies(&mut headers, &["__Host-quintet_session"]);
        assert_eq!(headers.get(COOKIE).unwrap(), "a=1; b=2; c=3");
        let mut theirs =
            map(&[("cookie", "__Host-quintet_sso=1; __Host-quintet_session=2; __Host-quintet_login=3")]);
        strip_cookies(&mut theirs, &["__Host-quintet_session"]);
        assert_eq!(theirs, map(&[("cookie", "__Host-quintet_sso=1; __Host-quintet_login=3")]));
        let mut only = map(&[("cookie", "__Host-quintet_session=x")]);
        strip_cookies(&mut only, &["__Host-quintet_session"]);
        assert!(only.is_empty());
    }

    #[test]
    fn own_cookies_do_not_leave_for_an_upstream_however_they_were_sent() {
        let check = |sent: &[&[u8]], kept: Option<&[u8]>| {
            let mut headers = HeaderMap::new();
            for line in sent {
                headers.append(COOKIE, HeaderValue::from_bytes(line).unwrap());
            }
            strip_cookies(&mut headers, &["__Host-s"]);
            assert_eq!(headers.get(COOKIE).map(HeaderValue::as_bytes), kept, "{sent:?}");
        };
        check(&[b"__Host-s=1; a=2; __Host-s=3"], Some(b"a=2"));
        check(&[b"__Host-s=1", b"__Host-s=2"], None);
        check(&[b"a=2", b"__Host-s=1; b=3"], Some(b"a=2; b=3"));
        check(&[b"__Host-s=1; name=\xfc"], Some(b"name=\xfc"));
        check(&[b"__Host-s =1"], None);
        check(&[b"a=2;b=3"], Some(b"a=2;b=3"));
    }

    #[test]
    fn a_cookie_sent_twice_counts_for_nothing() {
        let headers = map(&[("cookie", "s=1; s=2")]);
        assert_eq!(cookie(&headers, "s"), None);
    }
}
