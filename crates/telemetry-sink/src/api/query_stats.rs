//! What a query cost, as Prometheus tells whoever asks with `stats`.
//!
//! Figures of each step are not there: Prometheus has them behind a flag.

use std::time::{Duration, Instant};

use serde_json::{Value as JsonValue, json};

use super::params::Params;
use crate::promql::Answer;

/// When a query was asked.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timings(Instant);

/// When it was asked and how long it waited.
pub(super) struct Queued(Instant, Duration);

/// How long it waited and was evaluated.
#[derive(Debug, Clone, Copy)]
pub(super) struct Took {
    queue: Duration,
    evaluation: Duration,
}

impl Timings {
    pub(super) fn start() -> Self {
        Self(Instant::now())
    }

    pub(super) fn queued(self) -> Queued {
        Queued(Instant::now(), self.0.elapsed())
    }
}

impl Queued {
    pub(super) fn evaluated(self) -> Took {
        Took { queue: self.1, evaluation: self.0.elapsed() }
    }
}

/// Nothing unless it was asked for.
pub(super) fn stats(params: &Params, answer: &Answer, took: Took) -> Option<JsonValue> {
    params.get("stats").filter(|wanted| !wanted.is_empty())?;
    let evaluation = took.evaluation.as_secs_f64();
    Some(json!({
        "timings": {
            "evalTotalTime": evaluation,
            "resultSortTime": 0,
            "queryPreparationTime": 0,
            "innerEvalTime": evaluation,
            "execQueueTime": took.queue.as_secs_f64(),
            "execTotalTime": (took.queue + took.evaluation).as_secs_f64(),
        },
        "samples": { "totalQueryableSamples": answer.samples, "peakSamples": answer.peak },
    }))
}

pub(super) fn with_stats(mut data: JsonValue, stats: Option<JsonValue>) -> JsonValue {
    if let (Some(stats), Some(data)) = (stats, data.as_object_mut()) {
        data.insert("stats".to_owned(), stats);
    }
    data
}
