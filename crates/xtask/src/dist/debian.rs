//! A Debian root with the compiler, for machines that have no musl target and cannot download one.
//!
//! The root carries rustc with its library sources and musl; the standard library is compiled for musl as part of
//! the build. It is made once and kept under the target directory; a stamp tells when its recipe changed. Making
//! and entering it needs root.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::Build;
use crate::debian::mirror;
use crate::{process, workspace};

const SUITE: &str = "forky";
const PACKAGES: &str = "rustc,cargo,rust-src,musl-tools,musl-dev,lld,ca-certificates,gcc,g++,make,pkg-config";
const UNWINDER: &str = "/usr/local/lib/quintet-musl";
const ENTER: &str = include_str!("enter.sh");
const MAKE_UNWINDER: &str = include_str!("unwinder.sh");
const FIND_OBJECT: &str = include_str!("find_object.c");

/// Where the system keeps the certificates it trusts, in the order in which distributions name them.
const CA_BUNDLES: [&str; 3] =
    ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem"];

#[derive(Debug)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// The root, made now unless an earlier run left one of the same recipe.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        if !process::is_root() {
            bail!(
                "the static build needs either a musl target (`rustup target add {}-unknown-linux-musl` and the \
                 packages musl-tools and lld) or root, to make a Debian root with its own compiler",
                std::env::consts::ARCH
            );
        }
        let directory = workspace::target().join("dist-root");
        let (path, stamp) = (directory.join("root"), directory.join("stamp"));
        let recipe = format!("{SUITE}\n{PACKAGES}\n{MAKE_UNWINDER}\n{FIND_OBJECT}");
        if std::fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) {
            return Ok(Self { path });
        }
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        eprintln!("making a Debian {SUITE} root with rustc and musl in {}", path.display());
        process::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--variant=minbase"])
                .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
                .arg(format!("--include={PACKAGES}"))
                .arg(SUITE)
                .arg(&path)
                .arg(mirror()),
        )?;
        let root = Self { path };
        std::fs::write(root.path.join("tmp/find_object.c"), FIND_OBJECT).context("write find_object.c")?;
        std::fs::write(root.path.join("tmp/unwinder.sh"), MAKE_UNWINDER).context("write unwinder.sh")?;
        process::run(root.chroot().args([
            "/bin/sh",
            "-c",
            MAKE_UNWINDER,
            "sh",
            UNWINDER,
            "/tmp/find_object.c",
        ]))?;
        std::fs::write(&stamp, recipe).with_context(|| format!("write {}", stamp.display()))?;
        Ok(root)
    }

    /// Builds in the root and returns the directory of the executables.
    pub(crate) fn build(&self, build: &Build) -> anyhow::Result<PathBuf> {
        let triple = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let target_variables = triple.replace('-', "_").to_uppercase();
        let flags = format!(
            "-Ctarget-feature=+crt-static -Clink-self-contained=no {} -L{UNWINDER} \
             --remap-path-prefix=/build=/quintet",
            super::LINK_ARGUMENTS
        );
        std::fs::create_dir_all(&build.target)
            .with_context(|| format!("create {}", build.target.display()))?;
        let enter = self.path.with_file_name("enter.sh");
        std::fs::write(&enter, ENTER).with_context(|| format!("write {}", enter.display()))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "/bin/sh"]).arg(enter);
        command.arg(&self.path).arg(&build.checkout).arg(&build.target).arg(cargo_home()?).arg(ca_bundle()?);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.envs([
            ("HOME", "/root"),
            ("TERM", "dumb"),
            ("CARGO_HOME", "/build/cargo"),
            ("CARGO_TARGET_DIR", "/build/target"),
            ("CARGO_HTTP_CAINFO", "/etc/ssl/certs/host.crt"),
            ("CARGO_INCREMENTAL", "0"),
            // -Zbuild-std on a released compiler: the standard library here is the one rustc itself was built with.
            ("RUSTC_BOOTSTRAP", "1"),
        ]);
        command.env("SOURCE_DATE_EPOCH", &build.epoch);
        command.env(format!("CC_{}", triple.replace('-', "_")), "musl-gcc");
        let c_flags = format!("-ffile-prefix-map=/build=/quintet {}", super::C_FLAGS.join(" "));
        command.env(format!("CFLAGS_{}", triple.replace('-', "_")), c_flags);
        command.env(format!("CARGO_TARGET_{target_variables}_LINKER"), "musl-gcc");
        command.env(format!("CARGO_TARGET_{target_variables}_RUSTFLAGS"), flags);
        command.args(["cargo", "build", "--locked", "--profile", "dist", "--target", &triple]);
        command.arg("-Zbuild-std=std,panic_unwind");
        command.args(Build::targets());
        process::run(&mut command).context("build the static binaries")?;
        Ok(build.target.join(triple).join("dist"))
    }

    fn chroot(&self) -> Command {
        let mut command = Command::new("chroot");
        command.arg(&self.path).env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        command
    }
}

fn cargo_home() -> anyhow::Result<PathBuf> {
    let home = || std::env::var_os("HOME").map(|home| Path::new(&home).join(".cargo"));
    let directory = std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(home)
        .context("neither CARGO_HOME nor HOME is set")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
    Ok(directory)
}

fn ca_bundle() -> anyhow::Result<&'static str> {
    CA_BUNDLES
        .into_iter()
        .find(|path| Path::new(path).is_file())
        .context("install the package ca-certificates")
}
