//! An answer out of bytes that come in given pieces, for the fuzz target.

use bytes::Bytes;

use super::head::{self, Extent};
use crate::http1::{Chunked, Piece};
use crate::wire::WireError;

/// What an answer that arrives in these pieces says: its status and its body as far as it goes. None: not yet all of
/// its head.
pub(crate) fn read_pieces(pieces: &[&[u8]]) -> Result<Option<(u16, Vec<u8>)>, WireError> {
    let mut pieces = pieces.iter();
    let mut input = Bytes::new();
    let head = loop {
        if let Some(head) = head::parse(&input, false)? {
            break head;
        }
        let Some(piece) = pieces.next() else { return Ok(None) };
        input = [&*input, *piece].concat().into();
    };
    let mut chunked = Chunked::default();
    let mut body = Vec::new();
    let mut rest = input.split_off(head.length);
    loop {
        match head.extent {
            Extent::None => break,
            Extent::Length(length) => {
                let room = usize::try_from(length).unwrap_or(usize::MAX).saturating_sub(body.len());
                body.extend_from_slice(&rest.split_to(room.min(rest.len())));
            }
            Extent::UntilClose => body.extend_from_slice(&std::mem::take(&mut rest)),
            Extent::Chunked => match chunked.next(&mut rest)? {
                Some(Piece::Data(data)) => {
                    body.extend_from_slice(&data);
                    continue;
                }
                Some(Piece::Trailers(_) | Piece::End) => break,
                None => {}
            },
        }
        let Some(piece) = pieces.next() else { break };
        rest = [&*rest, *piece].concat().into();
    }
    Ok(Some((head.response.status().as_u16(), body)))
}
