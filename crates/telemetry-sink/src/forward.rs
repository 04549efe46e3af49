//! Passes on what the sink took in to other engines: OTLP over HTTP and Prometheus' remote write.
//!
//! Each signal of each target is a task of its own with a cursor into the write-ahead log ([`cursor`]). It reads some of the log
//! behind the cursor ([`reader`]), sends it ([`deliver`]) until the target took or refused it, and only then moves the
//! cursor. The storage holds the segments that the slowest cursor still needs ([`crate::storage::Hold`]).
//!
//! Invariants: what was acknowledged to a sender is delivered to each target at least once, in the order of arrival, across
//! restarts and kills of either side, unless a target lags by more than `hold_bytes`, which is counted; one batch of each task is in
//! memory; a target that is away costs the others nothing.

mod cursor;
mod deliver;
mod reader;
mod remote_write;
pub(crate) mod settings;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use quintet_service::Invalid;
use quintet_types::time::micros;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use self::cursor::{Cursor, CursorFile};
use self::deliver::{Door, MAX_ANSWER, Outcome, Protocol};
use self::reader::{Items, LogReader, Taken};
use self::remote_write::Shape;
use self::settings::{ForwardSection, OtlpTarget, RemoteWriteTarget, timeout};
use crate::otlp::{self, Request};
use crate::outbound::parse_url;
use crate::storage::{Signal, Storage};

/// How often the end of the log is looked at.
const POLL: Duration = Duration::from_millis(500);
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
/// Bytes of one request, before it is packed: engines take four and more.
const REQUEST_BYTES: usize = 1024 * 1024;

/// Why forwarding cannot start.
#[derive(Debug, Error)]
pub(crate) enum StartError {
    #[error(transparent)]
    Settings(#[from] Invalid),
    #[error("cannot use the directory for cursors")]
    Directory(#[source] std::io::Error),
}

/// The segments at which the tasks of each signal are: the log before the least of them is not needed.
#[derive(Default)]
struct Places(Mutex<BTreeMap<(&'static str, String), u64>>);

impl Places {
    /// Notes where a task is; answers the first segment that its signal still needs.
    fn note(&self, signal: Signal, target: &str, segment: u64) -> u64 {
        let mut places = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        places.insert((signal.as_str(), target.to_owned()), segment);
        let of_signal = places.iter().filter(|((of, _), _)| *of == signal.as_str());
        of_signal.map(|(_, segment)| *segment).min().unwrap_or(0)
    }
}

/// One signal on its way to one target.
pub(crate) struct Task {
    target: String,
    signal: Signal,
    door: Door,
    shape: Shape,
    file: CursorFile,
    storage: Arc<Storage>,
    places: Arc<Places>,
}

/// The tasks for all targets, each with its cursor where it was.
pub(crate) fn tasks(
    settings: &ForwardSection,
    directory: &Path,
    storage: &Arc<Storage>,
) -> Result<Vec<Task>, StartError> {
    std::fs::create_dir_all(directory).map_err(StartError::Directory)?;
    let places = Arc::new(Places::default());
    let mut tasks = Vec::new();
    let mut add = |target: &str, signal: Signal, door: Door, shape: Shape| {
        let file = CursorFile::new(directory, target, signal.as_str());
        // Before any of them runs, so that none lets go of what another needs.
        places.note(signal, target, file.read().segment);
        let (storage, places) = (Arc::clone(storage), Arc::clone(&places));
        tasks.push(Task { target: target.to_owned(), signal, door, shape, file, storage, places });
    };
    for target in &settings.otlp {
        for signal in &target.signals {
            add(&target.name, signal.stored(), otlp_door(target, signal.stored())?, Shape::default());
        }
    }
    for target in &settings.remote_write {
        let shape = Shape {
            external: target.external_labels.clone(),
            keep: settings::selectors(&target.keep, "forward.remote_write.keep")?,
            drop: settings::selectors(&target.drop, "forward.remote_write.drop")?,
        };
        add(&target.name, Signal::Metrics, write_door(target)?, shape);
    }
    let known: Vec<String> =
        tasks.iter().map(|task| cursor::file_name(&task.target, task.signal.as_str())).collect();
    cursor::forget_others(directory, &known).map_err(StartError::Directory)?;
    Ok(tasks)
}

fn otlp_door(target: &OtlpTarget, signal: Signal) -> Result<Door, Invalid> {
    let (origin, path) = parse_url(&target.url, "forward.otlp.url")?;
    let below = match signal {
        Signal::Metrics => "v1/metrics",
        Signal::Logs => "v1/logs",
        Signal::Spans => "v1/traces",
    };
    let client = target.access.client(origin, timeout(target.timeout_ms), "forward.otlp")?;
    Ok(Door {
        client: client.cut_body(MAX_ANSWER),
        path: format!("{}/{below}", path.trim_end_matches('/')),
        access: target.access.clone(),
        protocol: Protocol::Otlp(target.compression),
    })
}

fn write_door(target: &RemoteWriteTarget) -> Result<Door, Invalid> {
    let (origin, path) = parse_url(&target.url, "forward.remote_write.url")?;
    let client = target.access.client(origin, timeout(target.timeout_ms), "forward.remote_write")?;
    Ok(Door {
        client: client.cut_body(MAX_ANSWER),
        path: if path.is_empty() { "/api/v1/write".to_owned() } else { path },
        access: target.access.clone(),
        protocol: Protocol::RemoteWrite { version: target.version },
    })
}

impl Task {
    /// Delivers until `shutdown`.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut at = self.file.read();
        let mut lag = Lag { caught_up: self.now_micros() };
        let mut reader = LogReader::new(Arc::clone(&self.storage), &self.target, self.signal);
        while !shutdown.is_cancelled() {
            let started = self.storage.has_started();
            let taken;
            (reader, taken) = tokio::task::spawn_blocking(move || {
                let taken = started.then(|| reader.take(at));
                (reader, taken)
            })
            .await?;
            let taken = match taken {
                Some(Ok(taken)) => taken,
                Some(Err(error)) => {
                    // A segment that moved meanwhile is found at its new place next time.
                    tracing::debug!(target = self.target, signal = self.signal.as_str(), %error, "cannot read the log");
                    self.rest(POLL, &shutdown).await;
                    continue;
                }
                None => {
                    self.rest(POLL, &shutdown).await;
                    continue;
                }
            };
            let is_end = taken.behind == 0;
            self.report(&mut lag, &taken);
            if taken.items.len() > 0 && !self.deliver(&taken, &mut lag, &shutdown).await {
                break;
            }
            if taken.next != at {
                at = taken.next;
                self.move_to(at);
            }
            if is_end {
                lag.caught_up = self.now_micros();
                self.gauge("quintet_sink_forward_lag_bytes", 0.0);
                self.gauge("quintet_sink_forward_lag_seconds", 0.0);
                self.rest(POLL, &shutdown).await;
            }
        }
        Ok(())
    }

    /// Sends a batch until all of it is taken or refused; false where the shutdown came first.
    async fn deliver(&self, taken: &Taken, lag: &mut Lag, shutdown: &CancellationToken) -> bool {
        for request in self.encode(&taken.items) {
            let mut attempt = 0;
            loop {
                let outcome = tokio::select! {
                    () = shutdown.cancelled() => return false,
                    outcome = self.door.send(&request) => outcome,
                };
                match outcome {
                    Outcome::Sent { rejected } => {
                        self.count("sent", request.items - rejected);
                        self.count("dropped", rejected);
                        break;
                    }
                    Outcome::Refused(reason) => {
                        self.count("dropped", request.items);
                        tracing::warn!(
                            target = self.target,
                            signal = self.signal.as_str(),
                            items = request.items,
                            reason,
                            "a target refuses what it is sent"
                        );
                        break;
                    }
                    Outcome::Later { reason, after } => {
                        if attempt == 0 {
                            tracing::warn!(
                                target = self.target,
                                signal = self.signal.as_str(),
                                reason,
                                "a target is away; what it misses is held"
                            );
                        }
                        self.failed();
                        self.report(lag, taken);
                        self.rest(after.unwrap_or_else(|| self.pause(attempt)), shutdown).await;
                        attempt += 1;
                    }
                }
            }
        }
        true
    }

    fn encode(&self, items: &Items) -> Vec<Request> {
        match (items, self.door.protocol) {
            (Items::Logs(batch), _) => otlp::logs(batch, REQUEST_BYTES),
            (Items::Spans(batch), _) => otlp::spans(batch, REQUEST_BYTES),
            (Items::Metrics(samples), Protocol::Otlp(_)) => otlp::metrics(samples, REQUEST_BYTES),
            (Items::Metrics(samples), Protocol::RemoteWrite { version: 2 }) => {
                remote_write::v2(samples, &self.storage.metadata(), &self.shape, REQUEST_BYTES)
            }
            (Items::Metrics(samples), Protocol::RemoteWrite { .. }) => {
                remote_write::v1(samples, &self.shape, REQUEST_BYTES)
            }
        }
    }

    fn move_to(&self, at: Cursor) {
        if let Err(error) = self.file.write(at) {
            tracing::warn!(target = self.target, signal = self.signal.as_str(), %error, "cannot write a cursor; a restart sends some of the log again");
            return;
        }
        let needed = self.places.note(self.signal, &self.target, at.segment);
        self.storage.release_log_before(self.signal, needed);
    }

    /// Doubles with each attempt, and differs between targets so that they do not all come back at once.
    fn pause(&self, attempt: u32) -> Duration {
        let longest = FIRST_PAUSE.saturating_mul(1 << attempt.min(10)).min(LONGEST_PAUSE);
        let seed =
            crc32c::crc32c_append(crc32c::crc32c(self.target.as_bytes()), &self.now_micros().to_le_bytes());
        longest.mul_f64(0.5 + f64::from(seed) / f64::from(u32::MAX) / 2.0)
    }

    async fn rest(&self, pause: Duration, shutdown: &CancellationToken) {
        tokio::select! {
            () = shutdown.cancelled() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }

    fn now_micros(&self) -> i64 {
        micros(self.storage.clock().now())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn report(&self, lag: &mut Lag, taken: &Taken) {
        self.gauge("quintet_sink_forward_lag_bytes", taken.behind as f64);
        let seconds = (self.now_micros() - lag.caught_up).max(0) as f64 / 1e6;
        self.gauge("quintet_sink_forward_lag_seconds", seconds);
    }

    fn gauge(&self, name: &'static str, value: f64) {
        metrics::gauge!(name, "target" => self.target.clone(), "signal" => self.signal.as_str()).set(value);
    }

    fn failed(&self) {
        metrics::counter!("quintet_sink_forward_failures_total", "target" => self.target.clone(), "signal" => self.signal.as_str())
            .increment(1);
    }

    fn count(&self, outcome: &'static str, items: usize) {
        metrics::counter!("quintet_sink_forward_items_total", "target" => self.target.clone(), "signal" => self.signal.as_str(), "outcome" => outcome)
            .increment(u64::try_from(items).unwrap_or(0));
    }
}

/// Since when a target has not had everything.
struct Lag {
    /// Microseconds.
    caught_up: i64,
}

#[cfg(test)]
mod tests;
