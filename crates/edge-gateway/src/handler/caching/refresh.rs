//! A stored answer asked for anew while clients get the stale one (RFC 5861 section 3).

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, StatusCode};
use http_body::Frame;

use super::Way;
use crate::body::RequestBody;
use crate::proxy::{Target, forward, read_out};
use crate::worker::Worker;

/// Time for all of an answer that nobody waits for.
const LONGEST: Duration = Duration::from_mins(1);

/// Sends the request in a task of its own; drain does not wait for it.
pub(in crate::handler) fn refresh(
    worker: &Rc<Worker>,
    target: Target,
    request: Request<RequestBody>,
    way: Box<Way>,
) {
    let own = Rc::clone(worker);
    worker.tasks.spawn_local(async move {
        let fetching = tokio::time::timeout(LONGEST, fetch(&own, target, request, way));
        own.shutdown.run_until_cancelled(fetching).await
    });
}

async fn fetch(worker: &Rc<Worker>, target: Target, request: Request<RequestBody>, mut way: Box<Way>) {
    let forwarded = match forward(worker, &target, Box::new(request), None).await {
        Ok(forwarded) => forwarded,
        Err(failure) => {
            let upstream = &target.pool.upstream.name;
            tracing::debug!(upstream, reason = failure.reason, "stored answer not renewed");
            return;
        }
    };
    let now = worker.gateway.now_millis();
    if forwarded.response.status() == StatusCode::NOT_MODIFIED {
        way.validated(forwarded.response.headers(), now);
        forwarded.give_back();
        return;
    }
    let Ok(mut fill) = way.fill(&forwarded.response, now) else { return };
    let take = |frame: &Frame<Bytes>| frame.data_ref().is_some_and(|piece| fill.push(piece));
    if read_out(forwarded, take).await {
        fill.complete();
    }
}
