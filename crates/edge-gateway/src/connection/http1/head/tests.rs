//! Heads that are taken, and why others are not.

use super::*;

fn limits() -> Limits {
    Limits { header_bytes: 8_192, header_count: 16, ..Limits::default() }
}

fn next(bytes: &str) -> Result<Option<Head>, Option<Refusal>> {
    let mut input = Bytes::copy_from_slice(bytes.as_bytes());
    Heads::default().next(&mut input, &limits()).map_err(|refused| refused.map(|one| one.refusal))
}

#[test]
fn a_head_says_where_the_request_ends_and_whether_another_may_follow() {
    let check = |lines: &str, extent: Extent, keeps: bool| {
        let head = next(&format!("{lines}\r\n\r\n")).unwrap().unwrap();
        assert_eq!((head.extent, head.keeps), (extent, keeps), "{lines}");
    };
    check("GET / HTTP/1.1", Extent::None, true);
    check("GET / HTTP/1.1\r\nConnection: a, Close", Extent::None, false);
    check("GET / HTTP/1.0", Extent::None, false);
    check("GET / HTTP/1.0\r\nConnection: keep-alive", Extent::None, true);
    check("POST / HTTP/1.1\r\nContent-Length: 003", Extent::Length(3), true);
    check("POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3", Extent::Length(3), true);
    check("POST / HTTP/1.1\r\nTransfer-Encoding: Chunked", Extent::Chunked, true);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let refused = |lines: &str| next(&format!("{lines}\r\n\r\n")).unwrap_err().unwrap();
    for lines in [
        "GET / HTTP/1.2",
        "GET / HTTP/1.1\r\nA : b",
        "GET / HTTP/1.1\r\nA: b\r\n c",
        "GET / HTTP/1.1\r\n A: b",
        "GET / HTTP/1.1\r\nA: \0",
        "GET / HTTP/1.1\r\nA: \x7f",
        "GET / HTTP/1.1\r\nA: b\rc",
        "GET /\x01 HTTP/1.1",
        "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2",
        "POST / HTTP/1.1\r\nContent-Length: 1, 1",
        "POST / HTTP/1.1\r\nContent-Length: +1",
        "POST / HTTP/1.1\r\nContent-Length: 1 1",
        "POST / HTTP/1.1\r\nContent-Length:",
        "POST / HTTP/1.0\r\nTransfer-Encoding: chunked",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip",
    ] {
        assert!(matches!(refused(lines), Refusal::Malformed(_)), "{lines:?}");
    }
    for lines in ["Transfer-Encoding: gzip, chunked", "Transfer-Encoding: a\r\nTransfer-Encoding: chunked"] {
        assert_eq!(refused(&format!("POST / HTTP/1.1\r\n{lines}")), Refusal::Encoded);
    }
    for lines in [
        "Content-Length: 1\r\nTransfer-Encoding: chunked",
        "transfer-encoding: chunked\r\ncontent-length: 1",
        "Content-Length: 0\r\nTransfer-Encoding: identity",
    ] {
        assert_eq!(refused(&format!("POST / HTTP/1.1\r\n{lines}")), Refusal::TwoFramings);
    }
}

#[test]
fn a_line_that_ends_in_a_bare_line_feed_is_refused_wherever_it_is() {
    for head in [
        "GET / HTTP/1.1\nA: b\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\nC: d\r\n\r\n",
        "GET / HTTP/1.1\r\nA: b\n\r\n",
        "GET / HTTP/1.1\r\nA: b\r\n\n",
        "GET / HTTP/1.1\r\n\n",
        "GET / HTTP/1.1\n\n",
    ] {
        assert_eq!(next(head).unwrap_err(), Some(Refusal::BareLineFeed), "{head:?}");
    }
}

#[test]
fn a_head_is_awaited_to_its_end_and_leaves_what_follows() {
    let head = "\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n";
    for cut in 0..head.len() {
        let (mut heads, mut input) = (Heads::default(), Bytes::copy_from_slice(&head.as_bytes()[..cut]));
        assert!(heads.next(&mut input, &limits()).unwrap().is_none(), "cut at {cut}");
        let rest = [&*input, &head.as_bytes()[cut..], b"hello"].concat();
        let mut input = Bytes::from(rest);
        let read = heads.next(&mut input, &limits()).unwrap().unwrap();
        assert_eq!((read.request.uri().to_string(), &input[..]), ("/a?b".to_owned(), &b"hello"[..]));
    }
}

#[test]
fn what_is_too_large_is_refused_before_all_of_it_has_come() {
    let long = "x".repeat(8_192);
    for (head, refusal) in [
        (format!("GET /{long}"), Refusal::TargetTooLong),
        (format!("GET /{long} HTTP/1.1\r\n\r\n"), Refusal::TargetTooLong),
        (format!("GET / HTTP/1.1\r\nA: {long}"), Refusal::TooLarge),
        (format!("GET / HTTP/1.1\r\nA: {long}\r\n\r\n"), Refusal::TooLarge),
        (format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(17)), Refusal::TooLarge),
    ] {
        assert_eq!(next(&head).unwrap_err(), Some(refusal), "{head:.20}");
    }
    let blank = "\r\n".repeat(usize::from(MAX_BLANK) + 1);
    assert!(matches!(next(&blank).unwrap_err(), Some(Refusal::Malformed(_))));
}

#[test]
fn http2_gets_no_answer() {
    assert_eq!(next("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").unwrap_err(), None);
}
