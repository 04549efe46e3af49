//! Buffers of the thread, in the processor's caches because every connection uses them.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{FIRST_READ, READ_AHEAD};

/// What is read in so many bytes or more is passed on as it lies, and the buffer replaced; less is copied, so that it
/// holds no more memory than it has bytes.
const TAKEN: usize = READ_AHEAD / 2;

thread_local! {
    static INPUT: RefCell<BytesMut> = RefCell::default();
    static OUTPUT: RefCell<Vec<u8>> = RefCell::default();
}

/// What has been read of a connection and not been used yet.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) bytes: Bytes,
    /// Bytes to read at once: more as long as there are more.
    next_read: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self { bytes: Bytes::new(), next_read: FIRST_READ }
    }
}

impl Input {
    /// Reads what there is, and puts it behind what was read before; 0 at the end.
    pub(crate) fn poll_more(
        &mut self,
        io: &mut (impl AsyncRead + Unpin),
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<usize>> {
        let more = ready!(poll_read(io, self.next_read, cx))?;
        let length = more.len();
        if length == self.next_read {
            self.next_read = READ_AHEAD.min(self.next_read * 2);
        } else if length < self.next_read / 2 {
            self.next_read = FIRST_READ.max(self.next_read / 2);
        }
        self.bytes = if self.bytes.is_empty() { more } else { [&*self.bytes, &*more].concat().into() };
        Poll::Ready(Ok(length))
    }
}

/// Reads what there is, but no more than `most`; nothing at the end.
fn poll_read(
    io: &mut (impl AsyncRead + Unpin),
    most: usize,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    INPUT.with_borrow_mut(|input| {
        input.clear();
        input.reserve(READ_AHEAD);
        let length = ready!(pin!(io.read_buf(&mut (&mut *input).limit(most))).poll(cx))?;
        if length >= TAKEN {
            return Poll::Ready(Ok(input.split().freeze()));
        }
        Poll::Ready(Ok(Bytes::copy_from_slice(input)))
    })
}

/// Lends an empty buffer to write into.
pub(crate) fn output<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    // Taken out, so that whoever writes may borrow one as well.
    let mut output = OUTPUT.take();
    output.clear();
    let outcome = write(&mut output);
    OUTPUT.set(output);
    outcome
}
