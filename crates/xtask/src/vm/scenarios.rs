//! What the image must do, each from a first boot on.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use serde_json::Value;

use super::machine::Machine;
use super::publisher::Publisher;
use super::signed_in::{BOOT_WITHIN, Clients, text};
use super::{FIRST, Lab};
use crate::dist::elf;
use crate::image::directory;
use crate::process;
use crate::workspace;

/// As `disk.rs` lays the first disk out and repart.d the rest: the second store begins after the boot partition, the first
/// store and the first tree.
const SECOND_STORE: u64 = 1024 * 1024 + (256 + 384 + 16) * 1024 * 1024;

/// First boot, what listens, what is refused, an update, a roll-back, and on that the story.
pub(super) fn lifecycle(lab: &Lab) -> anyhow::Result<()> {
    let second = lab.bundle("2.0", Vec::new())?;
    refused_bundles(lab, &second)?;
    let publisher = Publisher::start(directory().join("vm"))?;
    let mut machine = Machine::new(lab, "lifecycle", FIRST)?;
    let clients = Clients::new(lab, &machine)?;
    let begun = Instant::now();
    machine.start()?;
    clients.healthy(&mut machine, FIRST)?;
    println!("ready {:.0} s after power on", begun.elapsed().as_secs_f64());
    if let Some(memory) = machine.resident_mb() {
        println!("qemu holds {memory:.0} MB, for a machine of 1024 MiB");
    }
    sealed(&machine, &clients)?;
    let mut shop = None;
    let order = clients.order(&mut shop, "before")?;

    for (name, words) in
        [("tampered", "SHA-256"), ("unsigned", "signature"), ("older", "older"), ("missing", "404")]
    {
        clients.update(&publisher.source(name), true)?;
        let reason = clients.update_ended(&mut machine, "failed")?;
        ensure!(reason.contains(words), "{name}: the reason should speak of {words}: {reason}");
        println!("{name} bundle refused: {reason}");
    }

    let begun = Instant::now();
    clients.update(&publisher.source("bundle-2.0"), true)?;
    clients.healthy(&mut machine, "2.0")?;
    println!("updated and healthy {:.0} s after the request", begun.elapsed().as_secs_f64());
    clients.has_order(&order)?;
    let after = clients.order(&mut shop, "after")?;

    let begun = Instant::now();
    clients.rollback()?;
    let status = clients.healthy(&mut machine, FIRST)?;
    println!("rolled back and healthy {:.0} s after the request", begun.elapsed().as_secs_f64());
    ensure!(text(&status, "/boots/1/outcome") == "rolled_back", "the books say otherwise: {status}");
    clients.has_order(&order)?;
    clients.has_order(&after)?;
    clients.order(&mut shop, "again")?;
    story(lab, &machine)
}

/// A bundle with a changed file, one with a changed manifest, and one of an older version.
fn refused_bundles(lab: &Lab, good: &Path) -> anyhow::Result<()> {
    let beside = |name: &str| good.with_file_name(name);
    for name in ["tampered", "unsigned", "older"] {
        let _ = std::fs::remove_dir_all(beside(name));
        std::fs::create_dir_all(beside(name))?;
        for entry in std::fs::read_dir(good)? {
            let entry = entry?;
            std::fs::copy(entry.path(), beside(name).join(entry.file_name()))?;
        }
    }
    let root = file_with_end(&beside("tampered"), ".root")?;
    let mut content = std::fs::read(&root)?;
    let byte = content.last_mut().context("a store has bytes")?;
    *byte ^= 1;
    std::fs::write(&root, content)?;
    let manifest = beside("unsigned").join("manifest.json");
    let text = std::fs::read_to_string(&manifest)?;
    std::fs::write(&manifest, text.replace("\"2.0\"", "\"2.1\""))?;
    let older = text.replace("2.0", "0.5");
    std::fs::write(beside("older").join("manifest.json"), &older)?;
    std::fs::write(beside("older").join("manifest.sig"), lab.update_key.sign(older.as_bytes())?)?;
    Ok(())
}

fn file_with_end(directory: &Path, end: &str) -> anyhow::Result<PathBuf> {
    let listed = std::fs::read_dir(directory)?.flatten().map(|entry| entry.path());
    listed
        .into_iter()
        .find(|path| path.to_string_lossy().ends_with(end))
        .context("the bundle has such a file")
}

/// No way in: the console gives no prompt and nothing but the gateway listens.
fn sealed(machine: &Machine<'_>, clients: &Clients<'_>) -> anyhow::Result<()> {
    let answer = machine.type_on_console("\r\nroot\r\n\x03\x04\r\n")?;
    for text in [answer, machine.console()] {
        for prompt in
            ["login:", "Password:", "Give root password", "# \r", "$ \r", "(initramfs)", "press Enter"]
        {
            ensure!(!text.contains(prompt), "the console shows {prompt:?}");
        }
    }
    let listening = clients.get("/node/v1/sockets")?;
    let ports: Vec<u64> = listening
        .get("tcp")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    ensure!(ports == [80, 443], "these TCP ports listen: {ports:?}");
    let ports: Vec<u64> = listening
        .get("udp")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_u64)
        .collect();
    // DHCP's clients.
    let unknown: Vec<u64> = ports.into_iter().filter(|port| ![68, 443, 546].contains(port)).collect();
    ensure!(unknown.is_empty(), "these UDP ports are open: {unknown:?}");
    println!("no prompt on the console; TCP 80 and 443 listen and nothing else");
    Ok(())
}

/// The story of the end-to-end tests, against the machine.
fn story(lab: &Lab, machine: &Machine<'_>) -> anyhow::Result<()> {
    let mut nextest = workspace::cargo();
    nextest.args(["nextest", "run", "--locked", "--no-fail-fast", "--package", "e2e", "--test-threads", "1"]);
    nextest.args(["--filterset", "test(/^story::/)"]);
    nextest.env("QUINTET_E2E_FLEET", &lab.credentials.layout.root);
    nextest.env("QUINTET_E2E_FLEET_PORT", machine.https_port.to_string());
    process::run(&mut nextest).context("the story, from outside the machine")
}

/// A generation that does not come up, from the request to the healthy generation before it.
fn falls_back(lab: &Lab, name: &str, replaced: Vec<(PathBuf, Vec<u8>)>, why: &str) -> anyhow::Result<()> {
    lab.bundle("2.0", replaced)?;
    let publisher = Publisher::start(directory().join("vm"))?;
    let mut machine = Machine::new(lab, name, FIRST)?;
    let clients = Clients::new(lab, &machine)?;
    machine.start()?;
    clients.healthy(&mut machine, FIRST)?;
    let mut shop = None;
    let order = clients.order(&mut shop, "before")?;
    let begun = Instant::now();
    clients.update(&publisher.source("bundle-2.0"), true)?;
    let back = |status: &Value| {
        text(status, "/running") == FIRST
            && text(status, "/boots/0/outcome") == "healthy"
            && text(status, "/boots/1/version") == "2.0"
    };
    let status = clients.wait_for(&mut machine, "the node falls back", BOOT_WITHIN * 2, back)?;
    println!("fell back {:.0} s after the request", begun.elapsed().as_secs_f64());
    let failed = status.pointer("/boots/1").unwrap_or(&Value::Null);
    let reason = text(failed, "/reason");
    ensure!(
        text(failed, "/outcome") == "given_up" && reason.contains(why),
        "the reason should have {why:?}: {failed}"
    );
    println!("the reason: {}", reason.lines().next().unwrap_or_default());
    clients.has_order(&order)?;
    clients.order(&mut shop, "after")?;
    // The same generation is not taken again.
    clients.update(&publisher.source("bundle-2.0"), true)?;
    let reason = clients.update_ended(&mut machine, "failed")?;
    ensure!(reason.contains("found bad"), "{reason}");
    Ok(())
}

fn shipped(name: &str) -> anyhow::Result<(PathBuf, String)> {
    let path = workspace::root().join("packaging/config").join(name);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
    Ok((Path::new("usr/share/quintet/config").join(name), text))
}

pub(super) fn broken_configuration(lab: &Lab) -> anyhow::Result<()> {
    let (path, text) = shipped("core-api.toml")?;
    let broken = format!("{text}\n[lisen]\nhttp = \"unix:/run/quintet/core-api.sock\"\n");
    falls_back(lab, "broken-configuration", vec![(path, broken.into_bytes())], "lisen")
}

pub(super) fn crashing_binary(lab: &Lab) -> anyhow::Result<()> {
    let mut program = std::fs::read(lab.binaries.join("async-worker")).context("read async-worker")?;
    let entry = usize::try_from(elf::entry_offset(&program)?)?;
    // UD2: an instruction that no processor has.
    program.get_mut(entry..entry + 2).context("the program has a beginning")?.copy_from_slice(&[0x0f, 0x0b]);
    let path = PathBuf::from("usr/bin/async-worker");
    falls_back(lab, "crashing-binary", vec![(path, program)], "quintet-async-worker.service is not ready")
}

/// All five are well, but the gateway does not lead to the identity provider.
pub(super) fn never_healthy(lab: &Lab) -> anyhow::Result<()> {
    let (path, text) = shipped("edge-gateway.toml")?;
    let fragment = workspace::root().join("images/debian/config/edge-gateway.toml");
    let text = format!("{text}{}", std::fs::read_to_string(fragment)?);
    let elsewhere = text.replace(
        "addresses = [\"unix:/run/quintet/identity-provider.sock\"]",
        "addresses = [\"unix:/run/quintet/nobody.sock\"]",
    );
    ensure!(elsewhere != text, "the shipped configuration has another upstream by now");
    falls_back(lab, "never-healthy", vec![(path, elsewhere.into_bytes())], "through the gateway")
}

/// A store whose bytes changed on the disk does not run: the kernel panics, and after three tries the previous one boots.
pub(super) fn flipped_byte(lab: &Lab) -> anyhow::Result<()> {
    lab.bundle("2.0", Vec::new())?;
    let publisher = Publisher::start(directory().join("vm"))?;
    let mut machine = Machine::new(lab, "flipped-byte", FIRST)?;
    let clients = Clients::new(lab, &machine)?;
    machine.start()?;
    clients.healthy(&mut machine, FIRST)?;
    clients.update(&publisher.source("bundle-2.0"), false)?;
    clients.update_ended(&mut machine, "installed")?;
    machine.cut()?;
    // One byte of the superblock, which every mount reads.
    machine.damage(SECOND_STORE + 1024 + 16, 1)?;
    let begun = Instant::now();
    machine.start()?;
    let back = |status: &Value| {
        text(status, "/running") == FIRST
            && text(status, "/boots/0/outcome") == "healthy"
            && status.pointer("/generations/0/bad") == Some(&Value::Bool(true))
    };
    clients.wait_for(&mut machine, "the node falls back", BOOT_WITHIN * 2, back)?;
    println!("fell back {:.0} s after power on", begun.elapsed().as_secs_f64());
    ensure!(
        machine.console().contains("is corrupted"),
        "the console does not say that the store is corrupted"
    );
    Ok(())
}

/// The power is cut at chance moments of an update: afterwards the old generation runs or the new one.
pub(super) fn power_cut(lab: &Lab) -> anyhow::Result<()> {
    let bundles = ["2.0", "3.0"].map(|version| lab.bundle(version, Vec::new()).map(|_| version));
    let publisher = Publisher::start(directory().join("vm"))?;
    let mut machine = Machine::new(lab, "power-cut", FIRST)?;
    let clients = Clients::new(lab, &machine)?;
    machine.start()?;
    clients.healthy(&mut machine, FIRST)?;
    let mut shop = None;
    let mut orders = Vec::new();
    let mut running = FIRST.to_owned();
    for round in 0..lab.rounds {
        let mut versions = bundles.iter().filter_map(|bundle| bundle.as_ref().ok());
        let Some(version) = versions.find(|version| version.parse::<f32>().ok() > running.parse().ok())
        else {
            bail!("round {round}: {running} is the newest already");
        };
        orders.push(clients.order(&mut shop, &format!("round-{round}"))?);
        clients.update(&publisher.source(&format!("bundle-{version}")), true)?;
        let mut chance = [0; 2];
        aws_lc_rs::rand::fill(&mut chance).ok().context("the system gave no randomness")?;
        let after = Duration::from_millis(u64::from(u16::from_le_bytes(chance)) % 40_000);
        std::thread::sleep(after);
        machine.cut()?;
        machine.start()?;
        let well = |status: &Value| text(status, "/boots/0/outcome") == "healthy";
        let status = clients.wait_for(&mut machine, "a generation boots", BOOT_WITHIN * 2, well)?;
        text(&status, "/running").clone_into(&mut running);
        for order in &orders {
            clients.has_order(order)?;
        }
        println!(
            "round {round}: power cut after {:.1} s; {running} runs, {} orders are there",
            after.as_secs_f64(),
            orders.len()
        );
        if running == "3.0" {
            println!("both updates are in; {} rounds were enough", round + 1);
            break;
        }
    }
    Ok(())
}
