//! The storage as a whole: restarts, full disks, retention and limits.

use std::path::Path;
use std::sync::atomic::AtomicI64;

use quintet_types::{Clock, Timestamp, time::from_micros};

use super::disk::RealDisk;
use super::disk::faulty::FaultyDisk;
use super::*;
use crate::model::codec::Key;
use crate::model::{Labels, Resource, Sample};

pub(crate) struct StepClock(pub(crate) AtomicI64);

impl Clock for StepClock {
    fn now(&self) -> Timestamp {
        from_micros(self.0.load(Ordering::SeqCst))
    }
}

pub(crate) const START: i64 = 1_700_000_000_000_000;

pub(crate) fn limits(directory: &Path) -> StorageLimits {
    StorageLimits {
        directory: directory.to_owned(),
        retention: Duration::from_hours(1),
        max_bytes: 256 << 20,
        memory_budget_bytes: 32 << 20,
        free_bytes_floor: 0,
        sync: SyncMode::Interval,
        series: SeriesLimits { total: 1000, per_metric: 500, late_millis: 60_000 },
        hold: crate::storage::Hold::default(),
    }
}

pub(crate) fn open(limits: StorageLimits, disk: Arc<dyn Disk>) -> (Storage, Arc<StepClock>) {
    let clock = Arc::new(StepClock(AtomicI64::new(START)));
    let storage = Storage::open(limits, clock.clone(), disk).unwrap();
    storage.replay();
    (storage, clock)
}

fn samples(instance: &str, times: std::ops::Range<i64>) -> MetricBatch {
    let labels: Labels = [("__name__", "up"), ("instance", instance)].into_iter().collect();
    let sample = |step: i64| Sample { labels: labels.clone(), time: START / 1000 + step * 1000, value: 1.5 };
    MetricBatch { samples: times.map(sample).collect(), ..MetricBatch::default() }
}

fn span(trace: u8) -> Batch<Span> {
    let span = Span { trace_id: [trace; 16], name: "op".into(), start: START * 1000, ..Span::default() };
    Batch {
        groups: vec![(Arc::new(Resource { service: "core-api".into(), attributes: Vec::new() }), vec![span])],
    }
}

fn log(body: &str, time_micros: i64) -> Batch<LogRecord> {
    let record = LogRecord {
        time: time_micros * 1000,
        body: body.into(),
        trace_id: Some([1; 16]),
        ..LogRecord::default()
    };
    Batch { groups: vec![(Arc::new(Resource::default()), vec![record])] }
}

fn sample_count(storage: &Storage) -> usize {
    let found = storage.select_samples(&[], 0, i64::MAX, usize::MAX).unwrap();
    found.iter().map(|series| series.samples.len()).sum()
}

#[test]
fn everything_acknowledged_is_there_after_the_process_was_killed() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    for round in 0..20 {
        storage.append_metrics(&samples("a", round * 10..round * 10 + 10)).unwrap();
        storage.append_metrics(&samples("b", round * 10..round * 10 + 10)).unwrap();
        storage.append_spans(&span(u8::try_from(round).unwrap())).unwrap();
        storage.append_logs(&log(&format!("line {round}"), START)).unwrap();
    }
    // No drain and no sync: what a killed process leaves is what it wrote.
    std::mem::forget(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(sample_count(&storage), 400);
    assert_eq!(storage.spans().lookup::<Span>(Key::Trace([19; 16])).len(), 1);
    assert_eq!(storage.logs().lookup::<LogRecord>(Key::Trace([1; 16])).len(), 20);
    assert_eq!(storage.logs().lookup_up_to::<LogRecord>(Key::Trace([1; 16]), 5).len(), 5);
    let again = storage.append_metrics(&samples("a", 0..200)).unwrap();
    assert_eq!((again.kept, again.repeated), (0, 61), "what is within the window is known");
    assert_eq!(again.out_of_order, 139);
    assert_eq!(sample_count(&storage), 400, "a resent batch does not double what is there");
}

#[test]
fn writes_are_refused_until_the_logs_are_read() {
    let directory = tempfile::tempdir().unwrap();
    let clock = Arc::new(StepClock(AtomicI64::new(START)));
    let storage = Storage::open(limits(directory.path()), clock, Arc::new(RealDisk)).unwrap();
    assert!(matches!(storage.append_spans(&span(1)), Err(AppendError::Starting)));
}

#[test]
fn a_full_disk_refuses_writes_answers_queries_and_recovers_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::with_allowance(2000);
    let settings = StorageLimits { free_bytes_floor: 500, ..limits(directory.path()) };
    let (storage, _) = open(settings, Arc::new(disk.clone()));
    storage.append_logs(&log("before", START)).unwrap();
    disk.allow(30);
    assert!(matches!(storage.append_spans(&span(2)), Err(AppendError::Full)));
    assert!(matches!(storage.append_logs(&log("refused", START)), Err(AppendError::Full)));
    assert_eq!(storage.logs().lookup::<LogRecord>(Key::Trace([1; 16])).len(), 1);
    storage.check_space();
    assert!(storage.is_full(), "30 bytes are below the floor");
    disk.allow(10_000);
    storage.check_space();
    storage.append_spans(&span(3)).unwrap();
    drop(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(storage.spans().lookup::<Span>(Key::Trace([3; 16])).len(), 1);
    assert!(storage.spans().lookup::<Span>(Key::Trace([2; 16])).is_empty());
}

#[test]
fn the_floor_refuses_writes_before_the_disk_is_full() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::with_allowance(5000);
    let settings = StorageLimits { free_bytes_floor: 6000, ..limits(directory.path()) };
    let (storage, _) = open(settings, Arc::new(disk));
    storage.check_space();
    assert!(matches!(storage.append_spans(&span(1)), Err(AppendError::Full)));
}

#[test]
fn old_content_leaves_by_age() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, clock) = open(limits(directory.path()), Arc::new(RealDisk));
    storage.append_metrics(&samples("a", 0..10)).unwrap();
    storage.append_logs(&log("old", START)).unwrap();
    storage.flush_all().unwrap();
    let later = START + 2 * 3_600_000_000;
    clock.0.store(later, Ordering::SeqCst);
    storage.append_logs(&log("new", later)).unwrap();
    storage.flush_all().unwrap();
    storage.maintain();
    assert_eq!((storage.usage().parts, sample_count(&storage)), ([0, 1, 0], 0));
    assert_eq!(storage.logs().lookup::<LogRecord>(Key::Trace([1; 16])).len(), 1);
    let days = fs_names(&directory.path().join("parts/signal=metrics"));
    assert!(days.is_empty(), "an empty day is removed: {days:?}");
}

#[test]
fn the_oldest_parts_leave_when_all_together_outgrow_their_bytes() {
    let directory = tempfile::tempdir().unwrap();
    let settings = StorageLimits { max_bytes: 4 << 20, ..limits(directory.path()) };
    let (storage, clock) = open(settings, Arc::new(RealDisk));
    let mut noise = 1u64;
    for round in 0..400i64 {
        clock.0.store(START + round, Ordering::SeqCst);
        let text: String = (0..20_000)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1442);
                char::from(b'!' + u8::try_from((noise >> 33) % 90).unwrap())
            })
            .collect();
        storage.append_logs(&log(&text, START + round)).unwrap();
        if round % 40 == 39 {
            storage.flush_all().unwrap();
        }
    }
    storage.maintain();
    let usage = storage.usage();
    let total: u64 = usage.log_bytes.iter().chain(&usage.part_bytes).sum();
    assert!(total <= 4 << 20, "{total}");
    assert!(total > 1 << 20, "{total}");
}

#[test]
fn new_series_beyond_the_limit_are_refused_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let mut batch = MetricBatch::default();
    for series in 0..600 {
        batch.samples.extend(samples(&series.to_string(), 0..1).samples);
    }
    let stored = storage.append_metrics(&batch).unwrap();
    assert_eq!((stored.kept, stored.refused), (500, 100));
    let existing = storage.append_metrics(&samples("7", 1..2)).unwrap();
    assert_eq!(existing.kept, 1);
}

fn fs_names(directory: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}
