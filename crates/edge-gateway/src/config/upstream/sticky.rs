//! `[upstreams.sticky]`: the cookie that keeps a client at one address.

use anyhow::Context as _;
use quintet_service::{Invalid, SecretFile};
use serde::Deserialize;

use super::At;
use crate::seal::Sealer;
use crate::session::OWN_COOKIES;
use crate::upstream::Sticky;

/// Keeps a client at one address by a cookie of the gateway's own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StickySection {
    /// The cookie's name.
    pub(crate) cookie: String,
    /// 32 bytes as base64 or 64 hexadecimal digits, the same on all gateways: seals the cookie.
    pub(crate) key_file: SecretFile,
    /// Seconds that the cookie lives; until the browser closes where unset.
    pub(crate) max_age_s: Option<u32>,
}

impl StickySection {
    /// Reads the key.
    pub(crate) fn open(&self, upstream: usize) -> anyhow::Result<Sticky> {
        let key = format!("upstreams.{upstream}.sticky.key_file");
        let secret = self.key_file.read(&key)?;
        let sealer = Sealer::from_text(secret.expose()).with_context(|| format!("key `{key}`"))?;
        Ok(Sticky::new(self.cookie.clone(), self.max_age_s, sealer))
    }
}

/// A token of RFC 6265 section 4.1.1.
pub(super) fn is_cookie_name(name: &str) -> bool {
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    !name.is_empty() && name.len() <= 64 && name.bytes().all(token)
}

pub(super) fn check(place: At, sticky: &StickySection) -> Result<(), Invalid> {
    if !is_cookie_name(&sticky.cookie) {
        return place
            .refuse("sticky.cookie", "must be a cookie name of at most 64 letters, digits and `-_.`");
    }
    if OWN_COOKIES.contains(&sticky.cookie.as_str()) {
        return place.refuse("sticky.cookie", "is a cookie of sign-in; choose another name");
    }
    if sticky.max_age_s == Some(0) {
        return place.refuse("sticky.max_age_s", "must be at least 1");
    }
    Ok(())
}
