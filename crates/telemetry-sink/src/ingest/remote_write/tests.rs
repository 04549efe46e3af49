//! Remote write as Prometheus sends it, encoded by prost from hand-written messages.

use http::Request;
use prost::Message;
use tower::ServiceExt as _;

use super::super::known_labels::KnownLabels;
use super::*;
use crate::model::{Matcher, is_stale, stale};
use crate::storage::Storage;
use crate::storage::disk::RealDisk;

#[derive(Clone, PartialEq, Message)]
struct Label {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Point {
    #[prost(double, tag = "1")]
    value: f64,
    #[prost(int64, tag = "2")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Other {
    #[prost(uint64, tag = "1")]
    count: u64,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarOne {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExemplarTwo {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(double, tag = "2")]
    value: f64,
    #[prost(int64, tag = "3")]
    timestamp: i64,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesOne {
    #[prost(message, repeated, tag = "1")]
    labels: Vec<Label>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
    #[prost(message, repeated, tag = "3")]
    exemplars: Vec<ExemplarOne>,
    #[prost(message, repeated, tag = "4")]
    histograms: Vec<Other>,
}

#[derive(Clone, PartialEq, Message)]
struct MetadataOne {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(string, tag = "2")]
    name: String,
    #[prost(string, tag = "4")]
    help: String,
}

#[derive(Clone, PartialEq, Message)]
struct RequestOne {
    #[prost(message, repeated, tag = "1")]
    series: Vec<SeriesOne>,
    #[prost(message, repeated, tag = "3")]
    metadata: Vec<MetadataOne>,
}

#[derive(Clone, PartialEq, Message)]
struct MetadataTwo {
    #[prost(uint32, tag = "1")]
    kind: u32,
    #[prost(uint32, tag = "3")]
    help: u32,
}

#[derive(Clone, PartialEq, Message)]
struct SeriesTwo {
    #[prost(uint32, repeated, tag = "1")]
    labels: Vec<u32>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Point>,
    #[prost(message, repeated, tag = "3")]
    histograms: Vec<Other>,
    #[prost(message, repeated, tag = "4")]
    exemplars: Vec<ExemplarTwo>,
    #[prost(message, optional, tag = "5")]
    metadata: Option<MetadataTwo>,
}

#[derive(Clone, PartialEq, Message)]
struct RequestTwo {
    #[prost(string, repeated, tag = "4")]
    symbols: Vec<String>,
    #[prost(message, repeated, tag = "5")]
    series: Vec<SeriesTwo>,
}

const ONE: &str = "application/x-protobuf";
const TWO: &str = "application/x-protobuf;proto=io.prometheus.write.v2.Request";

fn series(labels: &[(&str, &str)], samples: &[(i64, f64)]) -> SeriesOne {
    SeriesOne {
        labels: labels
            .iter()
            .map(|(name, value)| Label { name: (*name).into(), value: (*value).into() })
            .collect(),
        samples: samples
            .iter()
            .map(|(timestamp, value)| Point { value: *value, timestamp: *timestamp })
            .collect(),
        ..Default::default()
    }
}

fn exemplar(trace: &str, timestamp: i64) -> ExemplarOne {
    let labels = vec![Label { name: "trace_id".into(), value: trace.into() }];
    ExemplarOne { labels, value: 0.5, timestamp }
}

struct Sink {
    storage: Arc<Storage>,
    router: axum::Router,
    _directory: tempfile::TempDir,
}

fn sink() -> Sink {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let router = Receiver::new(Arc::clone(&storage), 8 << 20).router();
    Sink { storage, router, _directory: directory }
}

impl Sink {
    /// The status, the samples written, and the message.
    async fn write(&self, content_type: &str, plain: Vec<u8>) -> (u16, String, String) {
        let packed = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        self.write_packed(content_type, packed).await
    }

    async fn write_packed(&self, content_type: &str, body: Vec<u8>) -> (u16, String, String) {
        let request = Request::post("/api/v1/write")
            .header("content-type", content_type)
            .header("content-encoding", "snappy")
            .header("x-prometheus-remote-write-version", "2.0.0")
            .body(Body::from(body))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        let written = response.headers()[SAMPLES].to_str().unwrap().to_owned();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, written, String::from_utf8(body.to_vec()).unwrap())
    }

    fn samples(&self, name: &str) -> Vec<(i64, f64)> {
        let matcher = [Matcher::equal(METRIC_NAME, name)];
        let found = self.storage.select_samples(&matcher, 0, i64::MAX, 100).unwrap();
        found.into_iter().flat_map(|series| series.samples).collect()
    }
}

#[tokio::test]
async fn version_one_is_stored_with_staleness_markers() {
    let sink = sink();
    let request = RequestOne {
        series: vec![series(&[("__name__", "up"), ("job", "a")], &[(1000, 1.0), (2000, stale())])],
        metadata: vec![MetadataOne { kind: 2, name: "up".into(), help: "Whether it is.".into() }],
    };
    let (status, written, _) = sink.write(ONE, request.encode_to_vec()).await;
    assert_eq!((status, written.as_str()), (204, "2"));
    let found = sink.samples("up");
    assert_eq!(found[0], (1000, 1.0));
    assert!(is_stale(found[1].1));
    // What is there already is not an error: the sender did not hear the first answer.
    let again = RequestOne {
        series: vec![series(&[("__name__", "up"), ("job", "a")], &[(2000, stale())])],
        ..Default::default()
    };
    let (status, written, _) = sink.write(ONE, again.encode_to_vec()).await;
    assert_eq!((status, written.as_str()), (204, "1"));
}

#[tokio::test]
async fn version_two_refers_to_its_symbols() {
    let sink = sink();
    let request = RequestTwo {
        symbols: ["", "__name__", "requests_total", "job", "a", "All of them."].map(String::from).to_vec(),
        series: vec![SeriesTwo {
            labels: vec![1, 2, 3, 4],
            samples: vec![Point { value: 5.0, timestamp: 1000 }],
            metadata: Some(MetadataTwo { kind: 1, help: 5 }),
            ..Default::default()
        }],
    };
    let decoded = decode_v2(&request.encode_to_vec(), &mut KnownLabels::new().reading()).unwrap();
    assert_eq!(decoded.batch.metadata[0].kind, MetricKind::Counter);
    assert_eq!(decoded.batch.metadata[0].help, "All of them.");
    let (status, written, _) = sink.write(TWO, request.encode_to_vec()).await;
    assert_eq!((status, written.as_str()), (204, "1"));
    assert_eq!(sink.samples("requests_total"), [(1000, 5.0)]);
    for labels in [vec![1, 2, 3], vec![1, 99]] {
        let mut wrong = request.clone();
        wrong.series[0].labels = labels;
        assert_eq!(sink.write(TWO, wrong.encode_to_vec()).await.0, 400);
    }
}

#[tokio::test]
async fn exemplars_of_both_versions_are_kept_and_counted() {
    let sink = sink();
    let mut one = series(&[("__name__", "a"), ("le", "1")], &[(1000, 1.0)]);
    one.exemplars = vec![exemplar("ab", 900), ExemplarOne { value: 1.0, timestamp: 950, labels: Vec::new() }];
    let one = RequestOne { series: vec![one], ..Default::default() };
    let two = RequestTwo {
        symbols: ["", "__name__", "a", "le", "1", "trace_id", "cd", &"x".repeat(121)]
            .map(String::from)
            .to_vec(),
        series: vec![SeriesTwo {
            labels: vec![1, 2, 3, 4],
            exemplars: vec![
                ExemplarTwo { labels: vec![5, 6], value: 0.25, timestamp: 1900 },
                ExemplarTwo { labels: vec![5, 7], value: 0.25, timestamp: 1901 },
            ],
            ..Default::default()
        }],
    };
    for (content_type, body, samples) in [(ONE, one.encode_to_vec(), 1), (TWO, two.encode_to_vec(), 0)] {
        let packed = snap::raw::Encoder::new().compress_vec(&body).unwrap();
        let request = Request::post("/api/v1/write").header("content-type", content_type);
        let request = request.header("content-encoding", "snappy").body(Body::from(packed)).unwrap();
        let response = sink.router.clone().oneshot(request).await.unwrap();
        let written = |name: HeaderName| response.headers()[name].to_str().unwrap().to_owned();
        assert_eq!((written(SAMPLES), written(EXEMPLARS)), (samples.to_string(), "1".to_owned()));
    }
    let wanted = crate::storage::Wanted {
        selectors: vec![vec![Matcher::equal(METRIC_NAME, "a")]],
        from: 0,
        to: i64::MAX,
        most: 10,
        deadline: std::time::Instant::now() + std::time::Duration::from_mins(1),
    };
    let found = sink.storage.select_exemplars(&wanted).unwrap();
    let found: Vec<_> = found
        .series
        .values()
        .flatten()
        .map(|seen| format!("{:?} {:?} {} {}", seen.series, seen.labels, seen.value, seen.time))
        .collect();
    assert_eq!(
        found,
        [
            r#"{__name__="a", le="1"} {trace_id="ab"} 0.5 900"#,
            r#"{__name__="a", le="1"} {trace_id="cd"} 0.25 1900"#,
        ]
    );
    for labels in [vec![5], vec![5, 99]] {
        let mut wrong = two.clone();
        wrong.series[0].exemplars[0].labels = labels;
        assert_eq!(sink.write(TWO, wrong.encode_to_vec()).await.0, 400);
    }
}

#[tokio::test]
async fn what_can_never_be_stored_is_400_and_the_rest_is_stored() {
    let sink = sink();
    let mut with_histogram = series(&[("__name__", "h")], &[]);
    with_histogram.histograms = vec![Other { count: 1 }, Other { count: 2 }];
    let mut with_exemplar = series(&[("__name__", "good")], &[(1000, 1.0)]);
    with_exemplar.exemplars = vec![exemplar(&"x".repeat(121), 1000)];
    let request = RequestOne {
        series: vec![
            with_exemplar,
            with_histogram,
            series(&[("job", "nameless")], &[(1000, 1.0)]),
            series(&[("__name__", "twice"), ("a", "1"), ("a", "2")], &[(1000, 1.0)]),
        ],
        ..Default::default()
    };
    let (status, written, message) = sink.write(ONE, request.encode_to_vec()).await;
    assert_eq!((status, written.as_str()), (400, "1"), "{message}");
    assert!(message.starts_with("4 items were not stored"), "{message}");
    assert_eq!(sink.samples("good").len(), 1);
    assert!(sink.samples("twice").is_empty());
}

#[tokio::test]
async fn other_forms_are_refused_and_overload_is_not() {
    let sink = sink();
    assert_eq!(sink.write("application/json", Vec::new()).await.0, 415);
    assert_eq!(sink.write("application/x-protobuf;proto=other.Message", Vec::new()).await.0, 415);
    assert_eq!(sink.write_packed(ONE, b"no snappy".to_vec()).await.0, 400);
    assert_eq!(sink.write(ONE, vec![0x0a, 0xff]).await.0, 400);
    let bomb = vec![0u8; MAX_PLAIN + 1];
    assert_eq!(sink.write(ONE, bomb).await.0, 413);

    let receiver = Receiver::new(Arc::clone(&sink.storage), 64 * 1024);
    receiver.budget.occupy();
    let busy = Sink { router: receiver.router(), ..sink };
    let request =
        RequestOne { series: vec![series(&[("__name__", "up")], &[(1, 1.0)])], metadata: Vec::new() };
    assert_eq!(busy.write(ONE, request.encode_to_vec()).await.0, 429);
}
