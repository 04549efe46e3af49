//! When a request is sent again, and the bodies that are kept for it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request};
use http_body::Body as _;

use crate::body::{RequestBody, Upload, UploadPhase};
use crate::limits::Account;

/// When a route's requests are sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Retries {
    /// Times that a request is sent in all.
    pub(crate) sends: u32,
    /// Goes to another address when a connection is refused.
    pub(crate) on_connect_failure: bool,
    pub(crate) on_reset: bool,
    pub(crate) on_503: bool,
    /// Time for the head of the answer to each try.
    pub(crate) per_try: Option<Duration>,
    /// All idempotent methods, with bodies of so many bytes; otherwise GET and HEAD without one.
    pub(crate) max_body: Option<usize>,
    /// Sends a GET or HEAD to a second address when the first takes so long.
    pub(crate) hedge_after: Option<Duration>,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            sends: 3,
            on_connect_failure: true,
            on_reset: true,
            on_503: false,
            per_try: None,
            max_body: None,
            hedge_after: None,
        }
    }
}

impl Retries {
    /// Whether a request of this method may be sent twice (RFC 9110 section 9.2.2).
    fn repeats(&self, method: &Method) -> bool {
        match *method {
            Method::GET | Method::HEAD => true,
            Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE => self.max_body.is_some(),
            _ => false,
        }
    }

    /// Whether the upload of a request is worth keeping.
    pub(crate) fn keeps(&self, method: &Method) -> Option<usize> {
        self.max_body.filter(|_| self.sends > 1 && self.repeats(method))
    }
}

/// A request body as far as it has passed, while it is small enough.
#[derive(Debug)]
pub(crate) struct Kept(RefCell<Option<Pieces>>);

#[derive(Debug)]
struct Pieces {
    all: Vec<Bytes>,
    room: usize,
    /// Whose memory the pieces are, and how many bytes of it.
    account: Arc<Account>,
    held: usize,
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.account.give(self.held);
    }
}

impl Kept {
    pub(crate) fn new(room: usize, account: Arc<Account>) -> Self {
        Self(RefCell::new(Some(Pieces { all: Vec::new(), room, account, held: 0 })))
    }

    /// Takes a piece as it passes.
    pub(crate) fn push(&self, piece: &Bytes) {
        let mut slot = self.0.borrow_mut();
        let Some(pieces) = slot.as_mut() else { return };
        // What does not fit is not sent again, but it is sent.
        match pieces.room.checked_sub(piece.len()).filter(|_| pieces.account.take(piece.len())) {
            Some(room) => {
                pieces.room = room;
                pieces.held += piece.len();
                pieces.all.push(piece.clone());
            }
            None => *slot = None,
        }
    }

    /// Something passed that cannot be kept.
    pub(crate) fn give_up(&self) {
        *self.0.borrow_mut() = None;
    }

    fn body(&self) -> Option<RequestBody> {
        let slot = self.0.borrow();
        Some(match slot.as_ref()?.all.as_slice() {
            [] => RequestBody::Empty,
            [only] => RequestBody::Whole(only.clone()),
            many => RequestBody::Whole(many.concat().into()),
        })
    }
}

/// What it takes to send a request again.
pub(super) struct Replay {
    /// Where sending takes all of the request: HTTP/2.
    head: Option<Request<()>>,
    /// Sending it twice does no harm. Others are sent again only where the upstream did nothing with them.
    pub(super) repeats: bool,
}

impl Replay {
    /// None where it is never sent again, or nothing of its body is kept. Over HTTP/2 the upstream can say that it did
    /// nothing with a request.
    pub(super) fn of(
        request: &Request<RequestBody>,
        upload: Option<&Upload>,
        retries: &Retries,
        http2: bool,
    ) -> Option<Self> {
        let kept = request.body().is_end_stream() || upload.is_some_and(|upload| upload.kept().is_some());
        let repeats = retries.sends > 1 && retries.repeats(request.method()) && !is_good_once(request);
        (kept && (repeats || http2)).then(|| Self { head: http2.then(|| head(request)), repeats })
    }

    /// Makes the request whole once more, if all of its body has passed and was kept.
    pub(super) fn restore(self, request: &mut Request<RequestBody>, upload: Option<&Upload>) -> Option<()> {
        let body = match upload {
            None => RequestBody::Empty,
            Some(upload) if upload.phase() == UploadPhase::Complete => upload.kept()?.body()?,
            Some(_) => return None,
        };
        match self.head {
            Some(head) => *request = head.map(|()| body),
            None => *request.body_mut() = body,
        }
        Some(())
    }
}

/// Whether an upstream that saw the request refuses its copy: a DPoP proof is good once (RFC 9449 §11.1), and the refusal would
/// stand in the place of the answer.
pub(super) fn is_good_once(request: &Request<RequestBody>) -> bool {
    request.headers().contains_key("dpop")
}

fn head(request: &Request<RequestBody>) -> Request<()> {
    let mut copy = Request::new(());
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    *copy.version_mut() = request.version();
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// A second copy of a request that has no body.
pub(super) fn replica(request: &Request<RequestBody>) -> Request<RequestBody> {
    head(request).map(|()| RequestBody::Empty)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::hedge::can_hedge;

    #[test]
    fn a_request_with_a_proof_that_is_good_once_is_not_sent_twice() {
        for (header, twice) in [("accept", true), ("dpop", false)] {
            let request = Request::get("/").header(header, "x").body(RequestBody::Empty).unwrap();
            let replay = Replay::of(&request, None, &Retries::default(), false);
            assert_eq!(replay.is_some_and(|replay| replay.repeats), twice, "{header}");
            assert_eq!(can_hedge(&request), twice, "{header}");
        }
    }
}
