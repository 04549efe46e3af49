//! What the kernel says of this process, from `/proc/self`, under the names that Prometheus'
//! client libraries use. A value that cannot be read is left out.

use std::fmt::Write;
use std::fs;

/// Clock ticks in `/proc`: `USER_HZ` is 100 on every architecture that this is built for, whatever
/// the kernel's own tick rate.
const TICKS_PER_SECOND: f64 = 100.0;

/// Appends the process's metrics to a Prometheus text.
pub(super) fn write(text: &mut String) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let kernel = fs::read_to_string("/proc/stat").unwrap_or_default();
    let resident = status_value(&status, "VmRSS:").map(|kib| kib * 1024.0);
    let address_space = status_value(&status, "VmSize:").map(|kib| kib * 1024.0);
    for (name, kind, value) in [
        ("process_cpu_seconds_total", "counter", cpu_seconds(&stat)),
        ("process_resident_memory_bytes", "gauge", resident),
        ("process_virtual_memory_bytes", "gauge", address_space),
        ("process_start_time_seconds", "gauge", start_time(&stat, &kernel)),
        ("process_threads", "gauge", status_value(&status, "Threads:")),
        ("process_open_fds", "gauge", open_fds()),
        ("process_max_fds", "gauge", max_fds(&limits)),
    ] {
        if let Some(value) = value {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "# TYPE {name} {kind}\n{name} {value}");
        }
    }
}

/// Field `number` of `/proc/self/stat`, counted from 1 as in proc_pid_stat(5). The second field is
/// the name in parentheses, which may hold spaces and parentheses itself.
fn stat_field(stat: &str, number: usize) -> Option<f64> {
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_ascii_whitespace().nth(number.checked_sub(3)?)?.parse().ok()
}

fn cpu_seconds(stat: &str) -> Option<f64> {
    Some((stat_field(stat, 14)? + stat_field(stat, 15)?) / TICKS_PER_SECOND)
}

fn start_time(stat: &str, kernel: &str) -> Option<f64> {
    let boot: f64 = kernel.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + stat_field(stat, 22)? / TICKS_PER_SECOND)
}

fn status_value(status: &str, name: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

fn open_fds() -> Option<f64> {
    // The directory handle of this very count is not one of the process's own.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
    u32::try_from(count).ok().map(f64::from)
}

fn max_fds(limits: &str) -> Option<f64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "42 (a (odd) name) S 1 42 42 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 4 0 1000 1 1 1";

    #[test]
    fn a_process_name_with_parentheses_does_not_shift_the_fields() {
        assert_eq!(cpu_seconds(STAT), Some(2.0));
        assert_eq!(start_time(STAT, "cpu 1\nbtime 1700000000\n"), Some(1_700_000_010.0));
    }

    #[test]
    fn unreadable_values_are_left_out() {
        assert_eq!(cpu_seconds(""), None);
        assert_eq!(status_value("VmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048.0));
        assert_eq!(
            max_fds("Max open files            1024                 524288               files\n"),
            Some(1024.0)
        );
    }

    #[test]
    fn this_process_has_memory_descriptors_and_a_start() {
        let mut text = String::new();
        write(&mut text);
        for name in ["process_resident_memory_bytes ", "process_open_fds ", "process_start_time_seconds "] {
            let line = text.lines().find(|line| line.starts_with(name)).unwrap();
            let value: f64 = line[name.len()..].parse().unwrap();
            assert!(value > 0.0, "{line}");
        }
    }
}
