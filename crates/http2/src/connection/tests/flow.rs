//! Windows of both sides, turns, and what waits for a client.

use super::*;
use crate::frame::PADDED;

const WINDOW: u16 = setting::INITIAL_WINDOW_SIZE;

#[test]
fn nothing_is_sent_without_a_window_and_no_more_than_it_has() {
    let mut client = Client::new(config(), &[(WINDOW, 0)], long(10));
    let frames = client.exchange(&get(1, "/x"));
    assert_eq!(order(&frames), [(HEADERS, 1)]);
    assert_eq!(content(&client.exchange(&window(1, 3)), 1), b"xxx");
    // Three less than nothing, then one.
    let smaller = bytes(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let larger = bytes(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 4]);
    assert_eq!(content(&client.exchange(&larger), 1), b"xxxx");
    assert_eq!(content(&client.exchange(&[smaller, window(1, 4)].concat()), 1), b"");
    assert_eq!(content(&client.exchange(&window(1, 1)), 1), b"x");
    let last = client.exchange(&window(1, 100));
    assert_eq!((content(&last, 1), last.last().unwrap().flags), (b"xx".to_vec(), END_STREAM));
}

#[test]
fn the_connection_window_bounds_all_streams_together() {
    let mut client = Client::new(config(), &[(WINDOW, 1 << 20)], long(50_000));
    let frames = client.exchange(&[get(1, "/a"), get(3, "/b")].concat());
    assert_eq!(content(&frames, 1).len() + content(&frames, 3).len(), INITIAL as usize);
    let frames = client.exchange(&window(0, 1 << 20));
    assert_eq!(content(&frames, 1).len() + content(&frames, 3).len(), 100_000 - INITIAL as usize);
}

#[test]
fn streams_send_in_turn() {
    let mut client = Client::new(config(), &[(WINDOW, 1 << 20)], long(40_000));
    client.exchange(&window(0, 1 << 20));
    let frames = client.exchange(&[get(1, "/a"), get(3, "/b"), get(5, "/c")].concat());
    let turns: Vec<u32> =
        frames.iter().filter(|frame| frame.kind == DATA).map(|frame| frame.stream).collect();
    assert_eq!(turns, [1, 3, 5, 1, 3, 5, 1, 3, 5]);
}

#[test]
fn a_body_of_unknown_length_ends_although_its_last_byte_used_up_the_window() {
    let handler: Handler = Box::new(|_, _| {
        Box::pin(async {
            let piece = Ok(http_body::Frame::data(Bytes::from("abc")));
            let body = http_body_util::StreamBody::new(futures_util::stream::iter([piece]));
            Response::new(Box::pin(body) as TestBody)
        })
    });
    let mut client = Client::new(config(), &[(WINDOW, 3)], handler);
    let frames = client.exchange(&get(1, "/"));
    assert_eq!((content(&frames, 1), frames.last().unwrap().flags), (b"abc".to_vec(), END_STREAM));
}

#[test]
fn a_client_may_send_more_as_its_body_is_read() {
    let handler: Handler = Box::new(|request, _| {
        Box::pin(async move {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            Response::new(full(body.len().to_string()))
        })
    });
    let mut client = Client::serving(handler);
    let mut frames = client.exchange(&post(1));
    for _ in 0..20 {
        frames.extend(client.exchange(&data(1, 0, &[b'x'; 10_000])));
    }
    frames.extend(client.exchange(&data(1, END_STREAM, b"")));
    assert_eq!(content(&frames, 1), b"200000");
    let updates = frames.iter().filter(|frame| (frame.kind, frame.stream) == (WINDOW_UPDATE, 1));
    let given: u32 = updates.map(|frame| number(&frame.payload)).sum();
    assert!((200_000 - INITIAL..=200_000).contains(&given), "{given}");
}

#[test]
fn more_than_a_window_is_refused() {
    let hang: fn() -> Handler = || {
        Box::new(|request, _| {
            Box::pin(async move {
                let _unread = request;
                std::future::pending().await
            })
        })
    };
    let mut client = Client::serving(hang());
    let filled = [data(1, 0, &[0; 16_383]).repeat(4), data(1, 0, &[0; 3])].concat();
    assert!(client.exchange(&[post(1), filled].concat()).is_empty());
    assert_eq!(reset_of(&client.exchange(&data(1, 0, b"x")), 1), Some(Reason::FlowControl.code()));
    let all = Config { stream_window: 1 << 20, ..config() };
    let mut client = Client::new(all, &[], hang());
    let filled: Vec<u8> = data(1, 0, &[0; 10_000]).repeat(10);
    assert!(client.exchange(&[post(1), filled].concat()).is_empty());
    assert_eq!(client.goes_away(&data(1, 0, b"x")).0, Reason::FlowControl.code());
}

#[test]
fn bodies_that_nobody_reads_do_not_use_up_the_connection() {
    let mut client = Client::serving(path());
    let mut stream = 1;
    let mut given = 0;
    for _ in 0..400 {
        // Answered at once, and reset; the rest of the body comes all the same.
        let frames = client.exchange(&[post(stream), data(stream, 0, &[0; 900])].concat());
        assert_eq!(reset_of(&frames, stream), Some(Reason::NoError.code()));
        given += frames.iter().filter(|frame| (frame.kind, frame.stream) == (WINDOW_UPDATE, 0)).count();
        stream += 2;
    }
    assert!(given >= 6, "360,000 bytes used up a window of 100,000; it was given back {given} times");
}

#[test]
fn padding_counts_and_is_given_back() {
    let mut client = Client::serving(echo());
    client.exchange(&post(1));
    let padded = [&[200u8][..], b"ab", &[0; 200]].concat();
    let mut frames = Vec::new();
    for _ in 0..20 {
        frames.extend(client.exchange(&bytes(DATA, PADDED, 1, &padded)));
    }
    frames.extend(client.exchange(&data(1, END_STREAM, b"")));
    assert_eq!(content(&frames, 1), b"ab".repeat(20));
}

#[test]
fn a_client_that_does_not_read_is_not_read_from() {
    let (mut io, server) = tokio::io::duplex(1_000);
    let mut connection = Connection::new(server, config(), path());
    let mut cx = Context::from_waker(Waker::noop());
    let mut sent = [PREFACE, &bytes(SETTINGS, 0, 0, &[])].concat();
    let mut total = 0;
    for number in 0.. {
        // Useful enough that patience is not what ends it.
        sent.extend(get(number * 2 + 1, "/0123456789"));
        sent.extend(bytes(PING, 0, 0, &[0; 8]));
        let mut idle = 0;
        while !sent.is_empty() && idle < 3 {
            assert!(Pin::new(&mut connection).poll(&mut cx).is_pending());
            match Pin::new(&mut io).poll_write(&mut cx, &sent) {
                Poll::Ready(written) => {
                    let written = written.unwrap();
                    total += written;
                    sent.drain(..written);
                }
                Poll::Pending => idle += 1,
            }
        }
        if idle > 0 {
            break;
        }
        assert!(total < 10 << 20, "it reads and reads");
    }
    let held = connection.core.output.len();
    assert!(held <= config().send_buffer + CONTROL + READ * 4, "{held} bytes are held for it");
}
