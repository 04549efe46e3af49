//! What a query could not read because it is in a bucket out of reach.
//!
//! A query runs on one thread, which notes here what it missed; the request that asked is told afterwards, wherever in its answer
//! that is shown.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::HeaderValue;

/// What an answer says that lacks something.
pub(crate) const WARNING: &str =
    "the answer is partial: some parts are in object storage and could not be read now";
const HEADER: &str = "quintet-partial";

thread_local! {
    static HERE: Cell<bool> = const { Cell::new(false) };
}

tokio::task_local! {
    static REQUEST: Arc<AtomicBool>;
}

/// Notes that the query on this thread lacks something.
pub(crate) fn note() {
    HERE.set(true);
}

/// Runs a query and answers whether it missed something.
pub(crate) fn watch<T>(query: impl FnOnce() -> T) -> (T, bool) {
    HERE.set(false);
    let answer = query();
    (answer, HERE.replace(false))
}

/// Notes that the answer to the request of this task lacks something.
pub(crate) fn tell() {
    // Outside of a request nobody is to be told.
    let _ = REQUEST.try_with(|missed| missed.store(true, Ordering::Release));
}

/// The warning, if the answer to the request of this task lacks something.
pub(crate) fn warning() -> Option<&'static str> {
    let missed = REQUEST.try_with(|missed| missed.load(Ordering::Acquire)).unwrap_or(false);
    missed.then_some(WARNING)
}

/// Says in a header of every answer whether it lacks something, also where its format has no place for warnings.
pub(crate) async fn layer(request: Request, next: Next) -> Response {
    let missed = Arc::new(AtomicBool::new(false));
    let mut response = REQUEST.scope(Arc::clone(&missed), next.run(request)).await;
    if missed.load(Ordering::Acquire) {
        response.headers_mut().insert(HEADER, HeaderValue::from_static(WARNING));
    }
    response
}
