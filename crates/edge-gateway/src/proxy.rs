//! Sends a request to an upstream and brings its answer back, streaming both ways.
//!
//! A request is sent again only where that is provably harmless: hyper hands it back unsent, or it is a GET
//! or HEAD without a body; and only under the upstream's retry budget. A refused connection means that
//! nothing was sent, so the request waits out a short restart of the upstream. Timeouts run from the end of
//! the upload to the head of the answer; while a client uploads, only its pauses are limited.

use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{Method, Request, Response, StatusCode};
use http_body::Body as _;
use hyper::body::Incoming;
use quintet_http::problem::Problem;

use crate::body::{RequestBody, Upload, UploadPhase};
use crate::pool::Pool;
use crate::wire::{ConnectError, Wire};
use crate::worker::Worker;

/// Times that one request is sent in all.
const MAX_SENDS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);
/// What clients are told to wait when an upstream is down.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request's place among those in flight to an upstream.
#[derive(Debug)]
pub(crate) struct Lease {
    pool: Rc<Pool>,
    endpoint: Option<usize>,
}

impl Lease {
    /// None when the upstream has as many requests as it may.
    fn new(pool: &Rc<Pool>) -> Option<Self> {
        pool.upstream.enter().then(|| Self { pool: Rc::clone(pool), endpoint: None })
    }

    /// Moves the request to another address.
    pub(crate) fn assign(&mut self, endpoint: usize) {
        self.unassign();
        if let Some(of) = self.endpoint_of(endpoint) {
            of.enter();
            self.endpoint = Some(endpoint);
        }
    }

    fn unassign(&mut self) {
        if let Some(endpoint) = self.endpoint.take().and_then(|at| self.endpoint_of(at)) {
            endpoint.leave();
        }
    }

    fn endpoint_of(&self, at: usize) -> Option<&crate::upstream::Endpoint> {
        self.pool.upstream.endpoints.get(at)
    }

    /// Puts a connection whose answer has been read back into the pool.
    pub(crate) fn give_back(&self, wire: Box<Wire>) {
        if let Some(endpoint) = self.endpoint {
            self.pool.give(endpoint, wire);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.unassign();
        self.pool.upstream.leave();
    }
}

/// Where and under which limits a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) pool: Rc<Pool>,
    pub(crate) timeout: Duration,
    pub(crate) body_idle: Duration,
}

/// An upstream's answer, with what is needed to stream it.
pub(crate) struct Forwarded {
    pub(crate) response: Response<Incoming>,
    /// None when the connection runs in a task of its own.
    pub(crate) wire: Option<Box<Wire>>,
    pub(crate) lease: Lease,
    pub(crate) waited: Duration,
}

/// Why an upstream gave no answer; a word for the access log, and the answer for the client.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) problem: Box<Problem>,
    /// The client was still sending: its connection must close.
    pub(crate) unread: bool,
}

impl Failure {
    fn new(reason: &'static str, problem: Problem) -> Self {
        Self { reason, problem: Box::new(problem), unread: false }
    }

    pub(crate) fn unavailable(reason: &'static str, detail: &str) -> Self {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", detail);
        Self::new(reason, problem.with_retry_after(RETRY_AFTER))
    }

    pub(crate) fn bad_gateway() -> Self {
        let problem = Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream_unavailable",
            "the service behind this address broke off without an answer",
        );
        Self::new("upstream_broke_off", problem.with_retry_after(RETRY_AFTER))
    }

    pub(crate) fn timeout() -> Self {
        let detail = "the service behind this address did not answer in time";
        Self::new("upstream_timeout", Problem::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", detail))
    }

    /// The client's own upload failed, whatever the upstream made of it.
    fn of_upload(phase: UploadPhase) -> Option<Self> {
        let (reason, problem) = match phase {
            UploadPhase::TooLarge => ("body_too_large", too_large()),
            UploadPhase::Failed => (
                "client_body",
                Problem::bad_request("body_broken", "the request body broke off or is malformed"),
            ),
            UploadPhase::Running | UploadPhase::Complete => return None,
        };
        Some(Self { reason, problem: Box::new(problem), unread: true })
    }

    fn slow_upload() -> Self {
        let problem =
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the request body came too slowly");
        Self { reason: "body_timeout", problem: Box::new(problem), unread: true }
    }
}

/// 413 for a body beyond the route's limit.
pub(crate) fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "the request body is larger than this address takes",
    )
}

/// Claims a place at the upstream, or says that it is full.
pub(crate) fn admit(pool: &Rc<Pool>) -> Result<Lease, Failure> {
    Lease::new(pool).ok_or_else(|| {
        Failure::unavailable("upstream_full", "the service behind this address has too many requests")
    })
}

/// Sends `request` and waits for the head of the answer.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    target: &Target,
    mut request: Request<RequestBody>,
    upload: Option<Rc<Upload>>,
) -> Result<Forwarded, Failure> {
    let mut lease = admit(&target.pool)?;
    let upstream = &target.pool.upstream;
    let replayable =
        request.body().is_end_stream() && matches!(*request.method(), Method::GET | Method::HEAD);
    let mut sends = 0;
    loop {
        let (mut wire, reused) = acquire(worker, &target.pool, &mut lease).await?;
        let endpoint = lease.endpoint.unwrap_or_default();
        sends += 1;
        let copy = replayable.then(|| replica(&request));
        let asked = Instant::now();
        let Some(outcome) = send(&mut wire, request, target, upload.as_deref()).await else {
            upstream.report(endpoint, false, Instant::now());
            let slow = upload.as_ref().is_some_and(|upload| upload.phase() == UploadPhase::Running);
            return Err(if slow { Failure::slow_upload() } else { Failure::timeout() });
        };
        let mut error = match outcome {
            Ok(response) => {
                upstream.report(endpoint, true, asked);
                let wire = keep_or_detach(worker, wire, upload.as_deref());
                return Ok(Forwarded { response, wire, lease, waited: asked.elapsed() });
            }
            Err(error) => error,
        };
        if let Some(failure) = upload.as_ref().and_then(|upload| Failure::of_upload(upload.phase())) {
            return Err(failure);
        }
        if reused {
            // The upstream has probably closed the others of their age as well.
            target.pool.discard(endpoint);
        }
        let unsent = error.take_message();
        if unsent.is_none() && !reused {
            upstream.report(endpoint, false, Instant::now());
            tracing::debug!(upstream = upstream.name, error = %error.error(), "upstream broke off");
        }
        // What was never sent puts no load on the upstream, so it costs no budget.
        let free = unsent.is_some();
        match unsent.or(copy) {
            Some(again) if sends < MAX_SENDS && (free || upstream.may_retry()) => {
                upstream.metrics.retries.increment(1);
                request = again;
            }
            _ => return Err(Failure::bad_gateway()),
        }
    }
}

/// A second copy of a request that has no body.
fn replica(request: &Request<RequestBody>) -> Request<RequestBody> {
    let mut copy = Request::new(RequestBody::Empty);
    request.method().clone_into(copy.method_mut());
    request.uri().clone_into(copy.uri_mut());
    request.headers().clone_into(copy.headers_mut());
    copy
}

/// A connection to one of the upstream's addresses, and whether it has been used before.
async fn acquire(worker: &Worker, pool: &Pool, lease: &mut Lease) -> Result<(Box<Wire>, bool), Failure> {
    let upstream = &pool.upstream;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        let now = Instant::now();
        let at = upstream.choose(worker.random(), now);
        lease.assign(at);
        if let Some(wire) = pool.take(at) {
            return Ok((wire, true));
        }
        let Some(endpoint) = upstream.endpoints.get(at) else { return Err(Failure::bad_gateway()) };
        attempts += 1;
        match Wire::connect(&endpoint.address, upstream.connect_timeout).await {
            Ok(wire) => {
                upstream.connect_succeeded(at);
                upstream.metrics.connects.increment(1);
                return Ok((wire, false));
            }
            Err(error) => {
                upstream.metrics.connect_failures.increment(1);
                let refusing_for = upstream.connect_failed(at, Instant::now());
                if refusing_for.is_zero() {
                    tracing::warn!(upstream = upstream.name, error = %chain(&error), "upstream is down");
                }
                let others = attempts < upstream.endpoints.len();
                if !others
                    && (refusing_for >= upstream.restart_patience
                        || matches!(error, ConnectError::Timeout(_)))
                {
                    return Err(Failure::unavailable(
                        "upstream_down",
                        "the service behind this address is not available",
                    ));
                }
                if !others {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
            }
        }
    }
}

/// An error with its source, for one log line.
pub(crate) fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}

/// Sends within the time limits. None: no answer in time, or the client paused too long in its upload.
async fn send(
    wire: &mut Wire,
    request: Request<RequestBody>,
    target: &Target,
    upload: Option<&Upload>,
) -> Option<Result<Response<Incoming>, hyper::client::conn::TrySendError<Request<RequestBody>>>> {
    let mut sending = std::pin::pin!(wire.send(request));
    loop {
        let uploading = upload.filter(|upload| upload.phase() == UploadPhase::Running);
        let received = uploading.map(Upload::received);
        let limit = if uploading.is_some() { target.body_idle } else { target.timeout };
        if let Ok(outcome) = tokio::time::timeout(limit, sending.as_mut()).await {
            return Some(outcome);
        }
        let progressed = uploading.is_some_and(|upload| {
            Some(upload.received()) != received || upload.phase() == UploadPhase::Complete
        });
        if !progressed {
            return None;
        }
    }
}

/// While the upload still runs the connection must be driven independently of the answer: the client may
/// read the answer only after it has sent everything.
fn keep_or_detach(worker: &Worker, wire: Box<Wire>, upload: Option<&Upload>) -> Option<Box<Wire>> {
    if upload.is_some_and(|upload| upload.phase() == UploadPhase::Running) {
        worker.tasks.spawn_local(wire.run());
        return None;
    }
    Some(wire)
}
