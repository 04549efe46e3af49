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
    /// Speaks HTTP/3 as well, on UDP at the same addresses and ports as `https`.
    #[serde(default)]
    pub(crate) http3: bool,
    /// Seconds for which clients remember that HTTP/3 is spoken here (`Alt-Svc`); 0 tells them to forget it.
    #[serde(default = "default_http3_max_age_s")]
    pub(crate) http3_max_age_s: u32,
    /// `max-age` of Strict-Transport-Security; 0 sends none, for names shared with plain-HTTP sites.
    #[serde(default)]
    pub(crate) hsts_max_age_s: u32,
    /// Takes the client's address from the header that a proxy in front puts before each connection.
    pub(crate) proxy_protocol: Option<ProxyProtocolSection>,
}

const fn default_http3_max_age_s() -> u32 {
    86_400
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
    if config.listen.http3 && !cfg!(feature = "http3") {
        return invalid(
            "listen.http3",
            "is not in this build of the gateway; it takes one built with the cargo feature `http3`",
        );
    }
    if config.listen.http3 && config.listen.proxy_protocol.is_some() {
        return invalid(
            "listen.http3",
            "cannot be with `listen.proxy_protocol`: QUIC has no PROXY header, and all clients would be the proxy",
        );
    }
    if config.certificates.is_empty() {
        return invalid(
            "certificates",
            "needs at least one [[certificates]] section with `cert` and `key`, or with `acme`",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::Plan;
    use super::*;

    fn refusal(listen: &str) -> Option<String> {
        let text = format!(
            "[service]\nadmin = \"unix:/run/admin.sock\"\n[listen]\nhttps = \"0.0.0.0:8443\"\n{listen}\n\
             [[certificates]]\ncert = \"/a.pem\"\nkey = \"/a.key\"\n\
             [[routes]]\npath_prefix = \"/\"\nrespond = {{ status = 200 }}\n"
        );
        let config: Config = toml::from_str(&text).unwrap();
        Plan::new(&config).err().map(|invalid| invalid.to_string())
    }

    #[test]
    fn http3_is_taken_only_by_a_build_that_has_it() {
        let refusal = refusal("http3 = true");
        if cfg!(feature = "http3") {
            assert_eq!(refusal, None);
        } else {
            assert!(refusal.unwrap().contains("cargo feature `http3`"));
        }
    }

    #[cfg(feature = "http3")]
    #[test]
    fn http3_and_proxy_headers_exclude_each_other() {
        let refusal = refusal("http3 = true\nproxy_protocol = { from = [\"10.0.0.0/8\"] }").unwrap();
        assert!(refusal.contains("`listen.http3`"), "{refusal}");
    }
}
