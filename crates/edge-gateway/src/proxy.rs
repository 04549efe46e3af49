//! Sends a request to an upstream and brings its answer back, streaming both ways.
//!
//! A request is sent again only where that is harmless: nothing of it was written, or its method is
//! idempotent and all of its body is still there; and only under the upstream's retry budget. A refused
//! connection means that nothing was sent, so the request waits out a short restart of the upstream. Timeouts run from the end of
//! the upload to the head of the answer; while a client uploads, only its pauses are limited.

mod failure;
mod hedge;
mod http2;
mod lease;
mod read_out;
mod retries;

use std::cell::Cell;
use std::future::{Future as _, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use http::header::HeaderValue;
use http::{Request, Response, StatusCode};

pub(crate) use self::failure::{Failure, too_large};
pub(crate) use self::lease::{Lease, admit};
pub(crate) use self::read_out::read_out;
use self::retries::Replay;
pub(crate) use self::retries::{Kept, Retries};
use crate::body::{RequestBody, Upload, UploadPhase};
use crate::interim::Interim;
use crate::pool::Pool;
use crate::proxy_protocol::Ends;
use crate::upstream::{Affinity, Endpoint};
use crate::wire::{AnswerBody, Wire, WireError};
use crate::worker::Worker;

/// Times that a request is sent which every time comes back unsent.
const MAX_SENDS: u32 = 3;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// Where and under which limits a request goes.
#[derive(Debug, Clone)]
pub(crate) struct Target {
    pub(crate) pool: Rc<Pool>,
    pub(crate) timeout: Duration,
    pub(crate) body_idle: Duration,
    pub(crate) affinity: Affinity,
    pub(crate) retries: Retries,
    /// Whom the upstream is told that the request is from, where it is.
    pub(crate) client: Option<Rc<Ends>>,
    /// Gets the upstream's answers before the final one.
    pub(crate) interim: Interim,
}

/// An upstream's answer, with what is needed to stream it.
pub(crate) struct Forwarded {
    pub(crate) response: Response<AnswerBody>,
    pub(crate) lease: Lease,
    pub(crate) waited: Duration,
    /// Keeps the client at the address that answered.
    pub(crate) sticky: Option<HeaderValue>,
}

impl Forwarded {
    /// Puts the connection back, if the answer has been read to its end.
    pub(crate) fn give_back(mut self) {
        if let Some(connection) = self.response.body_mut().take_connection() {
            self.lease.give_back(connection);
        }
    }
}

/// Sends `request` and waits for the head of the answer.
pub(crate) async fn forward(
    worker: &Rc<Worker>,
    target: &Target,
    request: Box<Request<RequestBody>>,
    upload: Option<Rc<Upload>>,
) -> Result<Forwarded, Failure> {
    let request = match &target.pool.upstream.transport {
        transport if transport.is_http2() => http2::request(request, transport.is_secure())?,
        _ => request,
    };
    match target.retries.hedge_after {
        Some(after) if hedge::can_hedge(&request) => {
            Box::pin(hedge::race(worker, target, request, after)).await
        }
        _ => attempts(worker, target, request, upload, &Cell::new(None)).await,
    }
}

/// Sends the request until it is answered or may not be sent again. `last` is the address that it was sent to
/// last, which another try leaves out.
async fn attempts(
    worker: &Rc<Worker>,
    target: &Target,
    mut request: Box<Request<RequestBody>>,
    upload: Option<Rc<Upload>>,
    last: &Cell<Option<usize>>,
) -> Result<Forwarded, Failure> {
    let mut lease = admit(&target.pool).await?;
    let (upstream, retries) = (&target.pool.upstream, &target.retries);
    let upload = upload.as_deref();
    let mut deadline = Deadline::default();
    let mut sends = 0;
    loop {
        let (wire, reused) = acquire(worker, target, &mut lease, last.get()).await?;
        let endpoint = lease.endpoint.unwrap_or_default();
        last.set(Some(endpoint));
        sends += 1;
        let replay = Replay::of(&request, upload, retries, upstream.transport.is_http2());
        let asked = Instant::now();
        let may_resend = || sends < retries.sends && upstream.may_retry();
        match send(wire, &mut request, target, upload, &mut deadline, asked).await {
            Some(Ok(mut response)) => {
                let waited = asked.elapsed();
                upstream.answered(endpoint, response.status(), waited, asked);
                let refused = retries.on_503 && response.status() == StatusCode::SERVICE_UNAVAILABLE;
                let again = replay.filter(|one| one.repeats && refused);
                let again = again.and_then(|replay| replay.restore(&mut request, upload));
                if again.is_none() || !may_resend() {
                    if let Some(upload) = upload {
                        upload.answered();
                    }
                    detach_upload(worker, &mut response, upload);
                    let sticky = upstream.sticky_cookie(target.affinity, endpoint);
                    return Ok(Forwarded { response, lease, waited, sticky });
                }
            }
            None => {
                upstream.failed(endpoint, Instant::now());
                if upload.is_some_and(|upload| upload.phase() == UploadPhase::Running) {
                    return Err(Failure::slow_upload());
                }
                let again = replay.filter(|one| one.repeats && retries.on_reset);
                let again = again.and_then(|replay| replay.restore(&mut request, upload));
                if again.is_none() || deadline.is_over() || !may_resend() {
                    return Err(Failure::timeout());
                }
            }
            Some(Err(error)) => {
                if let Some(failure) = upload.and_then(|upload| Failure::of_upload(upload.phase())) {
                    return Err(failure);
                }
                if reused {
                    // The upstream has probably closed the others of their age as well.
                    target.pool.discard(endpoint);
                }
                // What was never sent puts no load on the upstream, so it costs no budget.
                let again = if error.is_unsent() {
                    (sends < MAX_SENDS).then_some(())
                } else if error.is_unprocessed() {
                    let again = replay.filter(|_| sends < MAX_SENDS);
                    again.and_then(|replay| replay.restore(&mut request, upload))
                } else {
                    if !reused {
                        upstream.failed(endpoint, Instant::now());
                        let error = chain(&error);
                        tracing::debug!(upstream = upstream.name, error, "upstream broke off");
                    }
                    let again = replay.filter(|one| one.repeats && retries.on_reset);
                    let again = again.and_then(|replay| replay.restore(&mut request, upload));
                    again.filter(|()| may_resend())
                };
                again.ok_or_else(Failure::bad_gateway)?;
            }
        }
        upstream.metrics.retries.increment(1);
    }
}

/// When all tries together must have been answered: so long after the end of the upload.
#[derive(Default)]
struct Deadline(Option<Instant>);

impl Deadline {
    fn at(&mut self, now: Instant, timeout: Duration) -> Instant {
        *self.0.get_or_insert(now + timeout)
    }

    fn is_over(&self) -> bool {
        self.0.is_some_and(|at| at <= Instant::now())
    }
}

/// A connection to one of the upstream's addresses, and whether it has been used before.
async fn acquire(
    worker: &Worker,
    target: &Target,
    lease: &mut Lease,
    mut avoid: Option<usize>,
) -> Result<(Wire, bool), Failure> {
    let pool = &target.pool;
    let upstream = &pool.upstream;
    let mut pause = FIRST_PAUSE;
    let mut attempts = 0;
    loop {
        let now = Instant::now();
        let at = upstream.choose(&pool.choice(worker.random(), target.affinity, now, avoid));
        lease.assign(at);
        if let Some(wire) = pool.take(at, target.client.as_deref()) {
            return Ok((wire, true));
        }
        let address = upstream.endpoints.get(at).and_then(Endpoint::address);
        let Some(address) = address else {
            // It has just left its name, or none has been found yet.
            if upstream.addresses() == 0 {
                if upstream.nowhere_for(now) >= upstream.restart_patience {
                    return Err(Failure::unresolved());
                }
                tokio::time::sleep(pause).await;
                pause = (pause * 2).min(LONGEST_PAUSE);
            }
            continue;
        };
        attempts += 1;
        match pool.connect(at, &address, target.client.as_ref()).await {
            Ok((wire, true)) => return Ok((wire, true)),
            Ok((wire, false)) => {
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
                if !target.retries.on_connect_failure {
                    return Err(Failure::of_connect(&error));
                }
                avoid = Some(at);
                let others = attempts < upstream.addresses();
                if !others && (refusing_for >= upstream.restart_patience || error.is_lasting()) {
                    return Err(Failure::of_connect(&error));
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

/// Sends within the time limits, from `now` on. None: no answer in time, or the client paused too long in its upload.
async fn send(
    wire: Wire,
    request: &mut Request<RequestBody>,
    target: &Target,
    upload: Option<&Upload>,
    deadline: &mut Deadline,
    now: Instant,
) -> Option<Result<Response<AnswerBody>, WireError>> {
    let mut sending = pin!(wire.send(request, &target.interim));
    let running = || upload.is_some_and(|upload| upload.phase() == UploadPhase::Running);
    let received = || upload.map(Upload::received);
    let mut answer_limit = |now: Instant| {
        let last = deadline.at(now, target.timeout);
        target.retries.per_try.map_or(last, |per_try| last.min(now + per_try)).into()
    };
    let (mut was_running, mut seen) = (running(), received());
    let first = if was_running { (now + target.body_idle).into() } else { answer_limit(now) };
    let mut timer = pin!(tokio::time::sleep_until(first));
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = sending.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        // The upload ends in the poll above: from here on the upstream's time runs.
        if was_running && !running() {
            was_running = false;
            timer.as_mut().reset(answer_limit(Instant::now()));
        }
        while timer.as_mut().poll(cx).is_ready() {
            if !was_running || received() == seen {
                return Poll::Ready(None);
            }
            seen = received();
            timer.as_mut().reset(tokio::time::Instant::now() + target.body_idle);
        }
        Poll::Pending
    })
    .await
}

/// While the upload still runs the connection must be driven independently of the answer: the client may
/// read the answer only after it has sent everything.
fn detach_upload(worker: &Worker, response: &mut Response<AnswerBody>, upload: Option<&Upload>) {
    if upload.is_some_and(|upload| upload.phase() == UploadPhase::Running)
        && let Some(task) = response.body_mut().detach()
    {
        worker.tasks.spawn_local(task);
    }
}
