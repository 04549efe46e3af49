//! Decides who is told what and when. It sends nothing itself and has no clock: [`Dispatcher::tick`] says what is due, and
//! [`Dispatcher::finish`] hears how it went.
//!
//! Alerts that a route takes are grouped by labels. A new group waits `group_wait`, and then looks every `group_interval`
//! whether there is something to tell: an alert that its receiver does not know of, the end of one that it knows of, or nothing
//! new for `repeat_interval`. What each way of a receiver was told last is in a journal, so that a restart neither repeats nor
//! forgets: alerts that were told as firing are taken up again, and end if nobody confirms them. Those that were over by then
//! are taken up as what they are, where somebody is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use quintet_types::Entropy;

use super::ends::Ends;
use super::inhibit::Inhibitors;
use super::journal::Journal;
use super::message::Message;
use super::plan::{Plan, Route};
use super::silences::{Silence, SilenceError, Silences};
use super::store::{Alert, Store};
use crate::model::Labels;

mod sent;
mod view;

use sent::{Sent, news};
pub(crate) use view::AlertView;

const MAX_GROUPS: usize = 5000;
const MAX_REMEMBERED: usize = 20_000;
/// How many are forgotten at once where there are too many.
const FORGOTTEN_AT_ONCE: usize = 200;
/// How long alerts of before a restart live at least until somebody confirms them, milliseconds.
const CONFIRMATION: i64 = 5 * 60 * 1000;
/// How long one notification is tried at most; the next interval tries again.
const LONGEST_DELIVERY: Duration = Duration::from_mins(5);
const HOUSEKEEPING: i64 = 60_000;
/// How long it is tried to tell an end, milliseconds: a receiver that never answers is not tried for ever.
const GIVE_UP: i64 = 24 * 60 * 60 * 1000;

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

pub(crate) struct Dispatcher {
    plan: Arc<Plan>,
    external_url: String,
    store: Store,
    groups: BTreeMap<String, AlertGroup>,
    silences: Silences,
    log: Journal<Sent>,
    ends: Ends,
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
            ends: Ends::open(&directory.join("ends"))?,
            kept_house_at: now,
        };
        dispatcher.take_up(now);
        Ok(dispatcher)
    }

    /// Alerts that were firing when they were told, until somebody confirms them; those that are over, where somebody who was
    /// told of their beginning still waits for the end.
    fn take_up(&mut self, now: i64) {
        let mut told = Vec::new();
        for (key, sent) in self.log.entries() {
            for (fingerprint, one) in &sent.firing {
                let labels: Labels =
                    one.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
                // What was told on another way than today's has no end to be told there.
                if self.log_keys(&labels).any(|known| known == *key) {
                    told.push((*fingerprint, labels, one.clone(), sent.at));
                }
            }
        }
        for (fingerprint, labels, told, at) in told {
            let end = self.ends.get(fingerprint).filter(|end| at <= end.at);
            let ends_at = end.map_or(now + told.lifetime.max(CONFIRMATION), |end| end.at);
            if end.is_some_and(|end| end.settled) || ends_at + GIVE_UP <= now {
                continue;
            }
            let alert = Alert {
                labels,
                annotations: told.annotations,
                starts_at: told.starts_at,
                ends_at,
                updated_at: now,
                generator_url: told.generator_url,
            };
            let Some(fingerprint) = self.store.put(alert) else { continue };
            if let Some(alert) = self.store.get(fingerprint).cloned() {
                self.group(fingerprint, &alert, true, now);
            }
        }
    }

    /// What the journal calls what would be told of an alert.
    fn log_keys(&self, labels: &Labels) -> impl Iterator<Item = String> {
        let plan = &self.plan;
        let ways = plan.routes_of(labels).into_iter().filter_map(move |index| {
            let route = plan.route(index)?;
            Some((group_key(route, &route.group_labels(labels)), plan.receivers.get(route.receiver)?))
        });
        ways.flat_map(|(group, receiver)| {
            let channels = receiver.channels.iter().enumerate();
            channels.map(move |(index, channel)| log_key(&group, &receiver.name, channel.kind(), index))
        })
    }

    /// Another configuration. What was told stays told.
    pub(crate) fn replace(&mut self, plan: Arc<Plan>, external_url: &str, now: i64) {
        self.plan = plan;
        external_url.trim_end_matches('/').clone_into(&mut self.external_url);
        self.groups.clear();
        let alerts: Vec<(u64, Alert)> =
            self.store.iter().map(|(print, alert)| (print, alert.clone())).collect();
        for (fingerprint, alert) in alerts {
            // Whoever waits for an end waits for it under the new routes, too.
            let is_awaited = !self.ends.is_settled(fingerprint);
            self.group(fingerprint, &alert, is_awaited, now);
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
            self.group(fingerprint, &alert, false, now);
        }
    }

    /// Puts an alert into its groups. One that is over begins a group only where its end `is_awaited`.
    fn group(&mut self, fingerprint: u64, alert: &Alert, is_awaited: bool, now: i64) {
        let plan = Arc::clone(&self.plan);
        for index in plan.routes_of(&alert.labels) {
            let Some(route) = plan.route(index) else { continue };
            let labels = route.group_labels(&alert.labels);
            let key = group_key(route, &labels);
            if let Some(group) = self.groups.get_mut(&key) {
                group.members.insert(fingerprint);
                continue;
            }
            if alert.is_resolved(now) && !is_awaited {
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
                let log_key = log_key(key, &receiver.name, channel.kind(), index);
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
        // It is tried again with the next tick.
        if let Err(error) = self.ends.note(self.store.iter(), now) {
            tracing::debug!(%error, "the ends of alerts cannot be remembered");
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
        let mut told = std::mem::take(&mut group.ending);
        let store = &self.store;
        told.retain(|(print, heard)| store.get(*print).is_none_or(|alert| alert.updated_at == *heard));
        for (fingerprint, _) in &told {
            group.members.remove(fingerprint);
        }
        if group.members.is_empty() {
            self.groups.remove(key);
        }
        for (fingerprint, _) in told {
            if !self.is_awaited(fingerprint) {
                self.ends.settle(fingerprint);
            }
        }
    }

    /// Whether a group still has to tell of an alert.
    fn is_awaited(&self, fingerprint: u64) -> bool {
        let Some(alert) = self.store.get(fingerprint) else { return false };
        let groups = self.plan.routes_of(&alert.labels).into_iter().filter_map(|index| {
            let route = self.plan.route(index)?;
            self.groups.get(&group_key(route, &route.group_labels(&alert.labels)))
        });
        groups.into_iter().any(|group| group.members.contains(&fingerprint))
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
        let told: BTreeSet<u64> =
            self.log.entries().values().flat_map(|sent| sent.firing.keys().copied()).collect();
        let store = &self.store;
        let forgotten = forgotten
            .and_then(|()| self.ends.forget(|print| told.contains(&print) || store.get(print).is_some()));
        if let Err(error) = forgotten {
            tracing::warn!(%error, "old notifications, ends and silences cannot be forgotten");
        }
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

fn group_key(route: &Route, labels: &Labels) -> String {
    format!("{}:{labels:?}", route.id)
}

fn log_key(group: &str, receiver: &str, kind: &str, channel: usize) -> String {
    format!("{group}|{receiver}/{kind}/{channel}")
}
