//! Version 2: a signature, command and family, a length, then addresses and type-length-value fields (TLVs).

use std::net::{IpAddr, SocketAddr};

use super::checksum::crc32c;
use super::{Ends, Header, HeaderError, Parsed};

pub(super) const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// The signature, command, family and length.
pub(super) const PREFIX: usize = 16;
/// Bytes of addresses and TLVs. The protocol allows 64 KiB, which no proxy needs: a certificate is the largest that
/// some add.
pub(super) const MAX_REST: usize = 4_096;

pub(super) const LOCAL: u8 = 0x20;
pub(super) const PROXY: u8 = 0x21;
/// Address family in the upper half, transport in the lower.
pub(super) const TCP4: u8 = 0x11;
pub(super) const TCP6: u8 = 0x21;
const TLV_CRC32C: u8 = 3;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else { return Ok(Parsed::Incomplete) };
    let [.., command, family, high, low] = *prefix;
    if command != LOCAL && command != PROXY {
        return Err(malformed("the version or command is unknown"));
    }
    // Unassigned values end the connection, as the protocol asks.
    if family >> 4 > 3 || family & 0x0f > 2 {
        return Err(malformed("the address family or transport is unknown"));
    }
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > MAX_REST {
        return Err(HeaderError::TooLong);
    }
    let (Some(rest), Some(whole)) = (rest.get(..length), bytes.get(..PREFIX + length)) else {
        return Ok(Parsed::Incomplete);
    };
    let header = match (command, family) {
        (PROXY, TCP4) => ends::<4>(rest, whole)?,
        (PROXY, TCP6) => ends::<16>(rest, whole)?,
        // What is not of IP and TCP has no address for us.
        _ => Header::Local,
    };
    Ok(Parsed::Whole(header, whole.len()))
}

fn malformed(what: &'static str) -> HeaderError {
    HeaderError::Malformed(what)
}

/// The addresses and ports of a family whose addresses have `N` bytes, then TLVs.
fn ends<const N: usize>(rest: &[u8], whole: &[u8]) -> Result<Header, HeaderError>
where
    IpAddr: From<[u8; N]>,
{
    let split = || {
        let (source, rest) = rest.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (from, rest) = rest.split_first_chunk::<2>()?;
        let (to, tlvs) = rest.split_first_chunk::<2>()?;
        let end =
            |ip: &[u8; N], port: &[u8; 2]| SocketAddr::new(IpAddr::from(*ip), u16::from_be_bytes(*port));
        Some((Ends::new(end(source, from), Some(end(destination, to))), tlvs))
    };
    let (ends, tlvs) = split().ok_or_else(|| malformed("it is too short for its addresses"))?;
    check(tlvs, whole.len() - tlvs.len(), whole)?;
    Ok(Header::Proxied(ends))
}

/// Walks the TLVs, which begin at `at` of the header, and verifies a checksum where there is one.
fn check(mut tlvs: &[u8], mut at: usize, whole: &[u8]) -> Result<(), HeaderError> {
    const TLV_PREFIX: usize = 3;
    while let Some((kind, rest)) = tlvs.split_first() {
        let fits = rest
            .split_first_chunk::<2>()
            .and_then(|(length, rest)| rest.split_at_checked(usize::from(u16::from_be_bytes(*length))));
        let (value, rest) = fits.ok_or_else(|| malformed("a TLV is longer than what is left"))?;
        if *kind == TLV_CRC32C {
            let sent = value.try_into().map_err(|_| malformed("a checksum has not four bytes"))?;
            let field = at + TLV_PREFIX..at + TLV_PREFIX + value.len();
            if crc32c(whole, &field) != u32::from_be_bytes(sent) {
                return Err(HeaderError::Checksum);
            }
        }
        at += TLV_PREFIX + value.len();
        tlvs = rest;
    }
    Ok(())
}
