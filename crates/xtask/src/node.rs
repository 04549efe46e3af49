//! The version of Node.js that builds the console.

use std::process::Command;

use anyhow::{Context as _, bail};

use crate::process;

/// What Vite 8 and the tests of the browser run on, as `engines` in their lock files has it.
const NEEDED: &str = "20.19 or later, 22.12 or later, or any from 23";

/// Fails with how to get another Node.js where this machine's is too old.
pub(crate) fn check() -> anyhow::Result<()> {
    let said = process::output(Command::new("node").arg("--version"))
        .with_context(|| format!("find the version of Node.js; the console needs {NEEDED}"))?;
    accept(said.trim())
}

fn accept(version: &str) -> anyhow::Result<()> {
    let Some((major, minor)) = parse(version) else {
        bail!("`node --version` says {version:?}, which is no version; the console needs Node.js {NEEDED}");
    };
    if matches!((major, minor), (20, 19..) | (22, 12..) | (23.., _)) {
        return Ok(());
    }
    bail!(
        "Node.js {version} is too old for the console's build, which needs {NEEDED}; install one from \
         https://nodejs.org/en/download (Debian 13 has 20.19: `apt-get install nodejs npm`) and put it first on PATH"
    );
}

fn parse(version: &str) -> Option<(u32, u32)> {
    let mut parts = version.strip_prefix('v')?.split('.');
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_that_the_console_cannot_be_built_with_are_refused_with_the_way_to_a_newer_one() {
        for version in ["v18.20.4", "v20.18.3", "v21.7.3", "v22.11.0"] {
            let text = accept(version).unwrap_err().to_string();
            assert!(text.contains(version) && text.contains("https://nodejs.org/en/download"), "{text}");
        }
        for version in ["v20.19.0", "v20.20.2", "v22.12.0", "v24.1.0", "v25.0.0-nightly"] {
            accept(version).unwrap();
        }
        for version in ["", "20.19.0", "v20", "vx.y.z"] {
            accept(version).unwrap_err();
        }
    }
}
