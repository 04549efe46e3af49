//! The gRPC side, spoken to in frames: by itself, and through the listener by hyper's HTTP/2 client.

use std::net::SocketAddr;

use http::Request;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::trace::v1 as trace;
use prost::Message as _;
use quintet_http::{Address, Limits};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::*;
use crate::model::Span;
use crate::model::codec::Key;
use crate::storage::Storage;
use crate::storage::disk::RealDisk;

const PATH: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";

fn spans(valid: usize, invalid: usize) -> ExportTraceServiceRequest {
    let span = |id: u8| trace::Span { trace_id: vec![id; 16], span_id: vec![8; 8], ..Default::default() };
    let spans = std::iter::repeat_n(span(7), valid).chain(std::iter::repeat_n(span(0), invalid)).collect();
    let scope_spans = vec![trace::ScopeSpans { spans, ..Default::default() }];
    let group = trace::ResourceSpans { scope_spans, ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }
}

struct Sink {
    storage: Arc<Storage>,
    router: Router,
    _directory: tempfile::TempDir,
}

fn sink() -> Sink {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let router = Receiver::new(Arc::clone(&storage), 8 << 20).router();
    Sink { storage, router, _directory: directory }
}

impl Sink {
    fn stored(&self) -> usize {
        self.storage.spans().lookup::<Span>(Key::Trace([7; 16])).len()
    }

    async fn raw(&self, headers: &[(&str, &str)], body: Vec<u8>) -> http::Response<Body> {
        let mut request = Request::post(PATH).header("content-type", "application/grpc");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        self.router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap()
    }
}

/// The trailers or headers that tell the outcome, and the message without its frame.
async fn outcome(response: http::Response<Body>) -> (HeaderMap, Vec<u8>) {
    assert_eq!((response.status().as_u16(), &response.headers()[CONTENT_TYPE]), (200, &GRPC));
    let headers = response.headers().clone();
    let body = response.into_body().collect().await.unwrap();
    let trailers = body.trailers().cloned().unwrap_or(headers);
    let message = body.to_bytes();
    (trailers, message.get(FRAME_HEADER..).unwrap_or_default().to_vec())
}

async fn export(router: Router, request: ExportTraceServiceRequest) -> (HeaderMap, Vec<u8>) {
    let request = Request::post(PATH)
        .header("content-type", "application/grpc+proto")
        .body(Body::from(framed(0, &request.encode_to_vec())))
        .unwrap();
    outcome(router.oneshot(request).await.unwrap()).await
}

fn details(headers: &HeaderMap) -> Vec<u8> {
    STANDARD_NO_PAD.decode(headers[DETAILS].as_bytes()).unwrap()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut framed = vec![flag];
    framed.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    framed.extend_from_slice(message);
    framed
}

#[tokio::test]
async fn a_call_stores_and_says_what_was_left_out() {
    let sink = sink();
    let (status, message) = export(sink.router.clone(), spans(2, 0)).await;
    assert_eq!((status[STATUS].as_bytes(), message.as_slice()), (&b"0"[..], &b""[..]));
    let (status, message) = export(sink.router.clone(), spans(1, 3)).await;
    assert_eq!(status[STATUS], "0");
    let answer = ExportTraceServiceResponse::decode(message.as_slice()).unwrap();
    assert_eq!(answer.partial_success.unwrap().rejected_spans, 3);
    assert_eq!(sink.stored(), 3);
}

#[tokio::test]
async fn what_waiting_mends_comes_with_a_delay_and_nothing_else_does() {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(&directory.path().join("busy"), Arc::new(RealDisk));
    let receiver = Receiver::new(storage, 64 * 1024);
    receiver.budget.occupy();
    let (status, _) = export(receiver.router(), spans(1, 0)).await;
    assert_eq!(status[STATUS], "8");
    // A duration of one second in a RetryInfo in an Any.
    let info = b"type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";
    assert!(details(&status).windows(info.len()).any(|window| window == info), "{status:?}");

    let disk = crate::storage::disk::faulty::FaultyDisk::with_allowance(10);
    let storage = crate::tests::storage(&directory.path().join("full"), Arc::new(disk));
    let (status, _) = export(Receiver::new(storage, 8 << 20).router(), spans(1, 0)).await;
    assert_eq!(
        (&status[STATUS], &status[MESSAGE]),
        (&HeaderValue::from(14), &"the disk is full".parse().unwrap())
    );
    assert!(!details(&status).is_empty());

    let sink = sink();
    let malformed = sink.raw(&[], framed(0, &[0x0a, 0xff])).await;
    assert_eq!(malformed.headers()["grpc-status"], "3");
    assert!(!malformed.headers().contains_key(DETAILS));
}

#[tokio::test]
async fn packed_messages_are_unpacked_and_bounded() {
    let sink = sink();
    let gzip = |plain: &[u8]| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain).unwrap();
        encoder.finish().unwrap()
    };
    let plain = spans(1, 0).encode_to_vec();
    let bomb = vec![0u8; super::super::MAX_PLAIN + 1];
    for (name, message, status) in [
        ("gzip", gzip(&plain), None),
        ("zstd", zstd::bulk::compress(&plain, 1).unwrap(), None),
        ("gzip", gzip(&bomb), Some("8")),
        ("zstd", zstd::bulk::compress(&bomb, 1).unwrap(), Some("8")),
        ("gzip", b"no gzip".to_vec(), Some("3")),
        ("snappy", plain.clone(), Some("12")),
        ("identity", plain.clone(), Some("13")),
    ] {
        let answer = sink.raw(&[("grpc-encoding", name)], framed(1, &message)).await;
        let found = answer.headers().get(STATUS).map(|status| status.to_str().unwrap());
        assert_eq!(found, status, "{name}");
        assert!(!answer.headers().contains_key(DETAILS), "{name}");
    }
    assert_eq!(sink.stored(), 2);
}

#[tokio::test]
async fn calls_that_are_no_single_message_are_refused() {
    let sink = sink();
    let message = spans(1, 0).encode_to_vec();
    let two = [framed(0, &message), framed(0, &message)].concat();
    for body in [Vec::new(), vec![0, 0, 0], framed(0, &message)[..8].to_vec(), two] {
        assert_eq!(sink.raw(&[], body).await.headers()["grpc-status"], "13");
    }
    let large = sink.raw(&[], framed(0, &vec![0; MAX_BODY + 1])).await;
    assert_eq!(large.headers()["grpc-status"], "8");
    assert_eq!(sink.stored(), 0);
}

/// Serves on a port of its own and sends one call through an HTTP/2 connection with prior knowledge.
#[tokio::test]
async fn calls_come_through_the_listener_with_their_trailers() {
    let sink = sink();
    let listener = Address::Tcp(SocketAddr::from(([127, 0, 0, 1], 0))).bind().unwrap();
    let Address::Tcp(address) = listener.local_address().unwrap() else { panic!("not TCP") };
    let shutdown = CancellationToken::new();
    let limits = Limits { max_body: MAX_BODY, ..Limits::default() };
    let router = quintet_http::standard(sink.router.clone(), &limits);
    let client = async {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let io = hyper_util::rt::TokioIo::new(stream);
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) = hyper::client::conn::http2::handshake(executor, io).await.unwrap();
        let exchange = async {
            let mut found = Vec::new();
            for (path, message) in
                [(PATH, spans(1, 0).encode_to_vec()), ("/grpc.health.v1.Health/Check", Vec::new())]
            {
                let request = Request::post(format!("http://{address}{path}"))
                    .header("content-type", "application/grpc")
                    .header("te", "trailers")
                    .body(Full::new(Bytes::from(framed(0, &message))))
                    .unwrap();
                let response = sender.send_request(request).await.unwrap();
                assert_eq!(response.version(), http::Version::HTTP_2);
                let body = response.into_body().collect().await.unwrap();
                let status = body.trailers().unwrap()["grpc-status"].to_str().unwrap().to_owned();
                found.push((status, body.to_bytes().to_vec()));
            }
            found
        };
        let found = tokio::select! {
            found = exchange => found,
            _ = connection => panic!("the connection ended"),
        };
        shutdown.cancel();
        found
    };
    let ((), found) = tokio::join!(quintet_http::serve(listener, router, limits, shutdown.clone()), client);
    assert_eq!(found, [("0".to_owned(), framed(0, b"")), ("0".to_owned(), framed(0, &[8, 1]))]);
    assert_eq!(sink.stored(), 1);
}
