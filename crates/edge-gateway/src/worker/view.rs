//! A worker's own view of the running snapshot: the shared configuration with what this thread keeps for
//! it, such as idle upstream connections and verified tokens.
//!
//! A request holds the view it began with by an `Rc`, which costs no shared reference count.

use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

use http::HeaderMap;
use http::header::CONTENT_TYPE;
use quintet_http::Client as HttpClient;

use crate::access_log::AccessLog;
use crate::gateway::{Snapshot, Tally};
use crate::identity::Identity;
use crate::pool::Pool;
use crate::session::SessionCache;
use crate::ticks::Ticks;
use crate::tokens::TokenCache;

/// One snapshot as one worker sees it.
#[derive(Debug)]
pub(crate) struct View {
    snapshot: Arc<Snapshot>,
    pools: Vec<Rc<Pool>>,
    pub(crate) identity: Option<Rc<LocalIdentity>>,
    pub(crate) tally: Arc<Tally>,
    /// The worker's part of the access log.
    pub(crate) access_log: Rc<AccessLog>,
}

/// The identity provider as one worker sees it. Its caches end with the provider's section, so that
/// nothing verified under old rules passes under new ones.
pub(crate) struct LocalIdentity {
    shared: Arc<Identity>,
    /// Back channel; its connections live on this worker's runtime.
    pub(crate) client: HttpClient,
    pub(crate) tokens: TokenCache,
    pub(crate) sessions: SessionCache,
}

impl std::fmt::Debug for LocalIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalIdentity").finish_non_exhaustive()
    }
}

impl Deref for View {
    type Target = Snapshot;

    fn deref(&self) -> &Snapshot {
        &self.snapshot
    }
}

impl Deref for LocalIdentity {
    type Target = Identity;

    fn deref(&self) -> &Identity {
        &self.shared
    }
}

impl View {
    /// A view of `snapshot` that takes over what `previous` has of the same objects.
    pub(crate) fn new(snapshot: Arc<Snapshot>, previous: Option<&Self>, ticks: &Ticks) -> Self {
        let pool = |upstream: &Arc<_>| {
            let kept = previous?.pools.iter().find(|pool| Arc::ptr_eq(&pool.upstream, upstream));
            kept.cloned()
        };
        let pools = snapshot.upstreams.iter().map(|upstream| {
            pool(upstream).unwrap_or_else(|| Rc::new(Pool::new(Arc::clone(upstream), ticks.clone())))
        });
        let local = |shared: &Arc<Identity>| {
            let kept = previous.and_then(|previous| previous.identity.as_ref());
            match kept.filter(|kept| Arc::ptr_eq(&kept.shared, shared)) {
                Some(kept) => Rc::clone(kept),
                None => Rc::new(LocalIdentity::new(shared)),
            }
        };
        let kept = previous.map(|previous| &previous.access_log);
        let access_log = match kept.filter(|kept| kept.is_of(&snapshot.access_log)) {
            Some(kept) => Rc::clone(kept),
            None => Rc::new(AccessLog::new(&snapshot.access_log)),
        };
        Self {
            access_log,
            pools: pools.collect(),
            identity: snapshot.identity.as_ref().map(local),
            tally: snapshot.tally(),
            snapshot,
        }
    }

    /// The upstream at `index` of the configuration.
    pub(crate) fn pool(&self, index: usize) -> Option<&Rc<Pool>> {
        self.pools.get(index)
    }

    /// Whether a request to the upstream at `index` is a call of gRPC, whose body is a stream with pauses. What only says
    /// so is none: gRPC needs HTTP/2 on the way.
    pub(crate) fn is_grpc(&self, index: usize, headers: &HeaderMap) -> bool {
        let http2 = self.pools.get(index).is_some_and(|pool| pool.upstream.transport.is_http2());
        http2
            && headers
                .get(CONTENT_TYPE)
                .is_some_and(|value| value.as_bytes().starts_with(b"application/grpc"))
    }

    /// Drops upstream connections that have been idle too long.
    pub(crate) fn sweep(&self) {
        for pool in &self.pools {
            pool.sweep();
        }
    }
}

impl LocalIdentity {
    fn new(shared: &Arc<Identity>) -> Self {
        Self {
            shared: Arc::clone(shared),
            client: shared.back_channel(),
            tokens: TokenCache::default(),
            sessions: SessionCache::default(),
        }
    }
}
