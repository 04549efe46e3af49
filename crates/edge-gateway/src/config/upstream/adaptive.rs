//! `[upstreams.adaptive]`: a bound on requests in flight that is learnt.

use quintet_service::Invalid;
use serde::Deserialize;

use super::At;
use crate::upstream::Bounds;

/// A bound that follows what the upstream can do; `max_in_flight` is the most it becomes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AdaptiveSection {
    /// The least that the bound becomes, and where it begins; 1 to `max_in_flight`.
    #[serde(default = "default_min")]
    pub(crate) min: usize,
    /// How long an answer may take, as a percentage of what answers take in the long run; 110 to 1000.
    #[serde(default = "default_tolerance")]
    pub(crate) tolerance_percent: u16,
}

const fn default_min() -> usize {
    20
}
const fn default_tolerance() -> u16 {
    150
}

impl AdaptiveSection {
    pub(super) fn check(&self, at: At, max_in_flight: usize) -> Result<(), Invalid> {
        at.within("adaptive.min", self.min as u64, 1, max_in_flight as u64)?;
        at.within("adaptive.tolerance_percent", self.tolerance_percent.into(), 110, 1_000)
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    pub(crate) fn bounds(&self, max_in_flight: usize) -> Bounds {
        Bounds {
            least: self.min as f64,
            most: max_in_flight as f64,
            tolerance: f64::from(self.tolerance_percent) / 100.0,
        }
    }
}
