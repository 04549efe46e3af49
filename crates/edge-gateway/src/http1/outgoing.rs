//! A message on its way into its connection: what is left of its head, then its body in its framing.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf as _, Bytes};
use http::HeaderMap;
use http_body::Body;
use tokio::io::AsyncWrite;

use super::write_fields;

/// Bytes taken from one side that the other has not taken yet, at most, and one piece more.
const MOST_PENDING: usize = 64 * 1024;
/// Pieces of one write.
const SLICES: usize = 16;

/// How a body is framed (RFC 9112 section 6).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Framing {
    /// There is none.
    #[default]
    None,
    /// So many bytes are still to come.
    Length(u64),
    Chunked,
    /// Chunked, and the peer takes trailers.
    ChunkedWithTrailers,
    UntilClose,
}

/// Why a message does not get to its end.
#[derive(Debug)]
pub(crate) enum OutgoingError {
    Io(io::Error),
    /// The body broke off, or has another length than was announced.
    Body,
}

/// What has not been written of a message.
#[derive(Debug)]
pub(crate) struct Outgoing<B> {
    pending: VecDeque<Bytes>,
    /// Bytes in `pending`.
    size: usize,
    body: Option<B>,
    framing: Framing,
    /// Written, but maybe not flushed.
    dirty: bool,
}

impl<B> Default for Outgoing<B> {
    fn default() -> Self {
        Self { pending: VecDeque::new(), size: 0, body: None, framing: Framing::None, dirty: false }
    }
}

impl<B> Outgoing<B> {
    /// Whether the peer has all of the message.
    pub(crate) fn is_complete(&self) -> bool {
        self.body.is_none() && self.pending.is_empty() && !self.dirty
    }

    /// Whether nothing can be written before there is more of the body.
    pub(crate) fn waits(&self) -> bool {
        self.pending.is_empty() && self.body.is_some()
    }

    pub(crate) fn push(&mut self, piece: Bytes) {
        self.size += piece.len();
        self.pending.push_back(piece);
    }

    fn push_front(&mut self, piece: Bytes) {
        self.size += piece.len();
        self.pending.push_front(piece);
    }

    /// Writes a head in front of everything that is pending, in one write as far as that goes; the rest is pending.
    ///
    /// # Errors
    ///
    /// Nothing was written.
    pub(crate) fn write_head(
        &mut self,
        head: &[u8],
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> io::Result<()> {
        let written = if self.pending.is_empty() {
            Pin::new(io).poll_write(cx, head)
        } else {
            self.write_slices(Some(head), io, cx)
        };
        let written = match written {
            Poll::Ready(Ok(0)) => return Err(io::ErrorKind::WriteZero.into()),
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.dirty = true;
        match head.get(written..).filter(|rest| !rest.is_empty()) {
            Some(rest) => self.push_front(Bytes::copy_from_slice(rest)),
            None => self.advance(written - head.len()),
        }
        Ok(())
    }

    /// Writes and flushes what is pending; ready when all has been.
    pub(crate) fn poll_flush(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        while !self.pending.is_empty() {
            let written = ready!(self.write_slices(None, io, cx))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.dirty = true;
            self.advance(written);
        }
        if self.dirty {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }

    fn write_slices(
        &self,
        head: Option<&[u8]>,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let pieces = head.into_iter().chain(self.pending.iter().map(|piece| &**piece));
        for (slice, piece) in slices.iter_mut().zip(pieces) {
            *slice = IoSlice::new(piece);
            used += 1;
        }
        Pin::new(io).poll_write_vectored(cx, slices.get(..used).unwrap_or_default())
    }

    fn advance(&mut self, mut written: usize) {
        self.size -= written;
        while let Some(first) = self.pending.front_mut() {
            if written < first.len() {
                first.advance(written);
                return;
            }
            written -= first.len();
            self.pending.pop_front();
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// Takes the body of a message whose head announces it as `framing`.
    pub(crate) fn begin(&mut self, framing: Framing, body: B) {
        self.framing = framing;
        self.body = (framing != Framing::None).then_some(body);
    }

    /// Writes as much as can be; ready when all has been.
    pub(crate) fn poll(
        &mut self,
        io: &mut (impl AsyncWrite + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), OutgoingError>> {
        while !self.is_complete() {
            self.fill(cx).map_err(|()| OutgoingError::Body)?;
            let waits = self.waits();
            ready!(self.poll_flush(io, cx)).map_err(OutgoingError::Io)?;
            if waits {
                return Poll::Pending;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Takes of the body what there is and there is room for.
    ///
    /// # Errors
    ///
    /// It broke off, or has another length than was announced.
    pub(crate) fn fill(&mut self, cx: &mut Context<'_>) -> Result<(), ()> {
        while self.size < MOST_PENDING
            && let Some(body) = &mut self.body
        {
            match Pin::new(&mut *body).poll_frame(cx) {
                Poll::Pending => return Ok(()),
                Poll::Ready(None) => self.end(None)?,
                Poll::Ready(Some(Err(_))) => {
                    self.body = None;
                    return Err(());
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let ends = body.is_end_stream();
                    match frame.into_data() {
                        Ok(data) => {
                            self.frame(data)?;
                            if ends {
                                self.end(None)?;
                            }
                        }
                        Err(frame) => self.end(frame.into_trailers().ok())?,
                    }
                }
            }
        }
        Ok(())
    }

    fn frame(&mut self, data: Bytes) -> Result<(), ()> {
        if data.is_empty() {
            return Ok(());
        }
        match &mut self.framing {
            Framing::Chunked | Framing::ChunkedWithTrailers => {
                self.push(format!("{:x}\r\n", data.len()).into());
                self.push(data);
                self.push(Bytes::from_static(b"\r\n"));
            }
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(())?;
                self.push(data);
            }
            Framing::UntilClose => self.push(data),
            Framing::None => return Err(()),
        }
        Ok(())
    }

    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), ()> {
        self.body = None;
        match (self.framing, trailers) {
            (Framing::ChunkedWithTrailers, Some(trailers)) => self.push(last_chunk(trailers)),
            (Framing::Chunked | Framing::ChunkedWithTrailers, _) => {
                self.push(Bytes::from_static(b"0\r\n\r\n"));
            }
            // The peer would take the next message for the rest of this one.
            (Framing::Length(left), _) if left != 0 => return Err(()),
            (Framing::None | Framing::Length(_) | Framing::UntilClose, _) => {}
        }
        Ok(())
    }
}

/// Fields that decide how a message is framed, routed or authorized must come before its content (RFC 9110 section
/// 6.5.1).
fn last_chunk(mut trailers: HeaderMap) -> Bytes {
    for name in
        ["connection", "content-length", "host", "set-cookie", "trailer", "transfer-encoding", "upgrade"]
    {
        trailers.remove(name);
    }
    let mut out = b"0\r\n".to_vec();
    write_fields(&trailers, &mut out);
    out.extend_from_slice(b"\r\n");
    out.into()
}
