//! Standard output without waiting for it.
//!
//! Lines are appended to a buffer in memory; one thread writes the buffer out. When a reader stops
//! reading, the buffer fills to [`MAX_BUFFER`] and further lines are dropped and counted. Once
//! the reader is back, one line says how many are missing.

use std::io::Write;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use metrics::Counter;

/// About ten seconds of lines at ten thousand lines a second would be 30 MB: a reader that is
/// away for longer than an instant at full load loses lines, on purpose.
const MAX_BUFFER: usize = 4 * 1024 * 1024;

/// What stays allocated after a burst.
const IDLE_BUFFER: usize = 64 * 1024;

/// The queue in front of standard output. Clones share it.
#[derive(Clone)]
pub(crate) struct Stdout(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    /// Lines came in, or the last ones went out.
    changed: Condvar,
    dropped: Counter,
    limit: usize,
}

#[derive(Default)]
struct State {
    buffer: Vec<u8>,
    writing: bool,
    dropped: u64,
}

impl Stdout {
    /// Starts the thread that writes to `output` for the rest of the process's life.
    pub(crate) fn start(output: Box<dyn Write + Send>) -> std::io::Result<Self> {
        Self::with_limit(output, MAX_BUFFER)
    }

    pub(super) fn with_limit(output: Box<dyn Write + Send>, limit: usize) -> std::io::Result<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            changed: Condvar::new(),
            dropped: metrics::counter!(
                "quintet_telemetry_dropped_total", "signal" => "stdout", "reason" => "queue_full"
            ),
            limit,
        });
        let worker = Arc::clone(&shared);
        std::thread::Builder::new().name("log-writer".to_owned()).spawn(move || worker.run(output))?;
        Ok(Self(shared))
    }

    /// Queues so many lines, all or none; each ends with its line feed.
    pub(crate) fn push(&self, lines: &[u8], count: u64) {
        let mut state = self.0.lock();
        if state.buffer.len() + lines.len() > self.0.limit {
            state.dropped += count;
            self.0.dropped.increment(count);
            return;
        }
        let wake = state.buffer.is_empty() && !state.writing;
        state.buffer.extend_from_slice(lines);
        drop(state);
        if wake {
            self.0.changed.notify_all();
        }
    }

    /// Waits until everything is written, for at most `deadline`.
    pub(crate) fn flush(&self, deadline: Duration) {
        let end = Instant::now() + deadline;
        let mut state = self.0.lock();
        while state.writing || !state.buffer.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

impl Shared {
    /// The state stays usable after a panic elsewhere: it is bytes and counters.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, mut output: Box<dyn Write + Send>) {
        let mut batch = Vec::new();
        loop {
            let missing = self.take(&mut batch);
            if missing > 0 {
                let line = format!(
                    "{{\"level\":\"WARN\",\"target\":\"quintet_telemetry\",\
                     \"message\":\"log lines were dropped\",\"fields\":{{\"lines\":{missing}}}}}\n"
                );
                batch.extend_from_slice(line.as_bytes());
            }
            // A closed standard output is no reason to stop working.
            let _ = output.write_all(&batch).and_then(|()| output.flush());
            batch.clear();
            batch.shrink_to(IDLE_BUFFER);
            let mut state = self.lock();
            state.writing = false;
            if state.buffer.is_empty() {
                self.changed.notify_all();
            }
        }
    }

    /// Waits for lines, swaps them into `batch`, and gives the number dropped before them.
    fn take(&self, batch: &mut Vec<u8>) -> u64 {
        let mut state = self.lock();
        while state.buffer.is_empty() {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut state.buffer, batch);
        state.writing = true;
        std::mem::take(&mut state.dropped)
    }
}
