//! Reading the logs back at start.

use parquet::errors::ParquetError;

use super::Signal;
use super::wal::{Recovered, Wal, replay_segment};
use crate::model::codec::Damaged;

/// Reads a log's segments; `visit` gets a fresh state for each segment, `after` the number of each that is read.
pub(super) fn replay<S: Default>(
    wal: &mut Wal,
    signal: Signal,
    mut visit: impl FnMut(&mut S, &[u8]) -> Result<(), Damaged>,
    mut after: impl FnMut(u64) -> Result<(), ParquetError>,
) {
    let newest = wal.newest_number();
    for info in wal.segments() {
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
                tracing::error!(segment = %info.path.display(), %error, "cannot read a log segment; it is set aside");
                if let Err(error) = wal.set_aside(&info) {
                    tracing::error!(segment = %info.path.display(), %error, "cannot set a log segment aside");
                }
            }
        }
        if let Err(error) = after(info.number) {
            tracing::error!(signal = signal.as_str(), %error, "cannot write out a part while reading the log");
        }
    }
}
