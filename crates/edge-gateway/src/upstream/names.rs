//! DNS names among an upstream's addresses: places that the addresses of each fill, and leave.
//!
//! An address that stays keeps its place and with it what is known of it: load, health, latency, idle connections. A
//! new one takes an empty place if there is one, so that what is still on its way to the old one is not counted for
//! it. The last good answer stays until there is another.

use std::net::SocketAddr;
use std::ops::Range;

use metrics::{Counter, Gauge, counter, gauge};
use quintet_http::listen::Address;

use super::endpoint::Endpoint;
use crate::config::{HostPort, Upstream as Section};

/// A name and its places.
pub(super) struct Named {
    pub(super) name: HostPort,
    /// Of the upstream's endpoints.
    places: Range<usize>,
    known: Gauge,
    available: Gauge,
    answered: Counter,
    pub(super) failed: Counter,
}

/// What a look-up changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) joined: Vec<SocketAddr>,
    pub(super) left: Vec<SocketAddr>,
    /// Had no place.
    pub(super) ignored: usize,
}

impl Named {
    /// With places at the end of `endpoints`.
    pub(super) fn new(
        section: &Section,
        (name, weight): (&HostPort, u32),
        endpoints: &mut Vec<Endpoint>,
    ) -> Self {
        let first = endpoints.len();
        endpoints.extend((0..section.max_resolved).map(|_| Endpoint::new(None, weight)));
        let labels = [("upstream", section.name.clone()), ("name", name.to_string())];
        let looked_up = |outcome: &'static str| {
            let outcome = [("outcome", outcome.to_owned())];
            counter!("quintet_gateway_name_lookups_total", &[labels.as_slice(), &outcome].concat())
        };
        Self {
            name: name.clone(),
            places: first..endpoints.len(),
            known: gauge!("quintet_gateway_name_addresses", &labels),
            available: gauge!("quintet_gateway_name_addresses_available", &labels),
            answered: looked_up("answered"),
            failed: looked_up("failed"),
        }
    }

    fn places<'u>(&self, endpoints: &'u [Endpoint]) -> &'u [Endpoint] {
        endpoints.get(self.places.clone()).unwrap_or_default()
    }

    /// The addresses that it has.
    pub(super) fn addresses(&self, endpoints: &[Endpoint]) -> Vec<SocketAddr> {
        self.places(endpoints).iter().filter_map(address).collect()
    }

    /// Takes an answer.
    pub(super) fn answered(&self, endpoints: &[Endpoint], found: &[SocketAddr], now: u64) -> Change {
        self.answered.increment(1);
        self.settle(endpoints, found, now)
    }

    /// Gives the addresses their places.
    pub(super) fn settle(&self, endpoints: &[Endpoint], found: &[SocketAddr], now: u64) -> Change {
        let places = self.places(endpoints);
        let mut change = Change::default();
        let mut wanted: Vec<SocketAddr> = Vec::new();
        for one in found {
            if !wanted.contains(one) {
                wanted.push(*one);
            }
        }
        let before = self.addresses(endpoints);
        let (stay, mut join): (Vec<_>, Vec<_>) = wanted.into_iter().partition(|one| before.contains(one));
        let room = places.len() - stay.len();
        change.ignored = join.len().saturating_sub(room);
        join.truncate(room);
        let mut joining = join.iter();
        let empty = places.iter().filter(|place| !place.is_active());
        for (place, address) in empty.zip(joining.by_ref()) {
            place.settle(Some(Address::Tcp(*address)), now);
        }
        for place in places {
            let Some(old) = address(place) else { continue };
            if stay.contains(&old) || join.contains(&old) {
                continue;
            }
            place.settle(joining.next().map(|address| Address::Tcp(*address)), now);
            change.left.push(old);
        }
        change.joined = join;
        change
    }

    pub(super) fn observe(&self, endpoints: &[Endpoint], now: u64) {
        let places = self.places(endpoints);
        let count = |counts: &dyn Fn(&Endpoint) -> bool| {
            let count = places.iter().filter(|place| counts(place)).count();
            f64::from(u32::try_from(count).unwrap_or(u32::MAX))
        };
        self.known.set(count(&Endpoint::is_active));
        self.available.set(count(&|place| place.is_available(now)));
    }
}

fn address(place: &Endpoint) -> Option<SocketAddr> {
    match place.address().as_deref() {
        Some(Address::Tcp(address)) => Some(*address),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(most: usize) -> (Named, Vec<Endpoint>) {
        let text = format!("name = \"a\"\naddresses = [\"app:80\"]\nmax_resolved = {most}\n");
        let section: Section = toml::from_str(&text).unwrap();
        let mut endpoints = vec![Endpoint::new(Some("10.9.9.9:1".parse().unwrap()), 1)];
        let named = Named::new(&section, section.names().next().unwrap(), &mut endpoints);
        (named, endpoints)
    }

    fn at(last: u8) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, last], 80))
    }

    fn places(named: &Named, endpoints: &[Endpoint]) -> Vec<Option<SocketAddr>> {
        named.places(endpoints).iter().map(address).collect()
    }

    #[test]
    fn who_stays_keeps_place_and_health_and_who_is_new_is_not_blamed_for_others() {
        let (named, endpoints) = named(3);
        let change = named.answered(&endpoints, &[at(1), at(2), at(1)], 0);
        assert_eq!(change, Change { joined: vec![at(1), at(2)], left: vec![], ignored: 0 });
        for endpoint in named.places(&endpoints) {
            endpoint.eject(1);
        }
        let kept = endpoints[2].generation();
        let change = named.answered(&endpoints, &[at(3), at(2)], 2);
        assert_eq!(change, Change { joined: vec![at(3)], left: vec![at(1)], ignored: 0 });
        assert_eq!(places(&named, &endpoints), [None, Some(at(2)), Some(at(3))]);
        assert!(endpoints[2].is_ejected(2) && !endpoints[3].is_ejected(2));
        assert_eq!(endpoints[2].generation(), kept);
        named.answered(&endpoints, &[at(1)], 3);
        let back = named.places(&endpoints).iter().find(|one| address(one) == Some(at(1))).unwrap();
        assert!(!back.is_ejected(3), "one that left and came back begins anew");
        assert_eq!(endpoints[0].generation(), 0, "other addresses are not touched");
    }

    proptest! {
        #[test]
        fn an_answer_fills_the_places_that_there_are_and_no_address_has_two(
            answers in prop::collection::vec(prop::collection::vec(0u8..12, 1..12), 1..10), most in 1usize..6,
        ) {
            let (named, endpoints) = named(most);
            for (now, answer) in answers.into_iter().enumerate() {
                let wanted: Vec<_> = answer.iter().map(|last| at(*last)).collect();
                let change = named.answered(&endpoints, &wanted, now as u64);
                let mut distinct = answer;
                distinct.sort_unstable();
                distinct.dedup();
                let mut known = named.addresses(&endpoints);
                prop_assert!(known.iter().all(|one| wanted.contains(one)));
                known.sort_unstable();
                known.dedup();
                prop_assert_eq!(known.len(), distinct.len().min(most));
                prop_assert_eq!(change.ignored, distinct.len().saturating_sub(most));
            }
        }
    }
}
