//! Building the five binaries and the console.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::workspace::{self, BINARIES};
use crate::{node, process};

/// The console's sources, below the root of a checkout.
pub(crate) const CONSOLE: &str = "crates/telemetry-sink/console";

/// How cargo is asked to optimise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Profile {
    /// Fast to build, slow to run.
    Dev,
    /// What a fleet should be judged by.
    Release,
}

impl Profile {
    const fn directory(self) -> &'static str {
        match self {
            Self::Dev => "debug",
            Self::Release => "release",
        }
    }
}

/// Builds the five with cargo's own progress on the terminal and returns the directory they are in.
pub(crate) fn binaries(profile: Profile) -> anyhow::Result<PathBuf> {
    let mut command = workspace::cargo();
    command.args(["build", "--locked"]);
    if profile == Profile::Release {
        command.arg("--release");
    }
    for binary in BINARIES {
        command.args(["--package", binary]);
    }
    process::run(&mut command).context("build the five binaries")?;
    Ok(workspace::target().join(profile.directory()))
}

/// Builds every program of the workspace as the tests are built, so that what they share is compiled once.
pub(crate) fn workspace_binaries() -> anyhow::Result<PathBuf> {
    process::run(workspace::cargo().args(["build", "--locked", "--workspace", "--bins"]))
        .context("build the binaries under test")?;
    Ok(workspace::target().join(Profile::Dev.directory()))
}

/// Checks that a directory holds all five.
pub(crate) fn all_present(directory: &Path) -> anyhow::Result<()> {
    for binary in BINARIES {
        let path = directory.join(binary);
        if !path.is_file() {
            bail!("{} does not exist: --bin-dir must hold all five binaries", path.display());
        }
    }
    Ok(())
}

/// Builds the console when its sources changed since it was last built. Without Node.js the fleet still runs: the
/// sink then serves every address but the console's pages.
pub(crate) fn console(root: &Path) -> anyhow::Result<()> {
    let sources = root.join(CONSOLE);
    if !sources.join("package.json").is_file() {
        return Ok(());
    }
    let stamp = sources.join("dist/.sources.sha256");
    let fingerprint = fingerprint(&sources)?;
    if std::fs::read_to_string(&stamp).is_ok_and(|built| built == fingerprint) {
        return Ok(());
    }
    if process::find("npm").is_none() {
        eprintln!(
            "note: the console is left out because npm is not installed; \
             install Node.js 20.19 or later (https://nodejs.org, or `apt-get install nodejs npm`) and run this again"
        );
        return Ok(());
    }
    node::check()?;
    eprintln!("building the console");
    npm(&sources, &["ci", "--no-audit", "--no-fund"])?;
    npm(&sources, &["run", "build"])?;
    std::fs::write(&stamp, fingerprint).with_context(|| format!("write {}", stamp.display()))
}

/// Runs npm in a directory.
pub(crate) fn npm(directory: &Path, arguments: &[&str]) -> anyhow::Result<()> {
    process::run(Command::new("npm").args(arguments).current_dir(directory))
}

/// The hash of every source file's name and content.
fn fingerprint(directory: &Path) -> anyhow::Result<String> {
    let mut files = Vec::new();
    collect(directory, &mut files)?;
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let content = std::fs::read(&file).with_context(|| format!("read {}", file.display()))?;
        hash.update(file.strip_prefix(directory).unwrap_or(&file).as_os_str().as_encoded_bytes());
        hash.update(content.len().to_le_bytes());
        hash.update(content);
    }
    Ok(hex(&hash.finalize()))
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    const MADE: [&str; 3] = ["node_modules", "dist", "coverage"];
    for entry in std::fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let entry = entry?;
        let path = entry.path();
        if !entry.file_type()?.is_dir() {
            into.push(path);
        } else if !MADE.iter().any(|made| path.ends_with(made)) {
            collect(&path, into)?;
        }
    }
    Ok(())
}

/// Lowercase hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}
