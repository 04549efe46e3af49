//! Which cores a proxy may use, and which are left to its load.
//!
//! A proxy that shares a core with its own load generator is measured together with it: the scheduler moves
//! time between them. So each proxy has the first core to itself, and everything else runs on the others.

use std::process::Command;

use anyhow::{Context as _, ensure};
use serde::Serialize;

/// The division of this machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Cores {
    /// The proxy's core, as `taskset` takes it.
    pub(super) proxy: String,
    /// The cores of the upstream and the load generators.
    pub(super) load: String,
}

impl Cores {
    /// Divides the cores that this process may use.
    pub(super) fn divide() -> anyhow::Result<Self> {
        let status = std::fs::read_to_string("/proc/self/status").context("read /proc/self/status")?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
            .context("/proc/self/status has no Cpus_allowed_list")?;
        Self::of(list.trim())
    }

    fn of(list: &str) -> anyhow::Result<Self> {
        let cores = expand(list)?;
        let (proxy, load) = cores.split_first().context("this process may use no core")?;
        ensure!(!load.is_empty(), "needs two cores: one for the proxy, one for its upstream and its load");
        let load: Vec<String> = load.iter().map(u32::to_string).collect();
        Ok(Self { proxy: proxy.to_string(), load: load.join(",") })
    }

    /// Moves this process, and with it every thread and program it starts from now on, to the load's cores.
    pub(super) fn leave_the_proxys(&self) -> anyhow::Result<()> {
        let output = Command::new("taskset")
            .args(["--cpu-list", "--pid", &self.load, &std::process::id().to_string()])
            .output()
            .context("run taskset")?;
        ensure!(output.status.success(), "taskset: {}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(())
    }
}

/// `0-2,5` in full.
fn expand(list: &str) -> anyhow::Result<Vec<u32>> {
    let number = |text: &str| text.parse::<u32>().with_context(|| format!("`{list}` is no list of cores"));
    let mut cores = Vec::new();
    for part in list.split(',') {
        match part.split_once('-') {
            Some((first, last)) => cores.extend(number(first)?..=number(last)?),
            None => cores.push(number(part)?),
        }
    }
    Ok(cores)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_has_the_first_core_and_the_load_the_others() {
        let cores = Cores::of("2-4,7").unwrap();
        assert_eq!(cores, Cores { proxy: "2".to_owned(), load: "3,4,7".to_owned() });
    }

    #[test]
    fn one_core_is_not_enough() {
        assert!(Cores::of("0").unwrap_err().to_string().contains("two cores"));
    }
}
