//! Against another implementation's client.

use http::{HeaderValue, Method};
use http_body_util::Limited;
use proptest::prelude::*;

use super::*;

/// Sends each body on a stream of its own and gives what comes back.
async fn echoed(bodies: Vec<Vec<u8>>, window: u32, pieces: usize) -> Vec<Vec<u8>> {
    let (io, server) = tokio::io::duplex(10_000);
    let server = Connection::new(server, Config { max_streams: 100, ..config() }, echo());
    let client = async {
        let mut builder = h2::client::Builder::new();
        let handshake = builder.initial_window_size(window).handshake::<_, Bytes>(io);
        let (sender, connection) = handshake.await.unwrap();
        let exchanges = bodies.into_iter().enumerate().map(|(number, body)| {
            let mut sender = sender.clone();
            async move {
                let mut request = Request::new(());
                *request.uri_mut() = format!("https://a.test/{number}").parse().unwrap();
                *request.method_mut() = Method::POST;
                request.headers_mut().insert("x-always", HeaderValue::from_static("the same"));
                futures_util::future::poll_fn(|cx| sender.poll_ready(cx)).await.unwrap();
                let (answer, mut upload) = sender.send_request(request, false).unwrap();
                let sent = async {
                    for piece in body.chunks(pieces) {
                        upload.send_data(Bytes::copy_from_slice(piece), false).unwrap();
                    }
                    upload.send_data(Bytes::new(), true).unwrap();
                };
                let taken = async {
                    let mut answer = answer.await.unwrap().into_body();
                    let mut taken = Vec::new();
                    while let Some(piece) = answer.data().await {
                        let piece = piece.unwrap();
                        answer.flow_control().release_capacity(piece.len()).unwrap();
                        taken.extend(piece);
                    }
                    taken
                };
                futures_util::future::join(sent, taken).await.1
            }
        });
        let exchanges: Vec<_> = exchanges.collect();
        let all = pin!(futures_util::future::join_all(exchanges));
        match futures_util::future::select(all, pin!(connection)).await {
            futures_util::future::Either::Left((all, _)) => all,
            futures_util::future::Either::Right((ended, _)) => panic!("the connection ended: {ended:?}"),
        }
    };
    match futures_util::future::select(pin!(client), server).await {
        futures_util::future::Either::Left((all, _)) => all,
        futures_util::future::Either::Right((ended, _)) => panic!("the server ended: {ended:?}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn bodies_go_both_ways_whatever_their_sizes_and_windows(
        lengths in proptest::collection::vec(0usize..40_000, 1..6),
        window in 1_000u32..100_000,
        pieces in 50usize..20_000,
    ) {
        let bodies: Vec<Vec<u8>> = lengths.iter().zip(0u8..).map(|(length, at)| vec![at; *length]).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let answers = runtime.block_on(echoed(bodies.clone(), window, pieces));
        prop_assert!(answers == bodies);
    }
}

#[test]
fn a_body_can_be_given_up_half_read() {
    let handler: Handler = Box::new(|request, _| {
        Box::pin(async move {
            let some = Limited::new(request.into_body(), 100).collect().await;
            Response::new(full(if some.is_err() { "enough" } else { "all" }))
        })
    });
    let mut client = Client::serving(handler);
    let frames = client.exchange(&[post(1), data(1, 0, &[0; 500])].concat());
    assert_eq!((content(&frames, 1), reset_of(&frames, 1)), (b"enough".to_vec(), Some(0)));
}
