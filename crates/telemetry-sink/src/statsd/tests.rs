//! What datagrams become.

use std::sync::Arc;

use jiff::Timestamp;

use super::*;
use crate::model::{Matcher, is_stale};
use crate::storage::disk::RealDisk;

fn section() -> StatsdSection {
    StatsdSection { buckets: vec![1.0, 0.1], max_keys: 4, ..StatsdSection::default() }
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn flushed(aggregate: &mut Aggregate, second: i64) -> Vec<String> {
    let batch = aggregate.flush(at(second));
    let show = |sample: &crate::model::Sample| {
        let value = if is_stale(sample.value) { "stale".to_owned() } else { sample.value.to_string() };
        format!("{:?} {value}", sample.labels)
    };
    let mut shown: Vec<_> = batch.samples.iter().map(show).collect();
    shown.sort();
    shown
}

#[test]
fn counters_go_on_gauges_stay_and_sets_start_again() {
    let mut aggregate = Aggregate::new(&section());
    aggregate
        .take(b"hits:1|c|#path:/a\nhits:2:1|c|@0.5|#path:/a\ntemp:20|g\ntemp:-3|g\nusers:a|s\nusers:b:a|s\n");
    let first = flushed(&mut aggregate, 10);
    assert_eq!(
        first,
        [
            r#"{__name__="hits_total", job="statsd", path="/a"} 7"#,
            r#"{__name__="temp", job="statsd"} 17"#,
            r#"{__name__="users", job="statsd"} 2"#,
        ]
    );
    aggregate.take(b"hits:1|c|#path:/a");
    let second = flushed(&mut aggregate, 20);
    assert!(
        second[0].ends_with(" 8") && second[1].ends_with(" 17") && second[2].ends_with(" 0"),
        "{second:?}"
    );
}

#[test]
fn timers_are_histograms_in_seconds() {
    let mut aggregate = Aggregate::new(&section());
    aggregate.take(b"db.query:50|ms\ndb.query:500|ms|@0.5\ndb.query:5000|ms");
    assert_eq!(
        flushed(&mut aggregate, 10),
        [
            r#"{__name__="db_query_seconds_bucket", job="statsd", le="+Inf"} 4"#,
            r#"{__name__="db_query_seconds_bucket", job="statsd", le="0.1"} 1"#,
            r#"{__name__="db_query_seconds_bucket", job="statsd", le="1"} 3"#,
            r#"{__name__="db_query_seconds_count", job="statsd"} 4"#,
            r#"{__name__="db_query_seconds_sum", job="statsd"} 6.05"#,
        ]
    );
}

#[test]
fn keys_are_bounded_and_silent_ones_end() {
    let mut aggregate = Aggregate::new(&section());
    for number in 0..10 {
        aggregate.take(format!("key{number}:1|g").as_bytes());
    }
    assert_eq!(flushed(&mut aggregate, 10).len(), 4);
    let mut last = Vec::new();
    for second in 0..400 {
        let shown = flushed(&mut aggregate, 20 + second);
        if !shown.is_empty() {
            last = shown;
        }
    }
    assert!(last.iter().all(|line| line.ends_with("stale")), "{last:?}");
    aggregate.take(b"another:1|g");
    assert_eq!(flushed(&mut aggregate, 1000).len(), 1);
}

#[test]
fn one_name_has_one_kind() {
    let mut aggregate = Aggregate::new(&section());
    aggregate.take(b"x:1|g\nx:5|h\nx:a|s\nx:nan|g\n");
    assert_eq!(flushed(&mut aggregate, 10), [r#"{__name__="x", job="statsd"} 1"#]);
}

#[tokio::test]
async fn datagrams_become_series() {
    let directory = tempfile::tempdir().unwrap();
    let storage = crate::tests::storage(directory.path(), Arc::new(RealDisk));
    let socket = open(None, ([127, 0, 0, 1], 0).into()).unwrap();
    let target = socket.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let running = run(
        socket,
        Aggregate::new(&StatsdSection::default()),
        Duration::from_millis(10),
        Arc::clone(&storage),
        shutdown.clone(),
    );
    let sender = async {
        let sender = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
        sender.send_to(b"orders:3|c|#region:eu", target).await.unwrap();
        let find = || {
            let matcher = [Matcher::equal("__name__", "orders_total")];
            storage.select_samples(&matcher, 0, i64::MAX, 1000).unwrap()
        };
        let wait = async {
            while find().is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), wait).await.unwrap();
        shutdown.cancel();
        assert_eq!(find()[0].labels.get("region"), Some("eu"));
    };
    tokio::join!(running, sender);
}
