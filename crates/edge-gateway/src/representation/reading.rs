//! What is at hand on its way to the client.
//!
//! Of a file, what the kernel has in memory is read on the spot and the rest on the worker's blocking pool.

use std::collections::VecDeque;
use std::future::Future as _;
use std::io::{self, IoSliceMut};
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use rustix::io::{Errno, ReadWriteFlags, pread, preadv2};
use tokio::task::JoinHandle;

use crate::body::BodyError;
use crate::exchange::Exchange;

/// Bytes that are read at once, and held while the client takes them.
const PIECE: u64 = 64 * 1024;

/// What of a source is sent.
#[derive(Debug)]
pub(crate) struct Reading {
    source: Source,
    parts: VecDeque<Part>,
    left: u64,
}

/// Where a representation is.
#[derive(Debug)]
pub(crate) enum Source {
    File(Arc<OwnedFd>),
    Memory(Bytes),
}

#[derive(Debug)]
enum Part {
    Bytes(Bytes),
    Stretch { offset: u64, length: u64 },
}

impl Reading {
    pub(crate) fn empty() -> Self {
        Self::of(Source::Memory(Bytes::new()))
    }

    /// Nothing of the source so far.
    pub(super) fn of(source: Source) -> Self {
        Self { source, parts: VecDeque::new(), left: 0 }
    }

    pub(super) fn push_bytes(&mut self, bytes: Bytes) {
        self.left += bytes.len() as u64;
        self.parts.push_back(Part::Bytes(bytes));
    }

    pub(super) fn push_stretch(&mut self, offset: u64, length: u64) {
        if length > 0 {
            self.left += length;
            self.parts.push_back(Part::Stretch { offset, length });
        }
    }

    pub(crate) fn length(&self) -> u64 {
        self.left
    }

    /// What comes next: bytes that are there, or a stretch of at most [`PIECE`].
    fn next(&mut self) -> Option<Part> {
        match self.parts.front_mut()? {
            Part::Stretch { offset, length } if *length > PIECE => {
                let piece = Part::Stretch { offset: *offset, length: PIECE };
                *offset += PIECE;
                *length -= PIECE;
                Some(piece)
            }
            _ => self.parts.pop_front(),
        }
    }
}

/// The body of an answer from what is at hand.
pub(crate) struct LocalBody {
    reading: Reading,
    exchange: Exchange,
    /// Among the answers of the connection.
    key: u64,
    job: Option<JoinHandle<io::Result<Bytes>>>,
    /// What the client gets is counted elsewhere.
    transformed: bool,
}

impl std::fmt::Debug for LocalBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBody").field("reading", &self.reading).finish_non_exhaustive()
    }
}

impl LocalBody {
    pub(crate) fn new(reading: Reading, exchange: Exchange) -> Self {
        let key = exchange.connection().worker.key();
        // As with what streams: its client has it, whether or not there is a window to send it in.
        exchange.connection().answer_polled(key, false);
        Self { reading, exchange, key, job: None, transformed: false }
    }

    pub(crate) fn count_elsewhere(&mut self) {
        self.transformed = true;
    }

    pub(crate) fn count(&self, bytes: u64) {
        self.exchange.add_bytes(bytes);
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.job.is_none() {
            match self.reading.next() {
                None => return Poll::Ready(None),
                Some(Part::Bytes(bytes)) => return self.give(Ok(bytes)),
                Some(Part::Stretch { offset, length }) => {
                    let file = match &self.reading.source {
                        Source::Memory(bytes) => return self.give(Ok(slice(bytes, offset, length))),
                        Source::File(file) => file,
                    };
                    if let Some(bytes) = read_cached(file, offset, length) {
                        return self.give(bytes);
                    }
                    let file = Arc::clone(file);
                    self.job = Some(tokio::task::spawn_blocking(move || read(&file, offset, length)));
                }
            }
        }
        let Some(job) = &mut self.job else { return Poll::Ready(None) };
        self.exchange.connection().answer_polled(self.key, true);
        let read = ready!(Pin::new(job).poll(cx));
        self.job = None;
        self.give(read.unwrap_or_else(|error| Err(io::Error::other(error))))
    }

    fn give(&mut self, read: io::Result<Bytes>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        self.exchange.connection().answer_polled(self.key, false);
        Poll::Ready(Some(match read {
            Ok(bytes) => {
                self.reading.left = self.reading.left.saturating_sub(bytes.len() as u64);
                if !self.transformed {
                    self.exchange.add_bytes(bytes.len() as u64);
                }
                Ok(Frame::data(bytes))
            }
            Err(error) => {
                self.exchange.fail("file_broke_off");
                self.reading.parts.clear();
                Err(BodyError::File(error))
            }
        }))
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.reading.left == 0
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.reading.left)
    }
}

impl Drop for LocalBody {
    fn drop(&mut self) {
        self.exchange.connection().answer_ended(self.key);
        if self.reading.left > 0 {
            self.exchange.fail("client_left");
        }
    }
}

fn slice(bytes: &Bytes, offset: u64, length: u64) -> Bytes {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
    bytes.slice(at(offset)..at(offset + length))
}

/// The stretch, if all of it is in memory; None where reading it might wait.
fn read_cached(file: &OwnedFd, offset: u64, length: u64) -> Option<io::Result<Bytes>> {
    let mut buffer = vec![0; usize::try_from(length).ok()?];
    match preadv2(file, &mut [IoSliceMut::new(&mut buffer)], offset, ReadWriteFlags::NOWAIT) {
        Ok(count) if count == buffer.len() => Some(Ok(buffer.into())),
        // A part of it, the end of a file that was cut, or a file system without this: the pool finds out.
        Ok(_) | Err(_) => None,
    }
}

fn read(file: &OwnedFd, offset: u64, length: u64) -> io::Result<Bytes> {
    let mut buffer = vec![0; usize::try_from(length).unwrap_or_default()];
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match pread(file, rest, offset + filled as u64) {
            // Somebody cut the file short while it was sent.
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(count) => filled += count,
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(buffer.into())
}
