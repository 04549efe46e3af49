//! HTTP/2 frames written and read by hand (RFC 9113 section 4, RFC 7541 section 6), so that wrong ones can be sent.

use std::io::{Read as _, Write as _};

use crate::edge::Connection;

pub(crate) const DATA: u8 = 0x0;
pub(crate) const HEADERS: u8 = 0x1;
pub(crate) const PRIORITY: u8 = 0x2;
pub(crate) const RST_STREAM: u8 = 0x3;
pub(crate) const SETTINGS: u8 = 0x4;
pub(crate) const PUSH_PROMISE: u8 = 0x5;
pub(crate) const PING: u8 = 0x6;
pub(crate) const GOAWAY: u8 = 0x7;
pub(crate) const WINDOW_UPDATE: u8 = 0x8;
pub(crate) const CONTINUATION: u8 = 0x9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const ACK: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;
pub(crate) const PADDED: u8 = 0x8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of literal fields that are not indexed and not compressed.
pub(crate) fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            integer(&mut block, text.len());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// An integer with a prefix of 7 bits (RFC 7541 section 5.1).
fn integer(block: &mut Vec<u8>, mut value: usize) {
    if value < 127 {
        block.push(u8::try_from(value).unwrap());
        return;
    }
    block.push(127);
    value -= 127;
    while value >= 128 {
        block.push(u8::try_from(value % 128).unwrap() | 0x80);
        value /= 128;
    }
    block.push(u8::try_from(value).unwrap());
}

/// The pseudo-headers of a request.
pub(crate) fn request<'a>(method: &'a str, path: &'a str) -> Vec<(&'a str, &'a str)> {
    vec![(":method", method), (":scheme", "https"), (":authority", "localhost"), (":path", path)]
}

pub(crate) fn headers(stream: u32, flags: u8, fields: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &block(fields))
}

pub(crate) fn get(stream: u32, path: &str) -> Vec<u8> {
    headers(stream, END_STREAM, &request("GET", path))
}

/// Starts HTTP/2 with these settings.
pub(crate) fn preface(settings: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (name, value) in settings {
        payload.extend(name.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    [PREFACE, &frame(SETTINGS, 0, 0, &payload)].concat()
}

/// What the gateway made of a stream or of the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// The stream was answered.
    Status(u16),
    /// The stream was reset with this error.
    Reset(u32),
    /// The connection was ended with this error.
    GoAway(u32),
    /// The connection was closed without a word.
    Closed,
}

/// A frame that the gateway sent.
pub(crate) struct Frame {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// None at the end of the connection.
pub(crate) fn read_frame(connection: &mut Connection) -> Option<Frame> {
    let mut head = [0u8; 9];
    connection.read_exact(&mut head).ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
    let mut payload = vec![0; length];
    connection.read_exact(&mut payload).ok()?;
    let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
    Some(Frame { kind: head[3], flags: head[4], stream, payload })
}

/// Reads until `stream` or the connection has come to something; acknowledges settings on the way.
pub(crate) fn outcome(connection: &mut Connection, stream: u32) -> Outcome {
    while let Some(frame) = read_frame(connection) {
        match frame.kind {
            HEADERS if frame.stream == stream => return Outcome::Status(status(&frame.payload)),
            RST_STREAM if frame.stream == stream => return Outcome::Reset(number(&frame.payload, 0)),
            GOAWAY if number(&frame.payload, 4) != 0 => return Outcome::GoAway(number(&frame.payload, 4)),
            SETTINGS if frame.flags & ACK == 0 => {
                // The connection may have ended on the gateway's side; what it said is still to be read.
                let _ = connection
                    .write_all(&self::frame(SETTINGS, ACK, 0, &[]))
                    .and_then(|()| connection.flush());
            }
            _ => {}
        }
    }
    Outcome::Closed
}

fn number(payload: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(payload[at..at + 4].try_into().unwrap())
}

/// The statuses of the static table, from index 8.
const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];

/// `:status` is the first field of an answer: one of the static table, or three digits in Huffman's code.
fn status(block: &[u8]) -> u16 {
    // A change of the table's size may come first.
    let block = if block[0] & 0xe0 == 0x20 { &block[1..] } else { block };
    match block[0] {
        index @ 0x88..=0x8e => INDEXED[usize::from(index - 0x88)],
        0x48 | 0x08 | 0x18 if block[1] & 0x80 == 0 => {
            std::str::from_utf8(&block[2..5]).unwrap().parse().unwrap()
        }
        0x48 | 0x08 | 0x18 => digits(&block[2..2 + usize::from(block[1] & 0x7f)]),
        other => panic!("the answer's first field is {other:#x}"),
    }
}

/// Three digits of RFC 7541's Huffman code: 0 to 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u8> = bytes.iter().flat_map(|byte| (0..8).rev().map(move |at| byte >> at & 1)).collect();
    let take = |from: usize, count: usize| {
        bits[from..from + count].iter().fold(0u16, |all, bit| all << 1 | u16::from(*bit))
    };
    let (mut at, mut value) = (0, 0);
    for _ in 0..3 {
        let short = take(at, 5);
        let (digit, length) = if short <= 2 { (short, 5) } else { (take(at, 6) - 0x19 + 3, 6) };
        value = value * 10 + digit;
        at += length;
    }
    value
}

#[test]
fn statuses_are_read_in_all_forms() {
    // 431 is 011010 011001 00001.
    let huffman = [0x48, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111];
    assert_eq!((status(&[0x8c]), status(&huffman), status(b"\x48\x03421")), (400, 431, 421));
}
