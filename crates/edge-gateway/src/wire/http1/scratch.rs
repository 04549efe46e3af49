//! Buffers of the thread, in the processor's caches because every connection uses them.

use std::cell::RefCell;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, ready};

use bytes::{BufMut as _, Bytes, BytesMut};
use tokio::io::AsyncReadExt as _;

use super::READ_AHEAD;
use crate::wire::Io;

/// What is read in so many bytes or more is passed on as it lies, and the buffer replaced; less is copied, so that it
/// holds no more memory than it has bytes.
const TAKEN: usize = READ_AHEAD / 2;

thread_local! {
    static INPUT: RefCell<BytesMut> = RefCell::default();
    static OUTPUT: RefCell<Vec<u8>> = RefCell::default();
}

/// Reads what there is, but no more than `most`; nothing at the end.
pub(super) fn poll_read(io: &mut Io, most: usize, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
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
pub(super) fn output<T>(write: impl FnOnce(&mut Vec<u8>) -> T) -> T {
    OUTPUT.with_borrow_mut(|output| {
        output.clear();
        write(output)
    })
}
