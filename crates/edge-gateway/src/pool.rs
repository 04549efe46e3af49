//! Idle upstream connections of one worker, the most recently used first.
//!
//! Last in, first out keeps few connections hot and lets the rest age out. Nothing here is shared between
//! threads. Connections older than the upstream's idle timeout are dropped by [`Pool::sweep`] and never
//! handed out.

use std::cell::RefCell;
use std::time::Duration;

use crate::ticks::{Tick, Ticks};
use crate::upstream::Upstream;
use crate::wire::Wire;

/// Idle connections by upstream and address.
pub(crate) struct Pool {
    upstreams: Vec<PerUpstream>,
    ticks: Ticks,
}

struct PerUpstream {
    idle_timeout: Duration,
    max_idle: usize,
    addresses: Vec<RefCell<Vec<Idle>>>,
}

struct Idle {
    wire: Box<Wire>,
    since: Tick,
}

impl Pool {
    pub(crate) fn new(upstreams: &[Upstream], ticks: Ticks) -> Self {
        let upstreams = upstreams
            .iter()
            .map(|upstream| PerUpstream {
                idle_timeout: upstream.idle_timeout,
                max_idle: upstream.max_idle,
                addresses: upstream.endpoints.iter().map(|_| RefCell::default()).collect(),
            })
            .collect();
        Self { upstreams, ticks }
    }

    /// A connection that is usable as far as can be seen from here.
    pub(crate) fn take(&self, upstream: usize, address: usize) -> Option<Box<Wire>> {
        let group = self.upstreams.get(upstream)?;
        let mut idle = group.addresses.get(address)?.borrow_mut();
        while let Some(mut candidate) = idle.pop() {
            if self.ticks.since(candidate.since) < group.idle_timeout && candidate.wire.is_reusable() {
                return Some(candidate.wire);
            }
        }
        None
    }

    /// Takes back a connection whose answer has been read, if another request can use it.
    pub(crate) fn give(&self, upstream: usize, address: usize, mut wire: Box<Wire>) {
        let Some(group) = self.upstreams.get(upstream) else { return };
        let Some(idle) = group.addresses.get(address) else { return };
        let mut idle = idle.borrow_mut();
        if idle.len() < group.max_idle && wire.is_reusable() {
            idle.push(Idle { wire, since: self.ticks.now() });
        }
    }

    /// Drops all idle connections to an address.
    pub(crate) fn discard(&self, upstream: usize, address: usize) {
        if let Some(idle) = self.upstreams.get(upstream).and_then(|group| group.addresses.get(address)) {
            idle.borrow_mut().clear();
        }
    }

    /// Drops connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        for group in &self.upstreams {
            for idle in &group.addresses {
                // Oldest first, because connections are pushed in the order in which they fell idle.
                let mut idle = idle.borrow_mut();
                let stale = idle.partition_point(|one| self.ticks.since(one.since) >= group.idle_timeout);
                idle.drain(..stale);
            }
        }
    }
}
