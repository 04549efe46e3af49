//! The packages on a machine: installed, used, upgraded, upgraded in place, removed, purged.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::Release;
use crate::debian::machine::Machine;
use crate::debian::{Root, SYSTEM};
use crate::workspace::BINARIES;
use crate::{dist, process};

const READY_WITHIN: Duration = Duration::from_mins(1);

/// Through the gateway to the identity provider, with the certificate that was made when the package was installed.
const DISCOVERY: &str = "curl --silent --show-error --fail --max-time 20 --cacert /etc/quintet/tls/cert.pem \
                         --resolve localhost:443:127.0.0.1 https://localhost/identity/.well-known/openid-configuration";
const LOCAL_CHANGE: &str = "# changed here";
/// What an upgrade keeps and a purge removes.
const FINGERPRINT: &str = "cat /etc/credstore/* /etc/quintet/tls/* | sha256sum";

/// Builds packages of two versions and takes a machine through their life.
pub(crate) fn install_and_remove(binaries: &Path) -> anyhow::Result<()> {
    if !process::is_root() || process::find("dpkg-deb").is_none() {
        println!("left out: trying packages needs root and dpkg-deb");
        return Ok(());
    }
    let shared = tempfile::tempdir().context("make a directory")?;
    let release = |version: &str| Release {
        binaries: binaries.to_owned(),
        version: version.to_owned(),
        epoch: dist::epoch(),
    };
    let first = release("1.0.0").build(&shared.path().join("first"))?;
    let again = release("1.0.0").build(&shared.path().join("again"))?;
    for (one, other) in first.iter().zip(&again) {
        let same = std::fs::read(one).ok() == std::fs::read(other).ok();
        ensure!(same, "{} has other bytes when it is built again", one.display());
    }
    std::fs::remove_dir_all(shared.path().join("again")).context("remove the second build")?;
    release("1.0.1").build(&shared.path().join("second"))?;
    let root = Root::prepare(SYSTEM)?;
    lint(&root, shared.path())?;
    let machine = Machine::boot(&root, shared.path())?;
    install(&machine)?;
    upgrade(&machine)?;
    in_place(&machine)?;
    remove(&machine)?;
    println!("two builds are the same bytes; installed, upgraded, removed and purged");
    Ok(())
}

fn lint(root: &Root, shared: &Path) -> anyhow::Result<()> {
    let mut lintian = root.command(shared)?;
    // The binaries are static on purpose; what they link is in the lock file. Who distributes packages is their maintainer.
    lintian.args([
        "/bin/sh",
        "-c",
        "lintian --allow-root --fail-on error \
         --suppress-tags statically-linked-binary,embedded-library,bogus-mail-host,bogus-mail-host-in-debian-changelog /mnt/first/*.deb 2>&1",
    ]);
    let said = process::output(&mut lintian).context("lintian found errors")?;
    let warnings = said.lines().filter(|line| line.starts_with("W: ")).count();
    println!("lintian: no error, {warnings} warnings");
    for line in said.lines().filter(|line| line.starts_with("W: ")) {
        println!("  {line}");
    }
    Ok(())
}

fn install(machine: &Machine) -> anyhow::Result<()> {
    let begun = Instant::now();
    machine.run("dpkg --install /mnt/first/*.deb 2>&1").context("install the packages")?;
    machine.until(DISCOVERY, READY_WITHIN).context("the gateway does not lead to the identity provider")?;
    println!("installed, and the five work together after {:.1} s", begun.elapsed().as_secs_f64());
    all_run(machine)?;
    for binary in BINARIES {
        let check = format!("CREDENTIALS_DIRECTORY=/etc/credstore {binary} --check-config");
        machine.run(&check).context("an installed configuration is not valid")?;
    }
    let open = machine.run("find /etc/credstore /etc/quintet/tls/key.pem -type f -perm /0077")?;
    ensure!(open.is_empty(), "others can read secrets: {open}");
    let sign_in = machine.run(
        "curl --silent --output /dev/null --max-time 20 --cacert /etc/quintet/tls/cert.pem \
         --resolve localhost:443:127.0.0.1 --write-out '%{redirect_url}' --header 'Accept: text/html' https://localhost/",
    )?;
    ensure!(
        sign_in.starts_with("https://localhost/.auth/login?"),
        "the console asks nobody to sign in but sends them to {sign_in:?}"
    );
    let unclaimed =
        machine.run("journalctl --no-pager --output cat | grep -c 'used by no listener' || true")?;
    ensure!(unclaimed.trim() == "0", "a socket of systemd's is used by no listener");
    Ok(())
}

fn all_run(machine: &Machine) -> anyhow::Result<()> {
    for binary in BINARIES {
        let shown = machine.run(&format!(
            "systemctl show --property ActiveState,SubState,NRestarts --value quintet-{binary}.service | sort | xargs"
        ))?;
        ensure!(shown.trim() == "0 active running", "quintet-{binary}.service: {shown}");
    }
    Ok(())
}

/// Runs a script while requests come, and fails when one of them does.
fn under_requests(machine: &Machine, script: &str) -> anyhow::Result<()> {
    let requests = format!(
        "touch /tmp/requests; n=0; while [ -e /tmp/requests ]; do {DISCOVERY} --output /dev/null; n=$((n+1)); done; echo $n"
    );
    let asking = machine
        .command(&requests)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("send requests")?;
    machine.until("test -e /tmp/requests", READY_WITHIN)?;
    let outcome = machine.run(script);
    machine.run("sleep 1; rm /tmp/requests")?;
    let asked = asking.wait_with_output().context("wait for the requests")?;
    outcome?;
    let count: u32 = String::from_utf8_lossy(&asked.stdout).trim().parse().unwrap_or_default();
    ensure!(
        asked.status.success() && count > 0,
        "a request failed meanwhile: {}",
        String::from_utf8_lossy(&asked.stderr).trim()
    );
    println!("{count} requests meanwhile, none refused");
    Ok(())
}

fn upgrade(machine: &Machine) -> anyhow::Result<()> {
    machine.run(&format!("echo '{LOCAL_CHANGE}' >> /etc/quintet/core-api.toml"))?;
    let before = machine.run(FINGERPRINT)?;
    let processes = "systemctl show --property MainPID --value 'quintet-*.service' | xargs";
    let old = machine.run(processes)?;
    under_requests(machine, "dpkg --install /mnt/second/*.deb 2>&1").context("upgrade the packages")?;
    machine.until(DISCOVERY, READY_WITHIN)?;
    all_run(machine)?;
    ensure!(machine.run(processes)? != old, "an upgrade restarted no service");
    ensure!(machine.run(FINGERPRINT)? == before, "an upgrade changed secrets");
    machine
        .run(&format!("grep -q '{LOCAL_CHANGE}' /etc/quintet/core-api.toml"))
        .context("an upgrade lost a change of a configuration")?;
    Ok(())
}

/// The gateway's own way, without a restart.
fn in_place(machine: &Machine) -> anyhow::Result<()> {
    let pid = "systemctl show --property MainPID --value quintet-edge-gateway.service";
    let old = machine.run(pid)?;
    under_requests(
        machine,
        "systemctl kill --kill-whom=main --signal=SIGUSR2 quintet-edge-gateway; sleep 2",
    )?;
    ensure!(machine.run(pid)? != old, "SIGUSR2 changed no process");
    all_run(machine)
}

fn remove(machine: &Machine) -> anyhow::Result<()> {
    let before = machine.run(FINGERPRINT)?;
    machine.run("dpkg --remove $(dpkg-query --show --showformat '${Package} ' 'quintet*') 2>&1")?;
    let left = machine.run("systemctl list-units --no-legend --plain --state=active 'quintet-*'; ls -d /usr/bin/*-provider* || true")?;
    ensure!(left.trim().is_empty(), "left after the removal: {left}");
    ensure!(machine.run(FINGERPRINT)? == before, "removing the packages changed secrets");
    machine.run("test -s /var/lib/quintet/core/core.db; test -s /etc/quintet/core-api.toml")?;
    machine.run("dpkg --purge $(dpkg-query --show --showformat '${Package} ' 'quintet*') 2>&1")?;
    let left = machine.run(
        "dpkg-query --show 'quintet*' 2>/dev/null || true; ls -d /etc/quintet /var/lib/quintet 2>/dev/null || true; \
         ls /etc/credstore; find /etc/systemd/system -name 'quintet*'",
    )?;
    ensure!(left.trim().is_empty(), "left after the purge: {left}");
    Ok(())
}
