//! A client's stream with what was read of it, shared by its connection and the body of the present request.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};

use bytes::Bytes;
use http::Response;
use http_body::{Frame, SizeHint};
use tokio::io::{AsyncRead as _, AsyncWrite as _, ReadBuf};
use tokio::sync::oneshot;

use super::head::{Extent, Heads};
use super::{Next, answer};
use crate::body::{ClientBodyError, ResponseBody};
use crate::client_io::{ClientIo, Stream};
use crate::config::Limits;
use crate::http1::{Chunked, Input, Malformed, Outgoing, Piece};
use crate::tunnel::{ClientSide, Side};

/// Bytes thrown away at most after an early answer, so that the client sees it rather than a reset.
const LINGER_BYTES: usize = 1 << 20;
/// What follows a request is read up to here before the request is answered, and one read more.
const MOST_AHEAD: usize = 16 * 1024;

/// The stream, and where in the present request it is.
#[derive(Debug)]
pub(crate) struct Link {
    /// None once it is closed or a tunnel's.
    io: Option<ClientIo<Stream>>,
    input: Input,
    heads: Heads,
    body: Incoming,
    /// The client waits to be told that its body is wanted.
    expects: bool,
    /// What comes before the answer: 100 and other interim answers.
    announced: Outgoing<ResponseBody>,
    /// Whoever waits for more of the body.
    reader: Option<Waker>,
    upgrade: Option<oneshot::Sender<Side<ClientIo<Stream>>>>,
    closed: bool,
    lingered: usize,
}

/// How far the body of the present request has been read.
#[derive(Debug)]
pub(super) enum Incoming {
    Complete,
    Length(u64),
    Chunked(Box<Chunked>),
    /// It broke off, or cannot be read on.
    Broken,
}

impl Incoming {
    pub(super) fn of(extent: Extent) -> Self {
        match extent {
            Extent::None | Extent::Length(0) => Self::Complete,
            Extent::Length(length) => Self::Length(length),
            Extent::Chunked => Self::Chunked(Box::default()),
        }
    }

    /// What is there of the body: a piece, or its end. None when more has to be read.
    #[expect(
        clippy::option_option,
        reason = "the outer one is for what there is, the inner one for a body's end"
    )]
    pub(super) fn next(&mut self, input: &mut Bytes) -> Result<Option<Option<Frame<Bytes>>>, Malformed> {
        let (piece, ends) = match self {
            Self::Complete => (None, false),
            Self::Broken => return Err(Malformed("the request broke off")),
            Self::Length(_) if input.is_empty() => return Ok(None),
            Self::Length(left) => {
                let length = usize::try_from(*left).unwrap_or(usize::MAX).min(input.len());
                *left -= length as u64;
                (Some(Frame::data(input.split_to(length))), *left == 0)
            }
            Self::Chunked(chunked) => match chunked.next(input)? {
                None => return Ok(None),
                Some(Piece::Data(data)) => (Some(Frame::data(data)), false),
                Some(Piece::Trailers(trailers)) => (Some(Frame::trailers(trailers)), true),
                Some(Piece::End) => (None, true),
            },
        };
        if ends {
            *self = Self::Complete;
        }
        Ok(Some(piece))
    }
}

impl Link {
    pub(super) fn new(io: ClientIo<Stream>) -> Self {
        Self {
            io: Some(io),
            input: Input::default(),
            heads: Heads::default(),
            body: Incoming::Complete,
            expects: false,
            announced: Outgoing::default(),
            reader: None,
            upgrade: None,
            closed: false,
            lingered: 0,
        }
    }

    /// # Errors
    ///
    /// The stream is gone.
    pub(super) fn io(&mut self) -> io::Result<&mut ClientIo<Stream>> {
        self.io.as_mut().ok_or_else(|| io::ErrorKind::NotConnected.into())
    }

    /// Whether something was read that is not used yet.
    pub(super) fn has_input(&self) -> bool {
        !self.input.bytes.is_empty()
    }

    /// Whether the present request has been read to its end.
    pub(super) fn is_read(&self) -> bool {
        matches!(self.body, Incoming::Complete)
    }

    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.input.poll_more(io, cx)
    }

    /// Reads the head of the next request.
    pub(super) fn poll_head(&mut self, limits: &Limits, cx: &mut Context<'_>) -> Poll<Next> {
        loop {
            match self.heads.next(&mut self.input.bytes, limits) {
                Ok(Some(head)) => return Poll::Ready(Next::Request(Box::new(head))),
                Ok(None) => {}
                Err(refused) => return Poll::Ready(refused.map_or(Next::End, Next::Refused)),
            }
            match ready!(self.poll_more(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(Next::End),
                Ok(_) => {}
            }
        }
    }

    /// A request with a body of this extent has begun.
    pub(super) fn begin(&mut self, extent: Extent, expects: bool) {
        self.body = Incoming::of(extent);
        self.reader = None;
        self.expects = expects && !self.is_read();
        self.upgrade = None;
    }

    /// Nobody reads what still comes of the present request, or of one that is refused: it must not be missing in the
    /// middle of what an upstream gets.
    pub(super) fn end_request(&mut self, refused: bool) {
        if refused || !self.is_read() {
            self.body = Incoming::Broken;
        }
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    /// Queues an answer that comes before the final one.
    pub(super) fn announce(&mut self, interim: &Response<()>) {
        self.announced.push(answer::interim(interim));
    }

    /// Writes the answers that come before the final one.
    pub(super) fn poll_announced(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.announced.is_complete() {
            return Poll::Ready(Ok(()));
        }
        let Some(io) = &mut self.io else { return Poll::Ready(Err(io::ErrorKind::NotConnected.into())) };
        self.announced.poll_flush(io, cx)
    }

    /// Ready when the client has left. For that, what follows a request is read ahead, as far as there is room.
    pub(super) fn poll_left(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if let Poll::Ready(Err(_)) = self.poll_announced(cx) {
            return Poll::Ready(());
        }
        // Whoever reads the body notices it as long as there is a body.
        while self.is_read() && self.input.bytes.len() < MOST_AHEAD {
            match ready!(self.poll_more(cx)) {
                Ok(0) | Err(_) => return Poll::Ready(()),
                Ok(_) => {}
            }
        }
        Poll::Pending
    }

    /// Closes the stream. Closing with unread bytes makes the kernel send a reset, which can overtake the answer: where
    /// the client is still sending, some of that is read first. The worker's sweep bounds the time.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let lingers = !self.is_read() || self.has_input();
        let Some(io) = &mut self.io else { return Poll::Ready(Ok(())) };
        if !self.closed {
            ready!(Pin::new(&mut *io).poll_shutdown(cx))?;
            self.closed = true;
        }
        let mut scratch = [0u8; 4096];
        while lingers && self.lingered < LINGER_BYTES {
            let mut buffer = ReadBuf::new(&mut scratch);
            match ready!(Pin::new(&mut *io).poll_read(cx, &mut buffer)) {
                Ok(()) if !buffer.filled().is_empty() => self.lingered += buffer.filled().len(),
                _ => break,
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Gives the stream to whoever waits for the change of protocols; false where nobody does.
    pub(super) fn hand_over(&mut self) -> bool {
        let Some(to) = self.upgrade.take() else { return false };
        let Some(io) = self.io.take() else { return false };
        to.send((io, std::mem::take(&mut self.input.bytes))).is_ok()
    }

    /// Ends the stream at once.
    pub(super) fn cut(&mut self) {
        self.io = None;
        self.end_request(false);
    }

    fn poll_body(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        if std::mem::take(&mut self.expects) {
            self.announced.push(Bytes::from_static(b"HTTP/1.1 100 Continue\r\n\r\n"));
            if let Poll::Ready(Err(error)) = self.poll_announced(cx) {
                return self.broken(error);
            }
        }
        loop {
            match self.body.next(&mut self.input.bytes) {
                Ok(Some(piece)) => return Poll::Ready(piece.map(Ok)),
                Ok(None) => {}
                Err(error) => return self.broken(error),
            }
            let Poll::Ready(read) = self.poll_more(cx) else {
                if !self.reader.as_ref().is_some_and(|reader| reader.will_wake(cx.waker())) {
                    self.reader = Some(cx.waker().clone());
                }
                return Poll::Pending;
            };
            match read {
                Ok(0) => return self.broken(io::Error::from(io::ErrorKind::UnexpectedEof)),
                Ok(_) => {}
                Err(error) => return self.broken(error),
            }
        }
    }

    fn broken<T>(&mut self, error: impl Into<ClientBodyError>) -> Poll<Option<Result<T, ClientBodyError>>> {
        self.body = Incoming::Broken;
        Poll::Ready(Some(Err(error.into())))
    }
}

/// The body of a connection's present request.
#[derive(Debug)]
pub(crate) struct Http1Body(Rc<RefCell<Link>>);

impl Http1Body {
    pub(super) fn new(link: Rc<RefCell<Link>>) -> Self {
        Self(link)
    }

    pub(crate) fn poll_frame(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, ClientBodyError>>> {
        self.0.borrow_mut().poll_body(cx)
    }

    pub(crate) fn is_end_stream(&self) -> bool {
        self.0.borrow().is_read()
    }

    pub(crate) fn size_hint(&self) -> SizeHint {
        match self.0.borrow().body {
            Incoming::Complete => SizeHint::with_exact(0),
            Incoming::Length(left) => SizeHint::with_exact(left),
            Incoming::Chunked(_) | Incoming::Broken => SizeHint::default(),
        }
    }

    /// Asks for the stream behind a 101 that answers this request.
    pub(crate) fn upgrade(&self) -> ClientSide {
        let (sender, receiver) = oneshot::channel();
        self.0.borrow_mut().upgrade = Some(sender);
        receiver
    }
}
