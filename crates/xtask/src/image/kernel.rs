//! The unified kernel image: kernel, initrd and command line in one signed file, with the root hash of the store.
//!
//! The initrd has systemd and what finds, verifies and mounts the store, and no shell either.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};

use super::tools::Tools;
use super::{Recipe, content, directory, pick, sources, store};

/// Which kernel modules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Modules {
    Initrd,
    All,
}

pub(super) fn build(tools: &Tools, recipe: &Recipe, root_hash: &str) -> anyhow::Result<PathBuf> {
    let place = store::place(&recipe.version);
    let initrd = initrd(tools)?;
    let kernel = store::place(&recipe.version).join("kernel.efi");
    let fixed = fs::read_to_string(sources().join("cmdline")).context("read the command line")?;
    fs::write(place.join("cmdline"), format!("{} roothash={root_hash}", fixed.trim()))?;
    fs::write(place.join("os-release"), store::os_release(&recipe.version))?;
    let release = release(&tools.packages)?;
    let linux = directory().join("linux.efi");
    fs::copy(tools.packages.join(format!("boot/vmlinuz-{release}")), &linux).context("copy the kernel")?;
    let signing = signing(recipe)?;
    tools.run("ukify", |ukify| {
        ukify.arg("build").arg(format!("--linux={}", tools.inside(&linux).display()));
        ukify.arg(format!("--initrd={}", tools.inside(&initrd).display()));
        ukify.arg(format!("--cmdline=@{}", tools.inside(&place.join("cmdline")).display()));
        ukify.arg(format!("--os-release=@{}", tools.inside(&place.join("os-release")).display()));
        ukify.arg(format!("--uname={release}"));
        if let Some((key, certificate)) = &signing {
            ukify.arg(format!("--secureboot-private-key={}", tools.inside(key).display()));
            ukify.arg(format!("--secureboot-certificate={}", tools.inside(certificate).display()));
        }
        ukify.arg(format!("--output={}", tools.inside(&kernel).display()));
    })?;
    Ok(kernel)
}

/// The keys where the programs see them.
pub(super) fn signing(recipe: &Recipe) -> anyhow::Result<Option<(PathBuf, PathBuf)>> {
    let Some((key, certificate)) = &recipe.secure_boot else { return Ok(None) };
    let (ours, theirs) = (directory().join("secure-boot.key"), directory().join("secure-boot.crt"));
    fs::copy(key, &ours).with_context(|| format!("copy {}", key.display()))?;
    fs::copy(certificate, &theirs).with_context(|| format!("copy {}", certificate.display()))?;
    Ok(Some((ours, theirs)))
}

/// The initrd, which is the same for all generations.
fn initrd(tools: &Tools) -> anyhow::Result<PathBuf> {
    let tree = directory().join("initrd");
    if tree.exists() {
        fs::remove_dir_all(&tree).context("remove the old initrd")?;
    }
    fs::create_dir_all(&tree)?;
    pick::pick(&sources().join("initrd.files"), &tools.packages, &tree)?;
    pick::overlay(&sources().join("initrd"), &tree)?;
    store::partitions(&tree)?;
    for directory in ["dev", "proc", "sys", "run", "tmp", "sysroot", "etc", "var"] {
        fs::create_dir_all(tree.join(directory))?;
    }
    for (link, target) in [
        ("bin", "usr/bin"),
        ("sbin", "usr/sbin"),
        ("lib", "usr/lib"),
        ("lib64", "usr/lib64"),
        ("init", "usr/lib/systemd/systemd"),
        ("etc/os-release", "initrd-release"),
    ] {
        std::os::unix::fs::symlink(target, tree.join(link)).with_context(|| format!("link {link}"))?;
    }
    fs::write(tree.join("etc/initrd-release"), "ID=quintet\nNAME=\"Quintet (initrd)\"\n")?;
    fs::write(tree.join("etc/passwd"), "root:x:0:0::/root:/usr/sbin/nologin\n")?;
    fs::write(tree.join("etc/group"), "root:x:0:\ntty:x:5:\ndisk:x:6:\nkmem:x:15:\n")?;
    modules(tools, &tree, Modules::Initrd)?;
    let default = tree.join("usr/lib/systemd/system/default.target");
    let _ = fs::remove_file(&default);
    std::os::unix::fs::symlink("initrd.target", &default).context("link default.target")?;
    content::check(&tree)?;
    let output = directory().join("initrd.cpio.zst");
    let pack = "cd \"$1\" && find . -exec touch -h -d @0 {} + && find . -print0 | sort -z | \
                cpio --quiet --null --create --format=newc --owner=0:0 --reproducible | zstd -q -T0 -12 -f -o \"$2\"";
    tools.run("/bin/sh", |shell| {
        shell.args(["-c", pack, "sh"]).arg(tools.inside(&tree)).arg(tools.inside(&output));
    })?;
    Ok(output)
}

/// The version of the only kernel there is.
fn release(packages: &Path) -> anyhow::Result<String> {
    let mut releases = Vec::new();
    for entry in fs::read_dir(packages.join("usr/lib/modules")).context("list kernels")? {
        releases.extend(entry?.file_name().into_string());
    }
    ensure!(releases.len() == 1, "one kernel is wanted and there are {releases:?}");
    releases.pop().context("there is no kernel")
}

/// Copies the listed modules with what they need, unpacked: the store is compressed as a whole.
pub(super) fn modules(tools: &Tools, tree: &Path, which: Modules) -> anyhow::Result<()> {
    let release = release(&tools.packages)?;
    let base = tools.packages.join("usr/lib/modules").join(&release);
    if !base.join("modules.dep").is_file() {
        depmod(tools, &tools.packages, &release)?;
    }
    let dependencies = Dependencies::read(&base.join("modules.dep"))?;
    let mut wanted = BTreeSet::new();
    for line in pick::lines(&sources().join("modules"))? {
        if line == "[root]" {
            if which == Modules::Initrd {
                break;
            }
            continue;
        }
        let (name, optional) = line.strip_prefix('?').map_or((line.as_str(), false), |rest| (rest, true));
        if !dependencies.add(name, &mut wanted) && !is_built_in(&base, name)? {
            ensure!(optional, "the kernel {release} has no module {name}");
        }
    }
    let to = tree.join("usr/lib/modules").join(&release);
    for path in &wanted {
        let destination = to.join(path);
        if let Some(parent) = destination.parent() {
            fs::create_dir_all(parent)?;
        }
        fs::copy(base.join(path), &destination).with_context(|| format!("copy {path}"))?;
    }
    for name in ["modules.builtin", "modules.builtin.modinfo", "modules.order"] {
        fs::copy(base.join(name), to.join(name)).with_context(|| format!("copy {name}"))?;
    }
    let inside = tools.inside(&to);
    tools.run("/bin/sh", |shell| {
        shell.args(["-c", "find \"$1\" -name '*.xz' -exec xz -d {} +", "sh"]).arg(inside);
    })?;
    depmod(tools, tree, &release)
}

fn depmod(tools: &Tools, tree: &Path, release: &str) -> anyhow::Result<()> {
    tools.run("depmod", |depmod| {
        depmod.arg("-b").arg(tools.inside(tree).join("usr")).arg(release);
    })?;
    Ok(())
}

fn is_built_in(base: &Path, name: &str) -> anyhow::Result<bool> {
    let text = fs::read_to_string(base.join("modules.builtin")).context("read modules.builtin")?;
    Ok(text.lines().any(|line| stem(line) == normalized(name)))
}

/// `modules.dep`: a module's file and the files it needs.
struct Dependencies(BTreeMap<String, (String, Vec<String>)>);

impl Dependencies {
    fn read(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let entry = |line: &str| {
            let (file, needed) = line.split_once(':')?;
            let needed = needed.split_whitespace().map(str::to_owned).collect();
            Some((stem(file), (file.to_owned(), needed)))
        };
        Ok(Self(text.lines().filter_map(entry).collect()))
    }

    /// Adds a module and all it needs; modules.dep has them in full.
    fn add(&self, name: &str, to: &mut BTreeSet<String>) -> bool {
        let Some((file, needed)) = self.0.get(&normalized(name)) else { return false };
        to.insert(file.clone());
        to.extend(needed.iter().cloned());
        true
    }
}

/// `kernel/fs/erofs/erofs.ko.xz` is `erofs`.
fn stem(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    normalized(name.split('.').next().unwrap_or(name))
}

fn normalized(name: &str) -> String {
    name.replace('-', "_")
}
