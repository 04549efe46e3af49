//! HPACK (RFC 7541): the compression of header fields, with a table on each side that all blocks of a connection share.

mod decoder;
mod encoder;
mod field;
mod huffman;
mod integer;
mod statics;

pub(crate) use self::decoder::{Decoder, Undecodable};
pub(crate) use self::encoder::Encoder;
pub(crate) use self::field::{Field, Pseudo};
pub use self::huffman::decode_huffman;

/// SETTINGS_HEADER_TABLE_SIZE of both sides: the initial value, which is not changed for the decoder; an encoder uses no
/// more, whatever a client allows.
pub(crate) const TABLE_SIZE: usize = 4_096;
/// What an entry counts beside its name and value (RFC 7541 section 4.1).
pub(crate) const ENTRY_OVERHEAD: usize = 32;
