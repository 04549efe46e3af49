//! Memory and swap.

use std::path::Path;

use super::{Facts, kernel, read};

pub(super) fn collect(proc: &Path, facts: &mut Facts) {
    if let Some(text) = read(&proc.join("meminfo")) {
        meminfo(&text, facts);
    }
    if let Some(text) = read(&proc.join("vmstat")) {
        kernel::virtual_memory(&text, facts);
    }
}

/// Every line becomes a metric of its name: `Active(anon):  12 kB` is `node_memory_Active_anon_bytes`.
fn meminfo(text: &str, facts: &mut Facts) {
    for line in text.lines() {
        let Some((name, rest)) = line.split_once(':') else { continue };
        let mut words = rest.split_ascii_whitespace();
        let Some(value) = words.next().and_then(|word| word.parse::<f64>().ok()) else { continue };
        let name = name.replace('(', "_").replace(')', "");
        let (suffix, factor) = if words.next() == Some("kB") { ("_bytes", 1024.0) } else { ("", 1.0) };
        facts.gauge(
            &format!("node_memory_{name}{suffix}"),
            "A figure of /proc/meminfo.",
            &[],
            value * factor,
        );
    }
}
