//! `ip("…")`: an address, a range `a-b` or a network `a/n`, of either family.

use std::net::IpAddr;

/// Addresses from the first to the last, both included, of one family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct IpRange {
    first: IpAddr,
    last: IpAddr,
}

impl IpRange {
    pub(super) fn parse(text: &str) -> Option<Self> {
        if let Some((first, last)) = text.split_once('-') {
            let (first, last) = (first.trim().parse().ok()?, last.trim().parse().ok()?);
            return same_family(first, last).then_some(Self { first, last });
        }
        if let Some((address, bits)) = text.split_once('/') {
            return Self::network(address.parse().ok()?, bits.parse().ok()?);
        }
        let address = text.trim().parse().ok()?;
        Some(Self { first: address, last: address })
    }

    fn network(address: IpAddr, bits: u32) -> Option<Self> {
        match address {
            IpAddr::V4(address) => {
                let host = u32::MAX.checked_shr(bits).unwrap_or(0);
                let number = address.to_bits();
                (bits <= 32).then_some(Self {
                    first: IpAddr::V4((number & !host).into()),
                    last: IpAddr::V4((number | host).into()),
                })
            }
            IpAddr::V6(address) => {
                let host = u128::MAX.checked_shr(bits).unwrap_or(0);
                let number = address.to_bits();
                (bits <= 128).then_some(Self {
                    first: IpAddr::V6((number & !host).into()),
                    last: IpAddr::V6((number | host).into()),
                })
            }
        }
    }

    fn holds(&self, address: IpAddr) -> bool {
        same_family(self.first, address) && self.first <= address && address <= self.last
    }

    pub(super) fn is(&self, text: &str) -> bool {
        text.trim().parse().is_ok_and(|address| self.holds(address))
    }

    /// Whether an address of the range stands anywhere in a line.
    pub(super) fn occurs_in(&self, line: &str) -> bool {
        let words = line.split(|letter: char| !letter.is_ascii_hexdigit() && !matches!(letter, '.' | ':'));
        words.filter(|word| word.len() >= 3).any(|word| {
            let word = word.trim_matches(['.']);
            let bare = word.trim_end_matches(':');
            // `10.0.0.1:8080` is an address and a port.
            let host = bare.rsplit_once(':').map_or(bare, |(host, _)| host);
            [word, bare, host].iter().any(|text| text.parse().is_ok_and(|address| self.holds(address)))
        })
    }
}

fn same_family(one: IpAddr, other: IpAddr) -> bool {
    one.is_ipv4() == other.is_ipv4()
}

#[cfg(test)]
mod tests {
    use super::IpRange;

    #[test]
    fn an_address_is_found_in_ranges_networks_and_lines() {
        let network = IpRange::parse("10.1.0.0/16").unwrap();
        assert!(network.is("10.1.255.255") && !network.is("10.2.0.0") && !network.is("::1"));
        let range = IpRange::parse("192.168.4.5-192.168.4.20").unwrap();
        assert!(range.is("192.168.4.20") && !range.is("192.168.4.21"));
        assert!(network.occurs_in("peer=10.1.2.3:8080 refused") && !network.occurs_in("10.1.2.3.4"));
        assert!(IpRange::parse("2001:db8::/32").unwrap().occurs_in("from [2001:db8::1]:443"));
        for wrong in ["10.0.0.0/33", "x", "", "10.0.0.1-::1"] {
            assert_eq!(IpRange::parse(wrong), None, "{wrong}");
        }
    }
}
