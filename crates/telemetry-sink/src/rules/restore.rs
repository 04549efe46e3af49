//! Taking up `for` and `keep_firing_for` after a restart, from what `ALERTS_FOR_STATE` and `ALERTS` said before it.
//!
//! An alert that holds again goes on with the time that it had spent pending; the time of the outage does not count, and what
//! is left of `for` is at least a grace period, so that an outage of the whole fleet does not fire everything at once. One
//! that fired and is kept firing by its rule goes on firing from when it was last seen: Prometheus forgets those.

use super::alert::{Instance, State};
use super::file::{ALERT_NAME, Alerting};
use super::group::{ALERTS, ALERTS_FOR_STATE, Rule, Scene};
use crate::model::{Labels, METRIC_NAME, Matcher, is_stale};

/// How long ago state may have been stored, milliseconds.
const OUTAGE_TOLERANCE: i64 = 60 * 60 * 1000;
/// What is left of `for` at least, milliseconds.
const GRACE_PERIOD: i64 = 10 * 60 * 1000;
const MAX_SAMPLES: usize = 2_000_000;

/// Brings a rule's alerts to where they were, after the rule's first evaluation at `time`.
pub(super) fn restore(rule: &mut Rule, alerting: &Alerting, time: i64, interval: i64, scene: &Scene<'_>) {
    if alerting.hold == 0 && alerting.keep_firing == 0 {
        return;
    }
    let remembered = last_values(&rule.spec.name, ALERTS_FOR_STATE, time, scene);
    for (labels, last_seen, since) in &remembered {
        let Some(active) = rule.alerts.get_mut(labels) else { continue };
        if alerting.hold > 0 && active.state == State::Pending {
            active.active_at = restored(*since, *last_seen, time, alerting.hold);
            active.holds(alerting, time);
        }
    }
    if alerting.keep_firing > 0 {
        keep_firing(rule, alerting, &remembered, time, interval, scene);
    }
}

/// Since when the alert counts as holding.
fn restored(since: i64, last_seen: i64, now: i64, hold: i64) -> i64 {
    let spent = last_seen - since;
    let remaining = hold - spent;
    if remaining <= 0 {
        since
    } else if remaining < GRACE_PERIOD.min(hold) {
        now + GRACE_PERIOD.min(hold) - hold
    } else {
        since + (now - last_seen)
    }
}

fn keep_firing(
    rule: &mut Rule,
    alerting: &Alerting,
    remembered: &[(Labels, i64, i64)],
    time: i64,
    interval: i64,
    scene: &Scene<'_>,
) {
    for (labels, last_fired, _) in last_values(&rule.spec.name, ALERTS, time, scene) {
        if labels.get("alertstate") != Some(State::Firing.as_str()) {
            continue;
        }
        let labels = labels.filtered(|name| name != "alertstate");
        // Only what this rule could have made: another rule may have the same name and other labels.
        let own = |(name, template): (&String, &super::template::Template)| {
            template.text().contains("{{") || labels.get(name) == Some(template.text())
        };
        if rule.alerts.contains_key(&labels)
            || !rule.spec.labels.iter().all(own)
            || time - last_fired - interval > alerting.keep_firing
        {
            continue;
        }
        let annotations = rule.instance(&labels, f64::NAN, alerting, time, scene).annotations;
        let since =
            remembered.iter().find(|(known, ..)| *known == labels).map_or(last_fired, |(.., since)| *since);
        let active = Instance {
            state: State::Firing,
            fired_at: Some(last_fired),
            keep_firing_since: Some(last_fired),
            ..Instance::new(labels.clone(), annotations, f64::NAN, since)
        };
        rule.alerts.insert(labels, active);
    }
}

/// The last value of each series of an alert before `time`: its labels without the metric's name, when it was stored, and the
/// value as milliseconds. A series that ended before is not there.
#[expect(clippy::cast_possible_truncation, reason = "seconds since the epoch")]
fn last_values(alert: &str, metric: &str, time: i64, scene: &Scene<'_>) -> Vec<(Labels, i64, i64)> {
    let matchers = [Matcher::equal(METRIC_NAME, metric), Matcher::equal(ALERT_NAME, alert)];
    let Ok(found) = scene.database.select(&matchers, time - OUTAGE_TOLERANCE, time - 1, MAX_SAMPLES) else {
        tracing::warn!(alert, "the state of an alert before the start is too large to be read");
        return Vec::new();
    };
    let last = found.into_iter().filter_map(|series| {
        let (at, value) = *series.samples.last()?;
        (!is_stale(value)).then(|| (series.labels.without_name(), at, (value * 1000.0) as i64))
    });
    last.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: i64 = 60_000;

    #[test]
    fn time_spent_pending_counts_and_the_outage_does_not() {
        // Pending for 20 of 60 minutes, then away for 5: 20 minutes are behind it.
        assert_eq!(restored(0, 20 * MINUTE, 25 * MINUTE, 60 * MINUTE), 5 * MINUTE);
        // 55 of 60 minutes: the grace period is left, not 5 minutes.
        assert_eq!(restored(0, 55 * MINUTE, 57 * MINUTE, 60 * MINUTE), 7 * MINUTE);
        // It had fired already: it fires again at once.
        assert_eq!(restored(0, 70 * MINUTE, 72 * MINUTE, 60 * MINUTE), 0);
        // A short `for` is never made longer than it is.
        assert_eq!(restored(0, MINUTE, 2 * MINUTE, 2 * MINUTE), 2 * MINUTE);
    }
}
