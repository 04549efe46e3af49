//! A connection at the other end of a pipe, polled by hand, and a client that writes any frames.

mod answers;
mod flow;
mod life;
mod peer;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use http_body_util::{BodyExt as _, Full};
use tokio::io::{AsyncWrite as _, DuplexStream, ReadBuf};

use super::*;
use crate::error::Error;
use crate::flow::INITIAL;
use crate::frame::{
    ACK, END_HEADERS, END_STREAM, GOAWAY, HEADERS, RST_STREAM, SETTINGS, WINDOW_UPDATE, setting,
};
use crate::hpack::Decoder;

type Answering = Pin<Box<dyn Future<Output = Response<TestBody>>>>;
type TestBody = Pin<Box<dyn Body<Data = Bytes, Error = std::io::Error>>>;
type Handler = Box<dyn Fn(Request<RequestBody>, Interim) -> Answering>;

fn config() -> Config {
    Config {
        max_streams: 4,
        header_bytes: 1_000,
        stream_window: INITIAL,
        connection_window: 100_000,
        send_buffer: 64 * 1024,
        resets: 3,
        now: Instant::now,
    }
}

fn full(bytes: impl Into<Bytes>) -> TestBody {
    Box::pin(Full::new(bytes.into()).map_err(|never| match never {}))
}

/// Answers with the request's path.
fn path() -> Handler {
    Box::new(|request, _| {
        let path = request.uri().path().to_owned();
        Box::pin(async move { Response::new(full(path)) })
    })
}

/// Answers with so many bytes of the path's last letter.
fn long(length: usize) -> Handler {
    Box::new(move |request, _| {
        let letter = *request.uri().path().as_bytes().last().unwrap();
        Box::pin(async move { Response::new(full(vec![letter; length])) })
    })
}

/// Answers with the request's body.
fn echo() -> Handler {
    Box::new(|request, _| {
        Box::pin(async move {
            let body = request.into_body().collect().await;
            Response::new(full(
                body.map_or_else(|_| Bytes::from("broken"), http_body_util::Collected::to_bytes),
            ))
        })
    })
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Frame {
    kind: u8,
    flags: u8,
    stream: u32,
    payload: Vec<u8>,
}

struct Client {
    connection: Connection<DuplexStream, Handler, Answering, TestBody>,
    io: DuplexStream,
    read: Vec<u8>,
    ended: Option<Result<(), Error>>,
}

impl Client {
    /// Has sent its preface with these settings and read the server's.
    fn new(config: Config, settings: &[(u16, u32)], handler: Handler) -> Self {
        let (io, server) = tokio::io::duplex(1 << 20);
        let connection = Connection::new(server, config, handler);
        let mut client = Self { connection, io, read: Vec::new(), ended: None };
        let payload: Vec<u8> = settings
            .iter()
            .flat_map(|(name, value)| [&name.to_be_bytes()[..], &value.to_be_bytes()].concat())
            .collect();
        let first = client.exchange(&[PREFACE, &bytes(SETTINGS, 0, 0, &payload)].concat());
        let kinds: Vec<(u8, u8)> = first.iter().map(|frame| (frame.kind, frame.flags)).collect();
        assert_eq!(kinds, [(SETTINGS, 0), (WINDOW_UPDATE, 0), (SETTINGS, ACK)]);
        client
    }

    fn serving(handler: Handler) -> Self {
        Self::new(config(), &[], handler)
    }

    fn send(&mut self, bytes: &[u8]) {
        let mut cx = Context::from_waker(Waker::noop());
        let written = Pin::new(&mut self.io).poll_write(&mut cx, bytes);
        assert!(matches!(written, Poll::Ready(Ok(count)) if count == bytes.len()), "the pipe is full");
    }

    /// Sends, and reads what comes of it.
    fn exchange(&mut self, bytes: &[u8]) -> Vec<Frame> {
        self.send(bytes);
        self.frames()
    }

    /// Runs the connection until it waits, and reads what it has sent.
    fn frames(&mut self) -> Vec<Frame> {
        let mut cx = Context::from_waker(Waker::noop());
        let mut frames = Vec::new();
        loop {
            if self.ended.is_none()
                && let Poll::Ready(end) = Pin::new(&mut self.connection).poll(&mut cx)
            {
                self.ended = Some(end);
            }
            let mut chunk = vec![0; 1 << 20];
            let mut buffer = ReadBuf::new(&mut chunk);
            let _ = Pin::new(&mut self.io).poll_read(&mut cx, &mut buffer);
            if buffer.filled().is_empty() {
                return frames;
            }
            self.read.extend_from_slice(buffer.filled());
            while let Some(head) = Head::parse(&self.read)
                && self.read.len() >= HEAD + head.length
            {
                let payload = self.read[HEAD..HEAD + head.length].to_vec();
                self.read.drain(..HEAD + head.length);
                frames.push(Frame { kind: head.kind, flags: head.flags, stream: head.stream, payload });
            }
        }
    }

    /// The code and the last stream of the GOAWAY that `bytes` lead to, and the connection's end.
    fn goes_away(&mut self, bytes: &[u8]) -> (u32, u32) {
        let frames = self.exchange(bytes);
        let last = frames.iter().rfind(|frame| frame.kind == GOAWAY).expect("a GOAWAY");
        assert_eq!(self.frames(), [], "the connection goes on");
        assert!(self.ended.is_none(), "the client could miss why it was sent away");
        let _ = Pin::new(&mut self.io).poll_shutdown(&mut Context::from_waker(Waker::noop()));
        self.frames();
        assert!(self.ended.is_some(), "the client has gone and the connection has not");
        (number(&last.payload[4..]), number(&last.payload))
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes[..4].try_into().unwrap())
}

fn bytes(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let head = Head { length: payload.len(), kind, flags, stream };
    [&head.to_bytes()[..], payload].concat()
}

/// A block of literal fields.
fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

fn request(method: &str, path: &str) -> Vec<u8> {
    block(&[(":method", method), (":scheme", "https"), (":authority", "a.test"), (":path", path)])
}

fn get(stream: u32, path: &str) -> Vec<u8> {
    bytes(HEADERS, END_HEADERS | END_STREAM, stream, &request("GET", path))
}

fn post(stream: u32) -> Vec<u8> {
    bytes(HEADERS, END_HEADERS, stream, &request("POST", "/"))
}

fn data(stream: u32, flags: u8, content: &[u8]) -> Vec<u8> {
    bytes(DATA, flags, stream, content)
}

fn window(stream: u32, increment: u32) -> Vec<u8> {
    bytes(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

fn reset(stream: u32) -> Vec<u8> {
    bytes(RST_STREAM, 0, stream, &8u32.to_be_bytes())
}

/// The content of a stream's DATA frames.
fn content(frames: &[Frame], stream: u32) -> Vec<u8> {
    let of_it = frames.iter().filter(|frame| frame.kind == DATA && frame.stream == stream);
    of_it.flat_map(|frame| frame.payload.clone()).collect()
}

/// Kinds and streams in the order they came.
fn order(frames: &[Frame]) -> Vec<(u8, u32)> {
    frames.iter().map(|frame| (frame.kind, frame.stream)).collect()
}

/// The reset of a stream.
fn reset_of(frames: &[Frame], stream: u32) -> Option<u32> {
    let found = frames.iter().find(|frame| frame.kind == RST_STREAM && frame.stream == stream);
    found.map(|frame| number(&frame.payload))
}

/// Notes when it is dropped.
struct Dropped(Rc<RefCell<Vec<String>>>, String);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.borrow_mut().push(self.1.clone());
    }
}
