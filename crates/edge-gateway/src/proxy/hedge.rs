//! Asking a second address when the first is slow.
//!
//! Only for GET and HEAD without a body, and under the retry budget: when all addresses are slow, hedging must not
//! double their load. Whichever answers first is taken; the other request is dropped with its connection.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use http::{Method, Request};
use http_body::Body as _;

use super::retries::{is_good_once, replica};
use super::{Failure, Forwarded, Target, attempts};
use crate::body::RequestBody;
use crate::worker::Worker;

pub(super) fn can_hedge(request: &Request<RequestBody>) -> bool {
    let safe = matches!(*request.method(), Method::GET | Method::HEAD);
    safe && request.body().is_end_stream() && !is_good_once(request)
}

pub(super) async fn race(
    worker: &Rc<Worker>,
    target: &Target,
    request: Box<Request<RequestBody>>,
    after: Duration,
) -> Result<Forwarded, Failure> {
    let upstream = &target.pool.upstream;
    let copy = Box::new(replica(&request));
    let place = Cell::new(None);
    let mut first = pin!(attempts(worker, target, request, None, &place));
    if let Ok(answer) = tokio::time::timeout(after, first.as_mut()).await {
        return answer;
    }
    if upstream.addresses() < 2 || !upstream.may_retry() {
        return first.await;
    }
    upstream.metrics.hedges.increment(1);
    let elsewhere = Cell::new(place.get());
    let mut second = pin!(attempts(worker, target, copy, None, &elsewhere));
    tokio::select! {
        biased;
        answer = first.as_mut() => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => second.await,
        },
        answer = second.as_mut() => match answer {
            Ok(answer) => Ok(answer),
            Err(_) => first.await,
        },
    }
}
