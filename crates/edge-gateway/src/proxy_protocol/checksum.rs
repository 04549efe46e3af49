//! CRC32C (RFC 3720 appendix B.4), once per connection and over few bytes: a table is not worth its kilobyte.

use std::ops::Range;

/// The checksum of `bytes` with zeros where `field` is, in which it travels itself.
pub(super) fn crc32c(bytes: &[u8], field: &Range<usize>) -> u32 {
    let fold = |sum: u32, (at, byte): (usize, &u8)| {
        let byte = if field.contains(&at) { 0 } else { *byte };
        (0..8).fold(sum ^ u32::from(byte), |sum, _| (sum >> 1) ^ (0x82f6_3b78 * (sum & 1)))
    };
    !bytes.iter().enumerate().fold(u32::MAX, fold)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_rfc_3720_hold() {
        assert_eq!(crc32c(&[0; 32], &(0..0)), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32], &(0..0)), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789", &(0..0)), 0xe306_9283);
        assert_eq!(crc32c(&[0xff; 32], &(0..32)), 0x8a91_36aa, "the field counts as zeros");
    }
}
