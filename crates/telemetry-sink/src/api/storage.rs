//! `GET /telemetry/v1/storage`: how much of each signal is kept, where, and what bounds it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::Api;
use crate::storage::Signal;

pub(super) async fn show(State(api): State<Arc<Api>>) -> Json<Value> {
    let usage = api.storage.usage();
    let signals = [Signal::Metrics, Signal::Logs, Signal::Spans].into_iter().enumerate();
    let signals = signals.map(|(index, signal)| {
        json!({
            "signal": signal.as_str(),
            "parts": usage.parts.get(index),
            "rows": usage.part_rows.get(index),
            "bytes": usage.part_bytes.get(index),
            "local_bytes": usage.local_bytes.get(index),
            "remote_parts": usage.remote_parts.get(index),
            "wal_bytes": usage.log_bytes.get(index),
            "memory_bytes": usage.head_bytes.get(index),
        })
    });
    let reader = api.storage.reader();
    let bucket = api.storage.copies().map(|copies| {
        json!({
            "stored_parts": copies.parts,
            "stored_bytes": copies.bytes,
            "last_success_unix_us": copies.last_success,
            "error": copies.error,
            "unreadable": reader.is_away(),
            "cached_bytes": reader.cached_bytes(),
        })
    });
    Json(json!({
        "signals": signals.collect::<Vec<_>>(),
        "max_bytes": api.storage.max_bytes(),
        "full": api.storage.is_full(),
        "bucket": bucket,
    }))
}
