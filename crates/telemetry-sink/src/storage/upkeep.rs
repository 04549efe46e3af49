//! What happens to the logs outside of appending: reading them back at start, and retention.

use std::io;

use super::Signal;
use super::wal::{Recovered, Wal, replay_segment};
use crate::model::codec::Damaged;

/// A log's bytes take about this much less than their head's, so reading more would be wasted.
const REPLAY_PER_SHARE: u64 = 2;

/// Reads a log's newest segments; `visit` gets a fresh state for each segment.
pub(super) fn replay<S: Default>(
    wal: &mut Wal,
    signal: Signal,
    share: u64,
    mut visit: impl FnMut(&mut S, &[u8]) -> Result<(), Damaged>,
) {
    let newest = wal.newest_number();
    for info in wal.replay_plan(share.saturating_mul(REPLAY_PER_SHARE)) {
        let mut state = S::default();
        let is_newest = newest == Some(info.number);
        match replay_segment(&info, signal, is_newest, |body| visit(&mut state, body)) {
            Ok(outcome) => {
                if outcome != Recovered::Intact {
                    metrics::counter!("quintet_sink_wal_damaged_segments_total", "signal" => signal.as_str())
                        .increment(1);
                    tracing::warn!(segment = %info.path.display(), ?outcome, "repaired a damaged log segment");
                }
                wal.recovered(info.number, outcome);
            }
            Err(error) => {
                metrics::counter!("quintet_sink_wal_unreadable_segments_total", "signal" => signal.as_str())
                    .increment(1);
                tracing::error!(segment = %info.path.display(), %error, "cannot read a log segment; going on without it");
            }
        }
    }
}

/// Deletes sealed segments, the oldest of all signals first.
pub(super) fn drop_segments(wals: &mut [&mut Wal], cutoff: i64, max_bytes: u64) -> io::Result<()> {
    loop {
        let total: u64 = wals.iter().map(|wal| wal.total_bytes()).sum();
        let oldest = wals
            .iter_mut()
            .filter_map(|wal| wal.oldest().map(|info| info.newest_micros).map(|newest| (newest, wal)))
            .min_by_key(|(newest, _)| *newest);
        match oldest {
            Some((newest, wal)) if newest < cutoff || total > max_bytes => {
                let signal = wal.signal();
                let freed = wal.drop_oldest()?;
                tracing::debug!(signal = signal.as_str(), freed, "deleted a log segment");
            }
            _ => return Ok(()),
        }
    }
}
