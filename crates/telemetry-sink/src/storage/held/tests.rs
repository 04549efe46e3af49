//! What stays of the log for readers.

use std::sync::Arc;

use crate::model::{Batch, LogRecord, Resource};
use crate::storage::disk::RealDisk;
use crate::storage::tests::{START, limits, open};
use crate::storage::{Hold, Signal, Storage, StorageLimits};

fn line(storage: &Storage, body: &str) {
    let record = LogRecord { time: START * 1000, body: body.into(), ..LogRecord::default() };
    storage.append_logs(&Batch { groups: vec![(Arc::new(Resource::default()), vec![record])] }).unwrap();
}

fn numbers(storage: &Storage, from: u64) -> Vec<u64> {
    let view = storage.log_from(Signal::Logs, from);
    for info in &view.segments {
        assert_eq!(std::fs::metadata(&info.path).unwrap().len(), info.bytes, "{info:?}");
        assert!(info.number < view.next);
    }
    view.segments.iter().map(|info| info.number).collect()
}

#[test]
fn what_was_written_out_stays_until_it_is_released() {
    let directory = tempfile::tempdir().unwrap();
    let hold = Hold { logs: 1 << 20, ..Hold::default() };
    let settings = StorageLimits { hold, ..limits(directory.path()) };
    let (storage, _) = open(settings.clone(), Arc::new(RealDisk));
    for body in ["a", "b"] {
        line(&storage, body);
        storage.flush_all().unwrap();
    }
    line(&storage, "c");
    assert_eq!(numbers(&storage, 0), [1, 2, 3]);
    assert_eq!(numbers(&storage, 2), [2, 3]);
    // A killed process finds them again, and its memory holds only what no part holds.
    std::mem::forget(storage);
    let (storage, _) = open(settings, Arc::new(RealDisk));
    assert_eq!(numbers(&storage, 0), [1, 2, 3]);
    assert_eq!(storage.usage().log_records, 1);
    storage.release_log_before(Signal::Logs, 2);
    assert_eq!(numbers(&storage, 0), [2, 3]);
    drop(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(numbers(&storage, 0), [3], "without a target nothing is held");
}

#[test]
fn beyond_its_bound_the_oldest_is_given_up() {
    let directory = tempfile::tempdir().unwrap();
    let hold = Hold { logs: 200, ..Hold::default() };
    let (storage, _) = open(StorageLimits { hold, ..limits(directory.path()) }, Arc::new(RealDisk));
    for number in 0..9 {
        line(&storage, &format!("{number:040}"));
        storage.flush_all().unwrap();
    }
    let left = numbers(&storage, 0);
    assert!(!left.is_empty() && left.len() < 5, "{left:?}");
    assert_eq!(left.last(), Some(&9));
    storage.give_up_held();
    assert_eq!(numbers(&storage, 0), left[1..], "a full disk costs the oldest of what is held");
}
