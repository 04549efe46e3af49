//! What a query could not read because it is in a bucket out of reach, or at a peer that does not answer.
//!
//! A query runs on one thread, which notes here what it missed; the request that asked is told afterwards, wherever in its answer
//! that is shown.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;

/// What an answer says that lacks something.
pub(crate) const WARNING: &str =
    "the answer is partial: some parts are in object storage and could not be read now";
pub(crate) const PEER_WARNING: &str = "the answer is partial: another sink of the fleet did not answer";
const BOTH_WARNING: &str = "the answer is partial: another sink of the fleet did not answer, and some parts are in object storage and could not be read now";
pub(crate) const HEADER: &str = "quintet-partial";

const BUCKET: u8 = 1;
const PEER: u8 = 2;

/// What was missed, as bits; 0 is nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Missed(u8);

#[cfg(test)]
impl Missed {
    pub(crate) fn is_some(self) -> bool {
        self.0 != 0
    }
}

thread_local! {
    static HERE: Cell<u8> = const { Cell::new(0) };
}

tokio::task_local! {
    static REQUEST: Arc<AtomicU8>;
}

/// Notes that the query on this thread lacks something that is in the bucket.
pub(crate) fn note() {
    HERE.set(HERE.get() | BUCKET);
}

/// Notes that the query on this thread lacks what another sink has.
pub(crate) fn note_peer() {
    HERE.set(HERE.get() | PEER);
}

/// Runs a query and answers what it missed.
pub(crate) fn watch<T>(query: impl FnOnce() -> T) -> (T, Missed) {
    HERE.set(0);
    let answer = query();
    (answer, Missed(HERE.replace(0)))
}

/// Notes what the answer to the request of this task lacks.
pub(crate) fn tell(missed: Missed) {
    // Outside of a request nobody is to be told.
    let _ = REQUEST.try_with(|told| told.fetch_or(missed.0, Ordering::AcqRel));
}

/// The warning, if the answer to the request of this task lacks something.
pub(crate) fn warning() -> Option<&'static str> {
    REQUEST.try_with(|missed| text(missed.load(Ordering::Acquire))).unwrap_or(None)
}

fn text(missed: u8) -> Option<&'static str> {
    match (missed & BUCKET != 0, missed & PEER != 0) {
        (false, false) => None,
        (true, false) => Some(WARNING),
        (false, true) => Some(PEER_WARNING),
        (true, true) => Some(BOTH_WARNING),
    }
}

/// Says in a header of every answer whether it lacks something, also where its format has no place for warnings.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let missed = Arc::new(AtomicU8::new(0));
    let mut response = REQUEST.scope(Arc::clone(&missed), next.run(request)).await;
    if let Some(warning) = text(missed.load(Ordering::Acquire)) {
        response.headers_mut().insert(HEADER, HeaderValue::from_static(warning));
    }
    response
}
