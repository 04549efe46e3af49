//! Version 1: one line of text, such as `PROXY TCP4 192.0.2.1 198.51.100.1 56324 443`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Ends, Header, HeaderError, Parsed};

pub(super) const SIGNATURE: &[u8] = b"PROXY ";
/// The longest line, with its end.
const MAX_LINE: usize = 107;

pub(super) fn parse(bytes: &[u8]) -> Result<Parsed, HeaderError> {
    let within = bytes.get(..MAX_LINE).unwrap_or(bytes);
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        let full = bytes.len() >= MAX_LINE;
        return if full { Err(malformed("the line does not end")) } else { Ok(Parsed::Incomplete) };
    };
    let line = within.get(SIGNATURE.len()..end).and_then(|line| line.strip_suffix(b"\r"));
    let line = line.and_then(|line| std::str::from_utf8(line).ok());
    let line = line.ok_or_else(|| malformed("the line is no ASCII text that ends in CR LF"))?;
    Ok(Parsed::Whole(header(line)?, end + 1))
}

fn malformed(what: &'static str) -> HeaderError {
    HeaderError::Malformed(what)
}

fn header(line: &str) -> Result<Header, HeaderError> {
    let mut words = line.split(' ');
    let family = words.next().unwrap_or_default();
    if family == "UNKNOWN" {
        return Ok(Header::Local);
    }
    let ip: fn(&str) -> Option<IpAddr> = match family {
        "TCP4" => |word| word.parse::<Ipv4Addr>().ok().map(IpAddr::V4),
        "TCP6" => |word| word.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        _ => return Err(malformed("the family is not TCP4, TCP6 or UNKNOWN")),
    };
    let mut address =
        || words.next().and_then(ip).ok_or_else(|| malformed("an address is not of its family"));
    let (source, destination) = (address()?, address()?);
    let mut port = || words.next().and_then(port).ok_or_else(|| malformed("a port is no number to 65535"));
    let (from, to) = (port()?, port()?);
    if words.next().is_some() {
        return Err(malformed("the line goes on behind the ports"));
    }
    let destination = SocketAddr::new(destination, to);
    Ok(Header::Proxied(Ends::new(SocketAddr::new(source, from), Some(destination))))
}

/// Without the sign and the leading zeros that `parse` takes.
fn port(word: &str) -> Option<u16> {
    let plain = word.bytes().all(|byte| byte.is_ascii_digit()) && (word == "0" || !word.starts_with('0'));
    plain.then(|| word.parse().ok()).flatten()
}
