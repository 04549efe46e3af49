//! The client's side of a connection, TLS or plain, watched for writes that wait for the client.

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::secured::Secured;
use crate::ticks::{Tick, Ticks};

/// What the worker's sweep knows of the I/O.
#[derive(Debug)]
pub(crate) struct IoState {
    ticks: Ticks,
    /// When a write began to wait for the client.
    write_blocked: Cell<Option<Tick>>,
}

impl IoState {
    pub(crate) fn new(ticks: Ticks) -> Self {
        Self { ticks, write_blocked: Cell::new(None) }
    }

    pub(crate) fn write_blocked(&self) -> Option<Tick> {
        self.write_blocked.get()
    }
}

/// A client's byte stream.
pub(crate) type Stream = Secured<TcpStream, TlsStream<TcpStream>>;

/// A client's stream with the time that its writes wait.
#[derive(Debug)]
pub(crate) struct ClientIo<S> {
    stream: S,
    state: Rc<IoState>,
}

impl<S> ClientIo<S> {
    pub(crate) fn new(stream: S, state: Rc<IoState>) -> Self {
        Self { stream, state }
    }

    fn note_write<T>(&self, result: &Poll<T>) {
        let blocked = self.state.write_blocked.get().is_some();
        if result.is_pending() && !blocked {
            self.state.write_blocked.set(Some(self.state.ticks.now()));
        } else if result.is_ready() && blocked {
            self.state.write_blocked.set(None);
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientIo<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for ClientIo<S> {
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
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
