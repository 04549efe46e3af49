//! Headers as upstreams get them.

use std::net::SocketAddr;

use super::{Ends, Version, v2};

impl Version {
    /// The header for a connection made for this client; for one of the gateway's own, such as a health check, none.
    pub(crate) fn header(self, client: Option<Ends>) -> Vec<u8> {
        match self {
            Self::V1 => text(client).into_bytes(),
            Self::V2 => binary(client),
        }
    }
}

fn text(client: Option<Ends>) -> String {
    let Some(Ends { source, destination }) = client else { return "PROXY UNKNOWN\r\n".to_owned() };
    let family = if source.is_ipv4() { "TCP4" } else { "TCP6" };
    let (from, to) = (source.port(), destination.port());
    format!("PROXY {family} {} {} {from} {to}\r\n", source.ip(), destination.ip())
}

fn binary(client: Option<Ends>) -> Vec<u8> {
    let mut header = v2::SIGNATURE.to_vec();
    let mut addresses = Vec::new();
    let (command, family) = match client.map(|ends| (ends.source, ends.destination)) {
        Some((SocketAddr::V4(source), SocketAddr::V4(destination))) => {
            addresses.extend(source.ip().octets());
            addresses.extend(destination.ip().octets());
            (v2::PROXY, v2::TCP4)
        }
        Some((SocketAddr::V6(source), SocketAddr::V6(destination))) => {
            addresses.extend(source.ip().octets());
            addresses.extend(destination.ip().octets());
            (v2::PROXY, v2::TCP6)
        }
        // [`Ends`] are of one family.
        _ => (v2::LOCAL, 0),
    };
    if command == v2::PROXY
        && let Some(Ends { source, destination }) = client
    {
        addresses.extend(source.port().to_be_bytes());
        addresses.extend(destination.port().to_be_bytes());
    }
    header.extend([command, family]);
    header.extend(u16::try_from(addresses.len()).unwrap_or_default().to_be_bytes());
    header.extend(addresses);
    header
}
