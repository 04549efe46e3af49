//! Lists of client networks: who may come, and who may not.
//!
//! Networks become sorted ranges of addresses without overlap, so that a look-up is a binary search however long
//! the list is. IPv4 lives in its IPv4-mapped part of IPv6 (RFC 4291 section 2.5.5.2).

use std::net::IpAddr;

/// A set of addresses.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Networks {
    /// First and last address of each range, ascending.
    ranges: Vec<(u128, u128)>,
}

/// Who may use the gateway or a route.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Access {
    /// Empty for everyone.
    allow: Networks,
    deny: Networks,
}

impl Access {
    pub(crate) fn new(allow: Networks, deny: Networks) -> Self {
        Self { allow, deny }
    }

    pub(crate) fn permits(&self, client: IpAddr) -> bool {
        (self.allow.ranges.is_empty() || self.allow.contain(client)) && !self.deny.contain(client)
    }
}

fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The range of `10.0.0.0/8`, `2001:db8::/32`, or of a single address.
fn range(text: &str) -> Result<(u128, u128), String> {
    let (address, length) =
        text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let form = || format!("`{text}` is no network; write 10.0.0.0/8, 2001:db8::/32 or an address");
    let address: IpAddr = address.parse().map_err(|_| form())?;
    let bits = if address.is_ipv4() { 32 } else { 128 };
    let length = match length {
        None => bits,
        // `parse` takes a sign.
        Some(length) if length.bytes().all(|byte| byte.is_ascii_digit()) => {
            length.parse().ok().filter(|length| *length <= bits).ok_or_else(form)?
        }
        Some(_) => return Err(form()),
    };
    let first = number(address);
    let hosts = u128::MAX.checked_shr(128 - (bits - length)).unwrap_or(0);
    if first & hosts != 0 {
        return Err(format!(
            "`{text}` has bits beyond its length; write its first address or make it shorter"
        ));
    }
    Ok((first, first | hosts))
}

impl Networks {
    pub(crate) fn parse(texts: &[String]) -> Result<Self, String> {
        let mut ranges = texts.iter().map(|text| range(text)).collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        ranges.dedup_by(|next, before| {
            // They touch or overlap: CIDR blocks do so only if one contains the other, but neighbours join too.
            let joined = next.0 <= before.1.saturating_add(1);
            if joined {
                before.1 = before.1.max(next.1);
            }
            joined
        });
        Ok(Self { ranges })
    }

    pub(crate) fn contain(&self, address: IpAddr) -> bool {
        let address = number(address);
        let after = self.ranges.partition_point(|(first, _)| *first <= address);
        after.checked_sub(1).and_then(|at| self.ranges.get(at)).is_some_and(|(_, last)| address <= *last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn networks(texts: &[&str]) -> Result<Networks, String> {
        let texts: Vec<String> = texts.iter().map(|text| (*text).to_owned()).collect();
        Networks::parse(&texts)
    }

    #[test]
    fn a_network_contains_its_addresses_alone() {
        for (network, inside, outside) in [
            ("10.0.0.0/8", ["10.0.0.0", "10.255.255.255"], ["9.255.255.255", "11.0.0.0"]),
            ("192.0.2.7", ["192.0.2.7", "::ffff:192.0.2.7"], ["192.0.2.6", "192.0.2.8"]),
            ("0.0.0.0/0", ["0.0.0.0", "255.255.255.255"], ["::1", "2001:db8::"]),
            ("2001:db8::/32", ["2001:db8::", "2001:db8:ffff::1"], ["2001:db7::1", "2001:db9::"]),
            ("::/0", ["::", "10.0.0.1"], ["", ""]),
        ] {
            let networks = networks(&[network]).unwrap();
            for (address, contained) in
                inside.map(|at| (at, true)).into_iter().chain(outside.map(|at| (at, false)))
            {
                let Ok(address) = address.parse() else { continue };
                assert_eq!(networks.contain(address), contained, "{address} in {network}");
            }
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in ["", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/+8", "10.0.0.1/8", "::1/64", "10.0.0", "a/8"] {
            assert!(networks(&[text]).is_err(), "{text}");
        }
    }

    #[test]
    fn deny_wins_over_allow_and_an_empty_allow_lets_everyone_in() {
        let access = Access::new(networks(&["10.0.0.0/8"]).unwrap(), networks(&["10.1.0.0/16"]).unwrap());
        for (client, permitted) in [("10.0.0.1", true), ("10.1.0.1", false), ("192.0.2.1", false)] {
            assert_eq!(access.permits(client.parse().unwrap()), permitted, "{client}");
        }
        let access = Access::new(Networks::default(), networks(&["10.1.0.0/16"]).unwrap());
        assert!(access.permits("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn a_list_contains_what_any_of_its_networks_does(
            list in prop::collection::vec((any::<u32>(), 0u32..=32), 0..20), asked: u32, near: bool,
        ) {
            let mask = |length: u32| u32::MAX.checked_shl(32 - length).unwrap_or(0);
            let texts: Vec<String> = list.iter()
                .map(|(base, length)| format!("{}/{length}", std::net::Ipv4Addr::from_bits(base & mask(*length))))
                .collect();
            // A random address is hardly ever at an edge.
            let asked = match list.first() {
                Some((base, length)) if near => (base & mask(*length)).wrapping_add(asked % 3).wrapping_sub(1),
                _ => asked,
            };
            let expected = list.iter().any(|(base, length)| (base ^ asked) & mask(*length) == 0);
            let address = IpAddr::V4(std::net::Ipv4Addr::from_bits(asked));
            prop_assert_eq!(Networks::parse(&texts).unwrap().contain(address), expected);
        }
    }
}
