//! Parts of known content for other engines to read, and our own answers about them.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quintet_types::SystemClock;
use serde_json::{Value as JsonValue, json};

use crate::head::SeriesLimits;
use crate::model::{
    Batch, Labels, LogRecord, MetricBatch, Resource, Sample, Span, SpanKind, SpanStatus, Value, is_stale,
    stale,
};
use crate::storage::disk::RealDisk;
use crate::storage::{Storage, StorageLimits, SyncMode};

/// 2026-01-02 03:04:05 UTC, in seconds.
const START: i64 = 1_767_323_045;
const LINES: i64 = 40_000;
const SPANS: i64 = 10_000;
const SERIES: i64 = 50;
const STEPS: i64 = 480;

/// Writes parts of all signals below a directory and answers what the sink itself says of them.
pub fn write_parts(directory: &Path) -> Result<JsonValue, String> {
    let limits = StorageLimits {
        directory: directory.to_owned(),
        retention: Duration::from_hours(24 * 365 * 100),
        max_bytes: 1 << 30,
        memory_budget_bytes: 256 << 20,
        free_bytes_floor: 0,
        sync: SyncMode::Interval,
        series: SeriesLimits { total: 1000, per_metric: 1000, late_millis: 0 },
        hold: crate::storage::Hold::default(),
    };
    let storage = Storage::open(limits, SystemClock::shared(), Arc::new(RealDisk))
        .map_err(|error| error.to_string())?;
    storage.replay();
    storage.append_metrics(&samples()).map_err(|error| error.to_string())?;
    for (service, from) in [("core-api", 0), ("async-worker", LINES / 2)] {
        let lines = (from..from + LINES / 2).map(line).collect();
        let batch = Batch { groups: vec![(resource(service), lines)] };
        storage.append_logs(&batch).map_err(|error| error.to_string())?;
    }
    let spans = (0..SPANS).map(span).collect();
    let batch = Batch { groups: vec![(resource("edge-gateway"), spans)] };
    storage.append_spans(&batch).map_err(|error| error.to_string())?;
    storage.flush_all().map_err(|error| error.to_string())?;
    Ok(json!({ "logs": logs(&storage), "spans": spans_by_name(&storage), "metrics": metrics(&storage)? }))
}

fn resource(service: &str) -> Arc<Resource> {
    let attributes = vec![("host.name".to_owned(), Value::Text("tarn \"ö\"".to_owned()))];
    Arc::new(Resource { service: service.to_owned(), attributes })
}

fn line(number: i64) -> LogRecord {
    LogRecord {
        time: START * 1_000_000_000 + number * 1_000_003,
        severity: [5, 9, 9, 9, 13, 17].get(usize::try_from(number % 6).unwrap_or(0)).copied().unwrap_or(9),
        body: format!("order {number} accepted; it has {} items", number % 17),
        scope: "orders".to_owned(),
        trace_id: (number % 3 > 0).then(|| i128::from(number / 5).to_be_bytes()),
        span_id: None,
        attributes: vec![("items".to_owned(), Value::Int(number % 17))],
    }
}

fn span(number: i64) -> Span {
    let start = START * 1_000_000_000 + number * 7_000_001;
    Span {
        trace_id: i128::from(number / 4).to_be_bytes(),
        span_id: number.to_be_bytes(),
        parent: (number % 4 > 0).then(|| (number - 1).to_be_bytes()),
        name: format!("operation {}", number % 11),
        kind: SpanKind::Server,
        start,
        end: start + 1000 * (number % 101),
        status: if number % 13 == 0 { SpanStatus::Error } else { SpanStatus::Unset },
        ..Span::default()
    }
}

fn samples() -> MetricBatch {
    let mut batch = MetricBatch::default();
    for step in 0..STEPS {
        for series in 0..SERIES {
            let instance = series.to_string();
            let name = if series % 2 == 0 { "requests_total" } else { "load_ratio" };
            let labels: Labels =
                [("__name__", name), ("instance", instance.as_str()), ("zone", "o'hare \"1\"")]
                    .into_iter()
                    .collect();
            let whole = i32::try_from(step * series).unwrap_or(0);
            let value = match series % 2 {
                _ if series == 6 && step == STEPS - 1 => stale(),
                0 => f64::from(whole),
                // Three decimals, and seven, which are kept as they are.
                _ if series == 5 => f64::from(whole) / 128.0,
                _ => f64::from(whole) / 8.0,
            };
            batch.samples.push(Sample { labels, time: START * 1000 + step * 15_000, value });
        }
    }
    batch
}

/// Lines by service and level, and those of one trace.
fn logs(storage: &Storage) -> JsonValue {
    let mut counts: BTreeMap<String, u64> = BTreeMap::new();
    let mut items = 0;
    storage.logs().scan::<LogRecord>(
        i64::MIN,
        i64::MAX,
        |_, _| true,
        |found| {
            *counts.entry(format!("{} {}", found.resource.service, found.record.level())).or_default() += 1;
            if let Some((_, Value::Int(count))) = found.record.attributes.first() {
                items += count;
            }
            ControlFlow::Continue(())
        },
    );
    let trace = storage.logs().lookup::<LogRecord>(crate::model::codec::Key::Trace(77i128.to_be_bytes()));
    json!({ "lines": counts, "items": items, "trace": trace.len() })
}

/// Spans of each name: how many, how long together in nanoseconds, how many failed.
fn spans_by_name(storage: &Storage) -> JsonValue {
    let mut names: BTreeMap<String, (u64, i64, u64)> = BTreeMap::new();
    storage.spans().scan::<Span>(
        i64::MIN,
        i64::MAX,
        |_, _| true,
        |found| {
            let (count, nanos, failed) = names.entry(found.record.name.clone()).or_default();
            *count += 1;
            *nanos += found.record.duration_nanos();
            *failed += u64::from(found.record.status == SpanStatus::Error);
            ControlFlow::Continue(())
        },
    );
    json!(names)
}

/// For each series: its samples and their sum, without the marker of its end.
fn metrics(storage: &Storage) -> Result<JsonValue, String> {
    let series = storage.select_samples(&[], i64::MIN, i64::MAX, usize::MAX);
    let series = series.map_err(|_| "too many samples".to_owned())?;
    let sums = series.iter().map(|series| {
        let values = series.samples.iter().map(|(_, value)| *value).filter(|value| !is_stale(*value));
        let name = format!("{} {}", series.labels.name(), series.labels.get("instance").unwrap_or(""));
        (name, json!([values.clone().count(), values.sum::<f64>()]))
    });
    Ok(JsonValue::Object(sums.collect()))
}
