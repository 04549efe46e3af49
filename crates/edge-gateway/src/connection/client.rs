//! Who a connection's client is, in the forms that requests need.

use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;

use http::HeaderValue;

use crate::limits::ClientKey;
use crate::proxy_protocol::Ends;

/// The client's address in the forms that requests need.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) ip: IpAddr,
    pub(crate) key: ClientKey,
    text: String,
    /// Value of `X-Forwarded-For`.
    pub(crate) forwarded_for: HeaderValue,
    /// `for=` of `Forwarded`, quoted where RFC 7239 asks for it.
    pub(crate) forwarded_node: String,
    /// Of its connection, kept where an upstream is told them.
    ends: Option<Rc<Ends>>,
}

impl Client {
    pub(crate) fn new(peer: SocketAddr) -> Self {
        let ip = peer.ip().to_canonical();
        let text = ip.to_string();
        let forwarded_node = if ip.is_ipv6() { format!("\"[{text}]\"") } else { text.clone() };
        Self {
            ip,
            key: ip.into(),
            forwarded_for: HeaderValue::from_str(&text)
                .unwrap_or_else(|_| HeaderValue::from_static("unknown")),
            text,
            forwarded_node,
            ends: None,
        }
    }

    pub(crate) fn told(self, ends: Option<Ends>) -> Self {
        Self { ends: ends.map(Rc::new), ..self }
    }

    /// The ends of its connection. Of one that was open before a reload asked for them only the address is known.
    pub(crate) fn ends(&self) -> Rc<Ends> {
        self.ends.clone().unwrap_or_else(|| Rc::new(Ends::new(SocketAddr::new(self.ip, 0), None)))
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }
}
