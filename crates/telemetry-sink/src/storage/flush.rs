//! Writing heads out as parts, merging parts, and retention.

use std::io;
use std::sync::Arc;

use parquet::errors::ParquetError;

use super::{Lane, Signal, Storage, lock, read, write};
use crate::head::blocks::Block;
use crate::head::metrics::Frozen;
use crate::model::{LogRecord, Span};
use crate::parts::part::Facts;
use crate::parts::{Columnar, Part, Shelf, merge, rows, samples};

/// Logs and spans are written out at this age, so that a start has little to read back.
const RECORDS_AGE_MICROS: i64 = 5 * 60 * 1_000_000;
/// Metrics wait longer: the more samples of a series stand together, the smaller they are.
const METRICS_AGE_MICROS: i64 = 2 * 3600 * 1_000_000;
/// After a failure to write, the next try waits this long.
const PAUSE_MICROS: i64 = 10 * 1_000_000;

/// When the heads were last written out, microseconds.
#[derive(Debug, Default)]
pub(super) struct Pace {
    metrics: Option<i64>,
    logs: Option<i64>,
    spans: Option<i64>,
    paused_until: i64,
}

impl Storage {
    /// Writes out the heads that are old or large enough. Blocking; call it each second.
    pub(crate) fn flush_due(&self) {
        if !self.has_started() {
            return;
        }
        let mut pace = lock(&self.flushing);
        let now = self.now_micros();
        if now < pace.paused_until {
            return;
        }
        let old = |last: &mut Option<i64>, age: i64| now - *last.get_or_insert(now) >= age;
        let limits = &self.limits;
        let metrics_large = read(&self.metrics_state).head.is_large();
        if old(&mut pace.metrics, METRICS_AGE_MICROS) || metrics_large {
            let written = self.flush_metrics();
            pace.metrics = pace.note(Signal::Metrics, written, now);
        }
        if old(&mut pace.logs, RECORDS_AGE_MICROS) || self.logs.bytes() > limits.block_share() / 2 {
            let written = Self::flush_lane::<LogRecord>(&self.logs);
            pace.logs = pace.note(Signal::Logs, written, now);
        }
        if old(&mut pace.spans, RECORDS_AGE_MICROS) || self.spans.bytes() > limits.block_share() / 2 {
            let written = Self::flush_lane::<Span>(&self.spans);
            pace.spans = pace.note(Signal::Spans, written, now);
        }
    }

    /// Writes out what memory holds, so that the next start, perhaps of another version, has little to read
    /// back. What cannot be written out stays in the log. Blocking.
    pub(crate) fn flush_at_end(&self) {
        if self.has_started()
            && let Err(error) = self.flush_all()
        {
            tracing::warn!(%error, "cannot write out what memory holds; the next start reads it from the log");
        }
    }

    /// Writes out everything now.
    pub(crate) fn flush_all(&self) -> Result<(), ParquetError> {
        let _pace = lock(&self.flushing);
        self.flush_metrics()?;
        Self::flush_lane::<LogRecord>(&self.logs)?;
        Self::flush_lane::<Span>(&self.spans)
    }

    fn flush_metrics(&self) -> Result<(), ParquetError> {
        let (through, frozen) = {
            let mut log = lock(&self.metrics);
            let Some(through) = log.wal.rotate()? else { return Ok(()) };
            self.carry_exemplars(&mut log.wal);
            // Under the log's lock: what comes later belongs to the next segment and to the next part.
            (through, write(&self.metrics_state).head.freeze())
        };
        self.write_out_metrics(frozen, through)?;
        lock(&self.metrics).wal.forget_through(through)?;
        Ok(())
    }

    /// Writes the head of metrics out as a part that stands for the log up to a segment.
    pub(super) fn write_out_metrics(&self, frozen: Frozen, through: u64) -> Result<(), ParquetError> {
        let runs = frozen
            .numbers
            .into_iter()
            .map(|(labels, number)| Ok((labels, read(&self.metrics_state).head.frozen_samples(number))));
        let part = samples::write(&self.metrics_shelf, runs, facts(through))?;
        let now = self.now_micros() / 1000;
        let mut state = write(&self.metrics_state);
        state.head.written(now);
        put(&mut state.parts, part);
        Ok(())
    }

    fn flush_lane<R: Columnar>(lane: &Lane) -> Result<(), ParquetError> {
        Self::flush_lane_with::<R>(lane, || ())
    }

    /// Writes logs out, with something that happens between the cut and the writing.
    #[cfg(test)]
    pub(crate) fn flush_logs_with(&self, between: impl FnOnce()) {
        Self::flush_lane_with::<LogRecord>(&self.logs, between).unwrap();
    }

    fn flush_lane_with<R: Columnar>(lane: &Lane, between: impl FnOnce()) -> Result<(), ParquetError> {
        let (through, blocks) = {
            let mut wal = lock(&lane.wal);
            let Some(through) = wal.rotate()? else { return Ok(()) };
            // Under the log's lock: what comes later belongs to the next segment and to the next part.
            (through, write(&lane.state).head.freeze())
        };
        between();
        Self::write_out::<R>(lane, &blocks, through)?;
        lock(&lane.wal).forget_through(through)?;
        Ok(())
    }

    /// Writes a lane's head out as a part that stands for the log up to a segment.
    pub(super) fn write_out<R: Columnar>(
        lane: &Lane,
        blocks: &[Arc<Block>],
        through: u64,
    ) -> Result<(), ParquetError> {
        let records = blocks.iter().flat_map(|block| block.found::<R>()).map(Ok);
        let part = rows::write(&lane.shelf, records, facts(through))?;
        let mut state = write(&lane.state);
        state.head.written();
        put(&mut state.parts, part);
        Ok(())
    }

    /// Merges parts until none is left to merge, and drops what is too old or too much. Blocking.
    pub(crate) fn maintain(&self) {
        let _only_one = lock(&self.maintaining);
        if let Err(error) = self.retain() {
            tracing::warn!(%error, "cannot delete an old part");
        }
        if self.is_full() {
            return;
        }
        self.merge_metrics();
        self.merge_lane::<LogRecord>(&self.logs);
        self.merge_lane::<Span>(&self.spans);
        self.trim_indexes();
    }

    fn merge_metrics(&self) {
        loop {
            let parts = read(&self.metrics_state).parts.clone();
            let Some((inputs, level)) = merge::plan(&parts, 1000, self.now_micros() / 1_000_000) else {
                return;
            };
            let merged = merge::metrics(&self.metrics_shelf, &inputs, level);
            let put = |part| replace(&mut write(&self.metrics_state).parts, &inputs, part);
            if !merged_as(Signal::Metrics, merged, &inputs, put) {
                return;
            }
        }
    }

    fn merge_lane<R: Columnar>(&self, lane: &Lane) {
        loop {
            let parts = read(&lane.state).parts.clone();
            let now = self.now_micros() / 1_000_000;
            let Some((inputs, level)) = merge::plan(&parts, 1_000_000_000, now) else { return };
            let merged = merge::records::<R>(&lane.shelf, &inputs, level);
            let put = |part| replace(&mut write(&lane.state).parts, &inputs, part);
            if !merged_as(lane.signal, merged, &inputs, put) {
                return;
            }
        }
    }

    /// Drops parts by age, then the oldest of all signals until the rest fits.
    fn retain(&self) -> io::Result<()> {
        let cutoff = self.retained_since();
        self.retain_exemplars(cutoff);
        loop {
            let usage = self.usage();
            let total: u64 = usage.local_bytes.iter().chain(&usage.log_bytes).sum();
            let mut parts = self.all_parts();
            parts.sort_by_key(|(signal, part)| aged_micros(*signal, part));
            // What is in object storage takes no room here.
            let surplus = total > self.limits.max_bytes;
            let goes = |(signal, part): &(Signal, Arc<Part>)| {
                aged_micros(*signal, part) < cutoff || surplus && !part.is_remote()
            };
            let Some((signal, part)) = parts.into_iter().find(goes) else { return Ok(()) };
            let gone = [Arc::clone(&part)];
            match signal {
                Signal::Metrics => replace(&mut write(&self.metrics_state).parts, &gone, None),
                Signal::Logs => replace(&mut write(&self.logs.state).parts, &gone, None),
                Signal::Spans => replace(&mut write(&self.spans.state).parts, &gone, None),
            }
            Shelf::remove(&gone)?;
            tracing::debug!(
                signal = signal.as_str(),
                part = part.facts.id,
                bytes = part.bytes,
                "deleted an old part"
            );
        }
    }

    /// Keeps the indexes that stay in memory within their share: those of the oldest parts go first.
    pub(crate) fn trim_indexes(&self) {
        let parts = read(&self.metrics_state).parts.clone();
        let mut left = self.limits.index_share();
        for part in parts.iter().rev() {
            let weight = part.series_weight();
            match left.checked_sub(weight) {
                Some(now) => left = now,
                None => part.forget_series(),
            }
        }
    }
}

impl Pace {
    /// When the signal was last written out; a failure postpones the next try.
    fn note(&mut self, signal: Signal, written: Result<(), ParquetError>, now: i64) -> Option<i64> {
        if let Err(error) = written {
            metrics::counter!("quintet_sink_flush_failures_total", "signal" => signal.as_str()).increment(1);
            tracing::error!(signal = signal.as_str(), %error, "cannot write out a part; it stays in memory and in the log");
            self.paused_until = now + PAUSE_MICROS;
            return match signal {
                Signal::Metrics => self.metrics,
                Signal::Logs => self.logs,
                Signal::Spans => self.spans,
            };
        }
        Some(now)
    }
}

impl Lane {
    fn bytes(&self) -> usize {
        read(&self.state).head.bytes()
    }
}

/// The time that counts for retention, microseconds: a row from the future is as old as its file.
pub(crate) fn aged_micros(signal: Signal, part: &Part) -> i64 {
    let nanos = i128::from(part.facts.last) * i128::from(signal.nanos_per_unit());
    i64::try_from(nanos / 1000).unwrap_or(i64::MAX).min(part.written_micros)
}

fn facts(through: u64) -> Facts {
    Facts { through, ..Facts::default() }
}

/// Adds a part at its place by time.
pub(super) fn put(parts: &mut Vec<Arc<Part>>, part: Option<Part>) {
    parts.extend(part.map(Arc::new));
    parts.sort_by_key(|part| (part.facts.first, part.facts.id));
}

pub(super) fn replace(parts: &mut Vec<Arc<Part>>, gone: &[Arc<Part>], part: Option<Part>) {
    parts.retain(|part| gone.iter().all(|gone| gone.facts.id != part.facts.id));
    put(parts, part);
}

/// Puts the outcome of a merge in its inputs' place; false where there is none.
fn merged_as(
    signal: Signal,
    merged: Result<Option<Part>, ParquetError>,
    inputs: &[Arc<Part>],
    put: impl FnOnce(Option<Part>),
) -> bool {
    match merged {
        Ok(part) => {
            metrics::counter!("quintet_sink_merges_total", "signal" => signal.as_str()).increment(1);
            put(part);
            match Shelf::remove(inputs) {
                Ok(()) => true,
                Err(error) => {
                    tracing::warn!(signal = signal.as_str(), %error, "cannot delete a merged part");
                    false
                }
            }
        }
        Err(error) => {
            metrics::counter!("quintet_sink_merge_failures_total", "signal" => signal.as_str()).increment(1);
            tracing::error!(signal = signal.as_str(), %error, "cannot merge parts; they stay as they are");
            false
        }
    }
}
