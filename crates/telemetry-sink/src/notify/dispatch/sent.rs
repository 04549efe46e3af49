//! What a receiver was told, as it is remembered, and whether there is anything new to tell it.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::super::store::Alert;

/// How long it is remembered what was sent, milliseconds; longer where a notification is repeated later.
const RETENTION: i64 = 120 * 60 * 60 * 1000;

/// An alert that somebody was told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct ToldAlert {
    pub(super) labels: BTreeMap<String, String>,
    pub(super) annotations: BTreeMap<String, String>,
    pub(super) starts_at: i64,
    pub(super) generator_url: String,
    /// How long it lived without being heard of again, milliseconds.
    pub(super) lifetime: i64,
}

/// What one way of a receiver was told last about a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Sent {
    /// Milliseconds.
    pub(super) at: i64,
    pub(super) expires: i64,
    pub(super) firing: BTreeMap<u64, ToldAlert>,
    pub(super) resolved: BTreeSet<u64>,
}

/// What there is to tell, as it will be remembered; none where there is nothing.
pub(super) fn news(
    known: Option<&Sent>,
    alerts: &[(u64, Alert)],
    repeat: i64,
    send_resolved: bool,
    now: i64,
) -> Option<Sent> {
    let (over, firing): (Vec<_>, Vec<_>) = alerts.iter().partition(|(_, alert)| alert.is_resolved(now));
    let sent = Sent {
        at: now,
        expires: now + RETENTION.max(repeat.saturating_mul(2)),
        firing: firing.iter().map(|(print, alert)| (*print, told(alert))).collect(),
        resolved: over.iter().map(|(print, _)| *print).collect(),
    };
    let Some(known) = known else { return (!sent.firing.is_empty()).then_some(sent) };
    let begun = sent.firing.keys().any(|print| !known.firing.contains_key(print));
    let all_over = sent.firing.is_empty() && !known.firing.is_empty() && !sent.resolved.is_empty();
    let ended = send_resolved
        && sent
            .resolved
            .iter()
            .any(|print| !known.resolved.contains(print) && known.firing.contains_key(print));
    let repeated = !sent.firing.is_empty() && known.at <= now - repeat;
    (begun || all_over || ended || repeated).then_some(sent)
}

fn told(alert: &Alert) -> ToldAlert {
    ToldAlert {
        labels: alert.labels.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
        annotations: alert.annotations.clone(),
        starts_at: alert.starts_at,
        generator_url: alert.generator_url.clone(),
        lifetime: alert.ends_at - alert.updated_at,
    }
}
