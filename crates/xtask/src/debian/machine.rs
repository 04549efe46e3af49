//! A Debian root with systemd running in it, in namespaces of its own: what a machine does with units and packages, without
//! a virtual machine. It shares this machine's kernel and nothing else; it has no network but its loopback, and limits of
//! memory are not tested where control groups are of the first version.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};

use super::Root;
use crate::process;

const BOOT_WITHIN: Duration = Duration::from_mins(2);
/// No command here takes long; one that hangs is a failure with its name.
const COMMAND_WITHIN: &str = "180";
const POLL: Duration = Duration::from_millis(100);

/// A machine; what is left of it ends when it is dropped.
#[derive(Debug)]
pub(crate) struct Machine {
    /// `unshare`, whose death ends the machine's first process and with it all others.
    namespaces: Child,
    init: u32,
}

impl Machine {
    /// Boots a throw-away copy of the root, which sees `shared` at `/mnt`.
    pub(crate) fn boot(root: &Root, shared: &Path) -> anyhow::Result<Self> {
        let mut command = root.boot(shared)?;
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let namespaces = command.spawn().context("start a machine")?;
        let mut machine = Self { namespaces, init: 0 };
        let begun = Instant::now();
        while !machine.is_up() {
            if let Some(status) = machine.namespaces.try_wait().context("wait for a machine")? {
                bail!("the machine ended while it booted: {status}");
            }
            if begun.elapsed() > BOOT_WITHIN {
                bail!("systemd did not come up within {} s", BOOT_WITHIN.as_secs());
            }
            sleep(POLL);
        }
        Ok(machine)
    }

    fn is_up(&mut self) -> bool {
        if self.init == 0 {
            let parent = self.namespaces.id();
            let children = std::fs::read_to_string(format!("/proc/{parent}/task/{parent}/children"));
            self.init = children.unwrap_or_default().trim().parse().unwrap_or_default();
            return false;
        }
        // A root may have services that do not start here, such as those that load modules: that is "degraded".
        let state = self.command("systemctl is-system-running").output();
        state.is_ok_and(|output| matches!(output.stdout.trim_ascii(), b"running" | b"degraded"))
    }

    /// Runs a script and returns what it printed; on failure the error carries its standard error.
    pub(crate) fn run(&self, script: &str) -> anyhow::Result<String> {
        process::output(&mut self.command(script))
    }

    /// A script in the machine, to be started.
    pub(crate) fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg("--target").arg(self.init.to_string());
        command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--root", "--"]);
        command
            .args(["timeout", "--kill-after=5", COMMAND_WITHIN, "sh", "-euc"])
            .arg(format!("cd /; {script}"));
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").current_dir("/");
        command
    }

    /// Waits until a script succeeds; its last error otherwise.
    pub(crate) fn until(&self, script: &str, limit: Duration) -> anyhow::Result<String> {
        let begun = Instant::now();
        loop {
            match self.run(script) {
                Ok(output) => return Ok(output),
                Err(error) if begun.elapsed() > limit => {
                    return Err(error.context(format!("waited in vain for {} s", limit.as_secs())));
                }
                Err(_) => sleep(POLL),
            }
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.namespaces.kill();
        let _ = self.namespaces.wait();
    }
}
