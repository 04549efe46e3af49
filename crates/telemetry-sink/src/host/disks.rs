//! Block devices.

use std::collections::HashMap;
use std::path::Path;

use super::{Facts, read};

const SECTOR_BYTES: f64 = 512.0;
/// The columns of /proc/diskstats after the name, what one of each counts, and what it is called.
const COLUMNS: [(&str, f64); 17] = [
    ("node_disk_reads_completed_total", 1.0),
    ("node_disk_reads_merged_total", 1.0),
    ("node_disk_read_bytes_total", SECTOR_BYTES),
    ("node_disk_read_time_seconds_total", 1e-3),
    ("node_disk_writes_completed_total", 1.0),
    ("node_disk_writes_merged_total", 1.0),
    ("node_disk_written_bytes_total", SECTOR_BYTES),
    ("node_disk_write_time_seconds_total", 1e-3),
    ("node_disk_io_now", 1.0),
    ("node_disk_io_time_seconds_total", 1e-3),
    ("node_disk_io_time_weighted_seconds_total", 1e-3),
    ("node_disk_discards_completed_total", 1.0),
    ("node_disk_discards_merged_total", 1.0),
    ("node_disk_discarded_sectors_total", 1.0),
    ("node_disk_discard_time_seconds_total", 1e-3),
    ("node_disk_flush_requests_total", 1.0),
    ("node_disk_flush_requests_time_seconds_total", 1e-3),
];

/// Writes what whole disks did; returns the names of all block devices by `major:minor`.
pub(super) fn collect(proc: &Path, facts: &mut Facts) -> HashMap<String, String> {
    let text = read(&proc.join("diskstats")).unwrap_or_default();
    let mut devices = HashMap::new();
    for line in text.lines() {
        let mut words = line.split_ascii_whitespace();
        let (Some(major), Some(minor), Some(name)) = (words.next(), words.next(), words.next()) else {
            continue;
        };
        devices.insert(format!("{major}:{minor}"), name.to_owned());
        if !is_disk(name) {
            continue;
        }
        let values = words.map_while(|word| word.parse::<f64>().ok());
        for ((metric, factor), value) in COLUMNS.into_iter().zip(values) {
            let labels = [("device", name)];
            if metric == "node_disk_io_now" {
                facts.gauge(metric, "Requests in progress.", &labels, value);
            } else {
                facts.counter(metric, "A figure of /proc/diskstats.", &labels, value * factor);
            }
        }
    }
    devices
}

/// A whole disk: no partition, and nothing that lives in memory or in a file.
pub(crate) fn is_disk(name: &str) -> bool {
    let base = name.trim_end_matches(|letter: char| letter.is_ascii_digit());
    let numbered = base.len() < name.len();
    if ["ram", "zram", "loop", "fd"].contains(&base) {
        return false;
    }
    let letters = ["sd", "hd", "vd", "xvd"];
    let is_lettered = letters.iter().any(|prefix| {
        base.strip_prefix(prefix)
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_lowercase()))
    });
    let is_part = (name.starts_with("nvme") || name.starts_with("mmcblk")) && base.ends_with('p');
    !(numbered && (is_lettered || is_part))
}
