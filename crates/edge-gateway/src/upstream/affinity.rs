//! What keeps a client with one address: a key that is hashed, or a cookie that names the address.
//!
//! The cookie holds the address's identity, sealed, so that clients neither learn nor choose addresses.

use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::balance::Affinity;
use super::hash::{mix, spread};
use crate::headers::cookie;
use crate::limits::ClientKey;
use crate::seal::Sealer;

/// What of a request is hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HashKey {
    Ip,
    Header(HeaderName),
    Cookie(String),
}

/// The cookie that names an address.
pub(crate) struct Sticky {
    name: String,
    /// Seconds; none for the browser's session.
    max_age: Option<u32>,
    sealer: Sealer,
}

impl HashKey {
    /// Requests without the header or cookie go by the client's address.
    pub(super) fn of(&self, client: ClientKey, headers: &HeaderMap) -> u64 {
        let named = match self {
            Self::Ip => None,
            Self::Header(name) => headers.get(name).map(HeaderValue::as_bytes),
            Self::Cookie(name) => cookie(headers, name).map(str::as_bytes),
        };
        named.map_or_else(|| mix(client.to_bits()), spread)
    }
}

impl Sticky {
    pub(crate) fn new(name: String, max_age: Option<u32>, sealer: Sealer) -> Self {
        Self { name, max_age, sealer }
    }

    pub(super) fn read(&self, headers: &HeaderMap) -> Option<u64> {
        self.sealer.open(&self.name, cookie(headers, &self.name)?)
    }

    /// The cookie for a client that was sent to the address of this identity.
    pub(super) fn write(&self, identity: u64) -> Option<HeaderValue> {
        let sealed = self.sealer.seal(&self.name, &identity)?;
        crate::session::set_cookie(&self.name, &sealed, self.max_age)
    }
}

impl Affinity {
    pub(super) fn new(
        key: Option<&HashKey>,
        sticky: Option<&Sticky>,
        client: ClientKey,
        headers: &HeaderMap,
    ) -> Self {
        Self {
            key: key.map(|key| key.of(client, headers)),
            sticky: sticky.and_then(|sticky| sticky.read(headers)),
        }
    }
}
