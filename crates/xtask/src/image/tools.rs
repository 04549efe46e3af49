//! Two Debian roots: one with the programs that make images and run them, and one with the unpacked packages that
//! images are picked from. Each is made once and kept under the target directory until its recipe changes.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use super::{directory, sources};
use crate::{debian, process};

const SUITE: &str = "trixie";
const PROGRAMS: &str = "systemd-ukify,systemd-repart,systemd-boot-efi,cryptsetup-bin,erofs-utils,dosfstools,mtools,kmod,\
                        cpio,zstd,xz-utils,systemd,sbsigntool,e2fsprogs,qemu-system-x86,qemu-utils,ovmf";
const ENTER: &str = include_str!("enter.sh");

/// Where the directory of images is inside the root.
const WORK: &str = "/work";

#[derive(Debug, Clone)]
pub(crate) struct Tools {
    root: PathBuf,
    /// Unpacked packages.
    pub(crate) packages: PathBuf,
}

impl Tools {
    /// Both roots, made now unless an earlier run left them.
    pub(crate) fn prepare() -> anyhow::Result<Self> {
        if !process::is_root() || process::find("mmdebstrap").is_none() {
            bail!(
                "images are made in Debian roots: this needs root and mmdebstrap (apt-get install mmdebstrap)"
            );
        }
        let root = ensure("tools", "minbase", PROGRAMS)?;
        let list = super::pick::lines(&sources().join("packages"))?.join(",");
        let packages = ensure("packages", "extract", &list)?;
        Ok(Self { root, packages })
    }

    /// Runs one of the programs.
    pub(crate) fn run(&self, program: &str, arguments: impl FnOnce(&mut Command)) -> anyhow::Result<String> {
        let mut command = self.command(program)?;
        arguments(&mut command);
        process::output(&mut command)
    }

    /// A command that runs one of the programs; it ends with the process it starts.
    pub(crate) fn command(&self, program: impl AsRef<OsStr>) -> anyhow::Result<Command> {
        let enter = directory().join("enter.sh");
        std::fs::write(&enter, ENTER).with_context(|| format!("write {}", enter.display()))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--", "/bin/sh"]).arg(enter);
        command.arg(&self.root).arg(directory()).arg(program);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("HOME", "/root");
        // Not the time of the build, wherever a program would write that.
        command.env("SOURCE_DATE_EPOCH", "0").env("SYSTEMD_LOG_LEVEL", "warning");
        Ok(command)
    }

    /// A file of the directory of images as the programs see it.
    #[expect(clippy::unused_self, reason = "a path inside means something only where there are tools")]
    pub(crate) fn inside(&self, path: &Path) -> PathBuf {
        path.strip_prefix(directory()).map_or_else(|_| path.to_owned(), |below| Path::new(WORK).join(below))
    }

    /// A file of the root itself.
    pub(crate) fn file(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }
}

fn ensure(name: &str, variant: &str, packages: &str) -> anyhow::Result<PathBuf> {
    let path = directory().join(name);
    let stamp = directory().join(format!("{name}.stamp"));
    let recipe = format!("{SUITE} {variant} {packages}\n");
    if std::fs::read_to_string(&stamp).is_ok_and(|made| made == recipe) {
        return Ok(path);
    }
    if path.exists() {
        std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
    }
    std::fs::create_dir_all(directory()).with_context(|| format!("create {}", directory().display()))?;
    eprintln!("making a Debian {SUITE} root in {}", path.display());
    process::run(
        Command::new("mmdebstrap")
            .args(["--quiet", "--mode=root"])
            .arg(format!("--variant={variant}"))
            .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
            .arg(format!("--include={packages}"))
            .arg(SUITE)
            .arg(&path)
            .args(debian::sources(SUITE)),
    )?;
    std::fs::write(&stamp, recipe).with_context(|| format!("write {}", stamp.display()))?;
    Ok(path)
}
