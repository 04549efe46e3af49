//! Exemplars over restarts, writing out and limits.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::model::Sample;
use crate::storage::disk::RealDisk;
use crate::storage::tests::{START, limits, open};

const NOW: i64 = START / 1000;

fn series(le: &str) -> Labels {
    [("__name__", "seconds_bucket"), ("le", le)].into_iter().collect()
}

fn exemplar(le: &str, trace: &str, time: i64) -> Exemplar {
    let labels = [("trace_id", trace)].into_iter().collect();
    Exemplar { series: series(le), labels, value: 0.5, time, timed: true }
}

/// A sample of each series at a time, with exemplars.
fn batch(time: i64, exemplars: Vec<Exemplar>) -> MetricBatch {
    let samples = ["1", "2"].map(|le| Sample { labels: series(le), time, value: 1.0 }).to_vec();
    MetricBatch { samples, exemplars, ..MetricBatch::default() }
}

fn found(storage: &Storage) -> Vec<String> {
    select(storage, vec![Vec::new()], usize::MAX).series.into_values().flatten().map(traced).collect()
}

fn traced(exemplar: Exemplar) -> String {
    format!("{} {}", exemplar.labels.get("trace_id").unwrap(), exemplar.time - NOW)
}

fn select(storage: &Storage, selectors: Vec<Vec<Matcher>>, most: usize) -> FoundExemplars {
    let deadline = Instant::now() + Duration::from_mins(1);
    let wanted = Wanted { selectors, from: i64::MIN, to: i64::MAX, most, deadline };
    storage.select_exemplars(&wanted).unwrap()
}

fn reopen(directory: &Path, storage: Storage) -> Storage {
    // What a killed process leaves is what it wrote.
    std::mem::forget(storage);
    open(limits(directory), Arc::new(RealDisk)).0
}

#[test]
fn exemplars_survive_a_kill_and_being_written_out_and_are_there_once() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let first = vec![exemplar("1", "b", NOW + 2), exemplar("1", "a", NOW + 1), exemplar("2", "c", NOW + 1)];
    let stored = storage.append_metrics(&batch(NOW, first.clone())).unwrap();
    assert_eq!((stored.kept, stored.exemplars), (2, 3));
    let all = ["a 1", "b 2", "c 1"];
    let storage = reopen(directory.path(), storage);
    assert_eq!(found(&storage), all);
    let again = storage.append_metrics(&batch(NOW, first)).unwrap();
    assert_eq!((again.repeated, again.exemplars), (2, 2), "the newest of each series are known");
    storage.flush_all().unwrap();
    let storage = reopen(directory.path(), storage);
    assert_eq!(found(&storage), all, "their segment is gone");
    storage.append_metrics(&batch(NOW + 1000, vec![exemplar("2", "d", NOW + 1000)])).unwrap();
    storage.flush_all().unwrap();
    storage.flush_all().unwrap();
    let storage = reopen(directory.path(), storage);
    assert_eq!(found(&storage), ["a 1", "b 2", "c 1", "d 1000"]);
}

#[test]
fn what_cannot_be_kept_is_refused_and_the_samples_are_stored() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let long = "x".repeat(121);
    let sent = vec![
        exemplar("1", "a", NOW),
        exemplar("1", "a", NOW),
        exemplar("9", "b", NOW),
        exemplar("2", &long, NOW),
        exemplar("2", "c", NOW + 11 * 60 * 1000),
    ];
    assert_eq!(storage.append_metrics(&batch(NOW, sent)).unwrap().kept, 2);
    assert_eq!(found(&storage), ["a 0"], "no series 9, too long, too far ahead");
    let old = storage.append_metrics(&batch(NOW + 1, vec![exemplar("1", "z", NOW - 1)])).unwrap();
    assert_eq!((old.kept, old.exemplars), (2, 0));
}

#[test]
fn the_newest_are_given_where_there_are_too_many_and_old_ones_go_with_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, clock) = open(limits(directory.path()), Arc::new(RealDisk));
    let sent = (0..10).map(|time| exemplar("1", "a", NOW + time)).collect();
    storage.append_metrics(&batch(NOW, sent)).unwrap();
    let some = select(&storage, vec![vec![Matcher::equal("le", "1")]], 3);
    assert!(some.cut);
    assert_eq!(some.series.into_values().flatten().map(traced).collect::<Vec<_>>(), ["a 7", "a 8", "a 9"]);
    assert!(select(&storage, vec![vec![Matcher::equal("le", "2")]], 3).series.is_empty());
    let late = Wanted { selectors: vec![Vec::new()], from: 0, to: 1, most: 1, deadline: Instant::now() };
    std::thread::yield_now();
    assert_eq!(storage.select_exemplars(&late).err(), Some(TookTooLong));
    clock.0.store(START + 2 * 3_600_000_000, std::sync::atomic::Ordering::SeqCst);
    storage.maintain();
    assert_eq!(found(&storage), Vec::<String>::new());
}
