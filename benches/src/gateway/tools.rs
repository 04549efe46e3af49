//! The programs a run needs, where they are, and their versions.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

/// A program and the Debian package it comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tool {
    pub(super) program: &'static str,
    pub(super) package: &'static str,
}

pub(super) const TASKSET: Tool = Tool { program: "taskset", package: "util-linux" };
pub(super) const SETPRIV: Tool = Tool { program: "setpriv", package: "util-linux" };
pub(super) const WRK: Tool = Tool { program: "wrk", package: "wrk" };
pub(super) const H2LOAD: Tool = Tool { program: "h2load", package: "nghttp2-client" };
pub(super) const PERF: Tool = Tool { program: "perf", package: "linux-perf" };

/// Where a program is. Debian keeps servers in directories that are not on everyone's path.
pub(super) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let beside = ["/usr/sbin", "/usr/local/sbin"].map(PathBuf::from);
    std::env::split_paths(&path).chain(beside).map(|at| at.join(program)).find(|at| at.is_file())
}

/// Fails with the command that installs whatever is missing.
pub(super) fn require(tools: &[Tool], peers: &[Tool]) -> anyhow::Result<()> {
    let missing: Vec<Tool> =
        tools.iter().chain(peers).copied().filter(|tool| find(tool.program).is_none()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let words = |of: fn(Tool) -> &'static str| {
        let mut words: Vec<&str> = missing.iter().map(|&tool| of(tool)).collect();
        words.dedup();
        words.join(" ")
    };
    let skip =
        if missing.iter().any(|tool| peers.contains(tool)) { "; --skip PEER leaves a peer out" } else { "" };
    bail!(
        "not installed: {}; install with `apt-get install --no-install-recommends {}`{skip}",
        words(|tool| tool.program),
        words(|tool| tool.package),
    );
}

/// The first line that a program says about itself, on whichever stream.
pub(super) fn version(program: &str, argument: &str) -> anyhow::Result<String> {
    let path = find(program).with_context(|| format!("{program} is not installed"))?;
    let output =
        Command::new(path).arg(argument).output().with_context(|| format!("run {program} {argument}"))?;
    let said = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&said).lines().next().unwrap_or_default().trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_peer_is_an_error_that_says_how_to_install_and_how_to_skip_it() {
        let absent = Tool { program: "no-such-proxy", package: "no-such-package" };
        let error = require(&[], &[absent]).unwrap_err().to_string();
        assert!(error.contains("apt-get install --no-install-recommends no-such-package"), "{error}");
        assert!(error.contains("--skip"), "{error}");
    }

    #[test]
    fn missing_tool_cannot_be_skipped() {
        let absent = Tool { program: "no-such-tool", package: "no-such-package" };
        assert!(!require(&[absent], &[]).unwrap_err().to_string().contains("--skip"));
    }
}
