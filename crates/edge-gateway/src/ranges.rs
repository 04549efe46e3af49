//! `Range` (RFC 9110 section 14.2).

use http::HeaderMap;
use http::header::RANGE;

/// More ranges than this are no use to a reader, and an attack on a server (CVE-2011-3192).
const MAX_RANGES: usize = 16;

/// What a request asks for.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Ranges {
    Whole,
    /// First and last byte.
    One(u64, u64),
    Many(Vec<(u64, u64)>),
    Unsatisfiable,
}

impl Ranges {
    /// A header that is not understood, or asks for more than the whole, is ignored, as the RFC allows.
    pub(crate) fn read(headers: &HeaderMap, length: u64) -> Self {
        let mut values = headers.get_all(RANGE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Self::Whole };
        value.to_str().ok().and_then(|text| parse(text, length)).unwrap_or(Self::Whole)
    }
}

fn parse(text: &str, length: u64) -> Option<Ranges> {
    let (unit, set) = text.split_once('=')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.split(',').count() > MAX_RANGES {
        return None;
    }
    let mut ranges = Vec::new();
    for one in set.split(',') {
        let range = range(one.trim(), length)?;
        if range.0 < length {
            ranges.push(range);
        }
    }
    let total = ranges.iter().try_fold(0u64, |sum, (first, last)| sum.checked_add(last + 1 - first))?;
    Some(match ranges.as_slice() {
        [] => Ranges::Unsatisfiable,
        &[(first, last)] => Ranges::One(first, last),
        // Overlapping ranges would make a large answer of a small file.
        _ if total > length => return None,
        _ => Ranges::Many(ranges),
    })
}

/// First and last byte; the first is beyond the end where there is nothing of the range. None: no range at all.
fn range(text: &str, length: u64) -> Option<(u64, u64)> {
    let number = |text: &str| -> Option<u64> {
        // `parse` would take a plus sign.
        if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        Some(text.parse().unwrap_or(u64::MAX))
    };
    let (first, last) = text.split_once('-')?;
    let end = length.saturating_sub(1);
    if first.is_empty() {
        return Some((length - number(last)?.min(length), end));
    }
    let first = number(first)?;
    let last = if last.is_empty() { u64::MAX } else { number(last)? };
    (first <= last).then(|| (first, last.min(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &Ranges) {
        let headers = HeaderMap::from_iter([(RANGE, http::HeaderValue::from_str(text).unwrap())]);
        assert_eq!(&Ranges::read(&headers, 100), expected, "{text}");
    }

    #[test]
    fn ranges_are_cut_to_what_there_is() {
        check("bytes=0-9", &Ranges::One(0, 9));
        check("Bytes=90-", &Ranges::One(90, 99));
        check("bytes=-10", &Ranges::One(90, 99));
        check("bytes=-1000", &Ranges::One(0, 99));
        check("bytes=99-99999999999999999999999", &Ranges::One(99, 99));
        check("bytes=0-0, 5-6,-1", &Ranges::Many(vec![(0, 0), (5, 6), (99, 99)]));
        check("bytes=0-9, 200-", &Ranges::One(0, 9));
        check("bytes=100-", &Ranges::Unsatisfiable);
        check("bytes=-0", &Ranges::Unsatisfiable);
    }

    #[test]
    fn what_is_no_range_or_too_much_is_ignored() {
        for text in [
            "bytes",
            "bytes=",
            "bytes=a-b",
            "bytes=5-4",
            "bytes=+1-2",
            "bytes=-",
            "lines=1-2",
            "bytes=0-99, 0-99",
        ] {
            check(text, &Ranges::Whole);
        }
        check(&format!("bytes=0-0{}", ",1-1".repeat(16)), &Ranges::Whole);
    }

    #[test]
    fn an_empty_file_has_no_range() {
        let headers = HeaderMap::from_iter([(RANGE, http::HeaderValue::from_static("bytes=0-"))]);
        assert_eq!(Ranges::read(&headers, 0), Ranges::Unsatisfiable);
    }
}
