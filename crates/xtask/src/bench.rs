//! `cargo xtask bench SUITE`: builds what is measured and runs the measuring program in `benches/`.

use std::path::PathBuf;

use crate::build::{self, Profile};
use crate::{process, workspace};

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// What to measure: fleet.
    suite: String,
    /// Where the report goes.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Measure the binaries in this directory, such as target/dist, instead of a release build.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// Arguments of the suite.
    #[arg(last = true)]
    rest: Vec<String>,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let bin_dir = match &options.bin_dir {
        Some(given) => {
            build::all_present(given)?;
            std::path::absolute(given)?
        }
        None => build::binaries(Profile::Release)?,
    };
    let json = options
        .json
        .clone()
        .unwrap_or_else(|| workspace::target().join(format!("bench/{}.json", options.suite)));
    let mut command = workspace::cargo();
    command.args([
        "run",
        "--locked",
        "--release",
        "--quiet",
        "--package",
        "benches",
        "--",
        &options.suite,
        "--json",
    ]);
    command.arg(std::path::absolute(json)?).args(&options.rest);
    command.env("QUINTET_E2E_BIN_DIR", bin_dir).env("QUINTET_XTASK", std::env::current_exe()?);
    process::run(&mut command)
}
