//! Processes, and the units that they belong to.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;
use serde_json::{Value, json};

use super::Roots;
use crate::host::{TICKS_PER_SECOND, invocations, names, read};

const MAX_PROCESSES: usize = 4096;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) parent: u32,
    pub(super) name: String,
    /// The kernel's letter: R running, S sleeping, D waiting for I/O, Z ended.
    pub(super) state: String,
    pub(super) user_id: Option<u32>,
    pub(super) threads: u32,
    pub(super) cpu_seconds: f64,
    pub(super) resident_bytes: u64,
    /// Seconds since the Unix epoch.
    pub(super) started_at: Option<f64>,
    pub(super) unit: Option<String>,
}

pub(super) fn list(roots: &Roots) -> Value {
    let mut found = all(&roots.proc);
    found.sort_by_key(|process| Reverse(process.resident_bytes));
    json!({ "processes": found })
}

fn all(proc: &Path) -> Vec<Process> {
    let boot = boot_time(proc);
    let pids = names(proc).into_iter().filter_map(|name| name.parse::<u32>().ok());
    pids.take(MAX_PROCESSES).filter_map(|pid| process(&proc.join(pid.to_string()), pid, boot)).collect()
}

fn boot_time(proc: &Path) -> Option<f64> {
    let text = read(&proc.join("stat"))?;
    text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse().ok())
}

/// A process's `stat`, whose second field is a name in brackets that may hold anything (proc_pid_stat(5)).
fn process(directory: &Path, pid: u32, boot: Option<f64>) -> Option<Process> {
    let text = read(&directory.join("stat"))?;
    let (before, after) = text.rsplit_once(')')?;
    let name = before.split_once('(')?.1.to_owned();
    // Counted from the state, which is the third field.
    let fields: Vec<_> = after.split_ascii_whitespace().collect();
    let field = |number: usize| fields.get(number - 3).copied();
    let ticks = |number: usize| field(number).and_then(|text| text.parse::<f64>().ok());
    let status = read(&directory.join("status")).unwrap_or_default();
    let shown =
        |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
    // Threads of the kernel have no memory of their own.
    let resident = shown("VmRSS:").and_then(|kibibytes| kibibytes.parse::<u64>().ok()).unwrap_or(0);
    Some(Process {
        pid,
        parent: field(4)?.parse().ok()?,
        name,
        state: field(3)?.to_owned(),
        user_id: shown("Uid:").and_then(|id| id.parse().ok()),
        threads: field(20)?.parse().ok()?,
        cpu_seconds: (ticks(14)? + ticks(15)?) / TICKS_PER_SECOND,
        resident_bytes: resident.saturating_mul(1024),
        started_at: boot.zip(ticks(22)).map(|(boot, ticks)| boot + ticks / TICKS_PER_SECOND),
        unit: unit_of(&read(&directory.join("cgroup")).unwrap_or_default()),
    })
}

/// The innermost unit of `/proc/PID/cgroup`: `0::/system.slice/sshd.service`.
fn unit_of(text: &str) -> Option<String> {
    let is_unit = |part: &&str| matches!(part.rsplit_once('.'), Some((_, "service" | "scope")));
    text.lines().find_map(|line| line.rsplit('/').find(is_unit)).map(str::to_owned)
}

#[derive(Debug, Default, Serialize)]
struct Unit {
    running: bool,
    processes: u32,
    threads: u32,
    cpu_seconds: f64,
    resident_bytes: u64,
    started_at: Option<f64>,
    /// systemd's id of the last start.
    invocation: Option<String>,
}

/// Services that run, and those that systemd remembers a start of.
pub(super) fn units(roots: &Roots) -> Value {
    let mut units: BTreeMap<String, Unit> = BTreeMap::new();
    for (name, invocation) in invocations(&roots.run) {
        units.entry(name).or_default().invocation = Some(invocation);
    }
    for process in all(&roots.proc) {
        let Some(name) = process.unit else { continue };
        let unit = units.entry(name).or_default();
        unit.running = true;
        unit.processes += 1;
        unit.threads += process.threads;
        unit.cpu_seconds += process.cpu_seconds;
        unit.resident_bytes += process.resident_bytes;
        unit.started_at = match (unit.started_at, process.started_at) {
            (Some(known), Some(other)) => Some(known.min(other)),
            (known, other) => known.or(other),
        };
    }
    let list: Vec<_> = units
        .into_iter()
        .map(|(name, unit)| {
            let mut shown = json!(unit);
            if let Some(fields) = shown.as_object_mut() {
                fields.insert("name".to_owned(), name.into());
            }
            shown
        })
        .collect();
    json!({ "units": list })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_with_brackets_and_units_are_read() {
        let directory = tempfile::tempdir().unwrap();
        let stat = "7 (a) b) S 1 7 7 0 -1 0 0 0 0 0 150 50 0 0 20 0 3 0 1000 999 25 0";
        std::fs::write(directory.path().join("stat"), stat).unwrap();
        std::fs::write(
            directory.path().join("status"),
            "Name:\ta\nUid:\t1000\t1000\t1000\t1000\nVmRSS:\t     100 kB\n",
        )
        .unwrap();
        std::fs::write(directory.path().join("cgroup"), "0::/quintet.slice/core-api.service/inner\n")
            .unwrap();
        let found = process(directory.path(), 7, Some(100.0)).unwrap();
        assert_eq!((found.name.as_str(), found.state.as_str(), found.parent), ("a) b", "S", 1));
        assert_eq!((found.user_id, found.threads, found.resident_bytes), (Some(1000), 3, 102_400));
        assert!((found.cpu_seconds - 2.0).abs() < 1e-9 && found.started_at == Some(110.0));
        assert_eq!(found.unit.as_deref(), Some("core-api.service"));
    }
}
