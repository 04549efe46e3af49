//! An output of lines, standard output above all, without waiting for it.
//!
//! Lines are appended to a buffer in memory; one thread writes the buffer out, at once after a pause and every
//! [`GAP`] while they keep coming: waking it for each line costs more than the line. When a reader stops
//! reading, the buffer fills to [`MAX_BUFFER`] and further lines are dropped and counted. Once
//! the reader is back, one line says how many are missing.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;

/// About ten seconds of lines at ten thousand lines a second would be 30 MB: a reader that is
/// away for longer than an instant at full load loses lines, on purpose.
const MAX_BUFFER: usize = 4 * 1024 * 1024;

/// Between two writes. At a hundred thousand lines a second 30 KB come in meanwhile.
const GAP: Duration = Duration::from_millis(1);

/// What stays allocated after a burst.
const IDLE_BUFFER: usize = 64 * 1024;

/// The queue in front of an output. Clones share it; the thread ends with the last of them.
#[derive(Clone)]
pub(crate) struct Stdout(Arc<Owned>);

struct Owned(Arc<Shared>);

impl Drop for Owned {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.changed.notify_all();
    }
}

/// What the output is to others.
pub(crate) struct Role {
    /// The label `signal` of what is lost.
    pub(crate) signal: &'static str,
    /// Whether a line in the output itself says how many are missing.
    pub(crate) tells: bool,
}

pub(super) const PROCESS: Role = Role { signal: "stdout", tells: true };

struct Shared {
    state: Mutex<State>,
    /// Lines came in, or the last ones went out.
    changed: Condvar,
    dropped: Counter,
    failed: Counter,
    tells: bool,
    limit: usize,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    writing: bool,
    /// How many wait for the end.
    flushing: usize,
    closed: bool,
    dropped: u64,
}

impl Stdout {
    /// Starts the thread that writes to `output` for the rest of the process's life.
    pub(crate) fn start(output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        Self::with_limit(output, PROCESS, MAX_BUFFER)
    }

    /// Starts the thread of an output of another role.
    pub(crate) fn start_as(output: Box<dyn Write + Send>, role: Role) -> std::io::Result<Self> {
        Self::with_limit(output, role, MAX_BUFFER)
    }

    pub(super) fn with_limit(
        output: Box<dyn Write + Send>,
        role: Role,
        limit: usize,
    ) -> std::io::Result<Self> {
        let lost = |reason: &'static str| metrics::counter!("quintet_telemetry_dropped_total", "signal" => role.signal, "reason" => reason);
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: lost("queue_full"),
            failed: lost("write_failed"),
            tells: role.tells,
            limit,
        });
        let worker = Arc::clone(&shared);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || worker.run(output))?;
        Ok(Self(Arc::new(Owned(shared))))
    }

    fn shared(&self) -> &Shared {
        &self.0.0
    }

    /// Queues so many lines, all or none; each ends with its line feed.
    pub(crate) fn push(&self, lines: &[u8], count: u64) {
        let mut state = self.shared().lock();
        if state.buffer.len() + lines.len() > self.shared().limit {
            state.dropped += count;
            self.shared().dropped.increment(count);
            return;
        }
        let wake = state.buffer.is_empty() && !state.writing;
        state.buffer.extend_from_slice(lines);
        drop(state);
        if wake {
            self.shared().changed.notify_all();
        }
    }

    /// Waits until everything is written, for at most `deadline`.
    pub(crate) fn flush(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut state = self.shared().lock();
        state.flushing += 1;
        self.shared().changed.notify_all();
        while state.writing || !state.buffer.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            state = self.shared().changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.flushing -= 1;
    }
}

impl Shared {
    /// The state stays usable after a panic elsewhere: it is bytes and counters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        while let Some(missing) = self.take(&mut batch) {
            if missing > 0 && self.tells {
                let line = format!(
                    "{{\"level\":\"WARN\",\"target\":\"quintet_telemetry\",\
                     \"message\":\"log lines were dropped\",\"fields\":{{\"lines\":{missing}}}}}\n"
                );
                batch.extend_from_slice(line.as_bytes());
            }
            // A closed standard output is no reason to stop working.
            if output.write_all(&batch).and_then(|()| output.flush()).is_err() {
                let lines = batch.split(|byte| *byte == b'\n').count() - 1;
                self.failed.increment(lines as u64);
            }
            batch.clear();
            batch.shrink_to(IDLE_BUFFER);
            // Still `writing`, so that nobody wakes this thread.
            self.linger();
            let mut state = self.lock();
            state.writing = false;
            if state.buffer.is_empty() {
                self.changed.notify_all();
            }
        }
    }

    /// Waits until it is time for the next write, unless somebody waits for the end.
    fn linger(&self) {
        let state = self.lock();
        let urgent = |state: &mut State| !(state.closed || state.flushing > 0);
        drop(self.changed.wait_timeout_while(state, GAP, urgent).unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits for lines, swaps them into `batch`, and gives the number dropped before them; None when all are written
    /// and nobody can bring more.
    fn take(&self, batch: &mut Vec<u8>) -> Option<u64> {
        let mut state = self.lock();
        while state.buffer.is_empty() {
            if state.closed {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.buffer, batch);
        state.writing = true;
        Some(std::mem::take(&mut state.dropped))
    }
}
