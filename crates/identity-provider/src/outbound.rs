//! Addresses of clients that this provider calls: the operator registered them, and they are https or on this machine.

use std::time::Duration;

use quintet_http::{Client, Origin};
use url::Url;

/// An address with the connections to it.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) client: Client,
    /// Path and query.
    pub(crate) path: String,
}

impl Outbound {
    /// Reads an address; every exchange with it ends within `timeout` and is answered with at most `most_bytes`.
    pub(crate) fn new(uri: &str, timeout: Duration, most_bytes: usize) -> Result<Self, String> {
        let url = Url::parse(uri).map_err(|_| format!("{uri} is not a URL"))?;
        let local = match url.host() {
            Some(url::Host::Ipv4(address)) => address.is_loopback(),
            Some(url::Host::Ipv6(address)) => address.is_loopback(),
            Some(url::Host::Domain(name)) => name == "localhost",
            None => false,
        };
        if url.scheme() != "https" && !(url.scheme() == "http" && local) {
            return Err(format!("{uri} is neither https nor on this machine"));
        }
        if url.fragment().is_some() || !url.username().is_empty() || url.password().is_some() {
            return Err(format!("{uri} has a fragment or credentials"));
        }
        let origin: Origin = url
            .origin()
            .ascii_serialization()
            .parse()
            .map_err(|error| format!("{uri} has no origin to connect to: {error}"))?;
        let path =
            url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
        Ok(Self { client: Client::new(origin).timeout(timeout).max_body(most_bytes), path })
    }
}
