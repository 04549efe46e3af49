//! Alerts and groups as they stand, for whoever asks.

use std::collections::BTreeMap;

use super::super::inhibit::Inhibitors;
use super::super::store::Alert;
use super::Dispatcher;
use crate::model::Labels;

/// How an alert stands, for whoever asks.
#[expect(clippy::struct_field_names, reason = "the names of Alertmanager's API")]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) silenced_by: Vec<String>,
    pub(crate) inhibited_by: Option<u64>,
    pub(crate) muted_by: Vec<String>,
}

impl Standing {
    pub(crate) fn state(&self) -> &'static str {
        let quiet = !self.silenced_by.is_empty() || self.inhibited_by.is_some() || !self.muted_by.is_empty();
        if quiet { "suppressed" } else { "active" }
    }
}

/// A group and its alerts, for whoever asks.
pub(crate) struct GroupView {
    pub(crate) labels: Labels,
    pub(crate) receiver: String,
    pub(crate) alerts: Vec<AlertView>,
}

/// An alert, how it stands, and whose it is.
#[derive(Clone)]
pub(crate) struct AlertView {
    pub(crate) fingerprint: u64,
    pub(crate) alert: Alert,
    pub(crate) standing: Standing,
    pub(crate) receivers: Vec<String>,
}

impl Dispatcher {
    fn standing(&self, inhibitors: &Inhibitors<'_>, labels: &Labels, now: i64) -> Standing {
        let routes = self.plan.routes_of(labels);
        let muted = |index: &usize| self.plan.route(*index).and_then(|route| self.plan.muted_by(route, now));
        let mutes: Vec<_> = routes.iter().filter_map(muted).collect();
        // Quiet only where every route is.
        let muted_by = if mutes.len() == routes.len() { mutes.concat() } else { Vec::new() };
        Standing { silenced_by: self.silences.of(labels, now), inhibited_by: inhibitors.of(labels), muted_by }
    }

    /// The alerts that fire now.
    pub(crate) fn alerts(&self, now: i64) -> Vec<AlertView> {
        let firing = self.store.iter().filter(|(_, alert)| !alert.is_resolved(now));
        let inhibitors = Inhibitors::new(
            &self.plan.inhibitions,
            firing.clone().map(|(print, alert)| (print, &alert.labels)),
        );
        let mut views: Vec<_> = firing
            .map(|(fingerprint, alert)| AlertView {
                fingerprint,
                alert: alert.clone(),
                standing: self.standing(&inhibitors, &alert.labels, now),
                receivers: self.receivers_of(&alert.labels),
            })
            .collect();
        views.sort_by(|left, right| left.alert.labels.cmp(&right.alert.labels));
        views
    }

    fn receivers_of(&self, labels: &Labels) -> Vec<String> {
        let routes = self.plan.routes_of(labels);
        let receivers =
            routes.iter().filter_map(|index| self.plan.receivers.get(self.plan.route(*index)?.receiver));
        let mut names: Vec<_> = receivers.map(|receiver| receiver.name.clone()).collect();
        names.dedup();
        names
    }

    /// The groups with the alerts that fire now.
    pub(crate) fn groups(&self, now: i64) -> Vec<GroupView> {
        let alerts: BTreeMap<u64, AlertView> =
            self.alerts(now).into_iter().map(|view| (view.fingerprint, view)).collect();
        let views = self.groups.values().filter_map(|group| {
            let receiver = self.plan.receivers.get(self.plan.route(group.route)?.receiver)?.name.clone();
            let alerts: Vec<_> =
                group.members.iter().filter_map(|print| alerts.get(print).cloned()).collect();
            (!alerts.is_empty()).then(|| GroupView { labels: group.labels.clone(), receiver, alerts })
        });
        views.collect()
    }
}
