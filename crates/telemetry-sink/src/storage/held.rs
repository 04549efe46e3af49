//! Log segments that stay after their content was written out, for those who read the log at their own pace.
//!
//! A segment that is no longer needed for recovery moves to `held/` beside the log instead of being deleted, which is one
//! rename: whoever has the file open reads on. Recovery never looks there.
//!
//! Invariants: the held segments of a signal are at most as many bytes as configured, beyond which the oldest is given up and
//! counted; nothing is held unless configured, and what an earlier configuration held is deleted at start.

use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::disk::sync_directory;
use super::wal::{SegmentInfo, list};
use super::{Lane, Signal, Storage, lock};

/// How many bytes of each signal's log are held for readers; zero holds nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Hold {
    pub(crate) metrics: u64,
    pub(crate) logs: u64,
    pub(crate) spans: u64,
}

impl Hold {
    pub(super) fn of(self, signal: Signal) -> u64 {
        match signal {
            Signal::Metrics => self.metrics,
            Signal::Logs => self.logs,
            Signal::Spans => self.spans,
        }
    }
}

/// A log from some segment on.
#[derive(Debug, Clone, Default)]
pub(crate) struct LogView {
    /// Oldest first, each with its length up to the last whole frame.
    pub(crate) segments: Vec<SegmentInfo>,
    /// The number that the next segment gets.
    pub(crate) next: u64,
}

/// The held segments of one signal.
#[derive(Default)]
pub(super) struct Held {
    directory: PathBuf,
    limit: u64,
    segments: VecDeque<SegmentInfo>,
}

impl Held {
    pub(super) fn open(log: &Path, limit: u64) -> io::Result<Self> {
        let directory = log.join("held");
        if limit == 0 {
            return match fs::remove_dir_all(&directory) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(Self::default()),
            };
        }
        fs::create_dir_all(&directory)?;
        let mut segments = list(&directory)?;
        segments.sort_by_key(|info| info.number);
        Ok(Self { directory, limit, segments: segments.into() })
    }

    pub(super) fn is_wanted(&self) -> bool {
        self.limit > 0
    }

    pub(super) fn newest_number(&self) -> u64 {
        self.segments.back().map_or(0, |info| info.number)
    }

    pub(super) fn segments(&self) -> impl Iterator<Item = &SegmentInfo> {
        self.segments.iter()
    }

    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|info| info.bytes).sum()
    }

    /// Takes over a segment that the log no longer needs.
    pub(super) fn take(&mut self, info: &SegmentInfo) -> io::Result<()> {
        let path = self.directory.join(format!("{:016}.wal", info.number));
        match fs::rename(&info.path, &path) {
            Ok(()) => self.segments.push_back(SegmentInfo { path, ..info.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error),
        }
        sync_directory(&self.directory)
    }

    /// Gives up the oldest segments until the rest is within the bound; answers the bytes of them.
    pub(super) fn fit(&mut self) -> io::Result<u64> {
        let mut given_up = 0;
        while self.bytes() > self.limit {
            given_up += self.give_up_oldest()?;
        }
        Ok(given_up)
    }

    pub(super) fn give_up_oldest(&mut self) -> io::Result<u64> {
        let Some(info) = self.segments.front() else { return Ok(0) };
        let bytes = info.bytes;
        remove(&info.path)?;
        self.segments.pop_front();
        Ok(bytes)
    }

    /// Deletes what stands before a segment: everybody has read it.
    pub(super) fn release_before(&mut self, number: u64) -> io::Result<()> {
        while self.segments.front().is_some_and(|info| info.number < number) {
            self.give_up_oldest()?;
        }
        Ok(())
    }
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Counts what no reader will get.
pub(super) fn report_given_up(signal: Signal, bytes: u64) {
    if bytes > 0 {
        metrics::counter!("quintet_sink_forward_given_up_bytes_total", "signal" => signal.as_str())
            .increment(bytes);
        tracing::warn!(
            signal = signal.as_str(),
            bytes,
            "gave up the oldest of the log that was held for targets"
        );
    }
}

impl Storage {
    /// The log of a signal from a segment on, as long as [`Hold`] keeps it.
    pub(crate) fn log_from(&self, signal: Signal, number: u64) -> LogView {
        match self.lane(signal) {
            None => lock(&self.metrics).wal.view_from(number),
            Some(lane) => lock(&lane.wal).view_from(number),
        }
    }

    /// Says that nobody reads the log before a segment any more.
    pub(crate) fn release_log_before(&self, signal: Signal, number: u64) {
        let released = match self.lane(signal) {
            None => lock(&self.metrics).wal.held_mut().release_before(number),
            Some(lane) => lock(&lane.wal).held_mut().release_before(number),
        };
        if let Err(error) = released {
            tracing::warn!(signal = signal.as_str(), %error, "cannot delete a log segment that was handed over");
        }
    }

    /// On a full disk what is held goes first, a segment at a time: taking in matters more than passing on.
    pub(super) fn give_up_held(&self) {
        for signal in [Signal::Metrics, Signal::Logs, Signal::Spans] {
            let given_up = match self.lane(signal) {
                None => lock(&self.metrics).wal.held_mut().give_up_oldest(),
                Some(lane) => lock(&lane.wal).held_mut().give_up_oldest(),
            };
            match given_up {
                Ok(bytes) => report_given_up(signal, bytes),
                Err(error) => {
                    tracing::warn!(signal = signal.as_str(), %error, "cannot delete a held log segment");
                }
            }
        }
    }

    fn lane(&self, signal: Signal) -> Option<&Lane> {
        match signal {
            Signal::Metrics => None,
            Signal::Logs => Some(&self.logs),
            Signal::Spans => Some(&self.spans),
        }
    }
}

#[cfg(test)]
mod tests;
