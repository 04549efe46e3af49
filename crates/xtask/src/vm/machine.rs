//! One virtual machine: firmware, a disk, a network that leads from loopback ports to it, and its console.

use std::fmt;
use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::Lab;
use crate::image::tools::Tools;
use crate::image::{self, directory};
use crate::process;
use crate::test::postgres::free_port;

const PROBE_WITHIN: Duration = Duration::from_secs(10);
const FIRMWARE: &str = "/usr/share/OVMF/OVMF_CODE_4M.fd";
const FIRMWARE_VARIABLES: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";
/// Larger than the image, so that the first boot has a disk to fill.
const DISK: &str = "6G";
const MEMORY_MB: &str = "1024";

/// What runs the machine's instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Accelerator {
    Kvm,
    Emulation,
}

impl fmt::Display for Accelerator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kvm => "KVM",
            Self::Emulation => "emulated (KVM is not here or does not work)",
        })
    }
}

impl Accelerator {
    /// KVM if a kernel without a root panics under it in time, which is as far as a boot gets without a disk.
    pub(super) fn probe(tools: &Tools) -> anyhow::Result<Self> {
        if std::fs::metadata("/dev/kvm").is_err() {
            return Ok(Self::Emulation);
        }
        let kernel = directory().join("probe.efi");
        let boot = tools.packages.join("boot");
        let listed = std::fs::read_dir(&boot).context("list kernels")?.flatten();
        let image = listed
            .map(|entry| entry.path())
            .find(|path| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-")));
        std::fs::copy(image.context("there is no kernel")?, &kernel).context("copy the kernel")?;
        let mut command = child(tools)?;
        command.args(["-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "256", "-nodefaults"]);
        command.args(["-display", "none", "-no-reboot", "-serial", "none", "-monitor", "none"]);
        command.arg("-kernel").arg(tools.inside(&kernel)).args(["-append", "panic=-1"]);
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().context("start qemu")?;
        let begun = Instant::now();
        let works = loop {
            match child.try_wait()? {
                Some(status) => break status.success(),
                None if begun.elapsed() > PROBE_WITHIN => break false,
                None => std::thread::sleep(Duration::from_millis(50)),
            }
        };
        let _ = child.kill();
        let _ = child.wait();
        Ok(if works { Self::Kvm } else { Self::Emulation })
    }

    fn arguments(self) -> &'static [&'static str] {
        match self {
            Self::Kvm => &["-accel", "kvm", "-cpu", "host", "-smp", "2"],
            // One processor: two that are emulated on a busy machine wait for each other's timers.
            Self::Emulation => &["-accel", "tcg", "-cpu", "max", "-smp", "1"],
        }
    }
}

/// qemu, which dies with this process.
fn child(tools: &Tools) -> anyhow::Result<Command> {
    let inner = tools.command("qemu-system-x86_64")?;
    let mut command = Command::new(process::SELF);
    command.args(["child", "--parent", &std::process::id().to_string(), "--"]);
    command.arg(inner.get_program()).args(inner.get_args());
    command.env_clear().envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.stdin(Stdio::null());
    Ok(command)
}

/// A machine, which may be off.
#[derive(Debug)]
pub(super) struct Machine<'a> {
    lab: &'a Lab,
    name: String,
    pub(super) https_port: u16,
    running: Option<Child>,
}

impl<'a> Machine<'a> {
    /// A new machine with the disk of an image; off.
    pub(super) fn new(lab: &'a Lab, name: &str, version: &str) -> anyhow::Result<Self> {
        let machine = Self { lab, name: name.to_owned(), https_port: free_port()?, running: None };
        let raw = directory().join(format!("quintet_{version}.raw"));
        let _ = std::fs::remove_file(machine.file("qcow2"));
        let _ = std::fs::remove_file(machine.file("console"));
        lab.tools.run("qemu-img", |img| {
            img.args(["create", "-q", "-f", "qcow2", "-F", "raw", "-b"]).arg(lab.tools.inside(&raw));
            img.arg(lab.tools.inside(&machine.file("qcow2"))).arg(DISK);
        })?;
        std::fs::copy(lab.tools.file(FIRMWARE_VARIABLES), machine.file("vars"))
            .context("copy the firmware's variables")?;
        Ok(machine)
    }

    fn file(&self, extension: &str) -> PathBuf {
        directory().join("vm").join(format!("{}.{extension}", self.name))
    }

    pub(super) fn origin(&self) -> String {
        format!("https://localhost:{}", self.https_port)
    }

    /// Switches it on.
    pub(super) fn start(&mut self) -> anyhow::Result<()> {
        ensure!(self.running.is_none(), "{} runs already", self.name);
        let tools = &self.lab.tools;
        let inside = |extension: &str| tools.inside(&self.file(extension)).display().to_string();
        let _ = std::fs::remove_file(self.file("socket"));
        let mut command = child(tools)?;
        command.args([
            "-machine",
            "q35",
            "-m",
            MEMORY_MB,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
        ]);
        command.args(["-monitor", "none", "-uuid", "6f1f7a52-6a2e-4d55-9f0e-0c7b2a5c7d10"]);
        command.args(self.lab.accelerator.arguments());
        command.arg("-drive").arg(format!("if=pflash,format=raw,readonly=on,file={FIRMWARE}"));
        command.arg("-drive").arg(format!("if=pflash,format=raw,file={}", inside("vars")));
        // Written through: what the machine was told is on the disk is there when its power is cut.
        command
            .arg("-drive")
            .arg(format!("if=virtio,format=qcow2,cache=writethrough,file={}", inside("qcow2")));
        command.args(["-device", "virtio-rng-pci"]);
        command.arg("-netdev").arg(format!("user,id=net,hostfwd=tcp:127.0.0.1:{}-:443", self.https_port));
        command.args(["-device", "virtio-net-pci,netdev=net,romfile="]);
        command
            .arg("-smbios")
            .arg(format!("type=11,value=io.systemd.credential:quintet.origin={}", self.origin()));
        for (name, content) in self.lab.credentials.files(&self.origin())? {
            let content = STANDARD.encode(content);
            command
                .arg("-smbios")
                .arg(format!("type=11,value=io.systemd.credential.binary:{name}={content}"));
        }
        command.arg("-chardev").arg(format!(
            "socket,id=console,path={},server=on,wait=off,logfile={},logappend=on",
            inside("socket"),
            inside("console")
        ));
        command.args(["-serial", "chardev:console"]);
        let log = std::fs::File::create(self.file("qemu")).context("make qemu's log")?;
        self.running = Some(command.stdout(Stdio::null()).stderr(log).spawn().context("start qemu")?);
        Ok(())
    }

    /// Fails when the machine is off by itself.
    pub(super) fn check(&mut self) -> anyhow::Result<()> {
        let Some(child) = &mut self.running else { bail!("{} is off", self.name) };
        if let Some(status) = child.try_wait()? {
            let said = std::fs::read_to_string(self.file("qemu")).unwrap_or_default();
            bail!("qemu ended: {status}: {}", said.trim());
        }
        Ok(())
    }

    /// Takes its power away.
    pub(super) fn cut(&mut self) -> anyhow::Result<()> {
        if let Some(mut child) = self.running.take() {
            child.kill().context("kill qemu")?;
            child.wait().context("wait for qemu")?;
        }
        Ok(())
    }

    /// What the console showed since the machine was made.
    pub(super) fn console(&self) -> String {
        String::from_utf8_lossy(&std::fs::read(self.file("console")).unwrap_or_default()).into_owned()
    }

    /// Types on the console and returns what it shows within two seconds.
    pub(super) fn type_on_console(&self, text: &str) -> anyhow::Result<String> {
        let mut socket = UnixStream::connect(self.file("socket")).context("connect to the console")?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        socket.write_all(text.as_bytes()).context("type on the console")?;
        let begun = Instant::now();
        let mut shown = Vec::new();
        while begun.elapsed() < Duration::from_secs(2) {
            let mut buffer = [0; 4096];
            match socket.read(&mut buffer) {
                Ok(0) => break,
                Ok(read) => shown.extend_from_slice(buffer.get(..read).unwrap_or_default()),
                Err(_) => {}
            }
        }
        Ok(String::from_utf8_lossy(&shown).into_owned())
    }

    /// Overwrites bytes of the disk while the machine is off.
    pub(super) fn damage(&self, offset: u64, length: u64) -> anyhow::Result<()> {
        ensure!(self.running.is_none(), "{} runs", self.name);
        self.lab.tools.run("qemu-io", |io| {
            io.arg("-c").arg(format!("write -P 0x5a {offset} {length}"));
            io.arg(self.lab.tools.inside(&self.file("qcow2")));
        })?;
        Ok(())
    }

    /// Memory that the machine holds on this one, in megabytes.
    pub(super) fn resident_mb(&self) -> Option<f64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.running.as_ref()?.id())).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let kilobytes: u64 = line.split_whitespace().next()?.parse().ok()?;
        Some(image::megabytes(kilobytes * 1024))
    }
}

impl Drop for Machine<'_> {
    fn drop(&mut self) {
        let _ = self.cut();
        let _ = std::fs::remove_file(self.file("qcow2"));
    }
}
