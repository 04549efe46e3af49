//! Bodies whose end the gateway and the upstream could see in different places: request smuggling.

use crate::table::{Case, run};

/// What is hidden behind a body; where it goes on, it is a request of its own that the gateway has checked.
const HIDDEN: &str = "GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";

fn post(rest: &str) -> String {
    format!("POST /victim HTTP/1.1\r\nHost: localhost\r\n{rest}")
}

/// Each framing is refused, and what follows it is not a request.
fn refused(status: u16, framings: &[&str]) {
    let answers = [status];
    let sends: Vec<String> = framings.iter().map(|framing| post(&format!("{framing}{HIDDEN}"))).collect();
    let cases: Vec<Case<'_>> =
        framings.iter().zip(&sends).map(|(name, sends)| (*name, &**sends, &answers[..], &[][..])).collect();
    run("localhost", &cases);
}

#[test]
fn two_framings_are_refused() {
    refused(
        400,
        &[
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nX",
            "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n\r\n0\r\n\r\nX",
            "Content-Length: 6\r\nX: y\r\ntransfer-encoding: CHUNKED\r\n\r\n0\r\n\r\nX",
            "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Content-Length: 6\r\nTransfer-Encoding: identity\r\n\r\n012345",
        ],
    );
}

#[test]
fn obfuscated_transfer_encodings_are_refused() {
    refused(
        400,
        &[
            "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding:\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\x0c\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            " Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
            "X: y\r\n\tTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer\0-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chun\0ked\r\n\r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn encodings_beside_chunks_are_not_taken_for_plain_chunks() {
    refused(
        501,
        &[
            "Transfer-Encoding: identity, chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
        ],
    );
}

#[test]
fn lengths_that_are_no_single_number_are_refused() {
    refused(
        400,
        &[
            "Content-Length: 0\r\nContent-Length: 40\r\n\r\n",
            "Content-Length: 0, 40\r\n\r\n",
            "Content-Length: 40, 40\r\n\r\n",
            "Content-Length: +40\r\n\r\n",
            "Content-Length: -1\r\n\r\n",
            "Content-Length: 0x28\r\n\r\n",
            "Content-Length: 4 0\r\n\r\n",
            "Content-Length: 40.0\r\n\r\n",
            "Content-Length: 4e1\r\n\r\n",
            "Content-Length: \"40\"\r\n\r\n",
            "Content-Length: \r\n\r\n",
            "Content-Length: \x0b40\r\n\r\n",
            "Content-Length: 18446744073709551616\r\n\r\n",
            "Content-Length: 99999999999999999999999999999999\r\n\r\n",
            "Content-Length : 40\r\n\r\n",
            "Content-Length\r\n\r\n",
        ],
    );
    refused(413, &["Content-Length: 18446744073709551615\r\n\r\n"]);
}

#[test]
fn unusual_lengths_that_mean_one_thing_go_on_as_one_length() {
    let same = post("Content-Length: 3\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    let zeros = post("Content-Length: 003\r\nConnection: close\r\n\r\nabc");
    let other = post("Content_Length: 9\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc");
    let short = post("Content-Length: 10\r\n\r\nabc");
    let large = post("Content-Length: 9223372036854775807\r\n\r\nabc");
    run(
        "localhost",
        &[
            ("twice the same", &same, &[200], &["POST /victim\ncontent-length: 3\n\nabc"]),
            ("leading zeros", &zeros, &[200], &["POST /victim\ncontent-length: 3\n\nabc"]),
            (
                "a name that some take for another",
                &other,
                &[200],
                &["POST /victim\ncontent-length: 3\n\nabc"],
            ),
            ("more than comes", &short, &[408], &["BROKEN POST /victim HTTP/1.1"]),
            ("more than a route takes", &large, &[413], &[]),
        ],
    );
}

#[test]
fn broken_chunks_end_the_connection_and_nothing_after_them_is_a_request() {
    let chunked = |rest: &str| post(&format!("Transfer-Encoding: chunked\r\n\r\n{rest}{HIDDEN}"));
    let long = chunked(&format!("3;{}\r\nabc\r\n0\r\n\r\n", "x".repeat(100_000)));
    let trailers = chunked(&format!("3\r\nabc\r\n0\r\n{}\r\n", "X: y\r\n".repeat(20_000)));
    let broken: &[&str] = &["BROKEN POST /victim HTTP/1.1"];
    let all = [
        ("size of no number", "zz\r\nabc\r\n0\r\n\r\n"),
        ("signed size", "+3\r\nabc\r\n0\r\n\r\n"),
        ("negative size", "-3\r\nabc\r\n0\r\n\r\n"),
        ("size with prefix", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("size beyond 64 bits", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("no size", "\r\nabc\r\n0\r\n\r\n"),
        ("space in the size", "3 3\r\nabc\r\n0\r\n\r\n"),
        ("more data than the size", "3\r\nabcd\r\n0\r\n\r\n"),
        ("bare LF behind the size", "3\nabc\r\n0\r\n\r\n"),
        ("bare CR behind the size", "3\rabc\r\n0\r\n\r\n"),
        ("bare LF behind the data", "3\r\nabc\n0\r\n\r\n"),
        ("bare LF in an extension", "3;a\nb\r\nabc\r\n0\r\n\r\n"),
        ("bare CR in an extension", "3;a\rb\r\nabc\r\n0\r\n\r\n"),
        ("folded trailer", "3\r\nabc\r\n0\r\nX: a\r\n b\r\n\r\n"),
    ];
    let sends: Vec<String> = all.iter().map(|(_, rest)| chunked(rest)).collect();
    let mut cases: Vec<Case<'_>> =
        all.iter().zip(&sends).map(|((name, _), sends)| (*name, &**sends, &[400][..], broken)).collect();
    let silent = post("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
    let line_feed = post("Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\n");
    cases.push(("a long extension", &long, &[400], broken));
    cases.push(("trailers without end", &trailers, &[400], broken));
    cases.push(("bare LF at the end", &line_feed, &[408], broken));
    cases.push(("no last chunk", &silent, &[408], broken));
    run("localhost", &cases);
}

#[test]
fn chunks_go_on_bare_and_trailers_do_not_become_headers() {
    let send = |rest: &str| post(&format!("Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n{rest}"));
    let passed: &[&str] = &["POST /victim\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n"];
    let extension = send("3;a=b\r\nabc\r\n0;c=\"d\"\r\n\r\n");
    let zeros = send("0000000003\r\nabc\r\n000\r\n\r\n");
    let forbidden = send(
        "3\r\nabc\r\n0\r\nContent-Length: 9\r\nHost: evil\r\nTransfer-Encoding: x\r\nX-Quintet-User: root\r\n\r\n",
    );
    let get = "GET /victim HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    run(
        "localhost",
        &[
            ("extensions", &extension, &[200], passed),
            ("zeros before the size", &zeros, &[200], passed),
            ("forbidden trailers", &forbidden, &[200], passed),
            (
                "a GET with chunks",
                get,
                &[200],
                &["GET /victim\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n"],
            ),
        ],
    );
}

#[test]
fn pipelined_requests_are_each_checked() {
    let first = "GET /first HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let last = "GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let both = "POST /both HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    let body = "POST /body HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc";
    let chunks =
        "POST /body HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let got = "POST /body\ncontent-length: 3\n\nabc";
    let chunked = "POST /body\ntransfer-encoding: chunked\n\n3\r\nabc\r\n0\r\n\r\n";
    let closing = format!("GET /a HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n{last}");
    run(
        "localhost",
        &[
            (
                "in order",
                &format!("{first}{body}{last}"),
                &[200, 200, 200],
                &["GET /first", got, "GET /last"],
            ),
            ("two framings in the second", &format!("{first}{both}{last}"), &[200, 400], &["GET /first"]),
            ("two framings behind a body", &format!("{body}{both}{last}"), &[200, 400], &[got]),
            ("two framings behind chunks", &format!("{chunks}{both}{last}"), &[200, 400], &[chunked]),
            ("behind a refused one", &format!("GET / HTTP/1.1\r\n\r\n{last}"), &[400, 200], &["GET /last"]),
            ("behind a close", &closing, &[200], &["GET /a"]),
        ],
    );
}

#[test]
fn old_clients_and_expectations_are_served_by_the_book() {
    let expects = post("Content-Length: 3\r\nExpect: 100-continue\r\nConnection: close\r\n\r\nabc");
    let unknown = post("Content-Length: 3\r\nExpect: 200-ok\r\nConnection: close\r\n\r\nabc");
    let got = "POST /victim\ncontent-length: 3\n\nabc";
    run(
        "localhost",
        &[
            ("HTTP/1.0", "GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n", &[200], &["GET /a"]),
            (
                "HTTP/1.0 and more",
                &format!("GET /a HTTP/1.0\r\nHost: localhost\r\n\r\n{HIDDEN}"),
                &[200],
                &["GET /a"],
            ),
            (
                "HTTP/1.0 keep-alive",
                "GET /a HTTP/1.0\r\nHost: localhost\r\nConnection: keep-alive\r\n\r\nGET /b HTTP/1.0\r\nHost: localhost\r\n\r\n",
                &[200, 200],
                &["GET /a", "GET /b"],
            ),
            (
                "HTTP/1.0 without a length",
                "POST /a HTTP/1.0\r\nHost: localhost\r\n\r\nabc",
                &[200],
                &["POST /a"],
            ),
            (
                "HTTP/1.0 with chunks",
                "POST /a HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
                &[400],
                &[],
            ),
            ("an expectation", &expects, &[100, 200], &[got]),
            ("an unknown expectation", &unknown, &[200], &[got]),
        ],
    );
}
