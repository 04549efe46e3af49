//! Copies of requests on their way to a mirror upstream.
//!
//! A copy never delays or fails the request it is of: it is sent when the client's body is complete, only
//! if that was small enough, and only if few enough copies are on the way; otherwise it is not made and
//! counted as skipped. Drain does not wait for copies.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http::request::Parts;
use http_body::Frame;

use crate::body::RequestBody;
use crate::connection::ConnectionState;
use crate::interim::Interim;
use crate::pool::Pool;
use crate::proxy::{Retries, Target, forward, read_out};
use crate::proxy_protocol::Ends;
use crate::router::{Mirror, MirrorPermit};
use crate::upstream::Affinity;
use crate::worker::{View, Worker};

/// Bytes of an answer that are read so that its connection can be used again.
const MAX_READ: usize = 256 * 1024;

/// A copy that waits for its request's body.
pub(crate) struct Copy {
    /// None once it is sent or given up.
    pending: RefCell<Option<Pending>>,
}

struct Pending {
    worker: Rc<Worker>,
    pool: Rc<Pool>,
    timeout: Duration,
    permit: MirrorPermit,
    head: Request<()>,
    pieces: Vec<Bytes>,
    /// Bytes that may still come.
    room: usize,
    client: Option<Rc<Ends>>,
}

impl std::fmt::Debug for Copy {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Copy").finish_non_exhaustive()
    }
}

impl Copy {
    /// A copy of the request that goes upstream with `parts`, if the mirror takes one now.
    pub(crate) fn begin(
        state: &ConnectionState,
        view: &View,
        mirror: &Mirror,
        timeout: Duration,
        parts: &Parts,
    ) -> Option<Self> {
        let worker = &state.worker;
        if !mirror.takes(worker.random()) {
            return None;
        }
        let pool = Rc::clone(view.pool(mirror.upstream)?);
        let Some(permit) = mirror.permit() else {
            worker.gateway.metrics.mirror_skipped.increment(1);
            return None;
        };
        let mut head = Request::new(());
        parts.method.clone_into(head.method_mut());
        parts.uri.clone_into(head.uri_mut());
        parts.headers.clone_into(head.headers_mut());
        let worker = Rc::clone(worker);
        let (pieces, room, client) = (Vec::new(), mirror.max_body, pool.upstream.introduced(&state.client));
        let pending = Pending { worker, pool, timeout, permit, head, pieces, room, client };
        Some(Self { pending: RefCell::new(Some(pending)) })
    }

    /// Takes a piece of the body as it passes.
    pub(crate) fn push(&self, piece: &Bytes) {
        let mut slot = self.pending.borrow_mut();
        let Some(pending) = slot.as_mut() else { return };
        let Some(room) = pending.room.checked_sub(piece.len()) else {
            pending.worker.gateway.metrics.mirror_skipped.increment(1);
            *slot = None;
            return;
        };
        pending.room = room;
        pending.pieces.push(piece.clone());
    }

    /// The request is complete: the copy goes.
    pub(crate) fn send(&self) {
        let Some(pending) = self.pending.take() else { return };
        let worker = Rc::clone(&pending.worker);
        worker.tasks.spawn_local(async move {
            let shutdown = pending.worker.shutdown.clone();
            shutdown.run_until_cancelled(pending.deliver()).await;
        });
    }
}

impl Pending {
    async fn deliver(self) {
        let _permit = self.permit;
        let metrics = &self.worker.gateway.metrics;
        let body = match self.pieces.as_slice() {
            [] => RequestBody::Empty,
            [only] => RequestBody::Whole(only.clone()),
            many => RequestBody::Whole(many.concat().into()),
        };
        let request = self.head.map(|()| body);
        let target = Target {
            pool: self.pool,
            timeout: self.timeout,
            body_idle: self.timeout,
            affinity: Affinity::default(),
            retries: Retries::default(),
            client: self.client,
            interim: Interim::none(),
        };
        match forward(&self.worker, &target, Box::new(request), None).await {
            Ok(forwarded) => {
                metrics.mirror_sent.increment(1);
                // An answer that takes longer only costs its connection.
                let mut left = MAX_READ;
                let take = |frame: &Frame<Bytes>| {
                    let rest = left.checked_sub(frame.data_ref().map_or(0, Bytes::len));
                    left = rest.unwrap_or(0);
                    rest.is_some()
                };
                let _ = tokio::time::timeout(self.timeout, read_out(forwarded, take)).await;
            }
            Err(failure) => {
                metrics.mirror_failed.increment(1);
                tracing::debug!(
                    upstream = target.pool.upstream.name,
                    reason = failure.reason,
                    "copy not delivered"
                );
            }
        }
    }
}
