//! A server connection's bytes, with two rules that hyper leaves to its user.
//!
//! Opening: hyper's header timeout starts only once the protocol is known, so a client that sends
//! nothing, or half of the HTTP/2 preface, would hold a connection forever. Here the same time
//! limit covers those first bytes.
//!
//! Closing: closing a socket while the client still sends makes the kernel answer with a reset,
//! which can destroy the 413 before the client reads it. After such an answer the write side is
//! closed first and a bounded amount of input is thrown away (as in nginx's `lingering_close`).

use std::future::Future;
use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::progress::Progress;
use crate::listen::Stream;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const LINGER_TIME: Duration = Duration::from_secs(2);
const LINGER_BYTES: usize = 8 * 1024 * 1024;

pub(super) struct ServerIo {
    stream: Stream,
    progress: Progress,
    state: State,
}

enum State {
    /// Fewer bytes than tell the protocol apart have arrived; `matched` of them look like HTTP/2.
    Opening {
        matched: usize,
        deadline: Pin<Box<Sleep>>,
    },
    Open,
    /// Our side is closed; input is read and dropped.
    Lingering {
        dropped: usize,
        deadline: Pin<Box<Sleep>>,
    },
}

impl ServerIo {
    pub(super) fn new(stream: Stream, opening: Duration, progress: Progress) -> Self {
        let state = State::Opening { matched: 0, deadline: Box::pin(sleep(opening)) };
        Self { stream, progress, state }
    }
}

/// How much of the preface is matched after `fresh`, or `None` once the protocol is certain.
fn still_opening(matched: usize, fresh: &[u8]) -> Option<usize> {
    let rest = PREFACE.get(matched..).unwrap_or_default();
    (rest.len() > fresh.len() && rest.starts_with(fresh)).then_some(matched + fresh.len())
}

impl AsyncRead for ServerIo {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buffer.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buffer);
        let State::Opening { matched, deadline } = &mut this.state else {
            return read;
        };
        if read.is_pending() {
            ready!(deadline.as_mut().poll(cx));
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "no request head in time")));
        }
        match still_opening(*matched, buffer.filled().get(before..).unwrap_or_default()) {
            Some(count) => *matched = count,
            None => this.state = State::Open,
        }
        read
    }
}

impl AsyncWrite for ServerIo {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if !matches!(this.state, State::Lingering { .. }) {
            ready!(Pin::new(&mut this.stream).poll_shutdown(cx))?;
            if !this.progress.must_linger() {
                return Poll::Ready(Ok(()));
            }
            this.state = State::Lingering { dropped: 0, deadline: Box::pin(sleep(LINGER_TIME)) };
        }
        this.poll_discard(cx).map(Ok)
    }
}

impl ServerIo {
    fn poll_discard(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let State::Lingering { dropped, deadline } = &mut self.state else {
            return Poll::Ready(());
        };
        let mut scratch = [MaybeUninit::uninit(); 8 * 1024];
        while *dropped < LINGER_BYTES {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => *dropped += buffer.filled().len(),
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return deadline.as_mut().poll(cx),
            }
        }
        Poll::Ready(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_protocol_is_certain_at_the_first_byte_that_differs_or_the_last_of_the_preface() {
        assert_eq!(still_opening(0, b"GET"), None);
        assert_eq!(still_opening(0, b"P"), Some(1));
        assert_eq!(still_opening(1, b"OST"), None);
        assert_eq!(still_opening(1, b"RI * HTTP/2.0\r\n"), Some(16));
        assert_eq!(still_opening(16, b"\r\nSM\r\n\r\n"), None);
        assert_eq!(still_opening(0, &[PREFACE, b"more"].concat()), None);
        assert_eq!(still_opening(0, b""), Some(0));
    }
}
