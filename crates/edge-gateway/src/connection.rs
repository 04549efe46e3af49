//! One client connection: TLS handshake, HTTP/1.1 or HTTP/2 as negotiated, or HTTP/3 over QUIC, drain, and the state
//! that its requests share.
//!
//! The sweep of the worker asks [`ConnectionState::overdue`] and ends connections that exceed a time limit;
//! no connection has timers of its own.

mod client;
mod http1;
mod http2;
#[cfg(feature = "http3")]
pub(crate) mod http3;

use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

pub(crate) use self::client::Client;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use self::http1::read_pieces;
pub(crate) use self::http1::{Http1Body, Refusal, Refused};
#[cfg(feature = "http3")]
pub(crate) use self::http2::{CONNECTION_WINDOW, STREAM_WINDOW};
use crate::client_auth::{ClientCertificate, Verified};
use crate::client_io::{ClientIo, IoState, Stream};
use crate::config::Limits;
use crate::handler::Host;
use crate::limits::{Account, Share};
use crate::ticks::Tick;
use crate::worker::Worker;

/// At drain, how long a connection without a request yet may take to send one.
const FIRST_REQUEST_GRACE: Duration = Duration::from_millis(250);
/// At drain, how long an idle HTTP/1.1 connection may take to bring the request whose answer closes it.
const IDLE_GRACE: Duration = Duration::from_secs(1);
/// A connection between two requests counts as parked after this time: a client that has more to ask at once does so sooner.
const PARK_AFTER: Duration = Duration::from_secs(1);
/// Requests that a client may cancel before they are answered, and as long as they are less than half of its requests.
/// What began before its reset is in no count of its protocol's, but has cost the upstream a connection.
const CANCELLED: u32 = 200;

/// What the requests of one connection share.
#[derive(Debug)]
pub(crate) struct ConnectionState {
    pub(crate) worker: Rc<Worker>,
    pub(crate) client: Client,
    /// Its part of the client's memory.
    share: Share,
    /// The client speaks TLS.
    pub(crate) secure: bool,
    io: Rc<IoState>,
    /// Server name of the handshake, lower case.
    pub(crate) sni: RefCell<Option<String>>,
    /// What the client's certificate was verified by, where its host asks for one.
    pub(crate) verified: OnceCell<Verified>,
    pub(crate) http1: Cell<bool>,
    /// That the last request asked for.
    pub(crate) host: RefCell<Option<Rc<Host>>>,
    exchanges: Cell<u32>,
    /// Requests so far, and those that the client cancelled before their answer.
    begun: Cell<u32>,
    cancelled: Cell<u32>,
    served: Cell<bool>,
    handshaken: Cell<bool>,
    idle_since: Cell<Tick>,
    /// When the first byte of the awaited request head arrived.
    head_began: Cell<Option<Tick>>,
    /// Answers over HTTP/2 and HTTP/3 that wait for the client, by key: since when.
    stalled: RefCell<HashMap<u64, Tick>>,
}

impl ConnectionState {
    pub(crate) fn new(worker: Rc<Worker>, client: Client, account: Arc<Account>, secure: bool) -> Self {
        let ticks = worker.ticks.clone();
        Self {
            idle_since: Cell::new(ticks.now()),
            head_began: Cell::new(None),
            io: Rc::new(IoState::new(ticks)),
            worker,
            client,
            share: Share::new(account, http2::CONNECTION_WINDOW as usize),
            secure,
            sni: RefCell::default(),
            verified: OnceCell::new(),
            http1: Cell::new(true),
            host: RefCell::default(),
            exchanges: Cell::new(0),
            begun: Cell::new(0),
            cancelled: Cell::new(0),
            served: Cell::new(false),
            handshaken: Cell::new(false),
            stalled: RefCell::default(),
        }
    }

    pub(crate) fn client_certificate(&self) -> Option<&ClientCertificate> {
        self.verified.get()?.certificate.as_ref()
    }

    /// Some of a request's head is there, but not all.
    fn head_begins(&self) {
        if self.head_began.get().is_none() {
            self.head_began.set(Some(self.worker.ticks.now()));
        }
    }

    /// All of it is there.
    fn head_came(&self) {
        self.head_began.set(None);
    }

    pub(crate) fn exchange_began(&self) {
        self.exchanges.set(self.exchanges.get() + 1);
        self.begun.set(self.begun.get().saturating_add(1));
        self.served.set(true);
    }

    /// Requests so far.
    #[cfg(feature = "http3")]
    pub(crate) fn begun(&self) -> u32 {
        self.begun.get()
    }

    /// Whether the client's memory has room for the requests that are in progress.
    pub(crate) fn has_room(&self) -> bool {
        self.share.holds(self.exchanges.get())
    }

    /// Reserves what may be read ahead of a body of so many bytes at most; None where there is no room.
    pub(crate) fn open_window(&self, bytes: u64) -> Option<usize> {
        if self.http1.get() {
            return Some(0);
        }
        self.share
            .open_window(usize::try_from(bytes).unwrap_or(usize::MAX).min(http2::STREAM_WINDOW as usize))
    }

    pub(crate) fn close_window(&self, bytes: usize) {
        self.share.close_window(bytes);
    }

    /// The memory of the client, for what is kept of its requests.
    pub(crate) fn account(&self) -> &Arc<Account> {
        self.share.account()
    }

    /// Gives back memory that requests no longer use.
    pub(crate) fn settle(&self) {
        self.share.shrink(self.exchanges.get());
    }

    /// The client left before the head of its answer.
    pub(crate) fn exchange_cancelled(&self) {
        self.cancelled.set(self.cancelled.get().saturating_add(1));
    }

    /// Whether the client makes the gateway and its upstreams work for nothing (CVE-2023-44487).
    pub(crate) fn cancels_too_much(&self) -> bool {
        self.cancelled.get() > CANCELLED && self.cancelled.get() > self.begun.get() / 2
    }

    pub(crate) fn exchange_ended(&self) {
        self.exchanges.set(self.exchanges.get().saturating_sub(1));
        self.idle_since.set(self.worker.ticks.now());
    }

    /// An answer of this key was asked for its next piece, so its client reads.
    pub(crate) fn answer_polled(&self, key: u64, waiting_for_upstream: bool) {
        if self.http1.get() {
            return;
        }
        let mut stalled = self.stalled.borrow_mut();
        if waiting_for_upstream {
            stalled.remove(&key);
        } else {
            stalled.insert(key, self.worker.ticks.now());
        }
    }

    pub(crate) fn answer_ended(&self, key: u64) {
        if !self.http1.get() {
            self.stalled.borrow_mut().remove(&key);
        }
    }

    /// Which time limit the connection has exceeded, if any.
    pub(crate) fn overdue(&self, limits: &Limits) -> Option<&'static str> {
        let since = |tick: Tick| self.worker.ticks.since(tick);
        let ms = Duration::from_millis;
        let idle = since(self.idle_since.get());
        if !self.handshaken.get() {
            return (idle > ms(limits.tls_handshake_timeout_ms)).then_some("handshake");
        }
        if self.io.write_blocked().is_some_and(|tick| since(tick) > ms(limits.write_timeout_ms)) {
            return Some("write");
        }
        if self.stalled.borrow().values().any(|tick| since(*tick) > ms(limits.write_timeout_ms)) {
            return Some("write");
        }
        if self.cancels_too_much() {
            return Some("cancelled");
        }
        if self.exchanges.get() > 0 {
            return None;
        }
        if self.http1.get()
            && self.head_began.get().is_some_and(|tick| since(tick) > ms(limits.header_read_timeout_ms))
        {
            return Some("header");
        }
        let allowed =
            if self.served.get() { limits.keep_alive_timeout_ms } else { limits.header_read_timeout_ms };
        (idle > ms(allowed)).then_some("idle")
    }

    /// Whether it waits between two requests of HTTP/1.1 and holds no more than its socket and its TLS state.
    pub(crate) fn is_parked(&self) -> bool {
        self.http1.get()
            && self.served.get()
            && self.exchanges.get() == 0
            && self.io.write_blocked().is_none()
            && self.head_began.get().is_none()
            && self.worker.ticks.since(self.idle_since.get()) >= PARK_AFTER
    }

    /// Waits until this connection is to end. One that has not brought a request yet gets a moment: its
    /// request is probably on the way. HTTP/1.1 has no GOAWAY: a client that is about to
    /// send could not know whether its request was taken, so that it gets an answer that tells it to go.
    async fn drain_begins(&self) {
        self.worker.shutdown.cancelled().await;
        if self.http1.get() {
            tokio::time::sleep(IDLE_GRACE).await;
        } else if !self.served.get() {
            tokio::time::sleep(FIRST_REQUEST_GRACE).await;
        }
    }

    /// Whether the client is to leave with its next answer.
    pub(crate) fn is_draining(&self) -> bool {
        self.worker.shutdown.is_cancelled()
    }

    pub(crate) fn handshake_done(&self, http1: bool, sni: Option<&str>) {
        self.http1.set(http1);
        *self.sni.borrow_mut() = sni.map(str::to_ascii_lowercase);
        self.handshaken.set(true);
        self.idle_since.set(self.worker.ticks.now());
    }
}

/// Serves a connection of a TLS listener to its end. Handshake and both protocols have large states; each is in a box
/// of its own, so that an idle connection holds only the one that it is in.
pub(crate) async fn serve_tls(state: Rc<ConnectionState>, stream: TcpStream) {
    let tls = &state.worker.gateway.tls;
    let view = state.worker.view();
    let challenges = &state.worker.gateway.acme.challenges;
    let accepted = match &view.client_auth {
        auth if challenges.shakes_hands() => {
            Box::pin(crate::acme::accept(challenges, stream, auth.as_ref(), tls)).await
        }
        None => Box::pin(TlsAcceptor::from(Arc::clone(tls)).accept(stream))
            .await
            .map(|stream| Some((stream, None))),
        Some(auth) => Box::pin(auth.accept(stream, tls)).await.map(Some),
    };
    drop(view);
    let stream = match accepted {
        // Moved from one future's state to another's from here on; boxed, each holds a pointer instead of all of TLS.
        Ok(Some((stream, verified))) => {
            // There is one handshake.
            let _ = verified.map(|verified| state.verified.set(verified));
            Box::new(stream)
        }
        Ok(None) => return,
        Err(error) => {
            crate::metrics::Metrics::handshake_failed(crate::tls::failure_kind(&error));
            tracing::debug!(client = state.client.text(), %error, "TLS handshake failed");
            return;
        }
    };
    state.worker.gateway.metrics.handshakes.increment(1);
    let (_, session) = stream.get_ref();
    let http1 = session.alpn_protocol() != Some(b"h2");
    state.handshake_done(http1, session.server_name());
    if http1 {
        serve_http1(&state, Stream::Tls(stream)).await;
        return;
    }
    let io = ClientIo::new(stream, Rc::clone(&state.io));
    if let Err(error) = Box::pin(http2::serve(&state, io)).await {
        tracing::debug!(client = state.client.text(), %error, "connection ended with an error");
    }
}

/// Serves a connection of a plain listener to its end.
pub(crate) async fn serve_plain(state: Rc<ConnectionState>, stream: TcpStream) {
    state.handshake_done(true, None);
    serve_http1(&state, Stream::Plain(stream)).await;
}

async fn serve_http1(state: &Rc<ConnectionState>, stream: Stream) {
    let io = ClientIo::new(stream, Rc::clone(&state.io));
    if let Err(error) = http1::serve(state, io).await {
        tracing::debug!(client = state.client.text(), %error, "connection ended with an error");
    }
}

/// Runs a connection. None when it is to end gracefully from now on.
async fn until_drain<F: Future>(state: &ConnectionState, mut connection: Pin<&mut F>) -> Option<F::Output> {
    let mut drain = pin!(state.drain_begins());
    let mut registered = false;
    poll_fn(|cx| {
        if let Poll::Ready(outcome) = connection.as_mut().poll(cx) {
            return Poll::Ready(Some(outcome));
        }
        // Asked once it wakes this task, whose waker stays the same; asking at each of its wakes would take a lock.
        if registered && !state.worker.shutdown.is_cancelled() {
            return Poll::Pending;
        }
        registered = true;
        drain.as_mut().poll(cx).map(|()| None)
    })
    .await
}
