//! What the streams of one connection share.

use std::cell::Cell;
use std::rc::Rc;

use quinn::Connection;
use tokio::sync::Notify;

use super::code::Code;
use super::message::Bounds;
use crate::connection::ConnectionState;
use crate::limits::ClientKey;

/// A connection as its streams see it.
pub(crate) struct Session {
    pub(crate) state: Rc<ConnectionState>,
    pub(crate) connection: Connection,
    pub(super) bounds: Bounds,
    /// The id that the client's next request stream will have.
    next: Cell<u64>,
    /// Streams from this id on are not served.
    last: Cell<Option<u64>>,
    /// The client is at another address.
    pub(crate) moved: Notify,
    /// Streams that there may be one of (RFC 9114 section 6.2, RFC 9204 section 4.2).
    unique: Cell<u8>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").finish_non_exhaustive()
    }
}

impl Session {
    pub(crate) fn new(state: &Rc<ConnectionState>, connection: Connection) -> Self {
        let view = state.worker.view();
        let limits = view.limits();
        let bytes = usize::try_from(limits.header_bytes).unwrap_or(usize::MAX);
        Self {
            // Four pseudo-header fields come beside the headers.
            bounds: Bounds { bytes, lines: limits.header_count.saturating_add(4) },
            state: Rc::clone(state),
            connection,
            next: Cell::new(0),
            last: Cell::new(None),
            moved: Notify::new(),
            unique: Cell::new(0),
        }
    }

    /// Ends the connection for something that the client did.
    pub(super) fn fail(&self, code: Code) {
        tracing::debug!(client = self.state.client.text(), ?code, "HTTP/3 connection ended");
        self.connection.close(code.into(), b"");
    }

    /// Whether a request on the stream `id` is served. Limits, access lists and the access log go by the address that
    /// the connection was made from, so that one which has moved to another serves nothing new.
    pub(crate) fn takes(&self, id: u64) -> bool {
        self.next.set(self.next.get().max(id.saturating_add(4)));
        if self.last.get().is_some_and(|last| id >= last) {
            return false;
        }
        let at = ClientKey::from(self.connection.remote_address().ip());
        if at == self.state.client.key {
            return true;
        }
        self.last.set(Some(id));
        self.moved.notify_one();
        false
    }

    /// Serves no further requests; the id from which on they are not.
    pub(crate) fn end_requests(&self) -> u64 {
        let last = self.last.get().unwrap_or(self.next.get());
        self.last.set(Some(last));
        last
    }

    /// Notes the one stream of a kind, a bit; false where there is one already.
    pub(super) fn claim(&self, kind: u8) -> bool {
        let seen = self.unique.get();
        self.unique.set(seen | kind);
        seen & kind == 0
    }
}
