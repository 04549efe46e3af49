//! The sink's storage: for each signal a write-ahead log, a memory head and parts on disk.
//!
//! # Layout
//!
//! ```text
//! DIR/wal/{metrics,logs,spans}/0000000000000001.wal     segments, oldest first (see `segment`)
//! DIR/wal/{metrics,logs,spans}/quarantine/              damaged pieces, kept for a person
//! DIR/wal/{metrics,logs,spans}/held/                    segments kept for targets that lag (see `held`)
//! DIR/parts/                                            Parquet files (see `parts`)
//! ```
//!
//! # Protocol
//!
//! A batch is normalised, framed and appended to its signal's log, then put into the head, then
//! acknowledged. The log is synced every 200 ms or 4 MiB, whichever is first; in `always` mode
//! before each acknowledgement. So a killed process loses nothing it acknowledged, and a machine that
//! loses power loses at most the last 200 ms (`sync = "interval"`) or nothing (`sync = "always"`).
//!
//! A head is written out as a part when it is old or large enough ([`flush`]): the log begins a new
//! segment, the head sets its content apart, the part is published, and the older segments are deleted.
//! Queries read head and parts together and see each record once.
//!
//! # Memory
//!
//! One budget: metrics may use a quarter of it (a sixteenth of that for exemplars), logs and spans 3/16 each, requests being decoded an
//! eighth; the last quarter is for reading parts. A head is written out at half its share (that of metrics
//! at half of what labels leave, which may take half of it); one that
//! cannot be, and reaches its share, refuses writes until it can.
//!
//! # Recovery
//!
//! At start the log is read back one frame at a time; damage is cut or quarantined (see [`wal`]) and
//! never stops the start. Writes are refused as "starting" until that is done, so that samples stay in
//! order.
//!
//! # A full disk
//!
//! Below the configured floor of free bytes, or after ENOSPC, writes are refused; reads go on. Free
//! space is looked at again every second, and writing resumes by itself.

pub(crate) mod disk;
mod elsewhere;
pub(crate) mod exemplar_frame;
mod exemplars;
mod flush;
mod held;
pub(crate) mod metrics_frame;
pub(crate) mod segment;
mod upkeep;
mod view;
pub(crate) mod wal;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use quintet_types::{SharedClock, time::micros};
use thiserror::Error;
use tokio::sync::broadcast;

use self::disk::Disk;
pub(crate) use self::exemplars::{FoundExemplars, TookTooLong, Wanted};
pub(crate) use self::flush::aged_micros;
pub(crate) use self::held::Hold;
use self::metrics_frame::{MetricsDecoder, MetricsEncoder};
use self::upkeep::replay;
pub(crate) use self::view::View;
use self::wal::Wal;
use crate::head::cardinality::Cardinality;
use crate::head::metrics::Admission;
use crate::head::{BlockHead, Exemplars, MetricsHead, SeriesLimits};
use crate::model::codec::{self, Damaged, Record};
use crate::model::{Batch, Labels, LogRecord, MetricBatch, MetricMeta, Span};
use crate::offload::Copies;
use crate::offload::manifest::Manifest;
use crate::offload::reader::Reader;
use crate::parts::{Columnar, Part, Shelf};

/// How often dirty logs are synced.
pub(crate) const SYNC_INTERVAL: Duration = Duration::from_millis(200);
const SYNC_BYTES: u64 = 4 * 1024 * 1024;
/// A sample further ahead of the clock is refused: nothing newer would ever come, and its series would take no other.
const AHEAD_MILLIS: i64 = 10 * 60 * 1000;
const MAX_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;
const MIN_SEGMENT_BYTES: u64 = 1024 * 1024;

/// What is stored; each has its own log and head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Metrics,
    Logs,
    Spans,
}

impl Signal {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Metrics => "metrics",
            Self::Logs => "logs",
            Self::Spans => "spans",
        }
    }

    /// How long a unit of the signal's times is: samples count milliseconds, the others nanoseconds.
    pub(crate) fn nanos_per_unit(self) -> i64 {
        if self == Self::Metrics { 1_000_000 } else { 1 }
    }

    fn number(self) -> u8 {
        match self {
            Self::Metrics => 1,
            Self::Logs => 2,
            Self::Spans => 3,
        }
    }
}

/// When an acknowledged batch is safe from a power failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum SyncMode {
    /// Within 200 ms.
    #[default]
    Interval,
    /// Before it is acknowledged.
    Always,
}

/// What bounds the storage.
#[derive(Debug, Clone)]
pub(crate) struct StorageLimits {
    pub(crate) directory: PathBuf,
    pub(crate) retention: Duration,
    pub(crate) max_bytes: u64,
    pub(crate) memory_budget_bytes: usize,
    pub(crate) free_bytes_floor: u64,
    pub(crate) sync: SyncMode,
    pub(crate) series: SeriesLimits,
    pub(crate) hold: Hold,
}

impl StorageLimits {
    fn metrics_share(&self) -> usize {
        self.memory_budget_bytes / 4 - self.exemplars_share()
    }

    fn exemplars_share(&self) -> usize {
        self.memory_budget_bytes / 64
    }

    fn block_share(&self) -> usize {
        self.memory_budget_bytes / 16 * 3
    }

    /// The part of the budget for indexes of parts that stay in memory between queries.
    fn index_share(&self) -> usize {
        self.memory_budget_bytes / 8
    }

    /// The part of the budget for requests that are being decoded.
    pub(crate) fn in_flight_share(&self) -> usize {
        self.memory_budget_bytes / 8
    }

    fn segment_bytes(&self) -> u64 {
        (self.max_bytes / 24).clamp(MIN_SEGMENT_BYTES, MAX_SEGMENT_BYTES)
    }
}

/// Why a batch was not stored; the sender should try again later.
#[derive(Debug, Error)]
pub(crate) enum AppendError {
    #[error("the storage is still reading its logs")]
    Starting,
    #[error("the disk is full")]
    Full,
    #[error("the memory budget is used up until some of it is written out")]
    Overloaded,
    /// No later try can succeed.
    #[error("the batch is larger than the log takes at once; send less at a time")]
    TooLarge,
    #[error("the log cannot be written")]
    Io(#[source] io::Error),
}

/// What became of a metric batch's samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Stored {
    pub(crate) kept: usize,
    pub(crate) repeated: usize,
    pub(crate) out_of_order: usize,
    /// Further ahead of the clock than clocks differ.
    pub(crate) ahead: usize,
    /// Refused because their series would exceed a cardinality limit.
    pub(crate) refused: usize,
    /// Exemplars that memory has now.
    pub(crate) exemplars: usize,
}

/// How much is kept, for the sink's own metrics.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Usage {
    pub(crate) series: usize,
    pub(crate) exemplars: usize,
    pub(crate) parts: [usize; 3],
    pub(crate) part_bytes: [u64; 3],
    /// What of the parts is on this disk.
    pub(crate) local_bytes: [u64; 3],
    pub(crate) remote_parts: [usize; 3],
    pub(crate) part_rows: [u64; 3],
    pub(crate) head_bytes: [usize; 3],
    pub(crate) log_bytes: [u64; 3],
    pub(crate) log_records: usize,
    pub(crate) spans: usize,
}

/// Batches that a tail may be behind.
const TAILED_BATCHES: usize = 32;
/// Lines of one batch that tails see.
const TAILED_LINES: usize = 1000;

/// What of a stored batch tails see.
#[derive(Debug)]
pub(crate) struct TailedLogs {
    pub(crate) batch: Batch<LogRecord>,
    /// Lines beyond the limit.
    pub(crate) left_out: usize,
}

impl TailedLogs {
    fn of(batch: &Batch<LogRecord>) -> Self {
        let mut left = TAILED_LINES;
        let mut seen = Batch::default();
        for (resource, records) in &batch.groups {
            let taken: Vec<_> = records.iter().take(left).cloned().collect();
            left -= taken.len();
            seen.groups.push((Arc::clone(resource), taken));
        }
        Self { left_out: batch.len() - seen.len(), batch: seen }
    }
}

struct MetricsLog {
    wal: Wal,
    encoder: MetricsEncoder,
}

/// The head of metrics and the parts it was written out to.
struct MetricsState {
    head: MetricsHead,
    parts: Vec<Arc<Part>>,
}

/// The head of records and the parts it was written out to.
struct LaneState {
    head: BlockHead,
    parts: Vec<Arc<Part>>,
}

/// A log, its head and its parts for records that live in blocks. The log's lock is taken first and held
/// across the head's change, so that both see batches in the same order.
struct Lane {
    signal: Signal,
    wal: Mutex<Wal>,
    state: RwLock<LaneState>,
    shelf: Shelf,
}

pub(crate) struct Storage {
    limits: StorageLimits,
    clock: SharedClock,
    disk: Arc<dyn Disk>,
    reader: Arc<Reader>,
    /// What the bucket is known to hold; nothing where none is configured.
    copies: Mutex<Option<Copies>>,
    metrics: Mutex<MetricsLog>,
    metrics_state: RwLock<MetricsState>,
    /// Changed under the lock of the metrics' log only.
    exemplars: RwLock<Exemplars>,
    metrics_shelf: Shelf,
    logs: Lane,
    spans: Lane,
    started: AtomicBool,
    full: AtomicBool,
    /// Held while heads are written out.
    flushing: Mutex<flush::Pace>,
    /// Held while parts are merged or removed, which may take long and must not hold up writing out.
    maintaining: Mutex<()>,
    tails: broadcast::Sender<Arc<TailedLogs>>,
}

// A panic while a lock was held leaves at worst one batch half applied in memory; refusing every
// later request would be worse, so poisoning is ignored.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl Storage {
    /// As [`Storage::open_with`], without a bucket.
    #[cfg(any(test, feature = "conformance"))]
    pub(crate) fn open(limits: StorageLimits, clock: SharedClock, disk: Arc<dyn Disk>) -> io::Result<Self> {
        Self::open_with(limits, clock, disk, Reader::absent())
    }

    /// Creates what is missing below the directory and lists the logs; [`Storage::replay`] reads them. `reader` reads the
    /// parts that are in object storage.
    pub(crate) fn open_with(
        limits: StorageLimits,
        clock: SharedClock,
        disk: Arc<dyn Disk>,
        reader: Arc<Reader>,
    ) -> io::Result<Self> {
        let used = Manifest::load(&limits.directory).map_err(io::Error::other)?;
        let used = used.map(|manifest| manifest.used()).unwrap_or_default();
        let segment_bytes = limits.segment_bytes();
        let open = |signal: Signal| -> io::Result<(Wal, Shelf, Vec<Arc<Part>>)> {
            let (shelf, parts) = {
                let used = used.get(signal.as_str()).copied().unwrap_or(0);
                Shelf::open(signal, &limits.directory, Arc::clone(&disk), &reader, used)?
            };
            let through = parts.iter().map(|part| part.facts.through).max().unwrap_or(0);
            let directory = limits.directory.join("wal").join(signal.as_str());
            let mut wal = Wal::open(signal, directory, Arc::clone(&disk), segment_bytes)?;
            wal.hold(limits.hold.of(signal))?;
            wal.forget_through(through)?;
            Ok((wal, shelf, parts))
        };
        let lane = |signal: Signal| -> io::Result<Lane> {
            let (wal, shelf, parts) = open(signal)?;
            let state = RwLock::new(LaneState { head: BlockHead::new(), parts });
            Ok(Lane { signal, wal: Mutex::new(wal), state, shelf })
        };
        let (wal, metrics_shelf, parts) = open(Signal::Metrics)?;
        let head = MetricsHead::new(limits.metrics_share(), limits.series);
        Ok(Self {
            metrics: Mutex::new(MetricsLog { wal, encoder: MetricsEncoder::default() }),
            metrics_state: RwLock::new(MetricsState { head, parts }),
            exemplars: RwLock::new(Exemplars::new(limits.exemplars_share())),
            metrics_shelf,
            logs: lane(Signal::Logs)?,
            spans: lane(Signal::Spans)?,
            limits,
            clock,
            disk,
            reader,
            copies: Mutex::new(None),
            started: AtomicBool::new(false),
            full: AtomicBool::new(false),
            flushing: Mutex::new(flush::Pace::default()),
            maintaining: Mutex::new(()),
            tails: broadcast::Sender::new(TAILED_BATCHES),
        })
    }

    /// Reads the logs back into memory and opens the storage for writing. Blocking.
    pub(crate) fn replay(&self) {
        self.replay_metrics();
        self.replay_lane::<LogRecord>(&self.logs);
        self.replay_lane::<Span>(&self.spans);
        self.started.store(true, Ordering::Release);
    }

    pub(crate) fn has_started(&self) -> bool {
        self.started.load(Ordering::Acquire)
    }

    pub(crate) fn is_full(&self) -> bool {
        self.full.load(Ordering::Acquire)
    }

    /// A log that holds more than memory may, because an earlier version wrote it or nothing could be
    /// written out, is written out on the way.
    fn replay_metrics(&self) {
        let mut log = lock(&self.metrics);
        let segment = |decoder: &mut MetricsDecoder, body: &[u8]| {
            if body.first() == Some(&exemplar_frame::VERSION) {
                return exemplar_frame::decode(body, |exemplar| {
                    write(&self.exemplars).push(exemplar);
                });
            }
            let head = &mut write(&self.metrics_state).head;
            decoder.decode(body, |labels, time, value| {
                // What was acknowledged is kept, also under limits that were lowered since.
                let number = head.restore(labels);
                head.append(number, time, value);
            })
        };
        let mut wrote_out = false;
        replay(&mut log.wal, Signal::Metrics, segment, |through| {
            if read(&self.metrics_state).head.is_large() {
                let frozen = write(&self.metrics_state).head.freeze();
                self.write_out_metrics(frozen, through)?;
                wrote_out = true;
            }
            Ok(())
        });
        if wrote_out {
            self.carry_exemplars(&mut log.wal);
        }
    }

    fn replay_lane<R: Columnar>(&self, lane: &Lane) {
        let mut wal = lock(&lane.wal);
        let segment = |(): &mut (), body: &[u8]| {
            let batch = decode_records::<R>(body)?;
            insert(&lane.state, &batch);
            Ok(())
        };
        replay(&mut wal, lane.signal, segment, |through| {
            if read(&lane.state).head.bytes() > self.limits.block_share() / 2 {
                let blocks = write(&lane.state).head.freeze();
                Self::write_out::<R>(lane, &blocks, through)?;
            }
            Ok(())
        });
    }

    pub(crate) fn now_micros(&self) -> i64 {
        micros(self.clock.now())
    }

    fn writable(&self) -> Result<(), AppendError> {
        if !self.has_started() {
            return Err(AppendError::Starting);
        }
        if self.is_full() { Err(AppendError::Full) } else { Ok(()) }
    }

    fn failed(&self, signal: Signal, error: io::Error) -> AppendError {
        if error.kind() == io::ErrorKind::FileTooLarge {
            return AppendError::TooLarge;
        }
        metrics::counter!("quintet_sink_wal_write_failures_total", "signal" => signal.as_str()).increment(1);
        if error.kind() == io::ErrorKind::StorageFull || error.kind() == io::ErrorKind::QuotaExceeded {
            self.full.store(true, Ordering::Release);
            return AppendError::Full;
        }
        tracing::error!(signal = signal.as_str(), %error, "cannot write the log");
        AppendError::Io(error)
    }

    /// Stores samples; those of series beyond the limits, and out-of-order ones, are counted and left.
    pub(crate) fn append_metrics(&self, batch: &MetricBatch) -> Result<Stored, AppendError> {
        self.writable()?;
        let now = self.now_micros();
        let mut log = lock(&self.metrics);
        if read(&self.metrics_state).head.is_over_share() {
            return Err(AppendError::Overloaded);
        }
        let (mut stored, admitted) = self.admit(batch, now / 1000);
        let exemplars = self.admit_exemplars(batch, now / 1000, &mut stored);
        let MetricsLog { wal, encoder } = &mut *log;
        if !admitted.is_empty() {
            let written = wal.begin(now).and_then(|segment| {
                let body = encoder.encode(segment, &admitted);
                wal.write(body)
            });
            written.map_err(|error| self.failed(Signal::Metrics, error))?;
        }
        if !exemplars.is_empty() {
            let frames = exemplar_frame::encode(exemplars.iter().copied());
            exemplars::log(wal, now, &frames).map_err(|error| self.failed(Signal::Metrics, error))?;
        }
        if !(admitted.is_empty() && exemplars.is_empty()) {
            self.sync_if_due(Signal::Metrics, wal)?;
        }
        self.keep_exemplars(&exemplars);
        let head = &mut write(&self.metrics_state).head;
        for (number, labels, time, value) in &admitted {
            debug_assert!(
                head.labels(*number).is_none_or(|known| known == *labels),
                "a series changed its labels"
            );
            head.append(*number, *time, *value);
        }
        batch.metadata.iter().for_each(|meta| head.describe(meta));
        Ok(stored)
    }

    /// These labels as the head holds them, where it has a series with them.
    pub(crate) fn shared_labels(&self, labels: &Labels) -> Option<Labels> {
        read(&self.metrics_state).head.shared_labels(labels).cloned()
    }

    fn admit<'a>(
        &self,
        batch: &'a MetricBatch,
        now_millis: i64,
    ) -> (Stored, Vec<metrics_frame::Admitted<'a>>) {
        let mut stored = Stored::default();
        let mut admitted = Vec::with_capacity(batch.samples.len());
        let head = &mut write(&self.metrics_state).head;
        for sample in &batch.samples {
            if sample.time > now_millis.saturating_add(AHEAD_MILLIS) {
                stored.ahead += 1;
                continue;
            }
            let Ok(number) = head.resolve(&sample.labels, now_millis) else {
                stored.refused += 1;
                continue;
            };
            match head.admits(number, sample.time, sample.value) {
                Admission::New | Admission::Late => {
                    stored.kept += 1;
                    admitted.push((number, &sample.labels, sample.time, sample.value));
                }
                Admission::Repeat => stored.repeated += 1,
                Admission::OutOfOrder => stored.out_of_order += 1,
            }
        }
        (stored, admitted)
    }

    /// Stores log records, all or none.
    pub(crate) fn append_logs(&self, batch: &Batch<LogRecord>) -> Result<(), AppendError> {
        self.append(&self.logs, batch)?;
        if self.tails.receiver_count() > 0 {
            // Without a receiver left the batch is for nobody.
            let _ = self.tails.send(Arc::new(TailedLogs::of(batch)));
        }
        Ok(())
    }

    /// The batches of logs that are stored from now on.
    pub(crate) fn watch_logs(&self) -> broadcast::Receiver<Arc<TailedLogs>> {
        self.tails.subscribe()
    }

    /// Stores spans, all or none.
    pub(crate) fn append_spans(&self, batch: &Batch<Span>) -> Result<(), AppendError> {
        self.append(&self.spans, batch)
    }

    fn append<R: Record>(&self, lane: &Lane, batch: &Batch<R>) -> Result<(), AppendError> {
        self.writable()?;
        if batch.is_empty() {
            return Ok(());
        }
        let mut body = vec![FRAME_VERSION];
        codec::encode_batch(batch, &mut body);
        let now = self.now_micros();
        let mut wal = lock(&lane.wal);
        if read(&lane.state).head.bytes() > self.limits.block_share() {
            return Err(AppendError::Overloaded);
        }
        wal.begin(now).and_then(|_| wal.write(&body)).map_err(|error| self.failed(lane.signal, error))?;
        self.sync_if_due(lane.signal, &mut wal)?;
        insert(&lane.state, batch);
        Ok(())
    }

    fn sync_if_due(&self, signal: Signal, wal: &mut Wal) -> Result<(), AppendError> {
        let due = self.limits.sync == SyncMode::Always || wal.unsynced_bytes() >= SYNC_BYTES;
        let Some(file) = due.then(|| wal.active_file()).flatten() else { return Ok(()) };
        file.sync().map_err(|error| {
            wal.abandon_segment();
            sync_failed(signal, &error);
            AppendError::Io(error)
        })
    }

    /// Syncs every log that has unsynced bytes. Blocking; call it each [`SYNC_INTERVAL`].
    pub(crate) fn sync(&self) {
        let metrics = lock(&self.metrics).wal.dirty_file();
        if let Some(Err(error)) = metrics.map(|file| file.sync()) {
            lock(&self.metrics).wal.abandon_segment();
            sync_failed(Signal::Metrics, &error);
        }
        for lane in [&self.logs, &self.spans] {
            let dirty = lock(&lane.wal).dirty_file();
            if let Some(Err(error)) = dirty.map(|file| file.sync()) {
                lock(&lane.wal).abandon_segment();
                sync_failed(lane.signal, &error);
            }
        }
    }

    /// Looks at the free space again; call it each second.
    pub(crate) fn check_space(&self) {
        match self.disk.available_bytes(&self.limits.directory) {
            Ok(available) => {
                let full = available < self.limits.free_bytes_floor;
                let was = self.full.swap(full, Ordering::AcqRel);
                if full {
                    self.give_up_held();
                }
                if full && !was {
                    tracing::error!(available, "the disk is full: refusing writes, still answering queries");
                } else if was && !full {
                    tracing::info!(available, "the disk has space again: accepting writes");
                }
            }
            Err(error) => tracing::warn!(%error, "cannot learn the free space of the storage directory"),
        }
    }

    /// What each metric is, by name.
    /// How long what is stored is kept, as Prometheus writes it: `7d or 2147483648B`.
    pub(crate) fn retention_text(&self) -> String {
        let millis = i64::try_from(self.limits.retention.as_millis()).unwrap_or(i64::MAX);
        format!("{} or {}B", crate::promql::duration(millis), self.limits.max_bytes)
    }

    pub(crate) fn metadata(&self) -> Vec<MetricMeta> {
        read(&self.metrics_state).head.metadata().cloned().collect()
    }

    /// What the series in memory are made of, how many chunks they take, and their oldest and newest time.
    pub(crate) fn cardinality(&self, most: usize) -> (Cardinality, usize, Option<(i64, i64)>) {
        let head = &read(&self.metrics_state).head;
        (head.cardinality(most), head.chunk_count(), head.times())
    }

    pub(crate) fn logs(&self) -> View {
        let state = read(&self.logs.state);
        View::new(state.head.snapshot(), state.parts.clone())
    }

    pub(crate) fn spans(&self) -> View {
        let state = read(&self.spans.state);
        View::new(state.head.snapshot(), state.parts.clone())
    }

    pub(crate) fn clock(&self) -> &SharedClock {
        &self.clock
    }

    pub(crate) fn usage(&self) -> Usage {
        let log_bytes = [
            lock(&self.metrics).wal.total_bytes(),
            lock(&self.logs.wal).total_bytes(),
            lock(&self.spans.wal).total_bytes(),
        ];
        let (metrics, logs, spans) =
            (read(&self.metrics_state), read(&self.logs.state), read(&self.spans.state));
        let parts = [&metrics.parts, &logs.parts, &spans.parts];
        let (exemplars, exemplar_bytes) = self.exemplar_usage();
        Usage {
            series: metrics.head.series_count(),
            exemplars,
            parts: parts.map(Vec::len),
            part_bytes: parts.map(|parts| parts.iter().map(|part| part.bytes).sum()),
            local_bytes: parts.map(|parts| parts.iter().map(|part| part.local_bytes).sum()),
            remote_parts: parts.map(|parts| parts.iter().filter(|part| part.is_remote()).count()),
            part_rows: parts.map(|parts| parts.iter().map(|part| part.rows).sum()),
            head_bytes: [metrics.head.bytes() + exemplar_bytes, logs.head.bytes(), spans.head.bytes()],
            log_bytes,
            log_records: logs.head.records(),
            spans: spans.head.records(),
        }
    }
}

const FRAME_VERSION: u8 = 1;

/// Reads the body of a frame of logs or spans.
pub(crate) fn decode_records<R: Record>(body: &[u8]) -> Result<Batch<R>, Damaged> {
    match body.split_first() {
        Some((&FRAME_VERSION, rest)) => codec::decode_batch(rest),
        _ => Err(Damaged),
    }
}

fn insert<R: Record>(state: &RwLock<LaneState>, batch: &Batch<R>) {
    let head = &mut write(state).head;
    for (resource, records) in &batch.groups {
        for record in records {
            head.push(resource, record);
        }
    }
}

fn sync_failed(signal: Signal, error: &io::Error) {
    metrics::counter!("quintet_sink_wal_sync_failures_total", "signal" => signal.as_str()).increment(1);
    tracing::error!(signal = signal.as_str(), %error, "cannot sync the log");
}

#[cfg(test)]
pub(crate) mod tests;
