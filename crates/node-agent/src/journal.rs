//! The journal, read by journalctl: its format is systemd's own business.

use std::io::Read as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};

/// Bytes of journal in one answer.
const LARGEST: u64 = 1024 * 1024;
/// Lines in one answer.
pub(crate) const MOST_LINES: u32 = 2_000;

/// Which part of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Question {
    /// 0 is this boot, -1 the one before.
    pub(crate) boot: i32,
    pub(crate) unit: Option<String>,
    pub(crate) lines: u32,
}

/// The latest lines that fit the question, as text.
pub(crate) fn read(question: &Question) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new("/usr/bin/journalctl");
    command.args(["--no-pager", "--quiet", "--utc", "--output=short-iso"]);
    command.arg(format!("--boot={}", question.boot));
    command.arg(format!("--lines={}", question.lines.min(MOST_LINES)));
    if let Some(unit) = &question.unit {
        ensure!(is_unit(unit), "`{unit}` is no unit; write one such as quintet-core-api.service");
        command.arg(format!("--unit={unit}"));
    }
    output(&mut command)
}

/// What a unit said last; empty where that cannot be told.
pub(crate) fn last_lines(unit: &str, lines: u32) -> String {
    let mut command = Command::new("/usr/bin/journalctl");
    command.args(["--no-pager", "--quiet", "--boot=0", "--output=cat"]);
    command.arg(format!("--lines={lines}")).arg(format!("--unit={unit}"));
    output(&mut command).map(|text| String::from_utf8_lossy(&text).into_owned()).unwrap_or_default()
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().context("start journalctl")?;
    let mut text = Vec::new();
    if let Some(output) = child.stdout.take() {
        output.take(LARGEST).read_to_end(&mut text).context("read from journalctl")?;
    }
    // Closing the pipe ends it if it has more to say.
    child.wait().context("wait for journalctl")?;
    Ok(text)
}

/// Whether the text can be a unit's name, and nothing that a program would take for an option or a pattern.
fn is_unit(text: &str) -> bool {
    let begins = text.bytes().next().is_some_and(|byte| byte.is_ascii_alphanumeric());
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b":-_.\\@".contains(&byte);
    begins && text.len() < 256 && text.bytes().all(allowed)
}

#[cfg(test)]
mod tests {
    use super::is_unit;

    #[test]
    fn options_and_patterns_are_no_units() {
        assert!(is_unit("quintet-core-api.service"));
        for text in ["", "--file=/etc/shadow", "*", "a b", "a/b"] {
            assert!(!is_unit(text), "{text}");
        }
    }
}
