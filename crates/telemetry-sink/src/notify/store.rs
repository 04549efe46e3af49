//! The alerts that fire, or did a moment ago.

use std::collections::{BTreeMap, HashMap};

use super::fingerprint;
use crate::model::Labels;

const MAX_ALERTS: usize = 20_000;
/// How long an alert that is over is still shown, milliseconds.
const RESOLVED_RETENTION: i64 = 15 * 60 * 1000;

/// An alert from a rule or from outside. Times are milliseconds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Alert {
    /// The name of the alert included.
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) starts_at: i64,
    /// When it is over unless it is heard of again.
    pub(crate) ends_at: i64,
    pub(crate) updated_at: i64,
    pub(crate) generator_url: String,
}

impl Alert {
    pub(crate) fn is_resolved(&self, now: i64) -> bool {
        self.ends_at <= now
    }
}

/// Alerts by their fingerprints.
#[derive(Default)]
pub(super) struct Store {
    alerts: HashMap<u64, Alert>,
}

impl Store {
    pub(super) fn get(&self, fingerprint: u64) -> Option<&Alert> {
        self.alerts.get(&fingerprint)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Alert)> + Clone {
        self.alerts.iter().map(|(fingerprint, alert)| (*fingerprint, alert))
    }

    /// Takes an alert in; none where there are too many.
    pub(super) fn put(&mut self, mut alert: Alert) -> Option<u64> {
        let fingerprint = fingerprint(&alert.labels);
        if let Some(known) = self.alerts.get(&fingerprint) {
            // It went on: it began when it began. One that was over begins anew.
            if alert.starts_at <= known.ends_at {
                alert.starts_at = alert.starts_at.min(known.starts_at);
            }
        } else if self.alerts.len() >= MAX_ALERTS {
            metrics::counter!("quintet_sink_alerts_refused_total").increment(1);
            return None;
        }
        self.alerts.insert(fingerprint, alert);
        Some(fingerprint)
    }

    /// Forgets what is over for long, unless somebody is still to be told.
    pub(super) fn forget(&mut self, now: i64, is_awaited: impl Fn(u64) -> bool) {
        self.alerts.retain(|fingerprint, alert| {
            alert.ends_at + RESOLVED_RETENTION > now || is_awaited(*fingerprint)
        });
    }
}
