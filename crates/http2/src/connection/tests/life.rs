//! Streams' ends, the connection's end, and nuisances.

use super::*;
use crate::frame::{PRIORITY, PRIORITY_UPDATE};

fn kept(notes: &Rc<RefCell<Vec<String>>>) -> Handler {
    let notes = Rc::clone(notes);
    Box::new(move |request, _| {
        let dropped = Dropped(Rc::clone(&notes), request.uri().path().to_owned());
        Box::pin(async move {
            let _dropped = dropped;
            std::future::pending().await
        })
    })
}

#[test]
fn a_reset_drops_the_handler_and_nothing_else() {
    let notes = Rc::default();
    let mut client = Client::serving(kept(&notes));
    client.exchange(&[get(1, "/a"), get(3, "/b")].concat());
    assert!(client.exchange(&reset(1)).is_empty());
    assert_eq!(*notes.borrow(), ["/a"]);
    drop(client);
    assert_eq!(*notes.borrow(), ["/a", "/b"]);
}

#[test]
fn a_body_breaks_off_for_whoever_reads_it_when_its_stream_is_reset() {
    let bodies: Rc<RefCell<Vec<RequestBody>>> = Rc::default();
    let kept = Rc::clone(&bodies);
    let mut client = Client::serving(Box::new(move |request, _| {
        kept.borrow_mut().push(request.into_body());
        Box::pin(std::future::pending())
    }));
    client.exchange(&[post(1), reset(1)].concat());
    let mut bodies = bodies.borrow_mut();
    let frame = Pin::new(&mut bodies[0]).poll_frame(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(frame, Poll::Ready(Some(Err(_)))));
}

#[test]
fn more_streams_than_allowed_are_refused_and_can_be_tried_again() {
    let mut client = Client::serving(kept(&Rc::default()));
    let frames = client.exchange(&(0..5).flat_map(|at| get(at * 2 + 1, "/")).collect::<Vec<_>>());
    assert_eq!(order(&frames), [(RST_STREAM, 9)]);
    assert_eq!(reset_of(&frames, 9), Some(Reason::RefusedStream.code()));
}

#[test]
fn streams_that_ended_differ_from_those_that_were_reset() {
    let closed = Reason::StreamClosed.code();
    let ended = |then: Vec<u8>| {
        let mut client = Client::serving(path());
        client.exchange(&get(1, "/"));
        client.goes_away(&then).0
    };
    assert_eq!((ended(data(1, 0, b"x")), ended(get(1, "/"))), (closed, closed));
    let mut client = Client::serving(kept(&Rc::default()));
    client.exchange(&[post(1), reset(1)].concat());
    assert_eq!(reset_of(&client.exchange(&data(1, 0, b"x")), 1), Some(closed));
    assert!(client.exchange(&data(1, 0, b"x")).is_empty(), "it was told once");
    client.exchange(&post(3));
    let frames = client.exchange(&[window(3, 0), data(3, 0, b"x"), window(3, 1), reset(3)].concat());
    assert_eq!(order(&frames), [(RST_STREAM, 3)], "what was on its way to a stream reset here is ignored");
    client.exchange(&get(9, "/"));
    assert_eq!(client.goes_away(&get(7, "/")), (Reason::Protocol.code(), 9));
}

#[test]
fn half_closed_streams_take_no_more() {
    for frame in [data(1, 0, b"x"), get(1, "/")] {
        let mut client = Client::serving(kept(&Rc::default()));
        client.exchange(&get(1, "/"));
        assert_eq!(reset_of(&client.exchange(&frame), 1), Some(Reason::StreamClosed.code()));
        assert!(client.ended.is_none());
    }
}

#[test]
fn nuisances_end_the_connection() {
    let calm = Reason::EnhanceYourCalm.code();
    let ping = bytes(PING, 0, 0, &[7; 8]);
    for (name, nuisance) in [
        ("pings", ping),
        ("settings", bytes(SETTINGS, 0, 0, &[])),
        ("priorities", bytes(PRIORITY, 0, 1, &[0; 5])),
        ("new priorities", bytes(PRIORITY_UPDATE, 0, 0, &[0, 0, 0, 1])),
        ("unknown frames", bytes(0xbe, 0, 0, &[1; 9])),
        ("window updates", window(0, 1)),
        ("empty data", data(1, 0, b"")),
        ("padding", bytes(DATA, 0x8, 1, &[9; 10])),
        ("resets of what is reset", reset(1)),
    ] {
        let mut client = Client::serving(kept(&Rc::default()));
        client.exchange(&post(1));
        assert_eq!(client.goes_away(&nuisance.repeat(1_005)).0, calm, "{name}");
    }
}

#[test]
fn resets_are_bounded_on_both_sides_and_forgiven_for_answers() {
    let calm = Reason::EnhanceYourCalm.code();
    let many = |frames: fn(u32) -> Vec<u8>| {
        let all: Vec<u8> = (0..5).flat_map(|at| frames(at * 2 + 1)).collect();
        Client::serving(kept(&Rc::default())).goes_away(&all).0
    };
    assert_eq!(many(|at| [get(at, "/"), reset(at)].concat()), calm, "rapid reset");
    assert_eq!(many(|at| [get(at, "/"), window(at, 0)].concat()), calm, "resets that were made");
    assert_eq!(many(|at| bytes(HEADERS, END_HEADERS, at, &block(&[("x", "y")]))), calm, "broken heads");
    let mut client = Client::serving(path());
    for at in 0..20 {
        let stream = at * 4 + 1;
        client.exchange(&[get(stream, "/"), reset(stream)].concat());
        client.exchange(&get(stream + 2, "/"));
    }
    assert!(client.ended.is_none(), "a client that mostly takes its answers was cut off");
}

#[test]
fn frames_are_held_to_their_sections() {
    let (protocol, size) = (Reason::Protocol.code(), Reason::FrameSize.code());
    for (name, frame, code) in [
        ("PRIORITY_UPDATE of a stream", bytes(PRIORITY_UPDATE, 0, 1, &[0, 0, 0, 1]), protocol),
        ("PRIORITY_UPDATE of nothing", bytes(PRIORITY_UPDATE, 0, 0, &[0; 4]), protocol),
        ("PRIORITY_UPDATE too short", bytes(PRIORITY_UPDATE, 0, 0, &[0; 3]), size),
        ("PRIORITY too short", bytes(PRIORITY, 0, 1, &[0; 4]), size),
        ("GOAWAY too short", bytes(GOAWAY, 0, 0, &[0; 7]), size),
        ("HEADERS too short for their priority", bytes(HEADERS, 0x25, 1, &[0; 4]), size),
        ("priorities of two kinds", bytes(SETTINGS, 0, 0, &[0, 9, 0, 0, 0, 2]), protocol),
        ("a first stream of the server's", get(2, "/"), protocol),
    ] {
        assert_eq!(Client::serving(path()).goes_away(&frame).0, code, "{name}");
    }
    let mut client = Client::serving(path());
    let frames = client.exchange(&bytes(PING, 0xfe, 0, b"12345678"));
    let pong = Frame { kind: PING, flags: ACK, stream: 0, payload: b"12345678".to_vec() };
    assert_eq!(frames, [pong]);
    assert!(client.exchange(&bytes(GOAWAY, 0, 0, &[0xff; 12])).is_empty() && client.ended.is_none());
}

#[test]
fn what_does_not_begin_as_http2_is_sent_away() {
    for first in
        [&b"GET / HTTP/1.1\r\n\r\n"[..], &[PREFACE, &get(1, "/")].concat(), b"PRI * HTTP/2.0\r\n\r\nXX"]
    {
        let (io, server) = tokio::io::duplex(1 << 16);
        let connection = Connection::new(server, config(), path());
        let mut client = Client { connection, io, read: Vec::new(), ended: None };
        assert_eq!(client.goes_away(first).0, Reason::Protocol.code());
        assert!(matches!(client.ended, Some(Err(Error::Protocol(Reason::Protocol, _)))));
    }
}

#[test]
fn a_graceful_end_serves_what_has_come_and_what_is_on_its_way() {
    let mut client = Client::serving(path());
    client.connection.graceful_shutdown();
    let frames = client.frames();
    assert_eq!(order(&frames), [(GOAWAY, 0), (PING, 0)]);
    assert_eq!(number(&frames[0].payload), ANY_STREAM);
    assert_eq!(content(&client.exchange(&get(1, "/late")), 1), b"/late");
    let frames = client.exchange(&[bytes(PING, ACK, 0, DRAIN_PING), get(3, "/too late")].concat());
    assert_eq!((order(&frames), number(&frames[0].payload)), (vec![(GOAWAY, 0)], 1));
    assert!(matches!(client.ended, Some(Ok(()))));
}

#[test]
fn a_client_that_leaves_takes_its_handlers_along() {
    let notes = Rc::default();
    let mut client = Client::serving(kept(&notes));
    client.exchange(&get(1, "/a"));
    let Client { mut connection, io, .. } = client;
    drop(io);
    let ended = Pin::new(&mut connection).poll(&mut Context::from_waker(Waker::noop()));
    assert!(matches!(ended, Poll::Ready(Ok(()))));
    assert_eq!(*notes.borrow(), ["/a"]);
}

#[test]
fn an_idle_connection_holds_no_buffers() {
    let mut client = Client::serving(path());
    client.exchange(&get(1, "/"));
    let Connection { input, core, .. } = &client.connection;
    assert_eq!((input.capacity(), core.output.len(), core.streams.active()), (0, 0, 0));
}
