//! The group `engines`: DuckDB and ClickHouse read what the telemetry sink wrote, and must say what it says.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;

use crate::{process, workspace};

/// Whether this Python can make an environment for packages.
pub(super) fn has_venv() -> bool {
    process::output(Command::new("python3").args(["-c", "import ensurepip, venv"])).is_ok()
}

pub(super) fn compare() -> anyhow::Result<()> {
    let python = python()?;
    let directory = workspace::target().join("engines");
    if directory.exists() {
        std::fs::remove_dir_all(&directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    let mut write = workspace::cargo();
    write
        .args(["run", "--quiet", "--locked", "--package", "telemetry-sink", "--features", "conformance"])
        .args(["--example", "parquet_parts", "--"])
        .arg(&directory);
    let answers = process::output(&mut write).context("write parts")?;
    let told = directory.join("answers.json");
    std::fs::write(&told, answers).with_context(|| format!("write {}", told.display()))?;
    let script = workspace::root().join("tests/engines/compare.py");
    process::run(Command::new(python).arg(script).arg(&directory).arg(&told))
}

/// A Python with the two engines, made once.
fn python() -> anyhow::Result<PathBuf> {
    let environment = workspace::target().join("python/engines");
    let python = environment.join("bin/python");
    let wanted = workspace::root().join("tests/engines/requirements.txt");
    let stamp = environment.join("requirements.txt");
    let requirements = std::fs::read(&wanted).with_context(|| format!("read {}", wanted.display()))?;
    if std::fs::read(&stamp).is_ok_and(|made| made == requirements) {
        return Ok(python);
    }
    process::run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&environment))?;
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--requirement"]);
    process::run(install.arg(&wanted)).context("install DuckDB and ClickHouse")?;
    std::fs::write(&stamp, requirements).with_context(|| format!("write {}", stamp.display()))?;
    Ok(python)
}
