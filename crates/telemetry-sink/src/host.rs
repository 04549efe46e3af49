//! Facts about the machine, read from `/proc` and `/sys` without an agent.
//!
//! Each round reads what the kernel shows and stores it as the job `host`, under the names that Prometheus'
//! node_exporter gives (and cAdvisor for what a service uses), so that dashboards made for these work. A series
//! that a round no longer has, such as a disk that was taken out, ends with a staleness marker.
//!
//! Invariants: one round runs at a time, off the runtime's threads; every file is read up to a bound; a file that
//! is missing or has another form costs its own series and nothing else; network file systems are not asked,
//! because an answer may never come.

mod cgroups;
mod disks;
mod filesystems;
mod kernel;
mod memory;
mod network;
mod units;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quintet_service::Invalid;
use serde::Deserialize;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use self::disks::is_disk;
pub(crate) use self::filesystems::{Mount, mounts as mounted};
pub(crate) use self::kernel::TICKS_PER_SECOND;
use self::units::Starts;
pub(crate) use self::units::invocations;
use crate::model::{Labels, LabelsBuilder, METRIC_NAME, MetricBatch, MetricKind, MetricMeta, Sample, stale};
use crate::storage::Storage;

const JOB: &str = "host";
/// The largest files here are those of machines with hundreds of processors.
const MAX_FILE: u64 = 1024 * 1024;

/// What of the machine is read, and where.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct HostSection {
    /// Whether the machine's own figures are collected.
    pub(crate) enabled: bool,
    pub(crate) interval_ms: u64,
    /// The label `instance`, the machine's name unless set.
    pub(crate) instance: Option<String>,
    /// Where the kernel's processes are shown.
    pub(crate) proc: PathBuf,
    /// Where the kernel's devices and control groups are shown.
    pub(crate) sys: PathBuf,
    /// Where systemd keeps its state.
    pub(crate) run: PathBuf,
}

impl Default for HostSection {
    fn default() -> Self {
        Self {
            enabled: true,
            interval_ms: 15_000,
            instance: None,
            proc: "/proc".into(),
            sys: "/sys".into(),
            run: "/run".into(),
        }
    }
}

impl HostSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.interval_ms < 1000 {
            return Err(Invalid::new("host.interval_ms", "must be at least 1000"));
        }
        Ok(())
    }

    /// The machine's name, as the kernel has it.
    pub(crate) fn name(&self) -> String {
        let kernel = || read(&self.proc.join("sys/kernel/hostname")).map(|name| name.trim().to_owned());
        self.instance.clone().or_else(kernel).unwrap_or_else(|| "localhost".to_owned())
    }
}

/// Collects until the drain.
pub(crate) async fn run(settings: HostSection, storage: Arc<Storage>, shutdown: CancellationToken) {
    let mut ticks = tokio::time::interval(Duration::from_millis(settings.interval_ms));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut collector = Collector::new(settings);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let storage = Arc::clone(&storage);
        let round = tokio::task::spawn_blocking(move || {
            collector.store(&storage);
            collector
        });
        match round.await {
            Ok(returned) => collector = returned,
            Err(error) => {
                tracing::error!(%error, "collecting the machine's figures stopped");
                return;
            }
        }
    }
}

/// Reads the machine round by round.
pub(crate) struct Collector {
    settings: HostSection,
    starts: Starts,
    known: HashMap<Labels, u64>,
    round: u64,
}

impl Collector {
    pub(crate) fn new(settings: HostSection) -> Self {
        Self { settings, starts: Starts::default(), known: HashMap::new(), round: 0 }
    }

    fn store(&mut self, storage: &Storage) {
        let batch = self.collect(storage.clock().now().as_millisecond());
        if let Err(error) = storage.append_metrics(&batch) {
            metrics::counter!("quintet_sink_host_rounds_lost_total").increment(1);
            tracing::debug!(%error, "the machine's figures were not stored");
        }
    }

    /// One round's samples, with markers for what ended since the last.
    pub(crate) fn collect(&mut self, time: i64) -> MetricBatch {
        let started = Instant::now();
        let mut facts = Facts::new(&self.settings.name(), time);
        let HostSection { proc, sys, run, .. } = &self.settings;
        let devices = disks::collect(proc, &mut facts);
        kernel::collect(proc, sys, &mut facts);
        memory::collect(proc, &mut facts);
        filesystems::collect(proc, &mut facts);
        network::collect(proc, sys, &mut facts);
        cgroups::collect(&sys.join("fs/cgroup"), &devices, &mut facts);
        self.starts.collect(run, &mut facts);
        facts.gauge("up", "Whether the machine could be read.", &[], 1.0);
        let took = started.elapsed().as_secs_f64();
        facts.gauge("scrape_duration_seconds", "How long reading took.", &[], took);
        self.end_missing(facts)
    }

    fn end_missing(&mut self, facts: Facts) -> MetricBatch {
        let Facts { mut batch, time, .. } = facts;
        self.round += 1;
        for sample in &batch.samples {
            self.known.insert(sample.labels.clone(), self.round);
        }
        let round = self.round;
        self.known.retain(|labels, seen| {
            let shown = *seen == round;
            if !shown {
                batch.samples.push(Sample { labels: labels.clone(), time, value: stale() });
            }
            shown
        });
        batch
    }
}

/// Collects one round's samples.
struct Facts {
    base: LabelsBuilder,
    batch: MetricBatch,
    time: i64,
}

impl Facts {
    fn new(instance: &str, time: i64) -> Self {
        let mut base = LabelsBuilder::new();
        base.set("job", JOB).set("instance", instance);
        Self { base, batch: MetricBatch::default(), time }
    }

    fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(MetricKind::Gauge, name, help, labels, value);
    }

    fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.add(MetricKind::Counter, name, help, labels, value);
    }

    fn add(&mut self, kind: MetricKind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        if self.batch.metadata.last().is_none_or(|last| last.name != name) {
            let meta = MetricMeta { name: name.to_owned(), kind, help: help.to_owned(), unit: String::new() };
            self.batch.metadata.push(meta);
        }
        let mut all = self.base.clone();
        for (label, value) in labels {
            all.set(label, value);
        }
        let labels = all.set(METRIC_NAME, name).build();
        self.batch.samples.push(Sample { labels, time: self.time, value });
    }
}

/// A file of the kernel's as text, up to a bound; none where there is no such file.
pub(crate) fn read(path: &Path) -> Option<String> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

/// A file that holds one number.
pub(crate) fn read_number(path: &Path) -> Option<f64> {
    read(path)?.trim().parse().ok()
}

/// Lines of a name and a number.
fn pairs(text: &str) -> BTreeMap<&str, f64> {
    fn pair(line: &str) -> Option<(&str, f64)> {
        let (name, value) = line.split_once([' ', '\t'])?;
        Some((name, value.trim().parse().ok()?))
    }
    text.lines().filter_map(pair).collect()
}

/// The names in a directory, sorted; none where there is no such directory.
pub(crate) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let mut names: Vec<_> = entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
    names.sort_unstable();
    names
}

#[cfg(test)]
mod tests;
