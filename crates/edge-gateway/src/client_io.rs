//! The client's side of a connection as hyper reads and writes it, with what hyper does not watch:
//! stalled writes, the time a request head takes, faults that [`HeadGuard`] finds in it, and an unhurried close.
//!
//! State is shared with the connection's service through relaxed atomics: everything runs on one
//! thread, but hyper wants upgradable I/O to be `Send`.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::head_guard::{Fault, HeadGuard};
use crate::ticks::{Tick, Ticks};

/// Bytes thrown away at most after an early answer, so that the client sees it rather than a reset.
const LINGER_BYTES: usize = 1 << 20;

/// What the connection's service and the worker's sweep know of the I/O.
#[derive(Debug)]
pub(crate) struct IoState {
    ticks: Ticks,
    /// When a write began to wait for the client; 0 while none does.
    write_blocked: AtomicU32,
    /// When the first byte of the awaited request head arrived; 0 while none has.
    head_began: AtomicU32,
    /// The next byte read begins a request head.
    head_awaited: AtomicBool,
    /// Request heads that hyper has parsed.
    parsed: AtomicU32,
    /// Which head is faulty, counted from 1; 0 while none is.
    faulty: AtomicU32,
    bare_line_feed: AtomicBool,
    linger: AtomicBool,
}

impl IoState {
    pub(crate) fn new(ticks: Ticks) -> Self {
        Self {
            ticks,
            write_blocked: AtomicU32::new(0),
            head_began: AtomicU32::new(0),
            head_awaited: AtomicBool::new(true),
            parsed: AtomicU32::new(0),
            faulty: AtomicU32::new(0),
            bare_line_feed: AtomicBool::new(false),
            linger: AtomicBool::new(false),
        }
    }

    pub(crate) fn write_blocked(&self) -> Option<Tick> {
        Tick::from_bits(self.write_blocked.load(Ordering::Relaxed))
    }

    pub(crate) fn head_began(&self) -> Option<Tick> {
        Tick::from_bits(self.head_began.load(Ordering::Relaxed))
    }

    /// A request head has been parsed; what is wrong with it.
    pub(crate) fn head_parsed(&self) -> Option<Fault> {
        self.head_began.store(0, Ordering::Relaxed);
        let number = self.parsed.load(Ordering::Relaxed).wrapping_add(1);
        self.parsed.store(number, Ordering::Relaxed);
        if self.faulty.load(Ordering::Relaxed) != number {
            return None;
        }
        let bare = self.bare_line_feed.load(Ordering::Relaxed);
        Some(if bare { Fault::BareLineFeed } else { Fault::TwoFramings })
    }

    /// The current request has been read to its end.
    pub(crate) fn expect_head(&self) {
        self.head_awaited.store(true, Ordering::Relaxed);
    }

    /// Read on for a while when closing: the answer went out before the request was read.
    pub(crate) fn linger(&self) {
        self.linger.store(true, Ordering::Relaxed);
    }
}

/// A client connection, TLS or plain.
#[derive(Debug)]
pub(crate) struct ClientIo<S> {
    stream: S,
    state: Arc<IoState>,
    /// Read before, and to be read again.
    unread: Bytes,
    /// Only for HTTP/1: HTTP/2 frames its heads and bodies.
    guard: Option<HeadGuard>,
    closed: bool,
    lingered: usize,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, state: Arc<IoState>, http1: bool) -> Self {
        Self {
            stream,
            state,
            unread: Bytes::new(),
            guard: http1.then(HeadGuard::default),
            closed: false,
            lingered: 0,
        }
    }

    pub(crate) fn stream(&self) -> &S {
        &self.stream
    }

    /// Gives back bytes that were read but not used.
    pub(crate) fn unread(&mut self, bytes: Bytes) {
        self.unread = bytes;
    }

    fn observe(&mut self, bytes: &[u8]) {
        let Some(guard) = &mut self.guard else { return };
        if bytes.is_empty() {
            return;
        }
        if self.state.head_awaited.load(Ordering::Relaxed) {
            self.state.head_awaited.store(false, Ordering::Relaxed);
            self.state.head_began.store(self.state.ticks.now().to_bits(), Ordering::Relaxed);
        }
        guard.observe(bytes);
        if let Some((head, fault)) = guard.take_fault() {
            self.state.bare_line_feed.store(fault == Fault::BareLineFeed, Ordering::Relaxed);
            self.state.faulty.store(head, Ordering::Relaxed);
        }
    }

    fn note_write<T>(&self, result: &Poll<T>) {
        let blocked = self.state.write_blocked.load(Ordering::Relaxed) != 0;
        if result.is_pending() && !blocked {
            self.state.write_blocked.store(self.state.ticks.now().to_bits(), Ordering::Relaxed);
        } else if result.is_ready() && blocked {
            self.state.write_blocked.store(0, Ordering::Relaxed);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.unread.is_empty() {
            let bytes = this.unread.split_to(this.unread.len().min(buffer.remaining()));
            buffer.put_slice(&bytes);
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(cx, buffer))?;
        this.observe(buffer.filled().get(before..).unwrap_or_default());
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write(cx, bytes);
        this.note_write(&result);
        result
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_write_vectored(cx, slices);
        this.note_write(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let result = Pin::new(&mut this.stream).poll_flush(cx);
        this.note_write(&result);
        result
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !this.closed {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            this.closed = true;
        }
        // Closing with unread bytes makes the kernel send a reset, which can overtake the answer. hyper answers a head
        // that it refuses by itself, before it is read to its end.
        let refused_head = this.state.head_began().is_some();
        let mut scratch = [0u8; 4096];
        while (refused_head || this.state.linger.load(Ordering::Relaxed)) && this.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut this.stream).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => this.lingered += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }
}
