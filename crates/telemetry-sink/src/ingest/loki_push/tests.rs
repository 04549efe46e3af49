//! Pushes as Loki's clients send them.

use http::Request;
use prost::Message;
use tower::ServiceExt as _;

use super::*;
use crate::model::attribute;
use crate::storage::disk::RealDisk;

#[derive(Clone, PartialEq, Message)]
struct Timestamp {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    time: Option<Timestamp>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<Label>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
    #[prost(uint64, tag = "3")]
    hash: u64,
}

#[derive(Clone, PartialEq, Message)]
struct Push {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

const TRACE: &str = "0123456789abcdef0123456789abcdef";

fn push(labels: &str) -> Push {
    let metadata = vec![
        Label { name: "trace_id".into(), value: TRACE.into() },
        Label { name: "user".into(), value: "ada".into() },
    ];
    let time = Some(Timestamp { seconds: 3, nanos: 7 });
    let entries = vec![Entry { time, line: "hello".into(), metadata }];
    Push { streams: vec![Stream { labels: labels.into(), entries, hash: 1 }] }
}

fn json() -> String {
    format!(
        r#"{{"streams":[{{"stream":{{"job":"web","level":"warn"}},
            "values":[["3000000007","hello",{{"trace_id":"{TRACE}","user":"ada"}}]]}}]}}"#
    )
}

#[test]
fn both_encodings_mean_the_same() {
    let protobuf = from_protobuf(&push(r#"{job="web", level="warn"}"#).encode_to_vec()).unwrap();
    assert_eq!(protobuf, from_json(json().as_bytes()).unwrap());
    let (resource, records) = &protobuf.batch.groups[0];
    assert_eq!(resource.service, "web");
    assert_eq!(attribute(&resource.attributes, "job"), Some(&Value::Text("web".into())));
    let record = &records[0];
    assert_eq!((record.time, record.severity, record.body.as_str()), (3_000_000_007, 13, "hello"));
    assert_eq!(record.trace_id, parse_hex(TRACE));
    assert_eq!(record.attributes, [("user".to_owned(), Value::Text("ada".into()))]);
}

#[test]
fn the_service_is_found_in_lokis_order() {
    let service = |labels: &[(&str, &str)]| {
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        stream(labels.collect()).0.service.clone()
    };
    assert_eq!(service(&[("job", "j"), ("container", "c"), ("app", "a")]), "a");
    assert_eq!(service(&[("app", "a"), ("service_name", "s")]), "s");
    assert_eq!(service(&[("app", ""), ("job", "j")]), "j");
    assert_eq!(service(&[("filename", "/var/log/x")]), "unknown_service");
}

#[tokio::test]
async fn pushes_are_stored_and_bad_entries_told() {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let router = Receiver::new(Arc::clone(&storage), 8 << 20).router();
    let snappy = |push: &Push| snap::raw::Encoder::new().compress_vec(&push.encode_to_vec()).unwrap();
    let gzip = |plain: &str| {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, plain.as_bytes()).unwrap();
        encoder.finish().unwrap()
    };
    let half = r#"{"streams":[{"stream":{"job":"web"},"values":[["1","kept"],["soon","lost"],[1]]}]}"#;
    for (content_type, encoding, body, status) in [
        ("application/x-protobuf", "", snappy(&push(r#"{job="web"}"#)), 204),
        ("application/json; charset=utf-8", "", json().into_bytes(), 204),
        ("application/json", "gzip", gzip(&json()), 204),
        ("application/json", "", half.as_bytes().to_vec(), 400),
        ("application/x-protobuf", "", snappy(&push("no labels")), 400),
        ("application/x-protobuf", "", b"no snappy".to_vec(), 400),
        ("application/x-protobuf", "gzip", Vec::new(), 415),
        ("text/plain", "", Vec::new(), 415),
    ] {
        let request = Request::post("/loki/api/v1/push")
            .header("content-type", content_type)
            .header("content-encoding", encoding)
            .body(Body::from(body))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status().as_u16(), status, "{content_type} {encoding}");
    }
    assert_eq!(storage.usage().log_records, 4);
}
