//! Which of an upstream's addresses gets the next request.
//!
//! Only available addresses are chosen between. When their share falls below the panic threshold all are
//! used, because the few that are left would be drowned and health may be misjudged.

use std::cell::RefCell;
use std::time::Instant;

use serde::Deserialize;

use super::endpoint::Endpoint;
use super::hash::{self, Candidate, mix};

/// How an address is chosen.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Policy {
    /// The less loaded of two drawn by weight, by requests in flight.
    #[default]
    LeastRequests,
    /// The faster of two drawn by weight: latency, peaks first, times requests in flight.
    P2cEwma,
    /// In turn, by weight (per worker).
    RoundRobin,
    /// By a key of the request, so that it stays with an address.
    Hash,
}

/// What a choice depends on besides the addresses.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Choice<'w> {
    pub(crate) random: u64,
    pub(crate) now: Instant,
    /// What keeps the request with an address.
    pub(crate) affinity: Affinity,
    /// Not this one, while there are others.
    pub(crate) avoid: Option<usize>,
    pub(crate) rotation: &'w Rotation,
}

/// What keeps requests of one client with one address.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Affinity {
    /// Hash of the key that the upstream is balanced by.
    pub(super) key: Option<u64>,
    /// Identity of the address that the client's cookie names.
    pub(super) sticky: Option<u64>,
}

/// A worker's own turn in round robin.
#[derive(Debug, Default)]
pub(crate) struct Rotation(RefCell<Vec<i64>>);

/// The addresses that can be chosen now.
#[derive(Clone, Copy)]
pub(super) struct Field<'u> {
    endpoints: &'u [Endpoint],
    /// Milliseconds since the epoch, as is the next.
    now: u64,
    slow_start: u64,
    /// All are used, healthy or not.
    panic: bool,
    avoid: Option<usize>,
    size: usize,
}

impl<'u> Field<'u> {
    pub(super) fn new(
        endpoints: &'u [Endpoint],
        avoid: Option<usize>,
        now: u64,
        slow_start: u64,
        panic_percent: usize,
    ) -> Self {
        let active = endpoints.iter().filter(|endpoint| endpoint.is_active()).count();
        let available = endpoints.iter().filter(|endpoint| endpoint.is_available(now)).count();
        let panic = available == 0 || available * 100 < active * panic_percent;
        let size = if panic { active } else { available };
        let mut field = Self { endpoints, now, slow_start, panic, avoid, size };
        match field.avoid {
            Some(at) if field.size > 1 && endpoints.get(at).is_some_and(|one| field.takes(one)) => {
                field.size -= 1;
            }
            _ => field.avoid = None,
        }
        field
    }

    fn takes(&self, endpoint: &Endpoint) -> bool {
        endpoint.is_active() && (self.panic || endpoint.is_available(self.now))
    }

    fn iter(self) -> impl Iterator<Item = (usize, &'u Endpoint)> + Clone {
        let all = self.endpoints.iter().enumerate();
        all.filter(move |(at, endpoint)| self.avoid != Some(*at) && self.takes(endpoint))
    }

    fn weight(&self, endpoint: &Endpoint) -> u64 {
        endpoint.weight_at(self.now, self.slow_start)
    }

    /// The address with this identity, if it may be chosen.
    pub(super) fn named(self, identity: u64) -> Option<usize> {
        self.iter().find(|(_, endpoint)| endpoint.identity() == identity).map(|(at, _)| at)
    }

    pub(super) fn choose(self, policy: Policy, choice: &Choice<'_>) -> Option<usize> {
        if self.size <= 1 {
            return self.iter().next().map(|(at, _)| at);
        }
        match policy {
            Policy::LeastRequests => self.better_of_two(choice.random, |one| self.load(one)),
            Policy::P2cEwma => self.better_of_two(choice.random, |one| self.cost(one)),
            Policy::RoundRobin => choice.rotation.next(self, choice.random),
            Policy::Hash => hash::choose(choice.affinity.key.unwrap_or(choice.random), self.candidates()),
        }
    }

    /// Requests in flight by weight.
    #[expect(clippy::cast_precision_loss, reason = "counts of requests and weights are far below 2^52")]
    fn load(&self, endpoint: &Endpoint) -> f64 {
        endpoint.load() as f64 / self.weight(endpoint) as f64
    }

    /// The wait that one more request can expect.
    fn cost(&self, endpoint: &Endpoint) -> f64 {
        let latency = endpoint.latency.read(self.now);
        if latency > 0.0 {
            return latency * (1.0 + self.load(endpoint) * 100.0);
        }
        // One that is unknown is asked once and not again until it has answered.
        if endpoint.load() == 0 { 0.0 } else { f64::MAX }
    }

    /// Draws two by weight and takes the one with the lower cost, between equals the first.
    fn better_of_two(self, random: u64, cost: impl Fn(&Endpoint) -> f64) -> Option<usize> {
        let (first, one) = self.drawn(random, None)?;
        let (second, other) = self.drawn(mix(random), Some(first))?;
        Some(if cost(other) < cost(one) { second } else { first })
    }

    /// An address by weight, other than `without`.
    fn drawn(self, random: u64, without: Option<usize>) -> Option<(usize, &'u Endpoint)> {
        let all = self.iter().filter(move |(at, _)| without != Some(*at));
        let total: u64 = all.clone().map(|(_, endpoint)| self.weight(endpoint)).sum();
        let point = u64::try_from((u128::from(random) * u128::from(total)) >> 64).unwrap_or_default();
        let mut up_to = 0;
        all.clone()
            .find(|(_, endpoint)| {
                up_to += self.weight(endpoint);
                point < up_to
            })
            // Health can change between the sum and the walk.
            .or_else(|| all.clone().next())
    }

    fn candidates(self) -> impl Iterator<Item = Candidate> + Clone {
        self.iter().map(move |(at, endpoint)| Candidate {
            at,
            identity: endpoint.identity(),
            weight: self.weight(endpoint),
            load: endpoint.load(),
        })
    }
}

impl Rotation {
    /// Smooth weighted round robin, as in nginx: each gains its weight, the richest is taken and pays the
    /// sum of weights.
    fn next(&self, field: Field<'_>, random: u64) -> Option<usize> {
        let mut credits = self.0.borrow_mut();
        if credits.len() != field.endpoints.len() {
            // Workers begin at different places, or all would turn to the same address first.
            let head_start = |at: usize| i64::try_from(mix(random ^ at as u64) & 0x3f).unwrap_or_default();
            *credits = (0..field.endpoints.len()).map(head_start).collect();
        }
        let mut total = 0;
        let mut richest: Option<(usize, i64)> = None;
        for (at, endpoint) in field.iter() {
            let weight = i64::try_from(field.weight(endpoint)).unwrap_or(i64::MAX);
            let Some(credit) = credits.get_mut(at) else { continue };
            *credit = credit.saturating_add(weight);
            total += weight;
            if richest.is_none_or(|(_, most)| *credit > most) {
                richest = Some((at, *credit));
            }
        }
        let (at, _) = richest?;
        if let Some(credit) = credits.get_mut(at) {
            *credit -= total;
        }
        Some(at)
    }
}
