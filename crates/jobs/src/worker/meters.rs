//! The counters and histograms of runs. They are looked up once and not for each run: their names and labels cost more
//! than what they count.

use std::collections::HashMap;
use std::time::Duration;

use metrics::{Counter, Histogram};

use crate::job::Job;
use crate::lease::Outcome;

/// Of the queues and kinds of one worker.
pub(super) struct Meters {
    waits: HashMap<String, Histogram>,
    durations: HashMap<String, Histogram>,
    /// By queue and kind: most runs end so.
    completed: HashMap<String, HashMap<String, Counter>>,
}

impl Meters {
    pub(super) fn new<'a>(queues: impl Iterator<Item = &'a str> + Clone, kinds: &[String]) -> Self {
        let waits = |queue: &str| (queue.to_owned(), wait(queue));
        let durations = kinds.iter().map(|kind| (kind.clone(), duration(kind)));
        let completed = |queue: &str| {
            let counters = kinds.iter().map(|kind| {
                let counter = finished(queue, kind, Outcome::Completed.name());
                // One that first appears at one hides its first event from `rate`.
                counter.increment(0);
                (kind.clone(), counter)
            });
            (queue.to_owned(), counters.collect())
        };
        Self {
            waits: queues.clone().map(waits).collect(),
            durations: durations.collect(),
            completed: queues.map(completed).collect(),
        }
    }

    /// How long a job was due before it ran.
    pub(super) fn waited(&self, job: &Job, seconds: f64) {
        match self.waits.get(&job.record.queue) {
            Some(histogram) => histogram.record(seconds),
            None => wait(&job.record.queue).record(seconds),
        }
    }

    pub(super) fn ended(&self, job: &Job, outcome: &Outcome, took: Duration) {
        let (queue, kind) = (&job.record.queue, &job.record.kind);
        match self.durations.get(kind) {
            Some(histogram) => histogram.record(took.as_secs_f64()),
            None => duration(kind).record(took.as_secs_f64()),
        }
        let completed = self.completed.get(queue).and_then(|kinds| kinds.get(kind));
        match (outcome, completed) {
            (Outcome::Completed, Some(counter)) => counter.increment(1),
            _ => finished(queue, kind, outcome.name()).increment(1),
        }
    }
}

fn wait(queue: &str) -> Histogram {
    metrics::histogram!("quintet_job_wait_seconds", "queue" => queue.to_owned())
}

fn duration(kind: &str) -> Histogram {
    metrics::histogram!("quintet_job_duration_seconds", "kind" => kind.to_owned())
}

pub(crate) fn finished(queue: &str, kind: &str, outcome: &'static str) -> Counter {
    let (queue, kind) = (queue.to_owned(), kind.to_owned());
    metrics::counter!("quintet_jobs_finished_total", "queue" => queue, "kind" => kind, "outcome" => outcome)
}
