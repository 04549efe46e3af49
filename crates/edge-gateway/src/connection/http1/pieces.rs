//! Requests out of bytes that come in given pieces, for the fuzz target.

use bytes::Bytes;

use super::head::Heads;
use super::link::Incoming;
use crate::config::Limits;

/// A request as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Read {
    /// As it was sent.
    pub(crate) head: Bytes,
    /// As far as it goes, without its framing.
    pub(crate) body: Vec<u8>,
}

/// The requests that are taken, up to one that is refused or broken.
pub(crate) fn read_pieces(pieces: &[&[u8]]) -> Vec<Read> {
    let (mut heads, mut input, mut all) = (Heads::default(), Bytes::new(), Vec::new());
    let mut pieces = pieces.iter();
    loop {
        let before = input.clone();
        match heads.next(&mut input, &Limits::default()) {
            Ok(Some(head)) => {
                let sent = before.slice(..before.len() - input.len());
                let blank = sent.iter().take_while(|byte| b"\r\n".contains(byte)).count();
                let mut read = Read { head: sent.slice(blank..), body: Vec::new() };
                let whole = body(&mut Incoming::of(head.extent), &mut input, &mut pieces, &mut read.body);
                all.push(read);
                if whole {
                    continue;
                }
            }
            Ok(None) => {
                if let Some(piece) = pieces.next() {
                    input = [&*input, *piece].concat().into();
                    continue;
                }
            }
            Err(_) => {}
        }
        return all;
    }
}

/// Whether all of the body is there.
fn body<'p>(
    incoming: &mut Incoming,
    input: &mut Bytes,
    pieces: &mut impl Iterator<Item = &'p &'p [u8]>,
    body: &mut Vec<u8>,
) -> bool {
    loop {
        match incoming.next(input) {
            Ok(Some(None)) => return true,
            Ok(Some(Some(frame))) => body.extend(frame.into_data().unwrap_or_default()),
            Ok(None) => match pieces.next() {
                Some(piece) => *input = [&**input, *piece].concat().into(),
                None => return false,
            },
            Err(_) => return false,
        }
    }
}
