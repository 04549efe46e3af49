//! Processors, load, processes, pressure, descriptors, temperatures and the kernel itself.

use std::path::Path;

use super::{Facts, names, pairs, read, read_number};

/// The kernel's unit of processor time as it is shown, on every architecture there is (proc(5), `USER_HZ`).
pub(crate) const TICKS_PER_SECOND: f64 = 100.0;
const MODES: [&str; 8] = ["user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal"];

pub(super) fn collect(proc: &Path, sys: &Path, facts: &mut Facts) {
    if let Some(text) = read(&proc.join("stat")) {
        stat(&text, facts);
    }
    if let Some(text) = read(&proc.join("loadavg")) {
        load(&text, facts);
    }
    for resource in ["cpu", "io", "memory"] {
        if let Some(text) = read(&proc.join("pressure").join(resource)) {
            pressure(resource, &text, facts);
        }
    }
    let uptime = read(&proc.join("uptime"));
    let uptime = uptime.as_deref().and_then(|text| text.split_ascii_whitespace().next()?.parse().ok());
    if let Some(seconds) = uptime {
        facts.gauge("node_uptime_seconds", "How long the machine has been running.", &[], seconds);
    }
    descriptors(proc, facts);
    version(proc, facts);
    temperatures(sys, facts);
}

fn stat(text: &str, facts: &mut Facts) {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(' ') else { continue };
        let numbers = || rest.split_ascii_whitespace().map_while(|word| word.parse::<f64>().ok());
        let first = numbers().next().unwrap_or(0.0);
        match name {
            "ctxt" => facts.counter("node_context_switches_total", "Context switches.", &[], first),
            "intr" => facts.counter("node_intr_total", "Interrupts serviced.", &[], first),
            "btime" => facts.gauge("node_boot_time_seconds", "When the machine was started.", &[], first),
            "processes" => facts.counter("node_forks_total", "Processes and threads started.", &[], first),
            "procs_running" => facts.gauge("node_procs_running", "Processes that want to run.", &[], first),
            "procs_blocked" => facts.gauge("node_procs_blocked", "Processes that wait for I/O.", &[], first),
            name => {
                let number = name.strip_prefix("cpu").filter(|number| !number.is_empty());
                let Some(cpu) = number else { continue };
                processor(cpu, &numbers().collect::<Vec<_>>(), facts);
            }
        }
    }
}

fn processor(cpu: &str, ticks: &[f64], facts: &mut Facts) {
    let help = "Seconds the processors spent in each mode.";
    for (mode, value) in MODES.iter().zip(ticks) {
        let labels = [("cpu", cpu), ("mode", *mode)];
        facts.counter("node_cpu_seconds_total", help, &labels, value / TICKS_PER_SECOND);
    }
    let help = "Seconds the processors ran guests.";
    for (mode, value) in ["user", "nice"].iter().zip(ticks.iter().skip(MODES.len())) {
        let labels = [("cpu", cpu), ("mode", *mode)];
        facts.counter("node_cpu_guest_seconds_total", help, &labels, value / TICKS_PER_SECOND);
    }
}

fn load(text: &str, facts: &mut Facts) {
    let averages = text.split_ascii_whitespace().map_while(|word| word.parse::<f64>().ok());
    for (name, value) in ["node_load1", "node_load5", "node_load15"].into_iter().zip(averages) {
        facts.gauge(name, "Load average.", &[], value);
    }
}

/// Pressure stall information: `some avg10=0.00 avg60=0.00 avg300=0.00 total=12345`, in microseconds.
fn pressure(resource: &str, text: &str, facts: &mut Facts) {
    for line in text.lines() {
        let total = line.split_once("total=").and_then(|(_, total)| total.trim().parse::<f64>().ok());
        let Some(total) = total else { continue };
        let kind = if line.starts_with("full") { "stalled" } else { "waiting" };
        // The kernel shows `full` for processors for the sake of form; it is always nought.
        if resource == "cpu" && kind == "stalled" {
            continue;
        }
        let name = format!("node_pressure_{resource}_{kind}_seconds_total");
        let help = "Seconds in which tasks (waiting: some, stalled: all) waited for the resource.";
        facts.counter(&name, help, &[], total / 1e6);
    }
}

fn descriptors(proc: &Path, facts: &mut Facts) {
    let text = read(&proc.join("sys/fs/file-nr")).unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map_while(|word| word.parse::<f64>().ok());
    if let (Some(allocated), Some(_), Some(maximum)) = (numbers.next(), numbers.next(), numbers.next()) {
        facts.gauge("node_filefd_allocated", "Open files.", &[], allocated);
        facts.gauge("node_filefd_maximum", "Most open files there may be.", &[], maximum);
    }
    for (file, name) in [
        ("sys/kernel/random/entropy_avail", "node_entropy_available_bits"),
        ("sys/net/netfilter/nf_conntrack_count", "node_nf_conntrack_entries"),
        ("sys/net/netfilter/nf_conntrack_max", "node_nf_conntrack_entries_limit"),
        ("sys/kernel/threads-max", "node_processes_max_threads"),
    ] {
        if let Some(value) = read_number(&proc.join(file)) {
            facts.gauge(name, "A figure of the kernel's.", &[], value);
        }
    }
}

fn version(proc: &Path, facts: &mut Facts) {
    let text = |name: &str| read(&proc.join("sys/kernel").join(name)).map(|text| text.trim().to_owned());
    let Some(release) = text("osrelease") else { return };
    let machine = text("arch").unwrap_or_else(|| std::env::consts::ARCH.to_owned());
    let labels = [
        ("sysname", &text("ostype").unwrap_or_default()),
        ("release", &release),
        ("version", &text("version").unwrap_or_default()),
        ("nodename", &text("hostname").unwrap_or_default()),
        ("domainname", &text("domainname").unwrap_or_default()),
        ("machine", &machine),
    ];
    let labels = labels.map(|(name, value)| (name, value.as_str()));
    facts.gauge("node_uname_info", "The kernel that runs.", &labels, 1.0);
}

fn temperatures(sys: &Path, facts: &mut Facts) {
    let zones = sys.join("class/thermal");
    for name in names(&zones) {
        let Some(zone) = name.strip_prefix("thermal_zone") else { continue };
        let Some(millidegrees) = read_number(&zones.join(&name).join("temp")) else { continue };
        let kind = read(&zones.join(&name).join("type")).unwrap_or_default();
        let labels = [("zone", zone), ("type", kind.trim())];
        facts.gauge(
            "node_thermal_zone_temp",
            "Temperature in degrees Celsius.",
            &labels,
            millidegrees / 1000.0,
        );
    }
}

/// Figures of the virtual memory that tell of trouble.
pub(super) fn virtual_memory(text: &str, facts: &mut Facts) {
    let figures = pairs(text);
    for name in ["pgpgin", "pgpgout", "pswpin", "pswpout", "pgfault", "pgmajfault", "oom_kill"] {
        if let Some(value) = figures.get(name) {
            facts.counter(&format!("node_vmstat_{name}"), "A figure of /proc/vmstat.", &[], *value);
        }
    }
}
