//! Decides who is told what and when. It sends nothing itself and has no clock: [`Dispatcher::tick`] says what is due, and
//! [`Dispatcher::finish`] hears how it went.
//!
//! Alerts that a route takes are grouped by labels. A new group waits `group_wait`, and then looks every `group_interval`
//! whether there is something to tell: an alert that its receiver does not know of, the end of one that it knows of, or nothing
//! new for `repeat_interval`. What each way of a receiver was told last is in a journal, so that a restart neither repeats nor
//! forgets: alerts that were told as firing are taken up again, and end if nobody confirms them.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quintet_types::Entropy;
use serde::{Deserialize, Serialize};

use super::inhibit::Inhibitors;
use super::journal::Journal;
use super::message::Message;
use super::plan::Plan;
use super::silences::{Silence, SilenceError, Silences};
use super::store::{Alert, Store};
use crate::model::Labels;

const MAX_GROUPS: usize = 5000;
const MAX_REMEMBERED: usize = 20_000;
/// How many are forgotten at once where there are too many.
const FORGOTTEN_AT_ONCE: usize = 200;
/// How long it is remembered what was sent, milliseconds; longer where a notification is repeated later.
const RETENTION: i64 = 120 * 60 * 60 * 1000;
/// How long alerts of before a restart live at least until somebody confirms them, milliseconds.
const CONFIRMATION: i64 = 5 * 60 * 1000;
/// How long one notification is tried at most; the next interval tries again.
const LONGEST_DELIVERY: Duration = Duration::from_mins(5);
const HOUSEKEEPING: i64 = 60_000;
/// How long it is tried to tell an end, milliseconds: a receiver that never answers is not tried for ever.
const GIVE_UP: i64 = 24 * 60 * 60 * 1000;

/// An alert that somebody was told of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct ToldAlert {
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: i64,
    generator_url: String,
    /// How long it lived without being heard of again, milliseconds.
    lifetime: i64,
}

/// What one way of a receiver was told last about a group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Sent {
    /// Milliseconds.
    at: i64,
    expires: i64,
    firing: BTreeMap<u64, ToldAlert>,
    resolved: BTreeSet<u64>,
}

/// A notification that is due.
pub(super) struct Job {
    pub(super) plan: Arc<Plan>,
    pub(super) receiver: usize,
    pub(super) channel: usize,
    /// None where nothing is to be sent, only remembered.
    pub(super) message: Option<Message>,
    pub(super) patience: Duration,
    group: String,
    key: String,
    sent: Sent,
}

struct AlertGroup {
    route: usize,
    labels: Labels,
    members: BTreeSet<u64>,
    /// When it looks next, milliseconds.
    due: i64,
    /// Notifications under way.
    sending: usize,
    failed: bool,
    /// The alerts whose end is being told, with when they were last heard of.
    ending: Vec<(u64, i64)>,
}

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

pub(crate) struct Dispatcher {
    plan: Arc<Plan>,
    external_url: String,
    store: Store,
    groups: BTreeMap<String, AlertGroup>,
    silences: Silences,
    log: Journal<Sent>,
    kept_house_at: i64,
}

impl Dispatcher {
    /// Reads what is remembered below `directory`.
    pub(crate) fn open(directory: &Path, plan: Arc<Plan>, external_url: &str, now: i64) -> io::Result<Self> {
        let mut dispatcher = Self {
            plan,
            external_url: external_url.trim_end_matches('/').to_owned(),
            store: Store::default(),
            groups: BTreeMap::new(),
            silences: Silences::open(&directory.join("silences"))?,
            log: Journal::open(&directory.join("notifications"))?,
            kept_house_at: now,
        };
        dispatcher.take_up(now);
        Ok(dispatcher)
    }

    /// Alerts that were firing when they were told, until somebody confirms them.
    fn take_up(&mut self, now: i64) {
        let told: Vec<ToldAlert> =
            self.log.entries().values().flat_map(|sent| sent.firing.values().cloned()).collect();
        for told in told {
            let labels = told.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            let ends_at = now + told.lifetime.max(CONFIRMATION);
            let alert = Alert {
                labels,
                annotations: told.annotations,
                starts_at: told.starts_at,
                ends_at,
                updated_at: now,
                generator_url: told.generator_url,
            };
            self.post(alert, now);
        }
    }

    /// Another configuration. What was told stays told.
    pub(crate) fn replace(&mut self, plan: Arc<Plan>, external_url: &str, now: i64) {
        self.plan = plan;
        external_url.trim_end_matches('/').clone_into(&mut self.external_url);
        self.groups.clear();
        let alerts: Vec<(u64, Alert)> =
            self.store.iter().map(|(print, alert)| (print, alert.clone())).collect();
        for (fingerprint, alert) in alerts {
            self.group(fingerprint, &alert, now);
        }
    }

    /// An alert began, goes on or is over.
    pub(crate) fn post(&mut self, alert: Alert, now: i64) {
        // The end of what nobody knows of is no news.
        if alert.is_resolved(now) && self.store.get(super::fingerprint(&alert.labels)).is_none() {
            return;
        }
        let Some(fingerprint) = self.store.put(alert) else { return };
        if let Some(alert) = self.store.get(fingerprint).cloned() {
            self.group(fingerprint, &alert, now);
        }
    }

    fn group(&mut self, fingerprint: u64, alert: &Alert, now: i64) {
        let plan = Arc::clone(&self.plan);
        for index in plan.routes_of(&alert.labels) {
            let Some(route) = plan.route(index) else { continue };
            let labels = route.group_labels(&alert.labels);
            let key = format!("{}:{labels:?}", route.id);
            if let Some(group) = self.groups.get_mut(&key) {
                group.members.insert(fingerprint);
                continue;
            }
            if alert.is_resolved(now) {
                continue;
            }
            if self.groups.len() >= MAX_GROUPS {
                metrics::counter!("quintet_sink_alert_groups_refused_total").increment(1);
                continue;
            }
            // Whoever has waited long enough elsewhere does not wait here again.
            let due = (alert.starts_at + route.wait).clamp(now, now + route.wait);
            let members = BTreeSet::from([fingerprint]);
            let group = AlertGroup {
                route: index,
                labels,
                members,
                due,
                sending: 0,
                failed: false,
                ending: Vec::new(),
            };
            self.groups.insert(key, group);
        }
    }

    /// When the next group looks, milliseconds.
    pub(crate) fn next_due(&self) -> Option<i64> {
        self.groups.values().filter(|group| group.sending == 0).map(|group| group.due).min()
    }

    /// The notifications that are due.
    pub(super) fn tick(&mut self, now: i64) -> Vec<Job> {
        let plan = Arc::clone(&self.plan);
        let firing = self.store.iter().filter(|(_, alert)| !alert.is_resolved(now));
        let inhibitors =
            Inhibitors::new(&plan.inhibitions, firing.map(|(print, alert)| (print, &alert.labels)));
        let mut jobs = Vec::new();
        let mut quiet = Vec::new();
        for (key, group) in &mut self.groups {
            if group.sending > 0 || group.due > now {
                continue;
            }
            let Some(route) = plan.route(group.route) else { continue };
            group.due = now + route.interval;
            group.failed = false;
            let store = &self.store;
            group
                .members
                .retain(|print| store.get(*print).is_some_and(|alert| alert.ends_at + GIVE_UP > now));
            let mut alerts: Vec<(u64, Alert)> = group
                .members
                .iter()
                .filter_map(|print| Some((*print, self.store.get(*print)?.clone())))
                .collect();
            let over = alerts.iter().filter(|(_, alert)| alert.is_resolved(now));
            group.ending = over.map(|(print, alert)| (*print, alert.updated_at)).collect();
            if plan.muted_by(route, now).is_some() {
                quiet.push(key.clone());
                continue;
            }
            alerts.retain(|(_, alert)| {
                inhibitors.of(&alert.labels).is_none() && self.silences.of(&alert.labels, now).is_empty()
            });
            alerts.sort_by_cached_key(|(_, alert)| {
                (alert.is_resolved(now), alert.starts_at, alert.labels.clone())
            });
            let Some(receiver) = plan.receivers.get(route.receiver) else { continue };
            for (index, channel) in receiver.channels.iter().enumerate() {
                let log_key = format!("{key}|{}/{}/{index}", receiver.name, channel.kind());
                let known = self.log.entries().get(&log_key);
                let Some(sent) = news(known, &alerts, route.repeat, channel.send_resolved, now) else {
                    continue;
                };
                let shown =
                    alerts.iter().filter(|(_, alert)| channel.send_resolved || !alert.is_resolved(now));
                let shown: Vec<_> = shown.cloned().collect();
                let message = (!shown.is_empty()).then(|| Message {
                    receiver: receiver.name.clone(),
                    group_key: key.clone(),
                    group_labels: group.labels.clone(),
                    external_url: self.external_url.clone(),
                    now,
                    alerts: shown,
                });
                let interval = Duration::from_millis(u64::try_from(route.interval).unwrap_or(0));
                group.sending += 1;
                jobs.push(Job {
                    plan: Arc::clone(&plan),
                    receiver: route.receiver,
                    channel: index,
                    message,
                    patience: interval.min(LONGEST_DELIVERY),
                    group: key.clone(),
                    key: log_key,
                    sent,
                });
            }
            if group.sending == 0 {
                quiet.push(key.clone());
            }
        }
        for key in quiet {
            self.settle(&key);
        }
        self.keep_house(now);
        jobs
    }

    /// Hears how a notification went. The error is one of remembering it.
    pub(super) fn finish(&mut self, job: Job, delivered: bool) -> io::Result<()> {
        let Some(group) = self.groups.get_mut(&job.group) else {
            return if delivered { self.remember(&job.key, job.sent) } else { Ok(()) };
        };
        group.sending = group.sending.saturating_sub(1);
        group.failed |= !delivered;
        let remembered = if delivered { self.remember(&job.key, job.sent) } else { Ok(()) };
        self.settle(&job.group);
        remembered
    }

    fn remember(&mut self, key: &str, sent: Sent) -> io::Result<()> {
        let known = self.log.entries();
        if known.len() >= MAX_REMEMBERED && !known.contains_key(key) {
            self.forget_oldest()?;
        }
        if self.log.entries().len() >= MAX_REMEMBERED && !self.log.entries().contains_key(key) {
            metrics::counter!("quintet_sink_notifications_not_remembered_total").increment(1);
            return Ok(());
        }
        self.log.put(key, sent)
    }

    /// Makes room among what was told of groups in which nothing fires: what does would be told again.
    fn forget_oldest(&mut self) -> io::Result<()> {
        let over = self.log.entries().iter().filter(|(_, sent)| sent.firing.is_empty());
        let mut over: Vec<_> = over.map(|(key, sent)| (sent.at, key.clone())).collect();
        over.sort_unstable();
        let gone: BTreeSet<String> = over.into_iter().take(FORGOTTEN_AT_ONCE).map(|(_, key)| key).collect();
        self.log.retain(|key, _| !gone.contains(key))
    }

    /// Lets go of alerts whose end was told to everybody.
    fn settle(&mut self, key: &str) {
        let Some(group) = self.groups.get_mut(key).filter(|group| group.sending == 0 && !group.failed) else {
            return;
        };
        for (fingerprint, heard) in std::mem::take(&mut group.ending) {
            if self.store.get(fingerprint).is_none_or(|alert| alert.updated_at == heard) {
                group.members.remove(&fingerprint);
            }
        }
        if group.members.is_empty() {
            self.groups.remove(key);
        }
    }

    fn keep_house(&mut self, now: i64) {
        if now - self.kept_house_at < HOUSEKEEPING {
            return;
        }
        self.kept_house_at = now;
        let awaited: BTreeSet<u64> =
            self.groups.values().flat_map(|group| group.members.iter().copied()).collect();
        self.store.forget(now, |print| awaited.contains(&print));
        let forgotten =
            self.log.retain(|_, sent| sent.expires > now).and_then(|()| self.silences.forget(now));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old notifications and silences cannot be forgotten");
        }
    }

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

    pub(crate) fn plan(&self) -> &Plan {
        &self.plan
    }

    pub(crate) fn silences(&self) -> impl Iterator<Item = &Silence> {
        self.silences.all()
    }

    pub(crate) fn silence(&self, id: &str) -> Option<&Silence> {
        self.silences.get(id)
    }

    pub(crate) fn put_silence(
        &mut self,
        silence: Silence,
        now: i64,
        entropy: &dyn Entropy,
    ) -> Result<String, SilenceError> {
        self.silences.put(silence, now, entropy)
    }

    pub(crate) fn expire_silence(&mut self, id: &str, now: i64) -> Result<(), SilenceError> {
        self.silences.expire(id, now)
    }
}

/// What there is to tell, as it will be remembered; none where there is nothing.
fn news(
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
