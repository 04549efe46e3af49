//! The static table (RFC 7541 appendix A).

use std::sync::LazyLock;

use bytes::Bytes;
use http::HeaderName;

use super::field::{Entry, Name};

/// Entries of the static table; the dynamic table's first index is behind it.
pub(super) const LENGTH: usize = 61;

/// The index of `:status`.
pub(super) const STATUS: usize = 8;

#[rustfmt::skip]
const TABLE: [(&str, &str); LENGTH] = [
    (":authority", ""), (":method", "GET"), (":method", "POST"), (":path", "/"), (":path", "/index.html"),
    (":scheme", "http"), (":scheme", "https"), (":status", "200"), (":status", "204"), (":status", "206"),
    (":status", "304"), (":status", "400"), (":status", "404"), (":status", "500"), ("accept-charset", ""),
    ("accept-encoding", "gzip, deflate"), ("accept-language", ""), ("accept-ranges", ""), ("accept", ""),
    ("access-control-allow-origin", ""), ("age", ""), ("allow", ""), ("authorization", ""), ("cache-control", ""),
    ("content-disposition", ""), ("content-encoding", ""), ("content-language", ""), ("content-length", ""),
    ("content-location", ""), ("content-range", ""), ("content-type", ""), ("cookie", ""), ("date", ""), ("etag", ""),
    ("expect", ""), ("expires", ""), ("from", ""), ("host", ""), ("if-match", ""), ("if-modified-since", ""),
    ("if-none-match", ""), ("if-range", ""), ("if-unmodified-since", ""), ("last-modified", ""), ("link", ""),
    ("location", ""), ("max-forwards", ""), ("proxy-authenticate", ""), ("proxy-authorization", ""), ("range", ""),
    ("referer", ""), ("refresh", ""), ("retry-after", ""), ("server", ""), ("set-cookie", ""),
    ("strict-transport-security", ""), ("transfer-encoding", ""), ("user-agent", ""), ("vary", ""), ("via", ""),
    ("www-authenticate", ""),
];

/// The table as its entries come out of a block.
pub(super) static ENTRIES: LazyLock<Vec<Entry>> = LazyLock::new(|| {
    let entry = |(name, value): &(&'static str, &'static str)| {
        Entry::new(Name::read(name.as_bytes()), Bytes::from_static(value.as_bytes()))
    };
    TABLE.iter().map(entry).collect()
});

/// The index of a name that answers have.
pub(super) fn index_of(name: &HeaderName) -> Option<usize> {
    Some(match name.as_str() {
        "accept-ranges" => 18,
        "access-control-allow-origin" => 20,
        "age" => 21,
        "allow" => 22,
        "cache-control" => 24,
        "content-disposition" => 25,
        "content-encoding" => 26,
        "content-language" => 27,
        "content-length" => 28,
        "content-location" => 29,
        "content-range" => 30,
        "content-type" => 31,
        "date" => 33,
        "etag" => 34,
        "expires" => 36,
        "last-modified" => 44,
        "link" => 45,
        "location" => 46,
        "proxy-authenticate" => 48,
        "refresh" => 52,
        "retry-after" => 53,
        "server" => 54,
        "set-cookie" => 55,
        "strict-transport-security" => 56,
        "vary" => 59,
        "via" => 60,
        "www-authenticate" => 61,
        _ => return None,
    })
}

/// The index of a status that is in the table with its value.
pub(super) fn index_of_status(status: u16) -> Option<usize> {
    Some(match status {
        200 => 8,
        204 => 9,
        206 => 10,
        304 => 11,
        400 => 12,
        404 => 13,
        500 => 14,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_those_of_the_table() {
        for (at, (name, value)) in TABLE.iter().enumerate() {
            if *name == ":status" {
                assert_eq!(index_of_status(value.parse().unwrap()), Some(at + 1));
            } else if let Ok(header) = HeaderName::from_bytes(name.as_bytes()) {
                assert!(index_of(&header).is_none_or(|index| index == at + 1), "{name}");
            }
        }
        let answers = ["date", "content-type", "www-authenticate", "set-cookie"];
        assert!(answers.iter().all(|name| index_of(&HeaderName::from_static(name)).is_some()));
    }
}
