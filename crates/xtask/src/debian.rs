//! Debian roots: small systems that tests look at, change and throw away, made once and kept below the target directory.
//!
//! A root is never written to after it was made: whoever enters it sees a layer of their own in memory, in a mount
//! namespace of their own, which the kernel drops with its last process. Making and entering needs root.

pub(crate) mod machine;

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail};

use crate::{process, workspace};

const ENTER: &str = include_str!("debian/enter.sh");

/// What a root is made of. A change of it makes the root anew.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recipe {
    /// Its directory, below `target/debian`.
    pub(crate) name: &'static str,
    pub(crate) suite: &'static str,
    /// Names of packages, separated by commas.
    pub(crate) packages: &'static str,
}

/// A system with systemd, as people run it, with what looks at packages.
pub(crate) const SYSTEM: Recipe =
    Recipe { name: "system", suite: "trixie", packages: "curl,dbus,lintian,openssl,systemd" };

/// A root that is there.
#[derive(Debug, Clone)]
pub(crate) struct Root {
    path: PathBuf,
}

impl Root {
    /// The root, made now unless an earlier run left one of the same recipe.
    pub(crate) fn prepare(recipe: Recipe) -> anyhow::Result<Self> {
        if !process::is_root() {
            bail!("a Debian root is made and entered by root alone: run this as root");
        }
        let directory = workspace::target().join("debian").join(recipe.name);
        let (path, stamp) = (directory.join("root"), directory.join("stamp"));
        let made_of = format!("{}\n{}", recipe.suite, recipe.packages);
        if std::fs::read_to_string(&stamp).is_ok_and(|made| made == made_of) {
            return Ok(Self { path });
        }
        if path.exists() {
            std::fs::remove_dir_all(&path).with_context(|| format!("remove {}", path.display()))?;
        }
        std::fs::create_dir_all(&directory).with_context(|| format!("create {}", directory.display()))?;
        eprintln!("making a Debian {} root in {}", recipe.suite, path.display());
        process::run(
            Command::new("mmdebstrap")
                .args(["--quiet", "--mode=root", "--variant=minbase"])
                .arg("--aptopt=Acquire::Check-Valid-Until \"false\"")
                .arg(format!("--include={}", recipe.packages))
                .arg(recipe.suite)
                .arg(&path)
                .arg(mirror()),
        )?;
        std::fs::write(&stamp, made_of).with_context(|| format!("write {}", stamp.display()))?;
        Ok(Self { path })
    }

    /// A command in a throw-away copy of the root, which sees `shared` at `/mnt` and can change nothing of it. Give it the
    /// program and its arguments.
    pub(crate) fn command(&self, shared: &Path) -> anyhow::Result<Command> {
        self.enter("run", shared)
    }

    /// The same with systemd as the first process, which has a network, process ids and control groups of its own.
    fn boot(&self, shared: &Path) -> anyhow::Result<Command> {
        let mut command = self.enter("boot", shared)?;
        command.args(["/usr/lib/systemd/systemd", "--system", "--unit=multi-user.target"]);
        Ok(command)
    }

    fn enter(&self, mode: &str, shared: &Path) -> anyhow::Result<Command> {
        let script = self.path.with_file_name("enter.sh");
        std::fs::write(&script, ENTER).with_context(|| format!("write {}", script.display()))?;
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--kill-child"]);
        command.args(["--cgroup", "--net", "--uts", "--ipc", "--", "/bin/sh"]);
        command.arg(script).arg(mode).arg(&self.path).arg(shared);
        command.env_clear().env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        Ok(command)
    }
}

/// Where a stable suite's packages come from, its security updates among them. Given a mirror alone, mmdebstrap leaves them out.
pub(crate) fn sources(suite: &str) -> [String; 2] {
    let mirror = mirror();
    let mirror = mirror.trim_end_matches('/');
    [format!("deb {mirror} {suite} main"), format!("deb {mirror}-security {suite}-security main")]
}

/// The mirror this machine's own packages come from.
pub(crate) fn mirror() -> String {
    let listed = process::output(Command::new("apt-get").args(["indextargets", "--format", "$(REPO_URI)"]));
    let mirrors = listed.unwrap_or_default();
    let own = mirrors.lines().find(|uri| uri.trim_end_matches('/').ends_with("/debian"));
    own.unwrap_or("http://deb.debian.org/debian").to_owned()
}
