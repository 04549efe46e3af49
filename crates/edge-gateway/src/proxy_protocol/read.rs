//! Takes a header off a socket, and not one byte more.

use std::io;

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;

use super::{Header, HeaderError, MAX_HEADER, Parsed, parse};

/// Room at first; headers without TLVs fit.
const USUAL: usize = 128;

/// No header came.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadError {
    /// The peer closed before its first byte, as port checks do.
    #[error("the peer closed at once")]
    Closed,
    #[error(transparent)]
    Header(#[from] HeaderError),
    #[error("the connection broke off in the PROXY header")]
    Io(#[from] io::Error),
}

/// Reads the header. What is peeked at is taken only as far as the header goes; until its end is seen, all of it belongs
/// to the header.
pub(crate) async fn read(stream: &mut TcpStream) -> Result<Header, ReadError> {
    let mut bytes = vec![0; USUAL];
    let mut have = 0;
    loop {
        let room = bytes.get_mut(have..).unwrap_or_default();
        let seen = stream.peek(room).await?;
        if seen == 0 {
            return Err(if have == 0 {
                ReadError::Closed
            } else {
                io::Error::from(io::ErrorKind::UnexpectedEof).into()
            });
        }
        let known = have + seen;
        let parsed = parse(bytes.get(..known).unwrap_or_default())?;
        let end = if let Parsed::Whole(_, length) = parsed { length } else { known };
        // They are there, so this does not wait.
        stream.read_exact(bytes.get_mut(have..end).unwrap_or_default()).await?;
        if let Parsed::Whole(header, _) = parsed {
            return Ok(header);
        }
        have = known;
        if have == bytes.len() {
            // The parser refuses what does not fit.
            bytes.resize(MAX_HEADER, 0);
        }
    }
}
