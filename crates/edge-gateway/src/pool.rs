//! Connections of one worker to one upstream: idle HTTP/1.1 ones, the most recently used first, and HTTP/2 ones that
//! requests share.
//!
//! Last in, first out keeps few connections hot and lets the rest age out. Nothing here is shared between
//! threads. Connections older than the upstream's idle timeout are dropped by [`Pool::sweep`] and never
//! handed out. A pool belongs to one [`Upstream`] object: it lives as long as that is configured unchanged,
//! so a connection can never come back into the pool of another service.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use quintet_http::listen::Address;

use crate::proxy_protocol::Ends;
use crate::ticks::{Tick, Ticks};
use crate::upstream::{Affinity, Choice, Endpoint, Rotation, Upstream};
use crate::wire::{ConnectError, Http1, Shared, Wire};

/// An upstream as one worker sees it, with the worker's idle connections by address.
pub(crate) struct Pool {
    pub(crate) upstream: Arc<Upstream>,
    addresses: Vec<RefCell<Vec<Idle>>>,
    /// By address; none for an upstream that speaks HTTP/1.1.
    shared: Vec<Shared>,
    ticks: Ticks,
    rotation: Rotation,
}

struct Idle {
    connection: Box<Http1>,
    since: Tick,
    /// Of the address it was made to.
    generation: u32,
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool").field("upstream", &self.upstream.name).finish_non_exhaustive()
    }
}

impl Pool {
    pub(crate) fn new(upstream: Arc<Upstream>, ticks: Ticks) -> Self {
        let addresses = upstream.endpoints.iter().map(|_| RefCell::default()).collect();
        let shared = upstream.endpoints.iter().filter(|_| upstream.transport.is_http2());
        let shared = shared.map(|_| Shared::default()).collect();
        Self { upstream, addresses, shared, ticks, rotation: Rotation::default() }
    }

    /// A connection that is usable as far as can be seen from here; where the upstream is told who the client is, one
    /// that was made for this `client`.
    pub(crate) fn take(&self, address: usize, client: Option<&Ends>) -> Option<Wire> {
        let generation = self.generation(address);
        if let Some(shared) = self.shared.get(address) {
            let stream = shared.take(generation, self.upstream.max_streams)?;
            return Some(Wire::Place(stream));
        }
        let mut idle = self.addresses.get(address)?.borrow_mut();
        while let Some(mut candidate) = pop(&mut idle, client) {
            if candidate.generation == generation
                && self.ticks.since(candidate.since) < self.upstream.idle_timeout
                && candidate.connection.is_reusable()
            {
                return Some(Wire::Own(candidate.connection));
            }
        }
        None
    }

    /// Opens a connection. True if it is shared and another request opened it.
    pub(crate) async fn connect(
        &self,
        at: usize,
        address: &Address,
        client: Option<&Rc<Ends>>,
    ) -> Result<(Wire, bool), ConnectError> {
        let upstream = &self.upstream;
        let Some(shared) = self.shared.get(at) else {
            let (transport, timeout) = (&upstream.transport, upstream.connect_timeout);
            let wire = Wire::connect(address, transport, client.cloned(), timeout).await?;
            return Ok((wire, false));
        };
        // Boxed: only HTTP/2 needs its room in a request's future.
        let opening = Box::pin(shared.open(upstream, address, self.generation(at), &self.ticks));
        let (stream, found) = opening.await?;
        Ok((Wire::Place(stream), found))
    }

    /// What the upstream needs to choose an address for a request of this worker.
    pub(crate) fn choice(
        &self,
        random: u64,
        affinity: Affinity,
        now: Instant,
        avoid: Option<usize>,
    ) -> Choice<'_> {
        Choice { random, now, affinity, avoid, rotation: &self.rotation }
    }

    /// Changes when the place stands for another address.
    pub(crate) fn generation(&self, address: usize) -> u32 {
        self.upstream.endpoints.get(address).map_or(0, Endpoint::generation)
    }

    /// Takes back a connection whose answer has been read, if another request can use it.
    pub(crate) fn give(&self, address: usize, generation: u32, connection: Box<Http1>) {
        let Some(idle) = self.addresses.get(address) else { return };
        let mut idle = idle.borrow_mut();
        // A client's own connections give way to those of clients that came later, which are more likely to be used.
        if connection.client().is_some() && !idle.is_empty() && idle.len() >= self.upstream.max_idle {
            idle.remove(0);
        }
        if idle.len() < self.upstream.max_idle && connection.is_done() {
            idle.push(Idle { connection, since: self.ticks.now(), generation });
        }
    }

    /// Drops all idle connections to an address.
    pub(crate) fn discard(&self, address: usize) {
        if let Some(idle) = self.addresses.get(address) {
            idle.borrow_mut().clear();
        }
    }

    /// Drops connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        for idle in &self.addresses {
            // Oldest first, because connections are pushed in the order in which they fell idle.
            let mut idle = idle.borrow_mut();
            let stale = idle.partition_point(|one| self.ticks.since(one.since) >= self.upstream.idle_timeout);
            idle.drain(..stale);
        }
        for shared in &self.shared {
            shared.sweep(self.upstream.idle_timeout);
        }
    }
}

/// The connection that was used last, of those made for this client where they are told apart.
fn pop(idle: &mut Vec<Idle>, client: Option<&Ends>) -> Option<Idle> {
    if client.is_none() {
        return idle.pop();
    }
    let at = idle.iter().rposition(|one| one.connection.client() == client)?;
    Some(idle.remove(at))
}
