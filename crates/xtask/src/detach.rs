//! `up --detach`: leave a supervisor behind in a session of its own and return when the fleet is ready.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use crate::process;
use crate::up::layout::Layout;
use crate::up::supervisor::{last_lines, rotate};
use crate::up::{Options, config, summary};

/// Longer than the supervisor's own patience, whose error says more.
const PATIENCE: Duration = Duration::from_mins(2);

pub(crate) fn run(options: &Options, layout: &Layout, bin_dir: &Path) -> anyhow::Result<()> {
    let log = layout.log("up");
    rotate(&log)?;
    let _ = std::fs::remove_file(layout.ready_mark());
    let mut supervisor = spawn(options, layout, bin_dir, &log)?;
    let begun = Instant::now();
    loop {
        if let Ok(ready_after) = std::fs::read_to_string(layout.ready_mark()) {
            summary(options, layout)?;
            println!("fleet ready after {} ms", ready_after.trim());
            return Ok(());
        }
        if let Some(status) = supervisor.try_wait().context("look at the supervisor")? {
            let said = last_lines(&log, 6);
            bail!("the fleet did not start ({status}):\n{said}");
        }
        if begun.elapsed() > PATIENCE {
            bail!("the fleet is not ready after {PATIENCE:?}; its log is {}", log.display());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn spawn(options: &Options, layout: &Layout, bin_dir: &Path, log: &Path) -> anyhow::Result<Child> {
    let output = std::fs::File::create(log).with_context(|| format!("create {}", log.display()))?;
    let errors = output.try_clone().context("share the log file")?;
    let mut command = Command::new(process::SELF);
    command
        .args(["up", "--supervisor"])
        .args(["--https-port", &options.https_port.to_string()])
        .args(["--http-port", &options.http_port.to_string()])
        .args(["--demo-load", &options.demo_load.to_string()])
        .arg("--data-dir")
        .arg(&layout.root)
        .arg("--bin-dir")
        .arg(bin_dir);
    if let Some(smtp) = &options.smtp {
        command.args(["--smtp", &format!("smtp://{}:{}", smtp.host, smtp.port)]);
    }
    if let Some(database) = &options.database {
        command.args(["--database", &config::keep_database_url(layout, database)?]);
    }
    command.stdin(Stdio::null()).stdout(output).stderr(errors).spawn().context("start the supervisor")
}
