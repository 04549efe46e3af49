//! Floods: frames that cost the client little and a server much. Other clients are served meanwhile by the same
//! worker, memory stays within [`GROWTH`], and the upstream sees no more than [`UPSTREAM`] requests of it.

use std::io::{Read as _, Write as _};
use std::time::{Duration, Instant};

use crate::edge::{Connection, Edge, PATIENCE};
use crate::frames::*;
use crate::upstream::{Act, obliging};

const LIMITS: &str = "keep_alive_timeout_ms = 1000\nbody_idle_timeout_ms = 1000\nheader_read_timeout_ms = 1000\n\
                      write_timeout_ms = 1000\nheader_bytes = 8192";
/// Connections that each flood.
const ATTACKERS: usize = 4;
/// How much the gateway may grow: a few connections' full buffers.
const GROWTH: usize = 48 << 20;
/// Requests that may reach the upstream from all attackers of a flood.
const UPSTREAM: usize = 3_000;
/// How long an attacker that the gateway does not read any more goes on trying.
const GIVE_UP: Duration = Duration::from_secs(2);

/// What becomes of the attacker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// The gateway closes the connection.
    Cut,
    /// It costs too little to be cut for.
    Endured,
}
use End::{Cut, Endured};

/// One flood: its name, what comes behind the preface, the bytes of a round (whose number is given), rounds, and
/// what becomes of it.
type Flood = (&'static str, fn() -> Vec<u8>, fn(u32) -> Vec<u8>, u32, End);

const NOTHING: fn() -> Vec<u8> = Vec::new;

/// Streams of a client are odd, and so many are opened in a round.
const STREAMS: u32 = 50;

fn each_stream(round: u32, frames: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    (0..STREAMS).flat_map(|at| frames((round * STREAMS + at) * 2 + 1)).collect()
}

fn reset(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

fn open(stream: u32) -> Vec<u8> {
    headers(stream, 0, &request("POST", "/open"))
}

/// A new request for the one before, which the gateway has had time to pass on.
fn replaced(stream: u32) -> Vec<u8> {
    [reset(stream), get(stream + 2, "/wait")].concat()
}

fn times(frame: &[u8], count: usize) -> Vec<u8> {
    frame.repeat(count)
}

/// A field of 3 KB that goes into the table, and references to it.
fn bomb(stream: u32) -> Vec<u8> {
    let mut fields = block(&request("GET", "/bomb"));
    if stream == 1 {
        fields.extend([0x40, 1, b'x', 0x7f, 0xb9, 0x16]);
        fields.extend([b'y'; 3_000]);
    }
    fields.extend([0xbe; 12_000]);
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &fields)
}

const FLOODS: &[Flood] = &[
    (
        "rapid reset",
        NOTHING,
        |round| each_stream(round, |it| [get(it, "/reset"), reset(it)].concat()),
        100,
        Cut,
    ),
    (
        "rapid reset of uploads",
        NOTHING,
        |round| each_stream(round, |it| [open(it), reset(it)].concat()),
        100,
        Cut,
    ),
    (
        "resets of what the upstream has begun",
        || get(1, "/wait"),
        |round| replaced(round * 2 + 1),
        2_000,
        Cut,
    ),
    (
        "MadeYouReset by an empty window update",
        NOTHING,
        |round| each_stream(round, |it| [open(it), frame(WINDOW_UPDATE, 0, it, &[0; 4])].concat()),
        100,
        Cut,
    ),
    (
        "MadeYouReset by a window beyond 2^31",
        NOTHING,
        |round| {
            each_stream(round, |it| {
                [open(it), frame(WINDOW_UPDATE, 0, it, &[0x7f, 0xff, 0xff, 0xff])].concat()
            })
        },
        100,
        Cut,
    ),
    (
        "MadeYouReset by data behind the end",
        NOTHING,
        |round| each_stream(round, |it| [get(it, "/reset"), frame(DATA, 0, it, b"x")].concat()),
        100,
        Cut,
    ),
    (
        "MadeYouReset by a broken head",
        NOTHING,
        |round| each_stream(round, |it| headers(it, END_STREAM, &[("x", "y")])),
        100,
        Cut,
    ),
    (
        "continuations without end",
        || frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))),
        |_| times(&frame(CONTINUATION, 0, 1, &block(&[("x", &"y".repeat(16_000))])), 10),
        100,
        Cut,
    ),
    (
        "empty continuations",
        || frame(HEADERS, END_STREAM, 1, &block(&request("GET", "/"))),
        |_| times(&frame(CONTINUATION, 0, 1, &[]), 1_000),
        100,
        Cut,
    ),
    ("HPACK bomb", NOTHING, |round| bomb(round * 2 + 1), 400, Endured),
    (
        "sizes of the HPACK table",
        NOTHING,
        |_| times(&frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0, 0, 1, 0, 0, 16, 0]), 100),
        200,
        Endured,
    ),
    ("settings", NOTHING, |_| times(&frame(SETTINGS, 0, 0, &[]), 1_000), 200, Endured),
    ("pings", NOTHING, |_| times(&frame(PING, 0, 0, &[7; 8]), 1_000), 200, Endured),
    ("priorities", NOTHING, |_| times(&frame(PRIORITY, 0, 1, &[0, 0, 0, 0, 1]), 1_000), 200, Endured),
    (
        "priorities of idle streams",
        NOTHING,
        |round| each_stream(round, |it| frame(PRIORITY, 0, it, &[0; 5])),
        2_000,
        Cut,
    ),
    ("unknown frames", NOTHING, |_| times(&frame(0xbe, 0, 0, &[0; 100]), 100), 200, Endured),
    (
        "window updates by one",
        NOTHING,
        |_| times(&frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1]), 1_000),
        200,
        Endured,
    ),
    ("empty data", || open(1), |_| times(&frame(DATA, 0, 1, &[]), 1_000), 200, Endured),
    ("padding alone", || open(1), |_| times(&frame(DATA, PADDED, 1, &[9; 10]), 100), 200, Endured),
];

#[test]
fn floods_leave_other_clients_served_and_memory_bounded() {
    let mut edge = Edge::start(LIMITS, large);
    for _ in 0..20 {
        edge.ensure_serving("nothing");
    }
    let before = edge.resident();
    let mut wrong = Vec::new();
    for flood in FLOODS {
        let (ends, most, requests) = run(&mut edge, flood);
        let grown = most.saturating_sub(before);
        if grown > GROWTH || requests > UPSTREAM || (flood.4 == Cut && ends.contains(&Endured)) {
            wrong.push(format!(
                "{}: {ends:?}, grew by {} MB, {requests} requests upstream",
                flood.0,
                grown >> 20
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What became of the attackers, the most memory held, and how many requests reached the upstream.
fn run(edge: &mut Edge, &(name, opens, burst, rounds, _): &Flood) -> (Vec<End>, usize, usize) {
    let connections: Vec<Connection> = (0..ATTACKERS).map(|_| edge.connect("h2")).collect();
    std::thread::scope(|scope| {
        let attackers: Vec<_> = connections
            .into_iter()
            .map(|connection| scope.spawn(move || attack(connection, &opens(), burst, rounds)))
            .collect();
        let (mut most, mut requests) = (0, 0);
        while !attackers.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            most = most.max(edge.resident());
            requests += edge.upstream.count();
            edge.ensure_serving(name);
        }
        requests += edge.upstream.count();
        (attackers.into_iter().map(|attacker| attacker.join().unwrap()).collect(), most, requests)
    })
}

fn attack(mut connection: Connection, opens: &[u8], burst: fn(u32) -> Vec<u8>, rounds: u32) -> End {
    connection.sock.set_write_timeout(Some(GIVE_UP)).unwrap();
    connection.sock.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    let mut send = |bytes: &[u8]| {
        connection.write_all(bytes).and_then(|()| connection.flush()).and_then(|()| drain(&mut connection))
    };
    if send(&[preface(&[]), opens.to_vec()].concat()).is_err() {
        return Cut;
    }
    for round in 0..rounds {
        if send(&burst(round)).is_err() {
            return Cut;
        }
    }
    Endured
}

/// Reads what is there, so that the gateway's answers do not slow the attack down.
fn drain(connection: &mut Connection) -> std::io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match connection.read(&mut chunk) {
            Ok(0) => return Err(std::io::ErrorKind::ConnectionAborted.into()),
            Ok(_) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

const GIGABYTE: u64 = 1 << 30;

fn large(path: &str) -> Act {
    match path {
        "/large" => {
            Act::Stream(format!("HTTP/1.1 200 OK\r\nContent-Length: {GIGABYTE}\r\n\r\n").into(), GIGABYTE)
        }
        "/hang" => Act::Hang,
        "/wait" => Act::Wait,
        _ => obliging(path),
    }
}

/// Clients that ask for much and take nothing.
#[test]
fn answers_that_nobody_takes_are_held_back_and_cut_off() {
    let mut edge = Edge::start(LIMITS, large);
    for _ in 0..20 {
        edge.ensure_serving("nothing");
    }
    let before = edge.resident();
    let no_window = preface(&[(4, 0)]);
    let small_window = preface(&[(4, 1)]);
    for settings in [no_window, small_window] {
        let asks: Vec<u8> = (0..100).flat_map(|at| get(at * 2 + 1, "/large")).collect();
        let mut connections: Vec<Connection> = (0..ATTACKERS).map(|_| edge.connect("h2")).collect();
        for connection in &mut connections {
            connection.write_all(&[settings.clone(), asks.clone()].concat()).unwrap();
            connection.flush().unwrap();
        }
        let began = Instant::now();
        while !connections.iter_mut().all(is_closed) {
            let grown = edge.resident().saturating_sub(before);
            assert!(grown < GROWTH, "grew by {} MB", grown >> 20);
            assert!(began.elapsed() < PATIENCE, "clients that take nothing are not cut off");
            edge.ensure_serving("answers that nobody takes");
        }
    }
}

/// Answers pings nobody asked for; reads what there is.
fn is_closed(connection: &mut Connection) -> bool {
    connection.sock.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
    drain(connection).is_err()
}

#[test]
fn uploads_that_the_upstream_does_not_read_are_held_back() {
    let mut edge =
        Edge::start("write_timeout_ms = 1000\nbody_idle_timeout_ms = 1000\nmax_body = 1073741824", large);
    edge.ensure_serving("nothing");
    let before = edge.resident();
    let mut connections: Vec<Connection> = (0..ATTACKERS).map(|_| edge.connect("http/1.1")).collect();
    let piece = [0u8; 16 * 1024];
    for connection in &mut connections {
        connection.sock.set_write_timeout(Some(GIVE_UP)).unwrap();
        let head = format!("POST /hang HTTP/1.1\r\nHost: localhost\r\nContent-Length: {GIGABYTE}\r\n\r\n");
        connection.write_all(head.as_bytes()).unwrap();
        let mut sent = 0u64;
        while connection.write_all(&piece).and_then(|()| connection.flush()).is_ok() {
            sent += piece.len() as u64;
            assert!(sent < GIGABYTE / 4, "the gateway took {sent} bytes that the upstream did not read");
        }
        edge.ensure_serving("an upload that nobody reads");
    }
    assert!(edge.resident().saturating_sub(before) < GROWTH);
}
