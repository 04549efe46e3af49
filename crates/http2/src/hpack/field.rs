//! A field as it comes out of a header block.

use bytes::Bytes;
use http::{HeaderName, HeaderValue};

use super::ENTRY_OVERHEAD;

/// A pseudo-header of a request (RFC 9113 section 8.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pseudo {
    Method,
    Scheme,
    Authority,
    Path,
}

impl Pseudo {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Method => ":method",
            Self::Scheme => ":scheme",
            Self::Authority => ":authority",
            Self::Path => ":path",
        }
    }
}

/// A name, checked once; references to the table take it from there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Name {
    Pseudo(Pseudo),
    Header(HeaderName),
    /// No name of a request, with its length: the table has to hold it all the same.
    Malformed(usize),
}

impl Name {
    pub(crate) fn read(bytes: &[u8]) -> Self {
        if let Some(rest) = bytes.strip_prefix(b":") {
            return match rest {
                b"method" => Self::Pseudo(Pseudo::Method),
                b"scheme" => Self::Pseudo(Pseudo::Scheme),
                b"authority" => Self::Pseudo(Pseudo::Authority),
                b"path" => Self::Pseudo(Pseudo::Path),
                _ => Self::Malformed(bytes.len()),
            };
        }
        // Upper case is no name in HTTP/2 (RFC 9113 section 8.2.1).
        HeaderName::from_lowercase(bytes).map_or(Self::Malformed(bytes.len()), Self::Header)
    }

    pub(crate) fn length(&self) -> usize {
        match self {
            Self::Pseudo(pseudo) => pseudo.name().len(),
            Self::Header(name) => name.as_str().len(),
            Self::Malformed(length) => *length,
        }
    }
}

/// A field of a request, or that it is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Field {
    Pseudo(Pseudo, Bytes),
    Header(HeaderName, HeaderValue),
    /// Its name or its value is one that no field may have.
    Malformed(Name),
}

impl Field {
    pub(crate) fn new(name: Name, value: Bytes) -> Self {
        match name {
            Name::Pseudo(pseudo) => Self::Pseudo(pseudo, value),
            Name::Header(header) => {
                // RFC 9113 section 8.2.1: no blank at either end. Upstreams would not all read the same.
                let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
                if is_blank(value.first()) || is_blank(value.last()) {
                    return Self::Malformed(Name::Header(header));
                }
                match HeaderValue::from_maybe_shared(value) {
                    Ok(value) => Self::Header(header, value),
                    Err(_) => Self::Malformed(Name::Header(header)),
                }
            }
            Name::Malformed(length) => Self::Malformed(Name::Malformed(length)),
        }
    }

    pub(crate) fn name(&self) -> Name {
        match self {
            Self::Pseudo(pseudo, _) => Name::Pseudo(*pseudo),
            Self::Header(name, _) => Name::Header(name.clone()),
            Self::Malformed(name) => name.clone(),
        }
    }
}

/// A field and what it counts in a table and in SETTINGS_MAX_HEADER_LIST_SIZE.
#[derive(Debug, Clone)]
pub(crate) struct Entry {
    pub(crate) field: Field,
    pub(crate) size: usize,
}

impl Entry {
    pub(crate) fn new(name: Name, value: Bytes) -> Self {
        let size = name.length() + value.len() + ENTRY_OVERHEAD;
        Self { field: Field::new(name, value), size }
    }
}
