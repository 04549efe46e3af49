//! A request's place among those in flight.

use std::rc::Rc;

use super::Failure;
use crate::pool::Pool;
use crate::upstream::Endpoint;
use crate::wire::Http1;

/// A request's place among those in flight to an upstream.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    pub(super) endpoint: Option<usize>,
    /// Of the address, when it was assigned.
    generation: u32,
}

impl Lease {
    /// Moves the request to another address.
    pub(crate) fn assign(&mut self, endpoint: usize) {
        self.unassign();
        if let Some(of) = self.endpoint_of(endpoint) {
            of.enter();
            self.generation = of.generation();
            self.endpoint = Some(endpoint);
        }
    }

    fn unassign(&mut self) {
        if let Some(endpoint) = self.endpoint.take().and_then(|at| self.endpoint_of(at)) {
            endpoint.leave();
        }
    }

    fn endpoint_of(&self, at: usize) -> Option<&Endpoint> {
        self.pool.upstream.endpoints.get(at)
    }

    /// Puts a connection whose answer has been read back into the pool.
    pub(crate) fn give_back(&self, connection: Box<Http1>) {
        if let Some(endpoint) = self.endpoint {
            self.pool.give(endpoint, self.generation, connection);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.unassign();
        self.pool.upstream.leave();
    }
}

/// Claims a place at the upstream, or says that it is full.
pub(crate) async fn admit(pool: &Rc<Pool>) -> Result<Lease, Failure> {
    if pool.upstream.enter().await {
        return Ok(Lease { pool: Rc::clone(pool), endpoint: None, generation: 0 });
    }
    let detail = "the service behind this address has too many requests";
    Err(Failure::unavailable("upstream_full", detail))
}
