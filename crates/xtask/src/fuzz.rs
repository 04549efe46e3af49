//! `cargo xtask fuzz [TARGET]`: libFuzzer on everything of ours that reads bytes from a stranger.
//!
//! The targets are the binaries of `fuzz/`, a workspace of its own. Coverage is what libFuzzer needs, and the stable
//! compiler emits it. The sanitizers are left out: they look for memory errors, and no crate of ours may use `unsafe`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};
use cargo_metadata::MetadataCommand;

use crate::{process, workspace};

/// What `cargo fuzz` passes without a sanitizer.
const COVERAGE: &[&str] = &[
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Ccodegen-units=1",
    "--cfg=fuzzing",
];
/// Above what any request may hold; an input that needs more memory is a finding.
const MEMORY_MIB: u32 = 1024;
/// One input that takes longer is a finding.
const SECONDS_EACH: u32 = 10;
/// Small inputs are tried more often, and our parsers' limits are tested beside them.
const LONGEST_INPUT: u32 = 16 * 1024;

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// Only this target; all of them without it.
    target: Option<String>,
    /// How long each target runs.
    #[arg(long, default_value_t = 10)]
    seconds: u32,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let sources = workspace::root().join("fuzz");
    let known = targets(&sources)?;
    let chosen: Vec<String> = match &options.target {
        None => known,
        Some(name) if known.contains(name) => vec![name.clone()],
        Some(name) => bail!("there is no fuzz target {name:?}; the targets are {}", known.join(", ")),
    };
    let programs = build(&sources, options.target.as_deref())?;
    let mut broken = Vec::new();
    for target in &chosen {
        println!("── {target}");
        if let Err(error) = fuzz(&programs.join(target), &sources, target, options.seconds) {
            eprintln!("error: {error:#}");
            broken.push(target.as_str());
        }
    }
    if !broken.is_empty() {
        bail!("an input broke {}; it is above, and in {}", broken.join(", "), artifacts().display());
    }
    println!("{} targets, {} s each, nothing found", chosen.len(), options.seconds);
    Ok(())
}

fn targets(sources: &Path) -> anyhow::Result<Vec<String>> {
    let mut command = MetadataCommand::new();
    command.manifest_path(sources.join("Cargo.toml")).no_deps();
    let metadata = command.exec().context("read the targets of fuzz/Cargo.toml")?;
    let targets = metadata.packages.iter().flat_map(|package| &package.targets);
    Ok(targets.map(|target| target.name.clone()).collect())
}

/// Builds one target or all and answers where they are.
fn build(sources: &Path, target: Option<&str>) -> anyhow::Result<PathBuf> {
    // A triple keeps build scripts and procedural macros, which run now, free of the instrumentation.
    let triple = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
    let mut command = workspace::cargo();
    // Not `--locked`: a dependency that one of our crates gains would stop the fuzzing and nothing else.
    command.args(["build", "--target", &triple, "--manifest-path"]).arg(sources.join("Cargo.toml"));
    command.arg("--target-dir").arg(directory()).env("RUSTFLAGS", COVERAGE.join(" "));
    if let Some(target) = target {
        command.args(["--bin", target]);
    }
    process::run(&mut command).context("fuzzing needs a C++ compiler")?;
    Ok(directory().join(triple).join("debug"))
}

/// Runs one target from the committed seeds and from what earlier runs found.
fn fuzz(program: &Path, sources: &Path, target: &str, seconds: u32) -> anyhow::Result<()> {
    let found = directory().join("corpus").join(target);
    for place in [&found, &artifacts()] {
        std::fs::create_dir_all(place).with_context(|| format!("create {}", place.display()))?;
    }
    let mut command = Command::new(program);
    command
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-rss_limit_mb={MEMORY_MIB}"))
        .arg(format!("-timeout={SECONDS_EACH}"))
        .arg(format!("-max_len={LONGEST_INPUT}"))
        .arg(format!("-artifact_prefix={}/{target}-", artifacts().display()))
        .args(["-print_final_stats=1", "-verbosity=0"])
        .arg(found)
        .arg(sources.join("corpus").join(target));
    process::run(&mut command)
}

fn directory() -> PathBuf {
    workspace::target().join("fuzz")
}

fn artifacts() -> PathBuf {
    directory().join("artifacts")
}
