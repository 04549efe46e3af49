//! Parts through the storage: what was written out is answered as before, whatever happens on the way.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::model::codec::Key;
use crate::model::{
    Batch, Labels, LogRecord, Matcher, MetricBatch, Resource, Sample, Span, SpanEvent, SpanKind, SpanLink,
    SpanStatus, Value, stale,
};
use crate::promql;
use crate::storage::disk::RealDisk;
use crate::storage::disk::faulty::FaultyDisk;
use crate::storage::tests::{START, StepClock, limits, open};
use crate::storage::{AppendError, Storage, StorageLimits};

const HOUR: i64 = 3_600_000_000;

fn resource(service: &str) -> Arc<Resource> {
    let attributes =
        vec![("host.name".into(), Value::Text("a".into())), ("process.pid".into(), Value::Int(7))];
    Arc::new(Resource { service: service.into(), attributes })
}

fn line(number: i64, at_micros: i64) -> LogRecord {
    let mut trace_id = [0; 16];
    trace_id[8..].copy_from_slice(&(number / 3).to_be_bytes());
    LogRecord {
        time: at_micros * 1000 + number,
        severity: u8::try_from(number % 24).unwrap(),
        body: format!("order {number} accepted: \"zwölf\" items"),
        scope: "core_api::orders".into(),
        trace_id: (number % 5 > 0).then_some(trace_id),
        span_id: (number % 5 > 1).then_some([3; 8]),
        attributes: vec![
            ("request.id".into(), Value::Text(format!("req-{number}"))),
            ("ratio".into(), Value::Double(0.5)),
        ],
    }
}

fn span(number: i64, at_micros: i64) -> Span {
    let mut trace_id = [0; 16];
    trace_id[8..].copy_from_slice(&(number / 4).to_be_bytes());
    let start = at_micros * 1000 + number * 1000;
    Span {
        trace_id,
        span_id: number.to_be_bytes(),
        parent: (number % 4 > 0).then(|| (number - 1).to_be_bytes()),
        name: format!("GET /orders/{}", number % 7),
        kind: SpanKind::Server,
        start,
        end: start + 250_000,
        status: SpanStatus::Error,
        status_message: "timeout".into(),
        scope: "http".into(),
        attributes: vec![("http.status".into(), Value::Int(500))],
        events: vec![SpanEvent { time: start + 5, name: "retry".into(), attributes: Vec::new() }],
        links: vec![SpanLink { trace_id: [1; 16], span_id: [2; 8] }],
    }
}

fn series(number: i64) -> Labels {
    let instance = number.to_string();
    [("__name__", if number % 2 == 0 { "a_total" } else { "b_ratio" }), ("instance", instance.as_str())]
        .into_iter()
        .collect()
}

/// Thirty steps of a second for six series: counters, gauges with and without an end to their decimals and one that ends.
fn metrics(at_micros: i64) -> MetricBatch {
    let mut batch = MetricBatch::default();
    for step in 0..30i64 {
        for number in 0..6i64 {
            let value = match number % 2 {
                _ if number == 4 && step == 29 => stale(),
                0 => f64::from(i32::try_from(step * number).unwrap()),
                _ if number == 5 => f64::from(i32::try_from(step).unwrap()) / 100.0,
                _ => f64::from(i32::try_from(step).unwrap()) / 7.0,
            };
            let time = at_micros / 1000 + step * 1000;
            batch.samples.push(Sample { labels: series(number), time, value });
        }
    }
    batch
}

pub(crate) fn fill(storage: &Storage, at_micros: i64) {
    storage.append_metrics(&metrics(at_micros)).unwrap();
    let records = (0..200).map(|number| line(number, at_micros)).collect();
    storage.append_logs(&Batch { groups: vec![(resource("core-api"), records)] }).unwrap();
    let worker = vec![line(500, at_micros)];
    storage.append_logs(&Batch { groups: vec![(resource("async-worker"), worker)] }).unwrap();
    let spans = (0..100).map(|number| span(number, at_micros)).collect();
    storage.append_spans(&Batch { groups: vec![(resource("core-api"), spans)] }).unwrap();
}

/// Everything that can be asked, in one comparable text.
pub(crate) fn answers(storage: &Storage) -> String {
    let mut logs = Vec::new();
    storage.logs().scan::<LogRecord>(
        i64::MIN,
        i64::MAX,
        |_, _| true,
        |found| {
            logs.push(format!("{found:?}"));
            ControlFlow::Continue(())
        },
    );
    logs.sort();
    let mut spans = Vec::new();
    storage.spans().scan::<Span>(
        i64::MIN,
        i64::MAX,
        |_, _| true,
        |found| {
            spans.push(format!("{found:?}"));
            ControlFlow::Continue(())
        },
    );
    spans.sort();
    let samples: Vec<String> = storage
        .select_samples(&[], i64::MIN, i64::MAX, usize::MAX)
        .unwrap()
        .iter()
        .map(|series| {
            let samples: Vec<_> =
                series.samples.iter().map(|(time, value)| (time, value.to_bits())).collect();
            format!("{:?} {samples:?}", series.labels)
        })
        .collect();
    let mut streams = std::collections::BTreeSet::new();
    storage.logs().streams::<LogRecord>(i64::MIN, i64::MAX, |resource, class| {
        streams.insert((resource.service.clone(), class));
    });
    let mut trace = [0; 16];
    trace[8..].copy_from_slice(&7i64.to_be_bytes());
    let count = |found: usize| found.to_string();
    let lookups = [
        count(storage.logs().lookup::<LogRecord>(Key::Request("req-150")).len()),
        count(storage.logs().lookup::<LogRecord>(Key::Trace(trace)).len()),
        count(storage.logs().lookup::<LogRecord>(Key::Request("req-x")).len()),
        count(storage.spans().lookup::<Span>(Key::Trace(trace)).len()),
    ];
    [samples.join("\n"), logs.join("\n"), spans.join("\n"), format!("{streams:?}"), lookups.join(",")]
        .join("\n\n")
}

pub(crate) fn part_files(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut open = vec![directory.join("parts")];
    open.retain(|directory| directory.exists());
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { open.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

fn filled() -> (tempfile::TempDir, Storage, Arc<StepClock>, String) {
    let directory = tempfile::tempdir().unwrap();
    let (storage, clock) = open(limits(directory.path()), Arc::new(RealDisk));
    fill(&storage, START);
    let before = answers(&storage);
    (directory, storage, clock, before)
}

#[test]
fn what_was_written_out_is_answered_as_before_also_after_a_restart() {
    let (directory, storage, _, before) = filled();
    storage.flush_all().unwrap();
    assert_eq!(storage.usage().parts, [1, 1, 1]);
    assert_eq!(storage.usage().log_records, 0);
    assert_eq!(answers(&storage), before);
    assert_eq!(part_files(directory.path()).len(), 3);
    drop(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(storage.usage().log_records, 0, "the log was emptied");
    assert_eq!(answers(&storage), before);
}

#[test]
fn head_and_parts_answer_together() {
    let (_directory, storage, _, before) = filled();
    let (_other, reference, _) = {
        let directory = tempfile::tempdir().unwrap();
        let (storage, clock) = open(limits(directory.path()), Arc::new(RealDisk));
        (directory, storage, clock)
    };
    storage.flush_all().unwrap();
    fill(&storage, START + 60_000_000);
    fill(&reference, START);
    fill(&reference, START + 60_000_000);
    assert_ne!(answers(&storage), before);
    assert_eq!(answers(&storage), answers(&reference));
}

#[test]
fn a_kill_between_the_part_and_the_end_of_its_log_doubles_nothing() {
    let (directory, storage, _, before) = filled();
    let copy = tempfile::tempdir().unwrap();
    let wal = |root: &Path, signal: &str| root.join("wal").join(signal);
    for signal in ["metrics", "logs", "spans"] {
        fs::create_dir_all(wal(copy.path(), signal)).unwrap();
        for entry in fs::read_dir(wal(directory.path(), signal)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, wal(copy.path(), signal).join(path.file_name().unwrap())).unwrap();
        }
    }
    storage.flush_all().unwrap();
    drop(storage);
    for signal in ["metrics", "logs", "spans"] {
        for entry in fs::read_dir(wal(copy.path(), signal)).unwrap() {
            let path = entry.unwrap().path();
            fs::copy(&path, wal(directory.path(), signal).join(path.file_name().unwrap())).unwrap();
        }
    }
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(answers(&storage), before);
}

#[test]
fn parts_of_an_hour_and_of_a_day_are_merged_without_a_change() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        StorageLimits { retention: std::time::Duration::from_hours(100), ..limits(directory.path()) };
    let (storage, clock) = open(settings.clone(), Arc::new(RealDisk));
    for step in 0..9 {
        let at = START + step * HOUR / 3;
        clock.0.store(at, Ordering::SeqCst);
        fill(&storage, at);
        storage.flush_all().unwrap();
    }
    let before = answers(&storage);
    assert_eq!(storage.usage().parts, [9, 9, 9]);
    storage.maintain();
    let parts = storage.usage().parts;
    assert!(parts.iter().all(|count| (3..=5).contains(count)), "{parts:?}");
    assert_eq!(answers(&storage), before);
    clock.0.store(START + 48 * HOUR, Ordering::SeqCst);
    storage.maintain();
    let parts = storage.usage().parts;
    assert!(parts.iter().all(|count| *count <= 2), "{parts:?}");
    assert_eq!(answers(&storage), before);
    assert_eq!(part_files(directory.path()).len(), parts.iter().sum::<usize>());
    drop(storage);
    let (storage, _) = open(settings, Arc::new(RealDisk));
    assert_eq!(answers(&storage), before);
}

#[test]
fn a_kill_between_a_merge_and_the_end_of_its_inputs_doubles_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let settings =
        StorageLimits { retention: std::time::Duration::from_hours(100), ..limits(directory.path()) };
    let (storage, clock) = open(settings.clone(), Arc::new(RealDisk));
    for step in 0..3 {
        fill(&storage, START + step * 60_000_000);
        storage.flush_all().unwrap();
    }
    let before = answers(&storage);
    let inputs: Vec<_> =
        part_files(directory.path()).iter().map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    clock.0.store(START + 48 * HOUR, Ordering::SeqCst);
    storage.maintain();
    assert_eq!(storage.usage().parts, [1, 1, 1]);
    drop(storage);
    for (path, bytes) in &inputs {
        fs::write(path, bytes).unwrap();
    }
    let (storage, _) = open(settings, Arc::new(RealDisk));
    assert_eq!(storage.usage().parts, [1, 1, 1]);
    assert_eq!(answers(&storage), before);
    assert_eq!(part_files(directory.path()).len(), 3, "the inputs are removed at the start");
}

#[test]
fn samples_that_came_twice_are_one_after_a_merge() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, clock) = open(limits(directory.path()), Arc::new(RealDisk));
    storage.append_metrics(&metrics(START)).unwrap();
    let before = answers(&storage);
    storage.flush_all().unwrap();
    storage.append_metrics(&metrics(START)).unwrap();
    storage.flush_all().unwrap();
    assert_eq!(storage.usage().parts[0], 2);
    assert_eq!(answers(&storage), before);
    clock.0.store(START + HOUR, Ordering::SeqCst);
    // The hour of `START` ended 13 minutes before that, which is past its grace.
    storage.maintain();
    assert_eq!((storage.usage().parts[0], storage.usage().part_rows[0]), (1, 180));
    assert_eq!(answers(&storage), before);
}

#[test]
fn damage_at_any_place_costs_at_most_the_part_and_never_shows_a_wrong_row() {
    let (directory, storage, _, before) = filled();
    storage.flush_all().unwrap();
    drop(storage);
    let whole: std::collections::HashSet<&str> = before.lines().collect();
    for path in part_files(directory.path()) {
        let intact = fs::read(&path).unwrap();
        let step = (intact.len() / 60).max(1);
        let flips = (0..intact.len()).step_by(step).map(|at| {
            let mut bytes = intact.clone();
            bytes[at] ^= 1 << (at % 8);
            bytes
        });
        let cuts = (0..intact.len()).step_by(step).map(|at| intact[..at].to_vec());
        for damaged in flips.chain(cuts) {
            let copy = tempfile::tempdir().unwrap();
            let to = copy.path().join(path.strip_prefix(directory.path()).unwrap());
            fs::create_dir_all(to.parent().unwrap()).unwrap();
            fs::write(&to, damaged).unwrap();
            let (storage, _) = open(limits(copy.path()), Arc::new(RealDisk));
            let seen = answers(&storage);
            let rows = seen.lines().filter(|line| line.contains("Found {") || line.starts_with("{__name__"));
            for row in rows {
                assert!(whole.contains(row), "a row that was never written: {row}");
            }
        }
    }
}

/// Every row of a part, or why one cannot be read.
fn rows_of(path: &Path) -> Result<Vec<String>, parquet::errors::ParquetError> {
    let part = super::Part::open(path)?;
    let mut rows = Vec::new();
    for group in 0..part.group_count() {
        if path.to_str().unwrap().contains("signal=logs") {
            let found = super::rows::read_group::<LogRecord>(&part, group)?;
            rows.extend(found.iter().map(|row| format!("{row:?}")));
        }
        if path.to_str().unwrap().contains("signal=spans") {
            let found = super::rows::read_group::<Span>(&part, group)?;
            rows.extend(found.iter().map(|row| format!("{row:?}")));
        }
    }
    if path.to_str().unwrap().contains("signal=metrics") {
        for run in super::samples::runs(&part) {
            rows.push(format!("{:?}", run?));
        }
    }
    Ok(rows)
}

#[test]
fn every_cut_and_every_flipped_bit_of_a_part_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let records = vec![line(1, START), line(2, START)];
    storage.append_logs(&Batch { groups: vec![(resource("core-api"), records)] }).unwrap();
    let spans = vec![span(1, START), span(2, START)];
    storage.append_spans(&Batch { groups: vec![(resource("core-api"), spans)] }).unwrap();
    let samples = vec![Sample { labels: series(1), time: START / 1000, value: 0.5 }];
    storage.append_metrics(&MetricBatch { samples, ..MetricBatch::default() }).unwrap();
    storage.flush_all().unwrap();
    drop(storage);
    let parts = part_files(directory.path());
    assert_eq!(parts.len(), 3);
    for path in parts {
        let (intact, rows) = (fs::read(&path).unwrap(), rows_of(&path).unwrap());
        assert!(!rows.is_empty());
        for length in 0..intact.len() {
            fs::write(&path, &intact[..length]).unwrap();
            assert!(rows_of(&path).is_err(), "{} cut at {length}", path.display());
        }
        for (offset, bit) in (0..intact.len()).flat_map(|offset| (0..8).map(move |bit| (offset, bit))) {
            let mut damaged = intact.clone();
            damaged[offset] ^= 1 << bit;
            fs::write(&path, &damaged).unwrap();
            // A byte that no reader needs, such as the file's first mark, may be wrong without harm.
            if let Ok(seen) = rows_of(&path) {
                assert_eq!(seen, rows, "{} with bit {bit} of byte {offset} flipped", path.display());
            }
        }
    }
}

#[test]
fn a_part_that_cannot_be_opened_is_set_aside_and_the_others_are_read() {
    let (directory, storage, _, _) = filled();
    storage.flush_all().unwrap();
    fill(&storage, START + 60_000_000);
    storage.flush_all().unwrap();
    drop(storage);
    let first =
        part_files(directory.path()).into_iter().find(|path| path.to_str().unwrap().contains("signal=logs"));
    let first = first.unwrap();
    fs::write(&first, b"PAR1 and nothing else").unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(storage.usage().parts, [2, 1, 2]);
    assert!(directory.path().join("parts/signal=logs/quarantine").join(first.file_name().unwrap()).exists());
    assert_eq!(storage.logs().lookup::<LogRecord>(Key::Request("req-150")).len(), 1);
}

#[test]
fn a_disk_that_fills_up_while_writing_out_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let disk = FaultyDisk::with_allowance(1 << 30);
    let (storage, _) = open(limits(directory.path()), Arc::new(disk.clone()));
    fill(&storage, START);
    let before = answers(&storage);
    for allowance in [0, 100, 4000, 8000] {
        disk.allow(allowance);
        assert!(storage.flush_all().is_err(), "{allowance} bytes are not enough for all");
        assert_eq!(answers(&storage), before);
    }
    disk.allow(1 << 30);
    fill(&storage, START + 60_000_000);
    storage.flush_all().unwrap();
    let both = answers(&storage);
    drop(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    assert_eq!(answers(&storage), both);
    assert!(part_files(directory.path()).iter().all(|path| path.extension().unwrap() == "parquet"));
}

#[test]
fn a_head_that_cannot_be_written_out_refuses_instead_of_growing() {
    let directory = tempfile::tempdir().unwrap();
    let settings = StorageLimits { memory_budget_bytes: 16 << 20, ..limits(directory.path()) };
    let (storage, _) = open(settings.clone(), Arc::new(RealDisk));
    let mut refused = false;
    let mut kept = 0;
    for round in 0..2000i64 {
        let records = (0..200).map(|number| line(round * 200 + number, START)).collect();
        match storage.append_logs(&Batch { groups: vec![(resource("core-api"), records)] }) {
            Ok(()) => kept += 200,
            Err(AppendError::Overloaded) => {
                refused = true;
                break;
            }
            Err(error) => panic!("{error}"),
        }
    }
    assert!(refused);
    assert!(storage.usage().head_bytes[1] < 4 << 20, "{:?}", storage.usage().head_bytes);
    std::mem::forget(storage);
    // The start reads back more than it would let grow, and writes it out on the way.
    let (storage, _) = open(settings, Arc::new(RealDisk));
    storage.flush_due();
    let usage = storage.usage();
    assert_eq!(usage.part_rows[1] + u64::try_from(usage.log_records).unwrap(), kept);
    storage.append_logs(&Batch { groups: vec![(resource("core-api"), vec![line(1, START)])] }).unwrap();
}

#[test]
fn selection_reads_only_the_series_and_times_that_are_asked() {
    let (_directory, storage, _, _) = filled();
    storage.flush_all().unwrap();
    let select = |matchers: &[Matcher], from: i64, to: i64, most: usize| {
        storage.select_samples(matchers, START / 1000 + from, START / 1000 + to, most)
    };
    let one = [Matcher::equal("__name__", "a_total"), Matcher::equal("instance", "2")];
    let found = select(&one, 4000, 7000, 3).unwrap();
    assert_eq!(found.len(), 1);
    let times: Vec<_> = found[0].samples.iter().map(|(time, value)| (time - START / 1000, *value)).collect();
    assert_eq!(times, [(5000, 10.0), (6000, 12.0), (7000, 14.0)]);
    assert!(select(&one, 3000, 7000, 3).is_err(), "four samples are more than three");
    assert!(select(&[Matcher::equal("instance", "9")], 0, 9000, 9).unwrap().is_empty());
    let sets = storage.label_sets(&[Matcher::equal("__name__", "b_ratio")], i64::MIN, i64::MAX);
    assert_eq!(sets.len(), 3);
    storage.trim_indexes();
    assert_eq!(select(&one, 4000, 7000, 3).unwrap(), found);
}

#[test]
fn a_query_reads_more_samples_than_it_may_hold_at_once() {
    let (_directory, storage, _, _) = filled();
    storage.flush_all().unwrap();
    let expr = promql::parse("sum(count_over_time(a_total[1h]))").unwrap();
    let ask = |max_samples: usize| {
        let limits = promql::Limits { max_samples, deadline: Instant::now() + Duration::from_mins(1) };
        let query = promql::Query::instant(START / 1000 + 600_000);
        promql::evaluate(&expr, query, &storage, limits).map(|answer| answer.value)
    };
    let Ok(promql::Value::Vector(all)) = ask(usize::MAX) else { panic!("there is an answer") };
    assert!(all[0].values[0].unwrap() > 3.0);
    assert_eq!(ask(3), Ok(promql::Value::Vector(all)), "a point of each of three series is what it holds");
    assert_eq!(ask(2), Err(promql::Error::TooManySamples));
}

#[test]
fn a_batch_between_the_cut_and_the_writing_stands_in_the_next_part_only() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    storage.append_logs(&Batch { groups: vec![(resource("core-api"), vec![line(1, START)])] }).unwrap();
    storage.flush_logs_with(|| {
        storage.append_logs(&Batch { groups: vec![(resource("core-api"), vec![line(2, START)])] }).unwrap();
    });
    std::mem::forget(storage);
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    for id in ["req-1", "req-2"] {
        assert_eq!(storage.logs().lookup::<LogRecord>(Key::Request(id)).len(), 1, "{id}");
    }
}

#[test]
fn what_was_acknowledged_comes_back_under_limits_that_were_lowered() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    fill(&storage, START);
    let before = answers(&storage);
    std::mem::forget(storage);
    let mut lowered = limits(directory.path());
    lowered.series.total = 2;
    let (storage, _) = open(lowered, Arc::new(RealDisk));
    assert_eq!(answers(&storage), before);
}

#[test]
fn a_sample_from_the_future_does_not_end_its_series() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let at = |millis: i64| MetricBatch {
        samples: vec![Sample { labels: series(1), time: START / 1000 + millis, value: 1.0 }],
        ..MetricBatch::default()
    };
    let ahead = storage.append_metrics(&at(11 * 60 * 1000)).unwrap();
    assert_eq!((ahead.kept, ahead.ahead), (0, 1));
    assert_eq!(storage.append_metrics(&at(0)).unwrap().kept, 1);
}

#[test]
fn a_batch_that_no_log_frame_holds_is_refused_for_good() {
    let directory = tempfile::tempdir().unwrap();
    let (storage, _) = open(limits(directory.path()), Arc::new(RealDisk));
    let mut long = line(1, START);
    long.body = "x".repeat(33 << 20);
    let batch = Batch { groups: vec![(resource("core-api"), vec![long])] };
    assert!(matches!(storage.append_logs(&batch), Err(AppendError::TooLarge)));
    storage.append_logs(&Batch { groups: vec![(resource("core-api"), vec![line(2, START)])] }).unwrap();
}

#[test]
fn a_part_that_may_not_be_read_stops_the_start_and_stays_where_it_is() {
    let (directory, storage, _, _) = filled();
    storage.flush_all().unwrap();
    drop(storage);
    let parts = part_files(directory.path());
    let first = &parts[0];
    let kept = first.with_extension("kept");
    fs::rename(first, &kept).unwrap();
    // A directory in its place cannot be read as a file, whoever asks.
    fs::create_dir(first).unwrap();
    let clock = Arc::new(StepClock(std::sync::atomic::AtomicI64::new(START)));
    assert!(Storage::open(limits(directory.path()), clock, Arc::new(RealDisk)).is_err());
    assert!(first.exists());
}
