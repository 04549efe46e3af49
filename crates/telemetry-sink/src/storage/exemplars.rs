//! Exemplars between the log and memory.
//!
//! They are logged beside the samples they came with and are not written out to parts. When the log's older segments are
//! about to go, those that memory holds are logged once more, so that they live as long as memory keeps them, restarts
//! included.

use std::collections::BTreeMap;
use std::io;
use std::time::Instant;

use super::wal::Wal;
use super::{AHEAD_MILLIS, Storage, Stored, exemplar_frame, read, write};
use crate::head::exemplars::Noted;
use crate::model::matcher::all_accept;
use crate::model::{Exemplar, Labels, Matcher, MetricBatch};

/// Which exemplars are asked for.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    /// A series has to meet all matchers of one of them.
    pub(crate) selectors: Vec<Vec<Matcher>>,
    /// Milliseconds, both included.
    pub(crate) from: i64,
    pub(crate) to: i64,
    pub(crate) most: usize,
    pub(crate) deadline: Instant,
}

/// Exemplars by series.
#[derive(Debug, Default)]
pub(crate) struct FoundExemplars {
    pub(crate) series: BTreeMap<Labels, Vec<Exemplar>>,
    /// There were more than were asked for, and the oldest were left out.
    pub(crate) cut: bool,
}

/// The search took longer than it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TookTooLong;

impl Storage {
    /// The exemplars of a batch that are new to series which exist, in the order in which they are kept.
    pub(super) fn admit_exemplars<'a>(
        &self,
        batch: &'a MetricBatch,
        now_millis: i64,
        stored: &mut Stored,
    ) -> Vec<&'a Exemplar> {
        if batch.exemplars.is_empty() {
            return Vec::new();
        }
        let mut sent: Vec<&Exemplar> = batch.exemplars.iter().collect();
        sent.sort_by(|left, right| left.order(right));
        let head = &read(&self.metrics_state).head;
        let exemplars = read(&self.exemplars);
        sent.retain(|exemplar| {
            let refused = if !head.knows(&exemplar.series) {
                "unknown_series"
            } else if exemplar.time > now_millis.saturating_add(AHEAD_MILLIS) {
                "ahead"
            } else {
                match exemplars.judge(exemplar) {
                    Noted::New => return true,
                    Noted::Repeat => {
                        stored.exemplars += 1;
                        return false;
                    }
                    Noted::OutOfOrder => "out_of_order",
                    Noted::TooLong => "too_long",
                }
            };
            metrics::counter!("quintet_sink_exemplars_refused_total", "reason" => refused).increment(1);
            false
        });
        stored.exemplars += sent.len();
        sent
    }

    pub(super) fn keep_exemplars(&self, admitted: &[&Exemplar]) {
        if admitted.is_empty() {
            return;
        }
        let mut exemplars = write(&self.exemplars);
        let kept = admitted.iter().filter(|exemplar| exemplars.push(exemplar) == Noted::New).count();
        let kept = u64::try_from(kept).unwrap_or(0);
        metrics::counter!("quintet_sink_exemplars_kept_total").increment(kept);
    }

    /// Logs again what memory holds, before the segments that have it go. What cannot be logged stays in memory.
    pub(super) fn carry_exemplars(&self, wal: &mut Wal) {
        let frames = exemplar_frame::encode(read(&self.exemplars).iter());
        if let Err(error) = log(wal, self.now_micros(), &frames) {
            tracing::warn!(%error, "cannot keep the exemplars in the log; a restart would lose them");
        }
    }

    /// Forgets exemplars that are older than anything that is kept.
    pub(super) fn retain_exemplars(&self, cutoff_micros: i64) {
        write(&self.exemplars).forget_before(cutoff_micros / 1000);
    }

    /// How many there are, and the memory they take.
    pub(super) fn exemplar_usage(&self) -> (usize, usize) {
        let exemplars = read(&self.exemplars);
        (exemplars.len(), exemplars.bytes())
    }

    /// The exemplars that are asked for; of too many the newest.
    pub(crate) fn select_exemplars(&self, wanted: &Wanted) -> Result<FoundExemplars, TookTooLong> {
        let mut found = FoundExemplars::default();
        // Matched without the lock: patterns over many series take their time.
        let series = read(&self.exemplars).series();
        for labels in series {
            if Instant::now() > wanted.deadline {
                return Err(TookTooLong);
            }
            if !wanted.selectors.iter().any(|matchers| all_accept(matchers, &labels)) {
                continue;
            }
            let exemplars = read(&self.exemplars).of(&labels, wanted.from, wanted.to);
            if !exemplars.is_empty() {
                found.series.insert(labels, exemplars);
            }
        }
        found.cut_to(wanted.most);
        Ok(found)
    }
}

impl FoundExemplars {
    /// Leaves the newest.
    pub(crate) fn cut_to(&mut self, most: usize) {
        let mut times: Vec<i64> = self.series.values().flatten().map(|exemplar| exemplar.time).collect();
        let Some(surplus) = times.len().checked_sub(most).filter(|surplus| *surplus > 0) else { return };
        self.cut = true;
        times.sort_unstable();
        let newest_left_out = times.get(surplus - 1).copied().unwrap_or(i64::MAX);
        self.series.retain(|_, exemplars| {
            exemplars.retain(|exemplar| exemplar.time > newest_left_out);
            !exemplars.is_empty()
        });
    }
}

/// Appends frames of exemplars to the log.
pub(super) fn log(wal: &mut Wal, now_micros: i64, frames: &[Vec<u8>]) -> io::Result<()> {
    frames.iter().try_for_each(|frame| {
        wal.begin(now_micros)?;
        wal.write(frame)
    })
}

#[cfg(test)]
mod tests;
