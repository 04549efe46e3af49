//! `cargo xtask deb`: Debian packages of the static binaries, with the units and configurations of `packaging/`.
//!
//! One package for each binary, `quintet-common` with what they share, and `quintet`, which depends on all. The same
//! commit and the same binaries give the same bytes: times are those of the commit, owners are root, and nothing of this
//! machine is read but the binaries' own manual pages. No package holds a secret; they are made where it is installed.

mod scripts;
mod test;

use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, bail, ensure};

pub(crate) use self::test::install_and_remove;
use crate::workspace::{self, BINARIES};
use crate::{build, dist, process};

#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Options {
    /// Package the binaries in this directory instead of those of `cargo xtask dist`.
    #[arg(long)]
    bin_dir: Option<PathBuf>,
    /// The packages' version, for one that differs from the workspace's.
    #[arg(long = "package-version", value_name = "VERSION")]
    version: Option<String>,
}

/// What goes into all packages of one run.
#[derive(Debug)]
struct Release {
    binaries: PathBuf,
    version: String,
    /// Seconds since 1970 that everything was last changed at.
    epoch: String,
}

pub(crate) fn run(options: &Options) -> anyhow::Result<()> {
    let release = Release {
        binaries: match &options.bin_dir {
            Some(given) => std::path::absolute(given)?,
            None => dist::directory(),
        },
        version: options.version.clone().unwrap_or_else(|| env!("CARGO_PKG_VERSION").to_owned()),
        epoch: dist::epoch(),
    };
    let destination = workspace::target().join("deb");
    for package in release.build(&destination)? {
        let size = std::fs::metadata(&package).context("look at a package")?.len();
        println!("{:>6.1} MB  {}", dist::megabytes(size), package.display());
    }
    Ok(())
}

impl Release {
    /// Builds all packages into a directory, which then holds nothing else.
    fn build(&self, destination: &Path) -> anyhow::Result<Vec<PathBuf>> {
        if process::find("dpkg-deb").is_none() {
            bail!("install dpkg-deb, which comes with Debian and is in the package dpkg elsewhere");
        }
        build::all_present(&self.binaries)?;
        ensure!(
            self.version.starts_with(|first: char| first.is_ascii_digit())
                && self.version.chars().all(|c| c.is_ascii_alphanumeric() || ".+~-".contains(c)),
            "{:?} is no version of a Debian package: it begins with a digit",
            self.version
        );
        if destination.exists() {
            std::fs::remove_dir_all(destination)
                .with_context(|| format!("remove {}", destination.display()))?;
        }
        std::fs::create_dir_all(destination).with_context(|| format!("create {}", destination.display()))?;
        let control = read(&packaging().join("debian/control"))?;
        let stanzas = control.split("\n\n").map(str::trim).filter(|stanza| !stanza.is_empty());
        stanzas.map(|stanza| self.package(stanza, destination)).collect()
    }

    fn package(&self, stanza: &str, destination: &Path) -> anyhow::Result<PathBuf> {
        let stanza = stanza.replace("${version}", &self.version).replace("${arch}", architecture()?);
        let field = |name: &str| {
            let line = stanza.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
            line.with_context(|| format!("packaging/debian/control: a package without {name}"))
        };
        let name = field("Package")?;
        let staging = tempfile::tempdir().context("make a directory")?;
        let tree = Tree(staging.path());
        // tempfile makes it for its owner alone, and it becomes the packages' root directory.
        mode(staging.path(), 0o755)?;
        self.fill(&tree, name)?;
        let installed = kibibytes(staging.path())?;
        let sums = md5sums(staging.path())?;
        let (head, description) =
            stanza.split_once("\nDescription").context("a package without Description")?;
        tree.write(
            "DEBIAN/control",
            &format!(
                "{head}\nVersion: {}\nMaintainer: The Quintet authors <quintet@localhost>\nSection: net\n\
                 Priority: optional\nInstalled-Size: {installed}\nDescription{description}\n",
                self.version
            ),
        )?;
        tree.write("DEBIAN/md5sums", &sums)?;
        if let Some(binary) = binary_of(name) {
            tree.write("DEBIAN/conffiles", &format!("/etc/quintet/{binary}.toml\n"))?;
        }
        for (script, text) in scripts::of(name)? {
            let path = format!("DEBIAN/{script}");
            tree.write(&path, &text)?;
            mode(&staging.path().join(path), 0o755)?;
        }
        let file = destination.join(format!("{name}_{}_{}.deb", self.version, field("Architecture")?));
        process::output(
            Command::new("dpkg-deb")
                .args(["--root-owner-group", "-Zxz", "--threads-max=1", "--build"])
                .arg(staging.path())
                .arg(&file)
                .env("SOURCE_DATE_EPOCH", &self.epoch),
        )?;
        Ok(file)
    }

    /// The files of a package.
    fn fill(&self, tree: &Tree<'_>, name: &str) -> anyhow::Result<()> {
        let packaging = packaging();
        let doc = format!("usr/share/doc/{name}");
        tree.copy(&packaging.join("debian/copyright"), &format!("{doc}/copyright"))?;
        let date = process::output(
            Command::new("date").args(["--utc", "--rfc-email", "--date"]).arg(format!("@{}", self.epoch)),
        )?;
        let changelog = format!(
            "quintet ({}) unstable; urgency=medium\n\n  * See CHANGELOG.md in the sources.\n\n \
             -- The Quintet authors <quintet@localhost>  {}\n",
            self.version,
            date.trim()
        );
        tree.compressed(&format!("{doc}/changelog.gz"), &changelog)?;
        if name == "quintet-common" {
            for (from, to) in [
                ("systemd/quintet.target", "usr/lib/systemd/system/quintet.target"),
                ("systemd/quintet.slice", "usr/lib/systemd/system/quintet.slice"),
                ("sysusers.d/quintet.conf", "usr/lib/sysusers.d/quintet.conf"),
                ("tmpfiles.d/quintet.conf", "usr/lib/tmpfiles.d/quintet.conf"),
            ] {
                tree.copy(&packaging.join(from), to)?;
            }
        }
        let Some(binary) = binary_of(name) else { return Ok(()) };
        let program = self.binaries.join(binary);
        tree.copy(&program, &format!("usr/bin/{binary}"))?;
        mode(&tree.0.join("usr/bin").join(binary), 0o755)?;
        tree.copy(&packaging.join(format!("config/{binary}.toml")), &format!("etc/quintet/{binary}.toml"))?;
        for unit in scripts::units(name)? {
            tree.copy(&packaging.join("systemd").join(&unit), &format!("usr/lib/systemd/system/{unit}"))?;
        }
        let manual = process::output(Command::new(&program).arg("man"))?;
        tree.compressed(&format!("usr/share/man/man8/{binary}.8.gz"), &manual)?;
        let completions = process::output(Command::new(&program).args(["completions", "bash"]))?;
        tree.write(&format!("usr/share/bash-completion/completions/{binary}"), &completions)
    }
}

/// The directory that becomes a package.
struct Tree<'a>(&'a Path);

impl Tree<'_> {
    fn write(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let file = self.make_room(path)?;
        std::fs::write(&file, text).with_context(|| format!("write {path}"))?;
        mode(&file, 0o644)
    }

    fn copy(&self, from: &Path, path: &str) -> anyhow::Result<()> {
        let file = self.make_room(path)?;
        std::fs::copy(from, &file).with_context(|| format!("copy {}", from.display()))?;
        mode(&file, 0o644)
    }

    /// Without a name or a time in it, which would be other bytes each time.
    fn compressed(&self, path: &str, text: &str) -> anyhow::Result<()> {
        let plain = path.trim_end_matches(".gz");
        self.write(plain, text)?;
        process::output(Command::new("gzip").args(["-9", "--no-name"]).arg(self.0.join(plain)))?;
        Ok(())
    }

    fn make_room(&self, path: &str) -> anyhow::Result<PathBuf> {
        let file = self.0.join(path);
        if let Some(parent) = file.parent() {
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(parent)
                .with_context(|| format!("create {}", parent.display()))?;
        }
        Ok(file)
    }
}

/// `quintet-core-api` is the package of `core-api`.
fn binary_of(package: &str) -> Option<&'static str> {
    let name = package.strip_prefix("quintet-")?;
    BINARIES.into_iter().find(|binary| *binary == name)
}

fn packaging() -> PathBuf {
    workspace::root().join("packaging")
}

fn architecture() -> anyhow::Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("there are no packages for {other}"),
    }
}

fn mode(path: &Path, mode: u32) -> anyhow::Result<()> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
        .with_context(|| format!("set the mode of {}", path.display()))
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))
}

/// What a tree takes, as `Installed-Size` counts it.
fn kibibytes(tree: &Path) -> anyhow::Result<u64> {
    let mut total = 0;
    for entry in std::fs::read_dir(tree).with_context(|| format!("list {}", tree.display()))? {
        let entry = entry?;
        let metadata = entry.metadata()?;
        total +=
            if metadata.is_dir() { 1 + kibibytes(&entry.path())? } else { metadata.len().div_ceil(1024) };
    }
    Ok(total)
}

fn md5sums(tree: &Path) -> anyhow::Result<String> {
    let script = "find . -type f -printf '%P\\0' | LC_ALL=C sort -z | xargs -0r md5sum";
    process::output(Command::new("sh").args(["-c", script]).current_dir(tree))
}
