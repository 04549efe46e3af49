//! A request's body on its way from the connection to the handler.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

/// Pieces of DATA smaller than this are put together, so that a body in tiny frames holds no more than its bytes.
pub(crate) const SMALL: usize = 8 * 1024;

/// A request's body broke off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The stream was reset, by the client or because of what the client did.
    #[error("the client's stream was reset")]
    Reset,
}

/// What has come of a body and was not read.
#[derive(Debug, Default)]
struct Inbox {
    pieces: VecDeque<Bytes>,
    /// Small pieces, behind the others.
    tail: BytesMut,
    trailers: Option<HeaderMap>,
    end: Option<Result<(), BodyError>>,
    /// Bytes of the announced length that the reader has not got.
    left: Option<u64>,
    /// Bytes that the reader has got and the windows have not.
    read: usize,
    /// Nobody reads any more.
    abandoned: bool,
    reader: Option<Waker>,
    /// Wakes the connection.
    connection: Option<Waker>,
}

impl Inbox {
    fn next(&mut self) -> Option<Bytes> {
        let piece = match self.pieces.pop_front() {
            Some(piece) => piece,
            None if self.tail.is_empty() => return None,
            None => std::mem::take(&mut self.tail).freeze(),
        };
        self.read += piece.len();
        self.left = self.left.map(|left| left.saturating_sub(piece.len() as u64));
        Some(piece)
    }

    fn is_empty(&self) -> bool {
        self.pieces.is_empty() && self.tail.is_empty()
    }

    fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }
}

/// A connection that is being polled looks after its streams by itself and needs not be woken.
pub(crate) type Polling = Rc<Cell<bool>>;

/// The connection's end of a body. When it is dropped before the body's end, the body breaks off.
#[derive(Debug)]
pub(crate) struct Sender(Rc<RefCell<Inbox>>);

impl Sender {
    /// A body of the announced length and both of its ends.
    pub(crate) fn channel(length: Option<u64>, connection: Waker, polling: &Polling) -> (Self, RequestBody) {
        let inbox = Inbox { left: length, connection: Some(connection), ..Inbox::default() };
        let inbox = Rc::new(RefCell::new(inbox));
        let body = RequestBody(Some(Reader { inbox: Rc::clone(&inbox), polling: Rc::clone(polling) }));
        (Self(inbox), body)
    }

    /// Passes a piece on; false where nobody reads.
    pub(crate) fn push(&self, piece: &[u8], owned: impl FnOnce() -> Bytes) -> bool {
        let mut inbox = self.0.borrow_mut();
        if inbox.abandoned {
            return false;
        }
        if piece.len() < SMALL {
            inbox.tail.extend_from_slice(piece);
            if inbox.tail.len() >= SMALL {
                let tail = std::mem::take(&mut inbox.tail).freeze();
                inbox.pieces.push_back(tail);
            }
        } else {
            let tail = std::mem::take(&mut inbox.tail).freeze();
            inbox.pieces.extend((!tail.is_empty()).then_some(tail));
            inbox.pieces.push_back(owned());
        }
        inbox.wake_reader();
        true
    }

    pub(crate) fn end(&self, trailers: Option<HeaderMap>) {
        let mut inbox = self.0.borrow_mut();
        inbox.trailers = trailers;
        inbox.end = Some(Ok(()));
        inbox.wake_reader();
    }

    /// How many bytes were read, or thrown away unread, since this was asked last.
    pub(crate) fn take_read(&self) -> usize {
        std::mem::take(&mut self.0.borrow_mut().read)
    }

    /// How many bytes wait to be read.
    pub(crate) fn unread(&self) -> usize {
        let inbox = self.0.borrow();
        inbox.tail.len() + inbox.pieces.iter().map(Bytes::len).sum::<usize>()
    }
}

impl Drop for Sender {
    fn drop(&mut self) {
        let mut inbox = self.0.borrow_mut();
        inbox.end.get_or_insert(Err(BodyError::Reset));
        inbox.connection = None;
        inbox.wake_reader();
    }
}

#[derive(Debug)]
struct Reader {
    inbox: Rc<RefCell<Inbox>>,
    polling: Polling,
}

impl Reader {
    /// Tells the connection that something was read.
    fn notify(&self, inbox: &Inbox) {
        if !self.polling.get()
            && let Some(connection) = &inbox.connection
        {
            connection.wake_by_ref();
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut inbox = self.inbox.borrow_mut();
        inbox.abandoned = true;
        inbox.reader = None;
        while inbox.next().is_some() {}
        self.notify(&inbox);
    }
}

/// The body of a request, read as it comes; reading it lets the client send more.
#[derive(Debug, Default)]
pub struct RequestBody(Option<Reader>);

impl Body for RequestBody {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        let Some(reader) = &self.0 else { return Poll::Ready(None) };
        let mut inbox = reader.inbox.borrow_mut();
        if let Some(piece) = inbox.next() {
            reader.notify(&inbox);
            return Poll::Ready(Some(Ok(Frame::data(piece))));
        }
        match inbox.end {
            Some(Ok(())) => Poll::Ready(inbox.trailers.take().map(|trailers| Ok(Frame::trailers(trailers)))),
            Some(Err(error)) => Poll::Ready(Some(Err(error))),
            None => {
                if !inbox.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                    inbox.reader = Some(cx.waker().clone());
                }
                Poll::Pending
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let Some(reader) = &self.0 else { return true };
        let inbox = reader.inbox.borrow();
        matches!(inbox.end, Some(Ok(()))) && inbox.is_empty() && inbox.trailers.is_none()
    }

    /// Exact where the request announced a length, and otherwise unknown, even when all of the body is there.
    fn size_hint(&self) -> SizeHint {
        let Some(reader) = &self.0 else { return SizeHint::with_exact(0) };
        reader.inbox.borrow().left.map_or_else(SizeHint::default, SizeHint::with_exact)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(body: &mut RequestBody) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        Pin::new(body).poll_frame(&mut Context::from_waker(Waker::noop()))
    }

    fn body(length: Option<u64>) -> (Sender, RequestBody) {
        Sender::channel(length, Waker::noop().clone(), &Polling::default())
    }

    #[test]
    fn tiny_pieces_are_put_together_and_large_ones_are_not_copied() {
        let (sender, mut body) = body(Some(3 + SMALL as u64));
        for piece in [b"a", b"b", b"c"] {
            assert!(sender.push(piece, || unreachable!()));
        }
        let large = Bytes::from(vec![7; SMALL]);
        assert!(sender.push(&large, || large.clone()));
        sender.end(None);
        assert_eq!((body.size_hint().exact(), sender.unread()), (Some(8_195), 8_195));
        let Poll::Ready(Some(Ok(frame))) = next(&mut body) else { panic!("no piece") };
        assert_eq!(frame.into_data().unwrap(), "abc");
        assert_eq!((sender.take_read(), sender.take_read()), (3, 0));
        let Poll::Ready(Some(Ok(frame))) = next(&mut body) else { panic!("no piece") };
        assert_eq!(frame.into_data().unwrap().as_ptr(), large.as_ptr());
        assert!(body.is_end_stream() && matches!(next(&mut body), Poll::Ready(None)));
    }

    #[test]
    fn a_body_breaks_off_with_its_stream() {
        let (sender, mut body) = body(None);
        assert!(next(&mut body).is_pending());
        drop(sender);
        assert!(matches!(next(&mut body), Poll::Ready(Some(Err(BodyError::Reset)))));
        assert!(!body.is_end_stream());
    }

    #[test]
    fn what_nobody_reads_is_given_back_to_the_windows() {
        let (sender, body) = body(None);
        sender.push(b"abc", || unreachable!());
        drop(body);
        assert_eq!(sender.take_read(), 3);
        assert!(!sender.push(b"abc", || unreachable!()));
    }
}
