//! An answer on its way into the cache, beside its way to the client.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use http::Response;

use super::freshness::Lifetime;
use super::object::Charge;
use super::{Cache, Guard, Key, Object, Scope, Variant};

/// Collects an answer. Dropped before [`Fill::complete`] it stores nothing.
pub(crate) struct Fill {
    cache: Arc<Cache>,
    key: Key,
    scope: Scope,
    epoch: u64,
    variant: Variant,
    head: Response<()>,
    lifetime: Lifetime,
    body: BytesMut,
    limit: usize,
    charges: Vec<Charge>,
    /// Ends with this, whatever comes of it.
    guard: Option<Guard>,
}

impl std::fmt::Debug for Fill {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fill").field("key", &self.key).finish_non_exhaustive()
    }
}

/// Where an answer belongs.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) cache: Arc<Cache>,
    pub(crate) key: Key,
    pub(crate) scope: Scope,
    /// When it was asked for.
    pub(crate) epoch: u64,
    pub(crate) guard: Option<Guard>,
}

impl Place {
    /// Stores an answer that is all there.
    pub(crate) fn store(
        &self,
        variant: Variant,
        head: Response<()>,
        body: Bytes,
        lifetime: Lifetime,
    ) -> Option<Arc<Object>> {
        self.cache.store(&self.key, self.scope, self.epoch, variant, head, body, lifetime)
    }

    /// Begins to collect an answer of at most `limit` bytes.
    pub(crate) fn fill(self, variant: Variant, head: Response<()>, lifetime: Lifetime, limit: usize) -> Fill {
        let Self { cache, key, scope, epoch, guard } = self;
        let (body, charges) = (BytesMut::new(), Vec::new());
        Fill { cache, key, scope, epoch, variant, head, lifetime, body, limit, charges, guard }
    }
}

impl Fill {
    /// Takes a piece of the body; false where the answer is not going to be stored.
    pub(crate) fn push(&mut self, piece: &Bytes) -> bool {
        if self.body.len() + piece.len() > self.limit {
            return false;
        }
        if self.body.capacity() - self.body.len() < piece.len() {
            // In few steps: each is a copy of all that is there.
            let more = piece.len().max(self.body.len()).max(4_096).min(self.limit - self.body.len());
            let Some(charge) = self.cache.charge(more) else { return false };
            self.charges.push(charge);
            self.body.reserve(more);
        }
        self.body.extend_from_slice(piece);
        true
    }

    /// All of the body has been pushed: stores the answer, then lets those go on who wait for it.
    pub(crate) fn complete(self) {
        // Without the room that was left for more.
        let body = Bytes::copy_from_slice(&self.body);
        drop((self.body, self.charges));
        self.cache.store(&self.key, self.scope, self.epoch, self.variant, self.head, body, self.lifetime);
        drop(self.guard);
    }
}
