//! The systemd units in `packaging/systemd`: how much of the system each leaves open, and whether systemd takes them
//! without a word.
//!
//! What the units promise each other and the configurations is held by the tests beside this file; the figures come from a
//! systemd of the oldest release that the packages are for.

use std::process::Command;

use anyhow::{Context as _, bail, ensure};

use crate::debian::{Root, SYSTEM};
use crate::workspace::BINARIES;
use crate::{process, workspace};

/// By `systemd-analyze security`, from 0 to 10. What remains is mostly that a service speaks to a network.
const MOST_EXPOSURE: f64 = 1.5;

/// Puts the units where they are on a system, with programs that are only there.
const INSTALL: &str = "cp /mnt/systemd/* /usr/lib/systemd/system && \
                       systemd-sysusers /mnt/sysusers.d/quintet.conf 2>/dev/null && \
                       for unit in /mnt/systemd/*.service; do \
                           name=${unit##*/quintet-}; cp /usr/bin/true /usr/bin/${name%.service}; \
                       done";

pub(crate) fn check() -> anyhow::Result<()> {
    if !process::is_root() {
        println!("left out: looking at the units with a systemd of Debian's needs root");
        return Ok(());
    }
    let root = Root::prepare(SYSTEM)?;
    let packaging = workspace::root().join("packaging");
    let inside = |script: &str| -> anyhow::Result<Command> {
        let mut command = root.command(&packaging)?;
        command.args(["/bin/sh", "-c", &format!("{INSTALL} && {script}")]);
        Ok(command)
    };
    let complaints = process::output(&mut inside(
        "systemd-analyze verify --man=no /usr/lib/systemd/system/quintet* 2>&1",
    )?)?;
    // Of this machine, not of the units.
    let complaints: Vec<&str> =
        complaints.lines().filter(|line| !line.contains("kernel does not support IPv6")).collect();
    ensure!(complaints.is_empty(), "systemd-analyze verify: {}", complaints.join("; "));
    let figures = process::output(&mut inside(
        "for unit in /usr/lib/systemd/system/quintet-*.service; do \
             systemd-analyze security --offline=true --no-pager $unit | tail -n 1; \
         done",
    )?)?;
    let mut exposed = Vec::new();
    for binary in BINARIES {
        let figure = exposure(&figures, &format!("quintet-{binary}.service"))?;
        println!("{figure:>4.1}  quintet-{binary}.service");
        if figure > MOST_EXPOSURE {
            exposed.push(binary);
        }
    }
    if !exposed.is_empty() {
        bail!("more exposed than {MOST_EXPOSURE}: {}", exposed.join(", "));
    }
    Ok(())
}

/// `→ Overall exposure level for quintet-core-api.service: 1.1 OK 🙂`
fn exposure(text: &str, unit: &str) -> anyhow::Result<f64> {
    let line = text.lines().find(|line| line.contains(&format!("level for {unit}:")));
    let line = line.with_context(|| format!("systemd-analyze has no figure for {unit}"))?;
    let figure = line.rsplit(": ").next().and_then(|rest| rest.split(' ').next());
    figure.and_then(|figure| figure.parse().ok()).with_context(|| format!("there is no figure in {line:?}"))
}

#[cfg(test)]
#[path = "units/tests.rs"]
mod tests;
