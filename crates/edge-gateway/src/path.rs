//! Request paths in one canonical form, so that the gateway and every upstream read the same path.
//!
//! A route decides who may call what, so a path that means one thing here and another upstream is a
//! way around authorization. Rules: percent-encoded unreserved characters are decoded, other escapes
//! get upper-case digits (RFC 3986 section 6.2.2); whatever different servers resolve differently (dot
//! segments in any spelling, empty segments, encoded separators, control bytes, backslashes) is
//! refused. The canonical form is what routes are matched on and what is sent upstream, and
//! canonicalising twice changes nothing. Queries are not touched.

use std::borrow::Cow;

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PathError {
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    #[error("the path holds a dot segment; send the resolved path")]
    DotSegment,
    #[error("the path holds an empty segment (two slashes in a row)")]
    EmptySegment,
    #[error("the path holds a backslash or an encoded slash or backslash")]
    EncodedSeparator,
    #[error("the path holds a control character")]
    Control,
    #[error("the path holds a percent sign that two hexadecimal digits do not follow")]
    BadEscape,
}

/// The canonical form of `path`, borrowed when it already is canonical.
pub(crate) fn canonical(path: &str) -> Result<Cow<'_, str>, PathError> {
    let bytes = path.as_bytes();
    if bytes.first() != Some(&b'/') {
        return Err(PathError::NotAbsolute);
    }
    let mut escaped = false;
    let mut previous = 0u8;
    let mut suspicious_dot = false;
    for &byte in bytes {
        match byte {
            b'%' => escaped = true,
            b'\\' => return Err(PathError::EncodedSeparator),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'/' if previous == b'/' => return Err(PathError::EmptySegment),
            b'.' if previous == b'/' => suspicious_dot = true,
            _ => {}
        }
        previous = byte;
    }
    let path = if escaped { Cow::Owned(decode(bytes)?) } else { Cow::Borrowed(path) };
    if (suspicious_dot || escaped) && path.split('/').any(is_dot_segment) {
        return Err(PathError::DotSegment);
    }
    Ok(path)
}

/// `.`, `..`, and the same with path parameters (`..;x`), which servlet containers strip first, whether they decode before
/// that or not. Escapes have upper-case digits by now.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    let name = name.split("%3B").next().unwrap_or_default();
    name == "." || name == ".."
}

fn decode(bytes: &[u8]) -> Result<String, PathError> {
    let mut out = String::with_capacity(bytes.len());
    let mut rest = bytes;
    // Unescaped runs are copied whole: they were UTF-8 in the input and are split only at `%`.
    while let Some(at) = rest.iter().position(|&byte| byte == b'%') {
        let (run, tail) = rest.split_at(at);
        push_run(&mut out, run)?;
        let [_, high, low, after @ ..] = tail else { return Err(PathError::BadEscape) };
        let byte = hex(*high)? << 4 | hex(*low)?;
        match byte {
            b'/' | b'\\' => return Err(PathError::EncodedSeparator),
            0..=0x1f | 0x7f => return Err(PathError::Control),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => out.push(char::from(byte)),
            _ => {
                out.push('%');
                out.push(char::from(high.to_ascii_uppercase()));
                out.push(char::from(low.to_ascii_uppercase()));
            }
        }
        rest = after;
    }
    push_run(&mut out, rest)?;
    Ok(out)
}

fn push_run(out: &mut String, run: &[u8]) -> Result<(), PathError> {
    out.push_str(std::str::from_utf8(run).map_err(|_| PathError::BadEscape)?);
    Ok(())
}

fn hex(digit: u8) -> Result<u8, PathError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        b'A'..=b'F' => Ok(digit - b'A' + 10),
        _ => Err(PathError::BadEscape),
    }
}

/// Whether `path` is `prefix` itself or lies below it, by whole segments.
pub(crate) fn has_prefix(path: &str, prefix: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(input: &str, expected: Result<&str, PathError>) {
        assert_eq!(canonical(input).as_deref().map_err(|e| *e), expected, "{input}");
    }

    #[test]
    fn canonical_paths_are_borrowed() {
        for path in ["/", "/api/v1/users", "/a.b/.well-known/x", "/…/ü", "/a;b=c", "/..."] {
            assert!(matches!(canonical(path), Ok(Cow::Borrowed(same)) if same == path), "{path}");
        }
    }

    #[test]
    fn escapes_of_unreserved_characters_are_decoded() {
        check("/%61pi/%7Euser", Ok("/api/~user"));
        check("/a%2dB", Ok("/a-B"));
        check("/a%20b%c3%bc", Ok("/a%20b%C3%BC"));
        check("/%2561", Ok("/%2561"));
    }

    #[test]
    fn what_servers_resolve_differently_is_refused() {
        check("/a/../b", Err(PathError::DotSegment));
        check("/a/..", Err(PathError::DotSegment));
        check("/./a", Err(PathError::DotSegment));
        check("/a/%2e%2E/b", Err(PathError::DotSegment));
        check("/a/.%2e/b", Err(PathError::DotSegment));
        check("/a/..;x=1/b", Err(PathError::DotSegment));
        check("/a/%2e%2e;/b", Err(PathError::DotSegment));
        check("/a/..%3b/b", Err(PathError::DotSegment));
        check("/a/.%3Bx;y", Err(PathError::DotSegment));
        check("/a/..%3fx%3b/b", Ok("/a/..%3Fx%3B/b"));
        check("//a", Err(PathError::EmptySegment));
        check("/a//b", Err(PathError::EmptySegment));
        check("/a%2fb", Err(PathError::EncodedSeparator));
        check("/a%5Cb", Err(PathError::EncodedSeparator));
        check("/a\\b", Err(PathError::EncodedSeparator));
        check("/a%00", Err(PathError::Control));
        check("/a%0d%0aSet-Cookie:x", Err(PathError::Control));
        check("/a%2", Err(PathError::BadEscape));
        check("/a%zz", Err(PathError::BadEscape));
        check("a", Err(PathError::NotAbsolute));
        check("*", Err(PathError::NotAbsolute));
    }

    #[test]
    fn a_prefix_matches_whole_segments_only() {
        assert!(has_prefix("/api", "/api"));
        assert!(has_prefix("/api/x", "/api"));
        assert!(has_prefix("/api/x", "/api/"));
        assert!(has_prefix("/anything", "/"));
        assert!(!has_prefix("/apix", "/api"));
        assert!(!has_prefix("/api", "/api/"));
        assert!(!has_prefix("/", "/api"));
    }

    /// What a lenient upstream might do: decode everything, then resolve.
    fn fully_decoded(path: &str) -> Vec<u8> {
        percent_encoding::percent_decode_str(path).collect()
    }

    proptest! {
        #[test]
        fn canonicalising_twice_changes_nothing(path in "/[a-zA-Z0-9%./;ü\\\\ ~_-]{0,40}") {
            if let Ok(once) = canonical(&path) {
                prop_assert_eq!(canonical(&once), Ok(Cow::Borrowed(&*once)));
            }
        }

        #[test]
        fn an_accepted_path_has_no_dot_segment_however_it_is_decoded(
            parts in prop::collection::vec("(/|\\.|%2e|%2E|%2f|%5c|\\\\|a|;|%3b|%25)", 0..12),
        ) {
            let path = format!("/{}", parts.concat());
            if let Ok(accepted) = canonical(&path) {
                let decoded = fully_decoded(&accepted);
                for segment in decoded.split(|b| matches!(b, b'/' | b'\\')) {
                    let segment = segment.split(|b| *b == b';').next().unwrap_or_default();
                    prop_assert!(segment != b"." && segment != b"..", "{} from {}", accepted, path);
                }
                prop_assert_eq!(fully_decoded(&path), decoded, "the meaning stays");
            }
        }
    }
}
