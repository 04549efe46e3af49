//! Where webhooks may go: an endpoint's URL is a stranger's choice, and this process stands inside the
//! network, next to databases and a cloud's metadata service.
//!
//! Asked about the address that is about to be connected to, not about a name beforehand.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The IPv4 space that is not the public internet's (IANA's registry of special-purpose addresses).
const CLOSED_V4: [(Ipv4Addr, u8); 15] = [
    (Ipv4Addr::UNSPECIFIED, 8),
    (Ipv4Addr::new(10, 0, 0, 0), 8),
    // Shared by providers' customers (RFC 6598); some clouds' metadata service is here.
    (Ipv4Addr::new(100, 64, 0, 0), 10),
    (Ipv4Addr::new(127, 0, 0, 0), 8),
    // Link-local, and with it nearly every cloud's metadata service.
    (Ipv4Addr::new(169, 254, 0, 0), 16),
    (Ipv4Addr::new(172, 16, 0, 0), 12),
    (Ipv4Addr::new(192, 0, 0, 0), 24),
    (Ipv4Addr::new(192, 0, 2, 0), 24),
    (Ipv4Addr::new(192, 88, 99, 0), 24),
    (Ipv4Addr::new(192, 168, 0, 0), 16),
    (Ipv4Addr::new(198, 18, 0, 0), 15),
    (Ipv4Addr::new(198, 51, 100, 0), 24),
    (Ipv4Addr::new(203, 0, 113, 0), 24),
    (Ipv4Addr::new(224, 0, 0, 0), 4),
    (Ipv4Addr::new(240, 0, 0, 0), 4),
];
/// Outside this, IPv6 is not the public internet's: loopback, unique local, link-local, multicast, NAT64.
const PUBLIC_V6: (Ipv6Addr, u8) = (Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);
/// What is closed inside it: tunnels that carry an IPv4 address of any kind, and documentation.
const CLOSED_V6: [(Ipv6Addr, u8); 4] = [
    (Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 23),
    (Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0), 32),
    (Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
    (Ipv6Addr::new(0x3fff, 0, 0, 0, 0, 0, 0, 0), 20),
];

/// A network such as `10.20.0.0/16`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Network {
    address: IpAddr,
    prefix: u8,
}

impl Network {
    fn contains(self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                same(network.to_bits().into(), address.to_bits().into(), 32, self.prefix)
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                same(network.to_bits(), address.to_bits(), 128, self.prefix)
            }
            _ => false,
        }
    }
}

/// Whether the first `prefix` of `width` bits are the same.
fn same(network: u128, address: u128, width: u8, prefix: u8) -> bool {
    (network ^ address).checked_shr(u32::from(width.saturating_sub(prefix))).is_none_or(|rest| rest == 0)
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let form = || format!("{text} is no network; write it as 10.20.0.0/16");
        let (address, prefix) = text.split_once('/').map_or((text, None), |(a, p)| (a, Some(p)));
        let address: IpAddr = address.parse().map_err(|_| form())?;
        let widest = if address.is_ipv4() { 32 } else { 128 };
        let prefix = prefix.map_or(Ok(widest), str::parse).map_err(|_| form())?;
        if prefix > widest {
            return Err(form());
        }
        Ok(Self { address, prefix })
    }
}

/// Whether webhooks may go to `address`: one of the public internet, or one of an operator's own networks.
pub(crate) fn admits(own: &[Network], address: IpAddr) -> bool {
    // `::ffff:10.0.0.1` connects to 10.0.0.1.
    let address = address.to_canonical();
    is_public(address) || own.iter().any(|network| network.contains(address))
}

fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => !CLOSED_V4.iter().any(|(network, prefix)| {
            Network { address: IpAddr::V4(*network), prefix: *prefix }.contains(address)
        }),
        IpAddr::V6(_) => {
            let within = |(network, prefix): (Ipv6Addr, u8)| {
                Network { address: IpAddr::V6(network), prefix }.contains(address)
            };
            within(PUBLIC_V6) && !CLOSED_V6.into_iter().any(within)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_and_an_operators_own_networks_are_open() {
        for (address, open) in [
            ("93.184.216.34", true),
            ("2606:4700::1111", true),
            ("0.0.0.0", false),
            ("10.1.2.3", false),
            ("100.64.0.1", false),
            ("100.100.100.200", false),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("169.254.169.254", false),
            ("172.15.255.255", true),
            ("172.16.0.1", false),
            ("172.31.255.255", false),
            ("172.32.0.1", true),
            ("192.0.0.192", false),
            ("192.168.1.1", false),
            ("198.19.0.1", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::127.0.0.1", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:93.184.216.34", true),
            ("64:ff9b::a00:1", false),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", false),
            ("2002:a00:1::", false),
            ("2001:db8::1", false),
            ("fc00::1", false),
            ("fd00:ec2::254", false),
            ("fe80::1", false),
            ("ff02::1", false),
            // These two are the operator's.
            ("10.20.3.4", true),
            ("::ffff:10.20.3.4", true),
        ] {
            let own = ["10.20.0.0/16".parse().unwrap()];
            assert_eq!(admits(&own, address.parse().unwrap()), open, "{address}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_a_prefix_that_fits_it() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/", "10.0.0.0/x", "example.com"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        let everything: Network = "::/0".parse().unwrap();
        assert!(
            everything.contains("ff02::1".parse().unwrap())
                && !everything.contains("1.1.1.1".parse().unwrap())
        );
    }
}
