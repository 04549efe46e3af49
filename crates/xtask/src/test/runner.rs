//! Running a test runner with its output on the terminal while its own closing count is read from it.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// What the runners counted.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    /// `Summary [   1.234s] 12 tests run: 11 passed, 1 failed, 0 skipped`
    pub(crate) fn nextest(&mut self, command: &mut Command) -> anyhow::Result<()> {
        command.env("NEXTEST_STATUS_LEVEL", "slow").env("NEXTEST_FINAL_STATUS_LEVEL", "fail");
        self.count(command, |line| line.trim_start().starts_with("Summary ["))
    }

    /// `Tests  1 failed | 11 passed (12)`
    pub(crate) fn vitest(&mut self, command: &mut Command) -> anyhow::Result<()> {
        self.count(command.env("NO_COLOR", "1"), |line| line.trim_start().starts_with("Tests "))
    }

    /// `ℹ pass 12` and `ℹ fail 0`, or with `#` where the output is no terminal.
    pub(crate) fn node(&mut self, command: &mut Command) -> anyhow::Result<()> {
        self.count(command.env("NO_COLOR", "1"), |line| {
            let line = line.trim_start_matches(['ℹ', '#', ' ']);
            line.starts_with("pass ") || line.starts_with("fail ")
        })
    }

    fn count(&mut self, command: &mut Command, closes: fn(&str) -> bool) -> anyhow::Result<()> {
        // One pipe for both streams keeps their order.
        let (reader, writer) = std::io::pipe().context("make a pipe")?;
        let errors = writer.try_clone().context("share a pipe")?;
        let mut child = command
            .stdin(Stdio::null())
            .stdout(writer)
            .stderr(errors)
            .spawn()
            .context("start the test runner")?;
        // The command holds the pipe's writing ends; with them open the reader would never see the end.
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut counted = false;
        for line in BufReader::new(reader).lines() {
            let line = line.context("read the test runner's output")?;
            println!("{line}");
            if closes(&line) {
                counted = true;
                self.passed += number(&line, "pass");
                self.failed += number(&line, "fail");
            }
        }
        let status = child.wait().context("wait for the test runner")?;
        if !status.success() {
            bail!("the test runner failed: {status}");
        }
        if !counted {
            bail!("the test runner ended without saying what it ran");
        }
        Ok(())
    }
}

/// The number next to a word that begins so: before it (`11 passed`) or after it (`pass 11`).
fn number(line: &str, word: &str) -> u64 {
    let words: Vec<&str> = line.split_whitespace().collect();
    let Some(at) = words.iter().position(|candidate| candidate.starts_with(word)) else { return 0 };
    let parse =
        |index: Option<usize>| index.and_then(|index| words.get(index)).and_then(|text| text.parse().ok());
    parse(at.checked_sub(1)).or_else(|| parse(Some(at + 1))).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn closing_lines_of_each_runner_are_read() {
        let check = |line: &str, passed: u64, failed: u64| {
            assert_eq!((number(line, "pass"), number(line, "fail")), (passed, failed), "{line}");
        };
        check("     Summary [   1.234s] 12 tests run: 11 passed (2 slow), 1 failed, 0 skipped", 11, 1);
        check("     Summary [   1.234s] 12 tests run: 12 passed, 0 skipped", 12, 0);
        check("      Tests  1 failed | 11 passed (12)", 11, 1);
        check("ℹ pass 7", 7, 0);
        check("# fail 2", 0, 2);
    }
}
