//! Streams in one direction: the two control streams and those of QPACK (RFC 9114 section 6.2, RFC 9204 section 4.2).

use std::rc::Rc;

use bytes::{Bytes, BytesMut};
use quinn::{Connection, RecvStream, SendStream};

use super::code::Code;
use super::frame::{self, Decoder, Frame};
use super::session::Session;
use super::varint;

const CONTROL: u64 = 0x0;
const PUSH: u64 = 0x1;
const ENCODER: u64 = 0x2;
const DECODER: u64 = 0x3;

const MAX_FIELD_SECTION_SIZE: u64 = 0x6;
/// Settings of HTTP/2 that HTTP/3 must not have (RFC 9114 section 7.2.4.1).
const OF_HTTP2: std::ops::RangeInclusive<u64> = 0x2..=0x5;
/// Bytes of a frame on a control stream.
const LONGEST: usize = 4 * 1024;
/// Frames on a control stream that a connection may bring, and further ones for each of its requests; they cost work
/// and mean next to nothing.
const FRAMES: u32 = 1_000;
const FRAMES_PER_REQUEST: u32 = 10;
const CHUNK: usize = 16 * 1024;

/// The gateway's own control stream.
pub(crate) struct Control(SendStream);

impl Control {
    /// Opens it and says how large a head may be. The size of QPACK's dynamic table is left at none.
    pub(crate) async fn open(session: &Session) -> Result<Self, quinn::ConnectionError> {
        let mut stream = session.connection.open_uni().await?;
        let mut settings = BytesMut::new();
        varint::put(&mut settings, MAX_FIELD_SECTION_SIZE);
        varint::put(&mut settings, (session.bounds.bytes as u64).min(varint::MAX));
        let mut out = BytesMut::new();
        varint::put(&mut out, CONTROL);
        frame::put_head(&mut out, frame::SETTINGS, settings.len());
        out.extend_from_slice(&settings);
        write(&mut stream, out.freeze(), &session.connection).await;
        Ok(Self(stream))
    }

    /// Tells the client that streams from `id` on are not served (RFC 9114 section 5.2).
    pub(crate) async fn goaway(&mut self, session: &Session, id: u64) {
        let mut payload = BytesMut::new();
        varint::put(&mut payload, id);
        let mut out = BytesMut::new();
        frame::put_head(&mut out, frame::GOAWAY, payload.len());
        out.extend_from_slice(&payload);
        write(&mut self.0, out.freeze(), &session.connection).await;
    }
}

async fn write(stream: &mut SendStream, bytes: Bytes, connection: &Connection) {
    if let Err(quinn::WriteError::Stopped(_)) = stream.write_chunk(bytes).await {
        connection.close(Code::ClosedCriticalStream.into(), b"");
    }
    // Any other error is the connection's, which its other side reports.
}

/// The largest id that a GOAWAY may have: nothing is refused yet.
pub(crate) const ALL: u64 = varint::MAX - 3;

/// Reads a stream that the client has opened to its end.
pub(crate) async fn read(session: Rc<Session>, mut stream: RecvStream) {
    let Err(code) = dispatch(&session, &mut stream).await else { return };
    session.fail(code);
}

async fn dispatch(session: &Session, stream: &mut RecvStream) -> Result<(), Code> {
    let mut begun = BytesMut::new();
    let kind = loop {
        if let Some((kind, size)) = varint::parse(&begun) {
            let _ = begun.split_to(size);
            break kind;
        }
        match chunk(stream).await {
            Some(bytes) => begun.extend_from_slice(&bytes),
            // A stream without a type means nothing.
            None => return Ok(()),
        }
    };
    let begun = begun.freeze();
    match kind {
        CONTROL | ENCODER | DECODER if !session.claim(1 << kind) => Err(Code::StreamCreationError),
        CONTROL => control(session, stream, begun).await,
        ENCODER => instructions(stream, begun, encoder).await,
        DECODER => instructions(stream, begun, DecoderState::Start.reader()).await,
        // Clients do not push.
        PUSH => Err(Code::StreamCreationError),
        _ => {
            // May be closed already.
            let _ = stream.stop(Code::StreamCreationError.into());
            Ok(())
        }
    }
}

/// The next bytes; None at the end, however it came.
async fn chunk(stream: &mut RecvStream) -> Option<Bytes> {
    stream.read_chunk(CHUNK, true).await.ok().flatten().map(|chunk| chunk.bytes)
}

/// Reads the client's control stream, which ends with the connection alone.
async fn control(session: &Session, stream: &mut RecvStream, begun: Bytes) -> Result<(), Code> {
    let mut decoder = Decoder::new(LONGEST);
    decoder.push(begun);
    let (mut settled, mut frames, mut pushes) = (false, 0u32, 0u64);
    loop {
        while let Some(frame) = decoder.next()? {
            frames = frames.saturating_add(1);
            let allowed = session.state.begun().saturating_mul(FRAMES_PER_REQUEST).saturating_add(FRAMES);
            if frames > allowed {
                return Err(Code::ExcessiveLoad);
            }
            match frame {
                Frame::Whole { kind: frame::SETTINGS, payload } if !settled => {
                    settings(&payload)?;
                    settled = true;
                }
                _ if !settled => return Err(Code::MissingSettings),
                Frame::Whole { kind: frame::GOAWAY, payload } => drop(integer(&payload)?),
                // Nothing is ever pushed, so that nothing can be cancelled.
                Frame::Whole { kind: frame::CANCEL_PUSH, .. } => return Err(Code::IdError),
                Frame::Whole { kind: frame::MAX_PUSH_ID, payload } => {
                    let most = integer(&payload)?;
                    if most < pushes {
                        return Err(Code::IdError);
                    }
                    pushes = most;
                }
                Frame::Unknown => {}
                Frame::Data(_) | Frame::Whole { .. } => return Err(Code::FrameUnexpected),
            }
        }
        let Some(bytes) = chunk(stream).await else { return Err(Code::ClosedCriticalStream) };
        decoder.push(bytes);
    }
}

/// A payload that is one integer.
fn integer(payload: &[u8]) -> Result<u64, Code> {
    match varint::parse(payload) {
        Some((value, size)) if size == payload.len() => Ok(value),
        _ => Err(Code::FrameError),
    }
}

/// Checks the client's settings. None of them changes what the gateway does: it uses no dynamic table, and a client
/// that takes no answer's head of usual size can be served by nobody.
fn settings(mut payload: &[u8]) -> Result<(), Code> {
    let mut seen = Vec::new();
    while !payload.is_empty() {
        let mut next = || {
            let (value, size) = varint::parse(payload).ok_or(Code::FrameError)?;
            payload = payload.get(size..).unwrap_or_default();
            Ok::<_, Code>(value)
        };
        let (id, _value) = (next()?, next()?);
        if OF_HTTP2.contains(&id) || seen.contains(&id) {
            return Err(Code::SettingsError);
        }
        // At most 64 distinct settings: no implementation has a dozen.
        if seen.len() == 64 {
            return Err(Code::ExcessiveLoad);
        }
        seen.push(id);
    }
    Ok(())
}

/// Reads a stream of QPACK, which ends with the connection alone.
async fn instructions(
    stream: &mut RecvStream,
    mut bytes: Bytes,
    mut read: impl FnMut(&[u8]) -> Result<(), Code>,
) -> Result<(), Code> {
    loop {
        read(&bytes)?;
        let Some(next) = chunk(stream).await else { return Err(Code::ClosedCriticalStream) };
        bytes = next;
    }
}

/// With a table of no size the one thing to say is that it stays so: Set Dynamic Table Capacity 0.
fn encoder(bytes: &[u8]) -> Result<(), Code> {
    if bytes.iter().all(|byte| *byte == 0x20) { Ok(()) } else { Err(Code::EncoderStreamError) }
}

/// Where the reading of the decoder's instructions stands.
#[derive(Clone, Copy)]
enum DecoderState {
    Start,
    /// In the number of a cancelled stream.
    Number,
}

impl DecoderState {
    /// Nothing is ever acknowledged, as nothing is inserted; streams may be cancelled.
    fn reader(mut self) -> impl FnMut(&[u8]) -> Result<(), Code> {
        move |bytes| {
            for byte in bytes {
                self = match (self, byte) {
                    (Self::Start, 0x7f) | (Self::Number, 0x80..) => Self::Number,
                    (Self::Start, 0x40..=0x7e) | (Self::Number, _) => Self::Start,
                    (Self::Start, _) => return Err(Code::DecoderStreamError),
                };
            }
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        assert_eq!(settings(&[]), Ok(()));
        assert_eq!(settings(&[0x1, 0x0, 0x6, 0x40, 0x64, 0x21, 0x0]), Ok(()));
        assert_eq!(settings(&[0x6, 0x0, 0x6, 0x0]), Err(Code::SettingsError));
        assert_eq!(settings(&[0x2, 0x0]), Err(Code::SettingsError));
        assert_eq!(settings(&[0x6]), Err(Code::FrameError));
        let many: Vec<u8> = (0u8..65).flat_map(|id| [0x40 | 1, id, 0]).collect();
        assert_eq!(settings(&many), Err(Code::ExcessiveLoad));
    }

    #[test]
    fn streams_of_qpack_say_nothing_that_needs_a_table() {
        assert_eq!(encoder(&[0x20, 0x20]), Ok(()));
        assert_eq!(encoder(&[0x3f]), Err(Code::EncoderStreamError));
        let mut read = DecoderState::Start.reader();
        assert_eq!(read(&[0x44, 0x7f, 0x80]), Ok(()));
        assert_eq!(read(&[0x01, 0x40]), Ok(()));
        assert_eq!(read(&[0x80]), Err(Code::DecoderStreamError));
        assert_eq!(DecoderState::Start.reader()(&[0x01]), Err(Code::DecoderStreamError));
    }
}
