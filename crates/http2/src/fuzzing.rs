//! What the fuzz targets in `fuzz/` call: bytes as a client sends them, and a panic when a promise about them breaks.
#![expect(
    clippy::expect_used,
    clippy::missing_panics_doc,
    reason = "a panic is how a fuzz target reports what it found"
)]

use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::frame::{
    CONTINUATION, DATA, END_HEADERS, END_STREAM, GOAWAY, HEAD, HEADERS, Head, MAX_PAYLOAD, PREFACE,
    RST_STREAM, SETTINGS,
};
use crate::hpack::{Decoder, Encoder, Field};
use crate::{Config, Connection, Interim, RequestBody};

/// Times that a connection is polled without getting anything before it has to have come to rest.
const POLLS: usize = 1_000;

/// What is decoded of a block and encoded again is decoded as the same, twice in a row.
pub fn http2_header_block(data: &[u8]) {
    let mut headers = Vec::new();
    let decoded = Decoder::new().decode(data, |field, size| {
        assert!(size >= 32, "a field counts less than its overhead");
        if let Field::Header(name, value) = field {
            headers.push((name, value));
        }
        Ok(())
    });
    if decoded.is_err() {
        return;
    }
    let (mut encoder, mut decoder) = (Encoder::new(), Decoder::new());
    for _ in 0..2 {
        let mut block = Vec::new();
        encoder.begin(&mut block);
        for (name, value) in &headers {
            encoder.field(name, value, &mut block);
        }
        let mut again = Vec::new();
        let taken = decoder.decode(&block, |field, _| {
            if let Field::Header(name, value) = field {
                again.push((name, value));
            }
            Ok(())
        });
        assert!(taken.is_ok() && again == headers, "what was encoded is decoded as something else");
    }
}

/// Whatever a client sends behind its preface, in one piece and cut (first byte), the connection answers in whole
/// frames: no more DATA than it got, blocks that can be decoded, and nothing on a stream behind its end.
pub fn http2_connection(data: &[u8]) {
    let Some((&cut, bytes)) = data.split_first() else { return };
    let (left, right) = bytes.split_at(usize::from(cut).min(bytes.len()));
    check(&serve(&[bytes]), bytes.len());
    check(&serve(&[left, right]), bytes.len());
}

/// What a connection that sends bodies back answers to these pieces behind a preface.
fn serve(pieces: &[&[u8]]) -> Vec<u8> {
    let config = Config {
        max_streams: 8,
        header_bytes: 2_000,
        stream_window: 0,
        connection_window: 0,
        send_buffer: 4_096,
        resets: 10,
        now: Instant::now,
    };
    let settings = Head { length: 0, kind: SETTINGS, flags: 0, stream: 0 }.to_bytes();
    let pipe = Pipe { input: [PREFACE, &settings].concat(), output: Vec::new() };
    let answer = |request: Request<RequestBody>, _: Interim| async { Response::new(request.into_body()) };
    let mut connection = Connection::new(pipe, config, answer);
    let mut cx = Context::from_waker(Waker::noop());
    for piece in [&[][..]].iter().chain(pieces) {
        connection.io_mut().input.extend_from_slice(piece);
        for _ in 0..POLLS {
            let before = connection.io_mut().moved();
            if Pin::new(&mut connection).poll(&mut cx).is_ready() {
                return std::mem::take(&mut connection.io_mut().output);
            }
            if connection.io_mut().moved() == before {
                break;
            }
        }
        assert!(
            connection.io_mut().input.is_empty(),
            "the connection waits although there is something to read"
        );
    }
    std::mem::take(&mut connection.io_mut().output)
}

fn check(mut sent: &[u8], received: usize) {
    let (mut content, mut ended, mut block) = (0, Vec::new(), Vec::new());
    let mut decoder = Decoder::new();
    let mut gone = false;
    while !sent.is_empty() {
        let head = Head::parse(sent).expect("a frame's head is cut off");
        let payload = sent.get(HEAD..HEAD + head.length).expect("a frame is cut off");
        sent = sent.get(HEAD + head.length..).unwrap_or_default();
        assert!(head.length <= MAX_PAYLOAD && !gone, "a frame is too long, or behind the end");
        if head.stream != 0 && matches!(head.kind, DATA | HEADERS) {
            assert!(!ended.contains(&head.stream), "a stream goes on behind its end");
        }
        if head.stream != 0 && (head.kind == RST_STREAM || (head.kind <= HEADERS && head.has(END_STREAM))) {
            ended.push(head.stream);
        }
        match head.kind {
            DATA => content += head.length,
            GOAWAY => gone = true,
            HEADERS | CONTINUATION => {
                block.extend_from_slice(payload);
                if head.has(END_HEADERS) {
                    let decoded = decoder.decode(&std::mem::take(&mut block), |_, _| Ok(()));
                    decoded.expect("a header block cannot be decoded");
                }
            }
            _ => {}
        }
    }
    assert!(content <= received, "more was sent back than came");
}

/// Gives what it has and takes everything.
struct Pipe {
    input: Vec<u8>,
    output: Vec<u8>,
}

impl Pipe {
    fn moved(&self) -> (usize, usize) {
        (self.input.len(), self.output.len())
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let input = &mut self.get_mut().input;
        if input.is_empty() {
            return Poll::Pending;
        }
        let rest = input.split_off(input.len().min(buffer.remaining()));
        buffer.put_slice(input);
        *input = rest;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.get_mut().output.extend_from_slice(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}
