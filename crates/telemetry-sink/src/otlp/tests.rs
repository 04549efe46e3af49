//! What is written is what the intake reads.

use std::sync::Arc;

use super::*;
use crate::ingest::otlp_proto;
use crate::model::{Labels, SpanEvent, SpanKind, SpanLink, SpanStatus, stale};

fn resource_named(service: &str) -> Arc<Resource> {
    let attributes = vec![
        ("host.name".to_owned(), Value::Text("box".into())),
        ("process.pid".to_owned(), Value::Int(-7)),
        ("ready".to_owned(), Value::Bool(false)),
        ("share".to_owned(), Value::Double(0.25)),
    ];
    Arc::new(Resource { service: service.into(), attributes })
}

fn line(number: i64, scope: &str) -> LogRecord {
    LogRecord {
        time: 1_700_000_000_000_000_000 + number,
        severity: 17,
        body: format!("line {number} é"),
        scope: scope.into(),
        trace_id: (number % 2 == 0).then_some([7; 16]),
        span_id: (number % 2 == 0).then_some([8; 8]),
        attributes: vec![("request.id".into(), Value::Text("r".into()))],
    }
}

#[test]
fn log_records_survive_whatever_the_size_of_requests() {
    let records: Vec<_> = (0..100).map(|n| line(n, if n % 3 == 0 { "a" } else { "b" })).collect();
    let batch = Batch {
        groups: vec![(resource_named("one"), records.clone()), (resource_named("two"), records.clone())],
    };
    for limit in [1, 500, 1 << 20] {
        let requests = logs(&batch, limit);
        assert_eq!(requests.iter().map(|request| request.items).sum::<usize>(), 200);
        assert!(limit > 1000 || requests.len() > 10, "{} requests for {limit}", requests.len());
        let mut back: Vec<(String, LogRecord)> = Vec::new();
        for request in requests {
            let decoded = otlp_proto::logs(&request.body, 0).unwrap();
            assert_eq!(decoded.batch.len(), request.items);
            for (of, records) in decoded.batch.groups {
                assert_eq!(of.attributes, resource_named("").attributes);
                back.extend(records.into_iter().map(|record| (of.service.clone(), record)));
            }
        }
        let sent = |service: &str| {
            records.clone().into_iter().map(move |record| (service.to_owned(), record)).collect::<Vec<_>>()
        };
        assert_eq!(back, [sent("one"), sent("two")].concat());
    }
}

#[test]
fn spans_survive() {
    let span = Span {
        trace_id: [1; 16],
        span_id: [2; 8],
        parent: Some([3; 8]),
        name: "GET /".into(),
        kind: SpanKind::Consumer,
        start: 5,
        end: 9,
        status: SpanStatus::Error,
        status_message: "no".into(),
        scope: "s".into(),
        attributes: vec![("n".into(), Value::Int(0))],
        events: vec![SpanEvent {
            time: 6,
            name: "e".into(),
            attributes: vec![("k".into(), Value::Bool(true))],
        }],
        links: vec![SpanLink { trace_id: [4; 16], span_id: [5; 8] }],
    };
    let batch = Batch { groups: vec![(resource_named("one"), vec![span])] };
    let requests = spans(&batch, 1 << 20);
    assert_eq!(otlp_proto::traces(&requests[0].body).unwrap().batch, batch);
}

#[test]
fn samples_keep_their_labels_values_and_ends() {
    let series = |pairs: &[(&str, &str)]| pairs.iter().copied().collect::<Labels>();
    let sample = |labels: &Labels, time, value| Sample { labels: labels.clone(), time, value };
    let counter =
        series(&[("__name__", "orders_total"), ("job", "shop/api"), ("instance", "a:1"), ("zone", "x")]);
    let bucket = series(&[("__name__", "took_seconds_bucket"), ("job", "api"), ("le", "0.5")]);
    let sent = vec![
        sample(&bucket, 1000, 4.0),
        sample(&counter, 1000, 1.0),
        sample(&counter, 2000, 2.5),
        sample(&counter, 3000, stale()),
        sample(&bucket, 2000, -0.0),
    ];
    for limit in [1, 1 << 20] {
        let mut back = Vec::new();
        for request in metrics(&sent, limit) {
            let decoded = otlp_proto::metrics(&request.body).unwrap();
            assert_eq!((decoded.rejected, decoded.batch.samples.len()), (0, request.items));
            back.extend(decoded.batch.samples);
        }
        let of = |samples: &[Sample], labels: &Labels| -> Vec<(i64, u64)> {
            let of_series = samples.iter().filter(|sample| sample.labels == *labels);
            of_series.map(|sample| (sample.time, sample.value.to_bits())).collect()
        };
        assert_eq!(back.len(), sent.len());
        assert_eq!(of(&back, &counter), of(&sent, &counter));
        assert_eq!(of(&back, &bucket), of(&sent, &bucket));
    }
}
