//! Evaluates every group at its times and shows what came of it.
//!
//! A group's times are the multiples of its interval plus an offset that its file and name decide, so that groups are spread
//! and a restart changes nothing. A group that takes longer than its interval misses evaluations, which are counted; it never
//! runs twice at once. At most [`AT_ONCE`] groups run at the same time.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::Settings;
use super::file::GroupSpec;
use super::group::{Group, Scene, end};
use crate::config::QuerySection;
use crate::notify::engine::Notifier;
use crate::storage::Storage;

/// Evaluations take threads that queries need too.
const AT_ONCE: usize = 2;
/// How soon it is looked again whether the storage has read its logs.
const STARTING: Duration = Duration::from_millis(200);
const MAX_SLEEP: Duration = Duration::from_secs(1);

/// The groups as they were after their last evaluation, for whoever asks.
#[derive(Default)]
pub(crate) struct Views(RwLock<Vec<Arc<Group>>>);

impl Views {
    /// The groups in the order of their files and names.
    pub(crate) fn all(&self) -> Vec<Arc<Group>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, groups: Vec<Arc<Group>>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = groups;
    }

    fn show(&self, group: &Group) {
        let mut views = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let same = |known: &&mut Arc<Group>| is_same(&known.spec, &group.spec);
        if let Some(view) = views.iter_mut().find(same) {
            *view = Arc::new(group.clone());
        }
    }
}

fn is_same(left: &GroupSpec, right: &GroupSpec) -> bool {
    left.file == right.file && left.name == right.name
}

/// What evaluations share.
#[derive(Clone)]
pub(crate) struct Ground {
    storage: Arc<Storage>,
    max_samples: usize,
    timeout: Duration,
    external_labels: Arc<BTreeMap<String, String>>,
    external_url: Arc<str>,
    notifier: Arc<Notifier>,
}

impl Ground {
    pub(crate) fn new(
        storage: Arc<Storage>,
        query: QuerySection,
        settings: &Settings,
        notifier: Arc<Notifier>,
    ) -> Self {
        Self {
            storage,
            max_samples: query.max_samples,
            timeout: Duration::from_millis(query.timeout_ms),
            external_labels: Arc::new(settings.external_labels.clone()),
            external_url: settings.external_url.trim_end_matches('/').into(),
            notifier,
        }
    }

    fn evaluate(&self, group: &mut Group, time: i64) {
        group.evaluate(
            time,
            &Scene {
                database: self.storage.as_ref(),
                max_samples: self.max_samples,
                timeout: self.timeout,
                external_labels: &self.external_labels,
                external_url: &self.external_url,
            },
        );
        self.notifier.hear(group, time, &self.external_labels, &self.external_url);
    }
}

struct Slot {
    /// None while it is evaluated.
    group: Option<Group>,
    /// When it is evaluated next, milliseconds.
    due: i64,
}

/// The groups and their times.
pub(crate) struct Engine {
    ground: Ground,
    views: Arc<Views>,
    slots: Vec<Slot>,
}

impl Engine {
    pub(crate) fn new(ground: Ground, settings: &Settings, specs: Vec<GroupSpec>, views: Arc<Views>) -> Self {
        let mut engine = Self { ground, views, slots: Vec::new() };
        engine.replace(settings, specs);
        engine
    }

    fn now(&self) -> i64 {
        self.ground.storage.clock().now().as_millisecond()
    }

    /// Other rules; what stays the same keeps its state. No group may be running.
    fn replace(&mut self, settings: &Settings, specs: Vec<GroupSpec>) {
        let now = self.now();
        self.ground.external_labels = Arc::new(settings.external_labels.clone());
        self.ground.external_url = settings.external_url.trim_end_matches('/').into();
        let interval = i64::try_from(settings.evaluation_interval_ms).unwrap_or(i64::MAX);
        let offset = i64::try_from(settings.query_offset_ms).unwrap_or(0);
        let mut older: Vec<Group> = self.slots.drain(..).filter_map(|slot| slot.group).collect();
        for spec in specs {
            let mut group = Group::new(spec, interval, offset);
            if let Some(at) = older.iter().position(|known| is_same(&known.spec, &group.spec)) {
                group.inherit(older.swap_remove(at));
            }
            let due = next_time(&group, now);
            self.slots.push(Slot { group: Some(group), due });
        }
        for gone in &older {
            end(gone.series(), now, self.ground.storage.as_ref());
        }
        let shown = self.slots.iter().filter_map(|slot| slot.group.clone()).map(Arc::new);
        self.views.replace(shown.collect());
        metrics::gauge!("quintet_sink_rule_groups").set(u32::try_from(self.slots.len()).unwrap_or(u32::MAX));
    }

    /// Evaluates groups at their times until `shutdown`.
    pub(crate) async fn run(
        mut self,
        mut reload: mpsc::Receiver<(Settings, Vec<GroupSpec>)>,
        shutdown: CancellationToken,
    ) -> anyhow::Result<()> {
        while !self.ground.storage.has_started() {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                () = tokio::time::sleep(STARTING) => {}
            }
        }
        let mut running = JoinSet::new();
        loop {
            self.start_due(&mut running);
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = running.join_next() => {
                    let (index, group) = done?;
                    self.put_back(index, group);
                }
                Some((settings, specs)) = reload.recv() => {
                    while let Some(done) = running.join_next().await {
                        let (index, group) = done?;
                        self.put_back(index, group);
                    }
                    self.replace(&settings, specs);
                }
                () = tokio::time::sleep(self.until_due()) => {}
            }
        }
        // Each is bounded by the timeout of its rules' queries.
        while let Some(done) = running.join_next().await {
            done?;
        }
        Ok(())
    }

    fn start_due(&mut self, running: &mut JoinSet<(usize, Group)>) {
        let now = self.now();
        while running.len() < AT_ONCE {
            let due =
                self.slots.iter_mut().enumerate().filter(|(_, slot)| slot.group.is_some() && slot.due <= now);
            let Some((index, slot)) = due.min_by_key(|(_, slot)| slot.due) else { return };
            let Some(mut group) = slot.group.take() else { return };
            let time = slot.due;
            let ground = self.ground.clone();
            running.spawn_blocking(move || {
                ground.evaluate(&mut group, time);
                (index, group)
            });
        }
    }

    fn put_back(&mut self, index: usize, group: Group) {
        let now = self.now();
        self.views.show(&group);
        let Some(slot) = self.slots.get_mut(index) else { return };
        let (due, missed) = following(slot.due, group.interval, now);
        if missed > 0 {
            metrics::counter!("quintet_sink_rule_evaluations_missed_total").increment(missed);
            tracing::warn!(
                group = group.spec.name,
                missed,
                "a group of rules takes longer than its interval"
            );
        }
        slot.due = due;
        slot.group = Some(group);
    }

    fn until_due(&self) -> Duration {
        let now = self.now();
        let next = self.slots.iter().filter(|slot| slot.group.is_some()).map(|slot| slot.due).min();
        let wait =
            next.map_or(MAX_SLEEP, |next| Duration::from_millis(u64::try_from(next - now).unwrap_or(0)));
        // The wall clock may be set meanwhile.
        wait.clamp(Duration::from_millis(5), MAX_SLEEP)
    }
}

/// The first of a group's times after `now`.
fn next_time(group: &Group, now: i64) -> i64 {
    let interval = group.interval;
    let offset = i64::try_from(hash(&group.spec) % u64::try_from(interval).unwrap_or(1).max(1)).unwrap_or(0);
    (now - offset).div_euclid(interval) * interval + offset + interval
}

/// The time after `due`, and how many were missed by `now`.
fn following(due: i64, interval: i64, now: i64) -> (i64, u64) {
    let missed = (now - due).max(0) / interval;
    (due + (missed + 1) * interval, u64::try_from(missed).unwrap_or(0))
}

/// FNV-1a: the same in every process.
fn hash(spec: &GroupSpec) -> u64 {
    let bytes = spec.file.bytes().chain([0xff]).chain(spec.name.bytes());
    bytes.fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(name: &str) -> Group {
        let spec = GroupSpec {
            file: "f".into(),
            name: name.into(),
            interval: None,
            limit: 0,
            query_offset: None,
            rules: Vec::new(),
        };
        Group::new(spec, 60_000, 0)
    }

    #[test]
    fn times_are_aligned_and_spread_and_the_same_after_a_restart() {
        let offsets: std::collections::BTreeSet<i64> =
            ["a", "b", "c", "d"].iter().map(|name| next_time(&group(name), 0) % 60_000).collect();
        assert_eq!(offsets.len(), 4);
        let first = next_time(&group("a"), 1_000_000);
        assert!(first > 1_000_000 && first <= 1_060_000);
        assert_eq!(next_time(&group("a"), first - 1), first);
        assert_eq!(next_time(&group("a"), first), first + 60_000);
        assert_eq!(next_time(&group("a"), first + 59_999), first + 60_000);
    }

    #[test]
    fn late_evaluations_are_missed_and_stay_aligned() {
        assert_eq!(following(1000, 60, 1001), (1060, 0));
        assert_eq!(following(1000, 60, 1060), (1120, 1));
        assert_eq!(following(1000, 60, 1200), (1240, 3));
        assert_eq!(following(1000, 60, 900), (1060, 0));
    }
}
