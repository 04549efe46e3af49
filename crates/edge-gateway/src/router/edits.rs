//! Headers that a route sets, adds and removes, on the way up or on the way back.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::text::{Text, Values};

/// Headers whose meaning is the gateway's: framing, connection management, what it vouches for.
const OWN: [&str; 15] = [
    "connection",
    "content-length",
    "expect",
    "forwarded",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
    "x-request-id",
    "strict-transport-security",
];

/// Edits of one side, in the order remove, set, add.
#[derive(Debug, Default)]
pub(crate) struct HeaderEdits {
    pub(crate) remove: Vec<HeaderName>,
    pub(crate) set: Vec<(HeaderName, Value)>,
    pub(crate) add: Vec<(HeaderName, Value)>,
}

/// A header value: ready, or made for each request.
#[derive(Debug)]
pub(crate) enum Value {
    Constant(HeaderValue),
    Made(Text),
}

/// Edits with the values of one request.
#[derive(Debug)]
pub(crate) struct Edits {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
    add: Vec<(HeaderName, HeaderValue)>,
}

/// A name that a route may edit, or why not.
pub(crate) fn name(text: &str) -> Result<HeaderName, String> {
    let name = HeaderName::from_bytes(text.as_bytes()).map_err(|_| format!("`{text}` is no header name"))?;
    if OWN.contains(&name.as_str()) || name.as_str().starts_with("x-quintet-") {
        return Err(format!("`{text}` is managed by the gateway and cannot be edited"));
    }
    Ok(name)
}

impl HeaderEdits {
    pub(crate) fn is_empty(&self) -> bool {
        self.remove.is_empty() && self.set.is_empty() && self.add.is_empty()
    }

    /// Fills in what the request brings.
    pub(crate) fn of(&self, values: &Values<'_>) -> Edits {
        let make = |list: &[(HeaderName, Value)]| {
            list.iter().map(|(name, value)| (name.clone(), value.of(values))).collect()
        };
        Edits { remove: self.remove.clone(), set: make(&self.set), add: make(&self.add) }
    }
}

impl Value {
    pub(crate) fn of(&self, values: &Values<'_>) -> HeaderValue {
        match self {
            Self::Constant(value) => value.clone(),
            // A canonical path and a host hold nothing that a value must not; a query may.
            Self::Made(text) => HeaderValue::from_bytes(text.expand(values).as_bytes())
                .unwrap_or_else(|_| HeaderValue::from_static("")),
        }
    }
}

impl Edits {
    pub(crate) fn apply(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            headers.insert(name, value);
        }
        for (name, value) in self.add {
            headers.append(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_gateway_vouches_for_cannot_be_edited() {
        for text in ["Connection", "content-length", "X-Forwarded-For", "x-quintet-user", "a b", ""] {
            assert!(name(text).is_err(), "{text}");
        }
        for text in ["Host", "x-api-version", "cache-control"] {
            assert!(name(text).is_ok(), "{text}");
        }
    }
}
