//! `cargo xtask down`: ask the supervisor of a data directory to drain and wait until it is gone.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal};

use crate::up::layout::{Layout, Lock};

/// Longer than the drain deadline of five processes that stop one after the other.
const PATIENCE: Duration = Duration::from_secs(90);

#[derive(Debug, clap::Args)]
pub(crate) struct Options {
    /// The data directory of the fleet.
    #[arg(long, default_value = ".quintet")]
    data_dir: PathBuf,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let layout = Layout::new(&options.data_dir)?;
    let Some(supervisor) = Lock::holder(&layout)? else {
        println!("no fleet runs on {}", layout.root.display());
        return Ok(());
    };
    let pid = Pid::from_raw(supervisor).context("the lock file names no process")?;
    rustix::process::kill_process(pid, Signal::TERM)
        .with_context(|| format!("signal process {supervisor}"))?;
    let begun = Instant::now();
    while Lock::holder(&layout)?.is_some() {
        if begun.elapsed() > PATIENCE {
            bail!(
                "the fleet on {} did not stop within {PATIENCE:?}; its supervisor is process {supervisor}",
                layout.root.display()
            );
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("fleet stopped after {:.1} s", begun.elapsed().as_secs_f64());
    Ok(())
}
