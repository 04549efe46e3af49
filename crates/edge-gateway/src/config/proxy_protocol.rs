//! `[listen.proxy_protocol]`: who the client is, as the proxy in front tells it.

use std::net::SocketAddr;
use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use super::{Listen, invalid};
use crate::limits::Networks;
use crate::proxy_protocol::{Expect, Others};

/// Takes the client's address from a PROXY header, version 1 or 2, which must then begin each connection.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ProxyProtocolSection {
    /// Networks of the proxies (`"10.0.0.0/8"`). Their connections must begin with a header, and it is believed.
    pub(crate) from: Vec<String>,
    /// What becomes of connections from elsewhere: `"refuse"` closes them; `"direct"` serves them as clients of their
    /// own, whose header would be malformed input.
    #[serde(default)]
    pub(crate) others: Others,
    /// Addresses of `https` and `http` that it is for; all where empty.
    #[serde(default)]
    pub(crate) listeners: Vec<SocketAddr>,
    /// Time for the whole header; 100 to 60000.
    #[serde(default = "default_header_timeout_ms")]
    pub(crate) timeout_ms: u64,
}

const fn default_header_timeout_ms() -> u64 {
    5_000
}

pub(super) fn expect(listen: &Listen) -> Result<Option<Box<Expect>>, Invalid> {
    let Some(section) = &listen.proxy_protocol else { return Ok(None) };
    if section.from.is_empty() {
        return invalid(
            "listen.proxy_protocol.from",
            "needs the networks of the proxies, such as \"10.0.0.0/8\"",
        );
    }
    let known = |address: &SocketAddr| {
        listen.https.addresses().contains(address) || listen.http.addresses().contains(address)
    };
    if let Some(at) = section.listeners.iter().position(|address| !known(address)) {
        let key = format!("listen.proxy_protocol.listeners.{at}");
        return invalid(&key, "must be an address of `listen.https` or `listen.http`, written as there");
    }
    if !(100..=60_000).contains(&section.timeout_ms) {
        return invalid("listen.proxy_protocol.timeout_ms", "must be from 100 to 60000");
    }
    let from =
        Networks::parse(&section.from).or_else(|message| invalid("listen.proxy_protocol.from", &message))?;
    Ok(Some(Box::new(Expect {
        listeners: section.listeners.clone(),
        from,
        others: section.others,
        timeout: Duration::from_millis(section.timeout_ms),
    })))
}
