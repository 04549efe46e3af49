//! `[listen]` and `[[certificates]]`: the public sockets, and what is shown on them.

use std::net::SocketAddr;
use std::path::PathBuf;

use quintet_service::Invalid;
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use super::proxy_protocol::ProxyProtocolSection;
use super::{Config, invalid};

/// Public sockets.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// TLS listeners.
    pub(crate) https: OneOrMany,
    /// Plain listeners; `http_mode` says what they do.
    #[serde(default)]
    pub(crate) http: OneOrMany,
    /// What plain listeners do with requests.
    #[serde(default)]
    pub(crate) http_mode: HttpMode,
    /// Threads that serve requests; one per core unless set.
    pub(crate) workers: Option<std::num::NonZeroUsize>,
    /// Port in redirects, where it differs from the first HTTPS port (behind port forwarding).
    pub(crate) public_https_port: Option<u16>,
    /// `max-age` of Strict-Transport-Security; 0 sends none, for names shared with plain-HTTP sites.
    #[serde(default)]
    pub(crate) hsts_max_age_s: u32,
    /// Takes the client's address from the header that a proxy in front puts before each connection.
    pub(crate) proxy_protocol: Option<ProxyProtocolSection>,
}

/// What plain listeners do with requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum HttpMode {
    /// Send each to the same address on HTTPS.
    #[default]
    Redirect,
    /// Serve routes without `auth`, and send what carries tokens or sessions to HTTPS: for private networks, and
    /// behind a load balancer that ends TLS.
    Proxy,
}

/// One address or a list of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OneOrMany(Vec<SocketAddr>);

impl OneOrMany {
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressVisitor).map(Self)
    }
}

struct AddressVisitor;

impl<'de> Visitor<'de> for AddressVisitor {
    type Value = Vec<SocketAddr>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an address such as \"0.0.0.0:8443\" or \"[::]:8443\", or a list of addresses")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let address = text
            .parse()
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Other("another text"), &self))?;
        Ok(vec![address])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut addresses = Vec::new();
        while let Some(address) = list.next_element()? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// A certificate: files with its chain and key, or names that the gateway gets one for. Served for the DNS names in it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    /// PEM file with the chain.
    pub(crate) cert: Option<PathBuf>,
    /// PEM file with the key.
    pub(crate) key: Option<PathBuf>,
    /// In place of files: DNS names of a certificate that the gateway gets and renews by `[acme]`.
    #[serde(default)]
    pub(crate) acme: Vec<String>,
}

pub(super) fn check(config: &Config) -> Result<(), Invalid> {
    if config.listen.https.addresses().is_empty() {
        return invalid("listen.https", "needs at least one address, such as \"0.0.0.0:8443\"");
    }
    if config.certificates.is_empty() {
        return invalid(
            "certificates",
            "needs at least one [[certificates]] section with `cert` and `key`, or with `acme`",
        );
    }
    Ok(())
}
