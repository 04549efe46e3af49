//! HTTP/2 requests that would be something else once they are HTTP/1.1, and frames out of order.

use std::io::Write as _;

use crate::edge::Edge;
use crate::frames::*;
use crate::table::{fits, passed};
use crate::upstream::{Act, obliging};

const LIMITS: &str = "keep_alive_timeout_ms = 500\nbody_idle_timeout_ms = 500\nheader_bytes = 8192";
const PROTOCOL_ERROR: u32 = 1;
const FLOW_CONTROL_ERROR: u32 = 3;
const STREAM_CLOSED: u32 = 5;
const FRAME_SIZE_ERROR: u32 = 6;
const COMPRESSION_ERROR: u32 = 9;

/// A value larger than `header_bytes`.
const LARGE: &str = match std::str::from_utf8(&[b'x'; 9_000]) {
    Ok(text) => text,
    Err(_) => "",
};

/// One attack: its name, the frames behind the preface, what stream 1 comes to, the requests that reach the upstream.
type Case<'a> = (&'a str, Vec<u8>, Outcome, &'a [&'a str]);

fn run(cases: &[Case<'_>]) {
    let mut edge = Edge::start(LIMITS, obliging);
    let mut wrong = Vec::new();
    for (name, frames, expected, upstream) in cases {
        let mut connection = edge.connect("h2");
        // The gateway may end the connection before it has read everything.
        let _ =
            connection.write_all(&[preface(&[]), frames.clone()].concat()).and_then(|()| connection.flush());
        let got = outcome(&mut connection, 1);
        let passed = passed(&edge);
        if got != *expected || !fits(&passed, upstream) {
            wrong.push(format!("{name}: {got:?}, not {expected:?}; upstream {passed:?}, not {upstream:?}"));
        }
        edge.ensure_serving(name);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn with(mut fields: Vec<(&'static str, &'static str)>, more: &[(&'static str, &'static str)]) -> Vec<u8> {
    fields.extend(more);
    headers(1, END_STREAM, &fields)
}

/// A request whose pseudo-header `name` is `value`.
fn pseudo(name: &str, value: &'static str) -> Vec<u8> {
    let mut fields = request("GET", "/");
    for field in fields.iter_mut().filter(|field| field.0 == name) {
        field.1 = value;
    }
    headers(1, END_STREAM, &fields)
}

fn without(name: &str) -> Vec<u8> {
    let fields: Vec<_> = request("GET", "/").into_iter().filter(|field| field.0 != name).collect();
    headers(1, END_STREAM, &fields)
}

#[test]
fn what_would_change_its_meaning_as_http1_is_refused() {
    let get = || request("GET", "/");
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    run(&[
        ("CRLF in a path", pseudo(":path", "/a HTTP/1.1\r\nHost: b\r\n\r\nGET /hidden"), reset, &[]),
        ("space in a path", pseudo(":path", "/a b"), reset, &[]),
        ("NUL in a path", pseudo(":path", "/a\0b"), reset, &[]),
        ("path without a slash", pseudo(":path", "a"), reset, &[]),
        ("empty path", pseudo(":path", ""), reset, &[]),
        ("absolute path", pseudo(":path", "https://evil.test/"), reset, &[]),
        ("fragment in a path", pseudo(":path", "/a#b"), reset, &[]),
        ("dot segments", pseudo(":path", "/a/../b"), Outcome::Status(400), &[]),
        ("CRLF in a method", pseudo(":method", "GET / HTTP/1.1\r\nX: y\r\n\r\nGET"), reset, &[]),
        ("space in a method", pseudo(":method", "GET /hidden"), reset, &[]),
        ("CRLF in an authority", pseudo(":authority", "localhost\r\nX: y"), reset, &[]),
        ("user in an authority", pseudo(":authority", "user@localhost"), Outcome::Status(400), &[]),
        ("another authority", pseudo(":authority", "evil.test"), Outcome::Status(421), &[]),
        ("CRLF in a scheme", pseudo(":scheme", "https\r\nX: y"), reset, &[]),
        ("another scheme", pseudo(":scheme", "ftp"), Outcome::Status(400), &[]),
        ("CRLF in a value", with(get(), &[("x", "a\r\nhost: b")]), reset, &[]),
        ("LF in a value", with(get(), &[("x", "a\nb")]), reset, &[]),
        ("CR in a value", with(get(), &[("x", "a\rb")]), reset, &[]),
        ("NUL in a value", with(get(), &[("x", "a\0b")]), reset, &[]),
        ("colon in a name", with(get(), &[("x: y", "z")]), reset, &[]),
        ("CRLF in a name", with(get(), &[("x\r\ny", "z")]), reset, &[]),
        ("upper case in a name", with(get(), &[("X-Y", "z")]), reset, &[]),
        ("empty name", with(get(), &[("", "z")]), reset, &[]),
        ("transfer-encoding", with(get(), &[("transfer-encoding", "chunked")]), reset, &[]),
        ("connection", with(get(), &[("connection", "close")]), reset, &[]),
        ("keep-alive", with(get(), &[("keep-alive", "1")]), reset, &[]),
        ("proxy-connection", with(get(), &[("proxy-connection", "close")]), reset, &[]),
        ("upgrade", with(get(), &[("upgrade", "websocket")]), reset, &[]),
        ("te of no trailers", with(get(), &[("te", "chunked")]), reset, &[]),
        ("two hosts", with(get(), &[("host", "evil.test")]), reset, &[]),
        ("space before a value", with(get(), &[("x", " a")]), reset, &[]),
        ("tab behind a value", with(get(), &[("x", "a\t")]), reset, &[]),
        (
            "CONNECT",
            headers(1, END_STREAM, &[(":method", "CONNECT"), (":authority", "localhost")]),
            Outcome::Status(400),
            &[],
        ),
        ("a large head", with(get(), &[("x", LARGE)]), Outcome::Status(431), &[]),
        ("a te that goes no further", with(get(), &[("te", "trailers")]), Outcome::Status(200), &["GET /"]),
    ]);
}

#[test]
fn pseudo_headers_come_once_first_and_all() {
    let get = || request("GET", "/");
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    let late: Vec<_> = [("x", "y")].into_iter().chain(get()).collect();
    run(&[
        ("two methods", with(get(), &[(":method", "POST")]), reset, &[]),
        ("two paths", with(get(), &[(":path", "/hidden")]), reset, &[]),
        ("two authorities", with(get(), &[(":authority", "evil.test")]), reset, &[]),
        ("two schemes", with(get(), &[(":scheme", "http")]), reset, &[]),
        ("unknown", with(get(), &[(":x", "y")]), reset, &[]),
        ("an answer's", with(get(), &[(":status", "200")]), reset, &[]),
        ("behind a header", headers(1, END_STREAM, &late), reset, &[]),
        ("no method", without(":method"), reset, &[]),
        ("no path", without(":path"), reset, &[]),
        ("no scheme", without(":scheme"), reset, &[]),
        ("no authority", without(":authority"), Outcome::Status(400), &[]),
        ("protocol without the setting", with(get(), &[(":protocol", "websocket")]), reset, &[]),
    ]);
}

#[test]
fn bodies_are_as_long_as_they_say() {
    let post = |length: &'static str, flags: u8| {
        let mut fields = request("POST", "/victim");
        fields.push(("content-length", length));
        headers(1, flags, &fields)
    };
    let data = |flags: u8, bytes: &[u8]| frame(DATA, flags, 1, bytes);
    let reset = Outcome::Reset(PROTOCOL_ERROR);
    let broken: &[&str] = &["BROKEN POST /victim HTTP/1.1"];
    let smuggled = b"GET /hidden HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut twice = request("POST", "/victim");
    twice.extend([("content-length", "0"), ("content-length", "3")]);
    let mut get = request("GET", "/get");
    get.push(("x", "y"));
    let trailers =
        |fields: &[(&str, &str)]| [post("3", 0), data(0, b"abc"), headers(1, END_STREAM, fields)].concat();
    run(&[
        ("less than comes", [post("0", 0), data(END_STREAM, smuggled)].concat(), reset, broken),
        ("more than comes", [post("9", 0), data(END_STREAM, b"abc")].concat(), reset, broken),
        ("something, but none comes", post("3", END_STREAM), reset, &[]),
        ("two lengths", [headers(1, 0, &twice), data(END_STREAM, b"abc")].concat(), reset, &[]),
        ("a signed length", [post("+3", 0), data(END_STREAM, b"abc")].concat(), reset, &[]),
        ("no number", [post("3, 3", 0), data(END_STREAM, b"abc")].concat(), reset, &[]),
        ("pseudo-header in trailers", trailers(&[(":path", "/hidden")]), reset, broken),
        (
            "a GET with data and no length",
            [headers(1, 0, &get), data(END_STREAM, b"abc")].concat(),
            Outcome::Status(200),
            &["GET /get\ntransfer-encoding: chunked\nx: y\n\n3\r\nabc\r\n0\r\n\r\n"],
        ),
        (
            "as said",
            [post("3", 0), data(END_STREAM, b"abc")].concat(),
            Outcome::Status(200),
            &["POST /victim\ncontent-length: 3\n\nabc"],
        ),
    ]);
}

#[test]
fn frames_out_of_order_or_shape_end_the_connection() {
    let go_away = Outcome::GoAway(PROTOCOL_ERROR);
    let size = Outcome::GoAway(FRAME_SIZE_ERROR);
    let flow = Outcome::GoAway(FLOW_CONTROL_ERROR);
    let closed = Outcome::Reset(STREAM_CLOSED);
    let compression = Outcome::GoAway(COMPRESSION_ERROR);
    let open = || headers(1, END_STREAM, &request("GET", "/"));
    let begun = || frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/")));
    run(&[
        ("stream of an even number", get(2, "/"), go_away, &[]),
        ("headers on stream 0", get(0, "/"), go_away, &[]),
        ("data on stream 0", frame(DATA, 0, 0, b"x"), go_away, &[]),
        ("data on an idle stream", frame(DATA, 0, 1, b"x"), go_away, &[]),
        ("padding beyond the frame", frame(DATA, PADDED, 1, &[200, 0]), go_away, &[]),
        ("reset of an idle stream", frame(RST_STREAM, 0, 1, &[0, 0, 0, 8]), go_away, &[]),
        ("window update of an idle stream", frame(WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]), go_away, &[]),
        ("window update by nothing", frame(WINDOW_UPDATE, 0, 0, &[0; 4]), go_away, &[]),
        ("window beyond 2^31", frame(WINDOW_UPDATE, 0, 0, &[0x7f, 0xff, 0xff, 0xff]), flow, &[]),
        ("settings on a stream", frame(SETTINGS, 0, 1, &[]), go_away, &[]),
        ("settings of five bytes", frame(SETTINGS, 0, 0, &[0; 5]), size, &[]),
        ("acknowledgement with settings", frame(SETTINGS, ACK, 0, &[0; 6]), size, &[]),
        ("window setting beyond 2^31", frame(SETTINGS, 0, 0, &[0, 4, 0xff, 0xff, 0xff, 0xff]), flow, &[]),
        ("frame size setting too small", frame(SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 1]), go_away, &[]),
        ("ping of seven bytes", frame(PING, 0, 0, &[0; 7]), size, &[]),
        ("ping on a stream", frame(PING, 0, 1, &[0; 8]), go_away, &[]),
        ("a client's push", frame(PUSH_PROMISE, END_HEADERS, 1, &[0; 8]), go_away, &[]),
        ("a frame beyond 16 KB", frame(DATA, 0, 1, &vec![0; 16_385]), size, &[]),
        ("continuation of nothing", frame(CONTINUATION, END_HEADERS, 1, &[]), go_away, &[]),
        ("a ping inside of a head", [begun(), frame(PING, 0, 0, &[0; 8])].concat(), go_away, &[]),
        ("another stream inside of a head", [begun(), get(3, "/")].concat(), go_away, &[]),
        ("rubbish for a head", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xff; 32]), compression, &[]),
        ("an index of no table", frame(HEADERS, END_STREAM | END_HEADERS, 1, &[0xfe]), compression, &[]),
        ("an unknown frame", [frame(0xbe, 0xff, 1, b"x"), open()].concat(), Outcome::Status(200), &["GET /"]),
        ("data behind the end", [open(), frame(DATA, 0, 1, b"x")].concat(), closed, &[]),
        ("a head behind the end", [open(), open()].concat(), closed, &[]),
    ]);
}

#[test]
fn an_upstreams_early_hints_reach_the_client_before_its_answer() {
    let edge = Edge::start(LIMITS, |_| {
        let hints = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n";
        Act::Send(format!("{hints}HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").into())
    });
    let mut connection = edge.connect("h2");
    connection.write_all(&[preface(&[]), get(1, "/")].concat()).and_then(|()| connection.flush()).unwrap();
    let outcomes = [outcome(&mut connection, 1), outcome(&mut connection, 1)];
    assert_eq!(outcomes, [Outcome::Status(103), Outcome::Status(200)]);
}
