//! What one queue is asked to do once, in the form in which a process of it takes it.

use serde::{Deserialize, Serialize};

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Task {
    /// All jobs are there; until none is left in the database.
    Drain,
    /// As drain, each job completed in a transaction of its handler's own.
    Complete,
    /// Clients enqueue while the jobs are worked off.
    Mixed,
    /// Clients enqueue, each job in a transaction of its own.
    Enqueue,
    /// Jobs at random moments on an idle queue, each one's time from its commit to its handler.
    Pickup,
}

/// One load; the argument of a queue's process.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Load {
    pub(super) queue: String,
    pub(super) task: Task,
    pub(super) url: String,
    pub(super) jobs: usize,
    /// Jobs that run at the same time in one process.
    pub(super) concurrency: usize,
    /// Whether jobs may be claimed and acknowledged together.
    pub(super) batched: bool,
    pub(super) processes: usize,
    /// Connections that enqueue at the same time.
    pub(super) clients: usize,
    pub(super) handler_ms: u64,
    /// Jobs a second in [`Task::Pickup`].
    pub(super) rate: u32,
    /// Whether completed jobs go into the history, where a queue has that choice.
    pub(super) history: bool,
}

/// What a queue's process says when it is done.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct Answer {
    pub(super) seconds: Option<f64>,
    pub(super) latencies_ms: Vec<f64>,
}
