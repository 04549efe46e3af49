//! The kernel's messages, from `/dev/kmsg`.

use std::fs::OpenOptions;
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;

use serde_json::{Value, json};

use super::Roots;
use crate::host::read;

const MAX_MESSAGES: usize = 1000;
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// One read gives one message; none is longer.
const RECORD: usize = 8192;

pub(super) fn messages(roots: &Roots) -> Value {
    let booted = read(&roots.proc.join("stat")).and_then(|text| {
        text.lines().find_map(|line| line.strip_prefix("btime ")?.trim().parse::<f64>().ok())
    });
    match text(roots) {
        Ok(text) => {
            let mut found: Vec<_> = text.lines().filter_map(|line| message(line, booted)).collect();
            let first = found.len().saturating_sub(MAX_MESSAGES);
            found.drain(..first);
            json!({ "messages": found })
        }
        Err(error) => json!({
            "messages": [],
            "reason": format!("cannot read {}: {error}; ProtectKernelLogs= of the unit hides it", roots.kernel_messages.display()),
        }),
    }
}

fn text(roots: &Roots) -> std::io::Result<String> {
    let nonblocking = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or(0);
    let mut file = OpenOptions::new().read(true).custom_flags(nonblocking).open(&roots.kernel_messages)?;
    let (mut bytes, mut record) = (Vec::new(), vec![0; RECORD]);
    while bytes.len() < MAX_BYTES {
        match file.read(&mut record) {
            Ok(0) => break,
            Ok(length) => bytes.extend_from_slice(record.get(..length).unwrap_or_default()),
            // What was to be read next has been overwritten; the next read goes on after it.
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::PIPE.raw_os_error()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// `6,339,5140900,-;text`; lines that begin with a space belong to the one before and are left out.
fn message(line: &str, booted: Option<f64>) -> Option<Value> {
    const LEVELS: [&str; 8] =
        ["emergency", "alert", "critical", "error", "warning", "notice", "info", "debug"];
    let (head, text) = line.split_once(';')?;
    let mut words = head.split(',');
    let priority: usize = words.next()?.parse().ok()?;
    let number: u64 = words.next()?.parse().ok()?;
    let micros: f64 = words.next()?.parse().ok()?;
    Some(json!({
        "number": number,
        "level": LEVELS.get(priority & 7),
        "since_boot_seconds": micros / 1e6,
        "at": booted.map(|booted| booted + micros / 1e6),
        "text": text,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_levels_and_times() {
        let found = message("4,339,5000000,-;out of memory; killed", Some(100.0)).unwrap();
        assert_eq!(found["level"], "warning");
        assert_eq!((&found["at"], &found["text"]), (&json!(105.0), &json!("out of memory; killed")));
        assert_eq!(message(" SUBSYSTEM=pci", None), None);
    }
}
