//! What is written is what the intake reads.

use super::*;
use crate::forward::settings::selectors;
use crate::ingest::known_labels::KnownLabels;
use crate::ingest::remote_write::{decode_v1, decode_v2};
use crate::model::stale;

fn series(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

fn sent() -> Vec<Sample> {
    let of = |name: &str, zone: &str| series(&[("__name__", name), ("zone", zone)]);
    let mut samples = Vec::new();
    for step in 0..50 {
        for (name, zone) in [("up", "a"), ("up", "b"), ("orders_total", "a"), ("took_bucket", "a")] {
            let value = if step == 49 { stale() } else { f64::from(step) };
            samples.push(Sample { labels: of(name, zone), time: i64::from(step) * 1000, value });
        }
    }
    // One that came late.
    samples.swap(0, 8);
    samples
}

fn bits(samples: &[Sample]) -> Vec<(Labels, i64, u64)> {
    let mut all: Vec<_> =
        samples.iter().map(|sample| (sample.labels.clone(), sample.time, sample.value.to_bits())).collect();
    all.sort();
    all
}

#[test]
fn both_versions_keep_every_bit_and_put_samples_in_order() {
    let sent = sent();
    let meta = MetricMeta {
        name: "took".into(),
        kind: MetricKind::Histogram,
        unit: "seconds".into(),
        help: "How long.".into(),
    };
    for limit in [64, 1 << 20] {
        let shape = Shape::default();
        let first: Vec<_> = v1(&sent, &shape, limit)
            .iter()
            .map(|one| decode_v1(&one.body, &mut KnownLabels::new().reading()).unwrap().batch)
            .collect();
        let second: Vec<_> = v2(&sent, std::slice::from_ref(&meta), &shape, limit)
            .iter()
            .map(|one| decode_v2(&one.body, &mut KnownLabels::new().reading()).unwrap().batch)
            .collect();
        assert!(limit > 64 || first.len() > 4 && second.len() > 4);
        let described = second.iter().flat_map(|batch| &batch.metadata).next().unwrap();
        assert_eq!((described.kind, described.help.as_str()), (MetricKind::Histogram, "How long."));
        for batches in [first, second] {
            let back: Vec<Sample> = batches.into_iter().flat_map(|batch| batch.samples).collect();
            assert_eq!(bits(&back), bits(&sent));
            let ordered = back.chunk_by(|left, right| left.labels == right.labels);
            assert!(ordered.into_iter().all(|run| run.is_sorted_by_key(|sample| sample.time)));
        }
    }
}

#[test]
fn series_are_kept_dropped_and_labelled_as_configured() {
    let parse = |text: &str| selectors(&[text.to_owned()], "k").unwrap();
    let shape = Shape {
        external: [("zone".to_owned(), "x".to_owned()), ("site".to_owned(), "y".to_owned())].into(),
        keep: parse("{__name__=~\"up|orders.*\"}"),
        drop: parse("up{zone=\"b\"}"),
    };
    let requests = v1(&sent(), &shape, 1 << 20);
    let mut found: Vec<Labels> = decode_v1(&requests[0].body, &mut KnownLabels::new().reading())
        .unwrap()
        .batch
        .samples
        .into_iter()
        .map(|sample| sample.labels)
        .collect();
    found.dedup();
    let labels = |name: &str| series(&[("__name__", name), ("site", "y"), ("zone", "a")]);
    assert_eq!(found, [labels("orders_total"), labels("up")]);
    assert_eq!(requests[0].items, 100);
    let nothing = Shape { drop: parse("{__name__=~\".+\"}"), ..Shape::default() };
    assert!(v1(&sent(), &nothing, 1 << 20).is_empty() && v2(&sent(), &[], &nothing, 1 << 20).is_empty());
}
