//! A sink that is not there: the process goes on, memory is bounded, losses are counted.

#[cfg(test)]
#[path = "support/memory.rs"]
mod memory;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use memory::{Memory, value};
use quintet_http::Origin;
use quintet_telemetry::Settings;
use quintet_types::SystemClock;

#[tokio::test]
async fn an_absent_sink_costs_records_but_no_time_and_one_warning() {
    const EVENTS: u64 = 20_000;
    let output = Memory::default();
    let settings =
        Settings { otlp: Some(Origin::Unix(PathBuf::from("/nonexistent/sink.sock"))), ..Settings::default() };
    let telemetry = quintet_telemetry::init_with(
        "core-api",
        "1.2.3",
        &settings,
        SystemClock::shared(),
        Box::new(output.clone()),
    )
    .unwrap();
    // One thread and no await: nothing is exported meanwhile, so the queue overflows.
    for number in 0..EVENTS {
        tracing::info!(target: "flood", number, "event");
    }
    let begun = Instant::now();
    telemetry.shutdown(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "the flush kept on trying");

    let metrics = telemetry.render_metrics();
    let full = value(&metrics, r#"quintet_telemetry_dropped_total{signal="logs",reason="queue_full"}"#);
    let unreachable =
        value(&metrics, r#"quintet_telemetry_dropped_total{signal="logs",reason="unreachable"}"#);
    assert_eq!(full + unreachable, EVENTS);
    assert!(unreachable > 0 && full > EVENTS / 2, "{full} {unreachable}");
    let text = output.text();
    let warnings: Vec<&str> = text.lines().filter(|line| line.contains("cannot export telemetry")).collect();
    assert_eq!(warnings.len(), 1, "{warnings:?}");
    assert!(
        warnings[0].contains("the sink does not answer: cannot connect to unix:/nonexistent"),
        "{}",
        warnings[0]
    );
}
