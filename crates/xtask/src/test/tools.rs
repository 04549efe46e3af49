//! The programs that the tests need, installed where this may be done and named where it may not.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{engines, postgres};
use crate::{chaos, node, process, workspace};

/// A program, how to see that it is there, and the Debian package it comes in.
struct Tool {
    package: &'static str,
    present: fn() -> bool,
}

const TOOLS: &[Tool] = &[
    Tool { package: "gcc", present: || process::find("cc").is_some() },
    // The story of the README.
    Tool { package: "curl", present: || process::find("curl").is_some() },
    Tool { package: "git", present: || process::find("git").is_some() },
    Tool { package: "nodejs", present: || process::find("node").is_some() },
    Tool { package: "npm", present: || process::find("npm").is_some() },
    Tool { package: "chromium", present: || process::find("chromium").is_some() },
    Tool { package: "postgresql", present: postgres::is_installed },
    // An ACME authority.
    Tool { package: "pebble", present: || process::find("pebble").is_some() },
    Tool { package: "nix-bin", present: || process::find("nix-instantiate").is_some() },
    Tool { package: "dpkg", present: || process::find("dpkg-deb").is_some() },
    Tool { package: "mmdebstrap", present: || process::find("mmdebstrap").is_some() },
    // An SMTP server that is not ours, and a SQLite client.
    Tool {
        package: "python3-aiosmtpd",
        present: || Path::new("/usr/lib/python3/dist-packages/aiosmtpd").is_dir(),
    },
    // Wrong clocks, for chaos.
    Tool { package: "libfaketime", present: chaos::can_set_clocks },
    Tool { package: "strace", present: || process::find("strace").is_some() },
    // Verifiers of DKIM signatures that are not ours; the second for Ed25519.
    Tool { package: "python3-dkim", present: || Path::new("/usr/lib/python3/dist-packages/dkim").is_dir() },
    Tool { package: "python3-nacl", present: || Path::new("/usr/lib/python3/dist-packages/nacl").is_dir() },
    // What the telemetry sink is compared with; engines that read Parquet come as Python packages.
    Tool { package: "prometheus", present: || process::find("prometheus").is_some() },
    Tool { package: "victoria-metrics", present: || process::find("victoria-metrics").is_some() },
    Tool { package: "prometheus-alertmanager", present: || process::find("amtool").is_some() },
    Tool { package: "python3-venv", present: engines::has_venv },
    Tool { package: "python3", present: || process::find("python3").is_some() },
];

pub(crate) fn ensure() -> anyhow::Result<()> {
    let missing: Vec<&str> = TOOLS.iter().filter(|tool| !(tool.present)()).map(|tool| tool.package).collect();
    if !missing.is_empty() {
        install(&missing)?;
    }
    node::check()?;
    let mut nextest = workspace::cargo();
    if process::output(nextest.args(["nextest", "--version"])).is_err() {
        process::run(workspace::cargo().args(["install", "--locked", "cargo-nextest"]))?;
    }
    Ok(())
}

fn install(packages: &[&str]) -> anyhow::Result<()> {
    let list = packages.join(" ");
    if !process::is_root() || process::find("apt-get").is_none() {
        bail!("install what is missing and run this again; the Debian packages are: {list}");
    }
    let apt = || {
        let mut command = Command::new("apt-get");
        command.env("DEBIAN_FRONTEND", "noninteractive").args(["-qq", "-o", "DPkg::Lock::Timeout=300"]);
        command
    };
    println!("installing {list}");
    process::run(apt().arg("update"))?;
    process::run(apt().args(["install", "--yes", "--no-install-recommends"]).args(packages))
        .with_context(|| format!("install {list}"))
}
