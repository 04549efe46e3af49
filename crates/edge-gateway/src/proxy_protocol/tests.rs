//! Headers as bytes.

use proptest::prelude::*;

use super::checksum::crc32c;
use super::*;

fn ends(source: &str, destination: &str) -> Ends {
    Ends { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
    let mut bytes = v2::SIGNATURE.to_vec();
    bytes.extend([command, family]);
    bytes.extend(u16::try_from(rest.len()).unwrap().to_be_bytes());
    bytes.extend(rest);
    bytes
}

const FOUR: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x30, 0x39, 1, 0xbb];

#[test]
fn lines_of_version_1_are_read_as_written() {
    let four = Header::Proxied(ends("192.0.2.7:12345", "198.51.100.1:443"));
    let six = Header::Proxied(ends("[2001:db8::7]:65535", "[2001:db8::1]:0"));
    let mapped = Header::Proxied(ends("192.0.2.7:1", "192.0.2.8:2"));
    for (line, header) in [
        ("PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\r\n", four),
        ("PROXY TCP6 2001:db8::7 2001:db8::1 65535 0\r\n", six),
        ("PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.8 1 2\r\n", mapped),
        ("PROXY UNKNOWN\r\n", Header::Local),
        ("PROXY UNKNOWN ffff::1 ffff::1 65535 65535\r\n", Header::Local),
    ] {
        let with_more = format!("{line}\x16\x03\x01");
        assert_eq!(parse(with_more.as_bytes()), Ok(Parsed::Whole(header, line.len())), "{line:?}");
        for cut in 0..line.len() {
            assert_eq!(parse(&line.as_bytes()[..cut]), Ok(Parsed::Incomplete), "{line:?} cut at {cut}");
        }
    }
}

#[test]
fn lines_that_can_be_read_in_two_ways_are_malformed() {
    for line in [
        "PROXY TCP4 192.0.2.7 198.51.100.1 12345 443\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 12345 443 \r\n",
        "PROXY TCP4  192.0.2.7 198.51.100.1 12345 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 012345 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 +1 443\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 65536 443\r\n",
        "PROXY TCP4 192.0.2.07 198.51.100.1 1 443\r\n",
        "PROXY TCP4 2001:db8::7 2001:db8::1 1 2\r\n",
        "PROXY TCP6 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY TCP4 192.0.2.7 198.51.100.1 1\r\n",
        "PROXY UDP4 192.0.2.7 198.51.100.1 1 2\r\n",
        "PROXY \r\n",
        "PROXY TCP4 \u{e9}\r\n",
    ] {
        assert!(matches!(parse(line.as_bytes()), Err(HeaderError::Malformed(_))), "{line:?}");
    }
    let endless = format!("PROXY UNKNOWN {}", "x".repeat(93));
    assert_eq!(endless.len(), 107);
    assert!(matches!(parse(endless.as_bytes()), Err(HeaderError::Malformed(_))));
    assert_eq!(parse(&endless.as_bytes()[..106]), Ok(Parsed::Incomplete));
}

#[test]
fn what_is_no_header_is_seen_at_its_first_byte_that_differs() {
    for bytes in
        [&b"GET / HTTP/1.1\r\n"[..], b"\x16\x03\x01", b"PROXI", b"PROXY\t", b"\r\n\r\n\0\r\nQUIX", b"proxy "]
    {
        assert_eq!(parse(bytes), Err(HeaderError::Missing), "{bytes:?}");
    }
}

#[test]
fn binary_headers_give_their_addresses_and_skip_what_has_none() {
    let four = Header::Proxied(ends("192.0.2.7:12345", "198.51.100.1:443"));
    let six = [&[0x20, 1, 0x0d, 0xb8][..], &[0; 11], &[7], &[0; 16], &[0, 1, 0, 2]].concat();
    let with_tlv = [&FOUR[..], &[0x04, 0, 2, 9, 9]].concat();
    for (bytes, header) in [
        (v2(0x21, 0x11, &FOUR), four),
        (v2(0x21, 0x11, &with_tlv), four),
        (v2(0x21, 0x21, &six), Header::Proxied(ends("[2001:db8::7]:1", "[::]:2"))),
        (v2(0x20, 0x11, &FOUR), Header::Local),
        (v2(0x20, 0, &[]), Header::Local),
        (v2(0x20, 0, &[1, 2, 3]), Header::Local),
        (v2(0x21, 0, &[1, 2, 3]), Header::Local),
        (v2(0x21, 0x31, &[0; 216]), Header::Local),
        (v2(0x21, 0x12, &FOUR), Header::Local),
    ] {
        let length = bytes.len();
        let with_more = [&bytes[..], b"GET"].concat();
        assert_eq!(parse(&with_more), Ok(Parsed::Whole(header, length)), "{bytes:x?}");
        for cut in 0..length {
            assert_eq!(parse(&bytes[..cut]), Ok(Parsed::Incomplete), "{bytes:x?} cut at {cut}");
        }
    }
}

#[test]
fn broken_binary_headers_are_refused() {
    let tlv_beyond = [&FOUR[..], &[0x04, 0, 3, 9, 9]].concat();
    let tlv_cut = [&FOUR[..], &[0x04, 0]].concat();
    for bytes in [
        v2(0x11, 0x11, &FOUR),
        v2(0x22, 0x11, &FOUR),
        v2(0x21, 0x41, &FOUR),
        v2(0x21, 0x13, &FOUR),
        v2(0x21, 0x11, &FOUR[..11]),
        v2(0x21, 0x21, &FOUR),
        v2(0x21, 0x11, &tlv_beyond),
        v2(0x21, 0x11, &tlv_cut),
    ] {
        assert!(matches!(parse(&bytes), Err(HeaderError::Malformed(_))), "{bytes:x?}");
    }
    let prefix = &v2(0x21, 0x11, &vec![0; v2::MAX_REST + 1])[..v2::PREFIX];
    assert_eq!(parse(prefix), Err(HeaderError::TooLong), "seen before its bytes are waited for");
}

#[test]
fn a_checksum_is_verified_where_there_is_one() {
    let with = |sum: [u8; 4]| {
        v2(0x21, 0x11, &[&FOUR[..], &[0x04, 0, 1, 0], &[0x03, 0, 4], &sum, &[0x05, 0, 1, 7]].concat())
    };
    let blank = with([0; 4]);
    let sum = crc32c(&blank, &(0..0));
    let mut good = with(sum.to_be_bytes());
    assert!(matches!(parse(&good), Ok(Parsed::Whole(Header::Proxied(_), _))));
    good[v2::PREFIX] ^= 1;
    assert_eq!(parse(&good), Err(HeaderError::Checksum));
    assert_eq!(parse(&with((sum ^ 1).to_be_bytes())), Err(HeaderError::Checksum));
    let short = v2(0x21, 0x11, &[&FOUR[..], &[0x03, 0, 2, 0, 0]].concat());
    assert!(matches!(parse(&short), Err(HeaderError::Malformed(_))));
}

proptest! {
    #[test]
    fn what_is_sent_to_upstreams_is_read_as_it_was_meant(
        source: (u128, u16), destination: (u128, u16), four: bool, second: bool,
    ) {
        let address = |(bits, port): (u128, u16)| {
            let four_bytes = u32::try_from(bits >> 96).unwrap();
            if four { SocketAddr::from((four_bytes.to_be_bytes(), port)) } else { SocketAddr::from((bits.to_be_bytes(), port)) }
        };
        let ends = Ends::new(address(source), Some(address(destination)));
        let bytes = if second { Version::V2 } else { Version::V1 }.header(Some(ends));
        prop_assert_eq!(parse(&bytes), Ok(Parsed::Whole(Header::Proxied(ends), bytes.len())));
    }
}

#[test]
fn connections_of_the_gateways_own_say_so() {
    assert_eq!(parse(&Version::V1.header(None)), Ok(Parsed::Whole(Header::Local, 15)));
    assert_eq!(parse(&Version::V2.header(None)), Ok(Parsed::Whole(Header::Local, 16)));
    let unknown = Ends::new("192.0.2.7:1".parse().unwrap(), None);
    assert_eq!(Version::V1.header(Some(unknown)), b"PROXY TCP4 192.0.2.7 0.0.0.0 1 0\r\n");
}
