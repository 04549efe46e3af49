//! What each service uses, from its control group: version 2, and version 1 where a machine still has it.
//!
//! The names are cAdvisor's, with `id` for the group's path and `name` for the unit.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};

use super::kernel::TICKS_PER_SECOND;
use super::{Facts, names, pairs, read, read_number};

const MAX_GROUPS: usize = 512;
const MAX_DEPTH: usize = 6;
/// From here on a limit in bytes is none (version 1 writes the largest multiple of a page).
const NO_LIMIT: f64 = 9.0e18;

pub(super) fn collect(root: &Path, devices: &HashMap<String, String>, facts: &mut Facts) {
    if root.join("cgroup.controllers").exists() {
        for id in groups(&[root.to_owned()]) {
            Group { id: &id, facts: &mut *facts, devices }.version_two(&below(root, &id));
        }
        return;
    }
    let hierarchies = ["systemd", "memory", "cpuacct", "pids"].map(|name| root.join(name));
    for id in groups(&hierarchies) {
        Group { id: &id, facts: &mut *facts, devices }.version_one(root);
    }
}

fn below(root: &Path, id: &str) -> PathBuf {
    root.join(id.trim_start_matches('/'))
}

/// The paths of the groups that are systemd's units, in any of the hierarchies.
pub(crate) fn groups(hierarchies: &[PathBuf]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for hierarchy in hierarchies {
        walk(hierarchy, "", 0, &mut found);
    }
    found
}

fn walk(directory: &Path, path: &str, depth: usize, found: &mut BTreeSet<String>) {
    for name in names(directory) {
        let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
        if found.len() >= MAX_GROUPS || !matches!(kind, "slice" | "service" | "scope") {
            continue;
        }
        let path = format!("{path}/{name}");
        found.insert(path.clone());
        // What is below a service is its own business.
        if kind == "slice" && depth < MAX_DEPTH {
            walk(&directory.join(&name), &path, depth + 1, found);
        }
    }
}

struct Group<'a> {
    id: &'a str,
    facts: &'a mut Facts,
    devices: &'a HashMap<String, String>,
}

impl Group<'_> {
    fn labels(&self) -> [(&'static str, String); 2] {
        let name = self.id.rsplit('/').next().unwrap_or(self.id).to_owned();
        [("id", self.id.to_owned()), ("name", name)]
    }

    fn gauge(&mut self, name: &str, help: &str, value: Option<f64>) {
        let labels = self.labels();
        if let Some(value) = value {
            self.facts.gauge(
                name,
                help,
                &labels.each_ref().map(|(name, value)| (*name, value.as_str())),
                value,
            );
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: Option<f64>) {
        let labels = self.labels();
        if let Some(value) = value {
            self.facts.counter(
                name,
                help,
                &labels.each_ref().map(|(name, value)| (*name, value.as_str())),
                value,
            );
        }
    }

    fn version_two(&mut self, directory: &Path) {
        let stat = read(&directory.join("cpu.stat")).unwrap_or_default();
        let cpu = pairs(&stat);
        let seconds = |name: &str| cpu.get(name).map(|micros| micros / 1e6);
        self.processor([seconds("usage_usec"), seconds("user_usec"), seconds("system_usec")]);
        let periods = [cpu.get("nr_periods").copied(), cpu.get("nr_throttled").copied()];
        self.throttled(periods, seconds("throttled_usec"));

        let stat = read(&directory.join("memory.stat")).unwrap_or_default();
        let memory = pairs(&stat);
        let part = |name: &str| memory.get(name).copied();
        let used = read_number(&directory.join("memory.current"));
        self.memory(used, part("anon"), part("file"), part("inactive_file"));
        let swap = read_number(&directory.join("memory.swap.current"));
        self.gauge("container_memory_swap", "Bytes in swap.", swap);
        self.limit(read_number(&directory.join("memory.max")));
        let events = read(&directory.join("memory.events")).unwrap_or_default();
        self.out_of_memory(pairs(&events).get("oom_kill").copied());

        let io = read(&directory.join("io.stat")).unwrap_or_default();
        for (name, by_device) in io_of_version_two(&io) {
            self.io(name, &by_device);
        }
        self.pids(&directory.join("pids.current"));
        let processes = read(&directory.join("cgroup.procs")).map(|text| text.lines().count());
        let processes = processes.and_then(|count| u32::try_from(count).ok()).map(f64::from);
        self.gauge("container_processes", "Processes.", processes);
        for resource in ["cpu", "io", "memory"] {
            self.pressure(resource, &directory.join(format!("{resource}.pressure")));
        }
    }

    fn version_one(&mut self, root: &Path) {
        let id = self.id.to_owned();
        let of = |controller: &str, file: &str| below(&root.join(controller), &id).join(file);
        let nanos = read_number(&of("cpuacct", "cpuacct.usage"));
        let stat = read(&of("cpuacct", "cpuacct.stat")).unwrap_or_default();
        let ticks = pairs(&stat);
        let seconds = |name: &str| ticks.get(name).map(|ticks| ticks / TICKS_PER_SECOND);
        self.processor([nanos.map(|nanos| nanos / 1e9), seconds("user"), seconds("system")]);
        let stat = read(&of("cpu", "cpu.stat")).unwrap_or_default();
        let cpu = pairs(&stat);
        let periods = [cpu.get("nr_periods").copied(), cpu.get("nr_throttled").copied()];
        self.throttled(periods, cpu.get("throttled_time").map(|nanos| nanos / 1e9));

        let stat = read(&of("memory", "memory.stat")).unwrap_or_default();
        let memory = pairs(&stat);
        let part = |name: &str| memory.get(name).copied();
        let used = read_number(&of("memory", "memory.usage_in_bytes"));
        self.memory(used, part("total_rss"), part("total_cache"), part("total_inactive_file"));
        self.gauge("container_memory_swap", "Bytes in swap.", part("total_swap"));
        self.limit(read_number(&of("memory", "memory.limit_in_bytes")));
        let control = read(&of("memory", "memory.oom_control")).unwrap_or_default();
        self.out_of_memory(pairs(&control).get("oom_kill").copied());

        for (file, suffix) in
            [("blkio.throttle.io_service_bytes", "_bytes_total"), ("blkio.throttle.io_serviced", "_total")]
        {
            let text = read(&of("blkio", file)).unwrap_or_default();
            for (direction, by_device) in io_of_version_one(&text) {
                self.io(&format!("container_fs_{direction}{suffix}"), &by_device);
            }
        }
        self.pids(&of("pids", "pids.current"));
    }

    fn processor(&mut self, [usage, user, system]: [Option<f64>; 3]) {
        self.counter("container_cpu_usage_seconds_total", "Processor time.", usage);
        self.counter("container_cpu_user_seconds_total", "Processor time in programs.", user);
        self.counter("container_cpu_system_seconds_total", "Processor time in the kernel.", system);
    }

    fn throttled(&mut self, [periods, throttled]: [Option<f64>; 2], seconds: Option<f64>) {
        self.counter("container_cpu_cfs_periods_total", "Periods of a limited group.", periods);
        self.counter("container_cpu_cfs_throttled_periods_total", "Periods cut short.", throttled);
        self.counter("container_cpu_cfs_throttled_seconds_total", "Time held back.", seconds);
    }

    fn memory(
        &mut self,
        used: Option<f64>,
        anonymous: Option<f64>,
        cache: Option<f64>,
        inactive: Option<f64>,
    ) {
        self.gauge("container_memory_usage_bytes", "Memory with everything cached.", used);
        self.gauge("container_memory_rss", "Memory that no file is behind.", anonymous);
        self.gauge("container_memory_cache", "Memory that files are behind.", cache);
        let working = used.map(|used| (used - inactive.unwrap_or(0.0)).max(0.0));
        self.gauge("container_memory_working_set_bytes", "Memory that cannot be had back at once.", working);
    }

    fn limit(&mut self, limit: Option<f64>) {
        let limit = limit.filter(|limit| *limit < NO_LIMIT);
        self.gauge("container_spec_memory_limit_bytes", "The most memory it may have.", limit);
    }

    fn out_of_memory(&mut self, kills: Option<f64>) {
        self.counter("container_oom_events_total", "Processes killed for want of memory.", kills);
    }

    fn pids(&mut self, file: &Path) {
        let threads = read_number(file);
        self.gauge("container_threads", "Threads.", threads);
    }

    fn io(&mut self, name: &str, by_device: &BTreeMap<String, f64>) {
        let labels = self.labels();
        for (number, value) in by_device {
            let device = self.devices.get(number).unwrap_or(number);
            let [id, unit] = labels.each_ref().map(|(name, value)| (*name, value.as_str()));
            self.facts.counter(name, "Input and output.", &[id, unit, ("device", device)], *value);
        }
    }

    fn pressure(&mut self, resource: &str, file: &Path) {
        let text = read(file).unwrap_or_default();
        let some = text.lines().find(|line| line.starts_with("some"));
        let total = some.and_then(|line| line.split_once("total=")?.1.trim().parse::<f64>().ok());
        let name = format!("container_pressure_{resource}_waiting_seconds_total");
        self.counter(&name, "Seconds in which tasks waited.", total.map(|micros| micros / 1e6));
    }
}

type ByDevice = BTreeMap<String, f64>;

/// `253:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0`
fn io_of_version_two(text: &str) -> BTreeMap<&'static str, ByDevice> {
    let mut found: BTreeMap<&'static str, ByDevice> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let Some(device) = words.next() else { continue };
        for (key, value) in words.filter_map(|word| word.split_once('=')) {
            let name = match key {
                "rbytes" => "container_fs_reads_bytes_total",
                "wbytes" => "container_fs_writes_bytes_total",
                "rios" => "container_fs_reads_total",
                "wios" => "container_fs_writes_total",
                _ => continue,
            };
            if let Ok(value) = value.parse() {
                found.entry(name).or_default().insert(device.to_owned(), value);
            }
        }
    }
    found
}

/// `253:0 Read 123`
fn io_of_version_one(text: &str) -> BTreeMap<&'static str, ByDevice> {
    let mut found: BTreeMap<&'static str, ByDevice> = BTreeMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(device), Some(kind), Some(value)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        let direction = match kind {
            "Read" => "reads",
            "Write" => "writes",
            _ => continue,
        };
        if let Ok(value) = value.parse() {
            found.entry(direction).or_default().insert(device.to_owned(), value);
        }
    }
    found
}
