//! The store of a generation: the whole file system, read-only, and the tree of hashes over it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use super::tools::Tools;
use super::{AGENT, Generation, Recipe, content, directory, kernel, pick, sources};
use crate::build::hex;
use crate::workspace::{self, BINARIES};

/// What is mounted over, and what is made anew at each boot.
const MOUNT_POINTS: [&str; 9] = ["dev", "efi", "proc", "root", "run", "sys", "tmp", "var", "boot"];
/// Links into /usr, as every Debian has them; and configurations, which are written at each boot.
const LINKS: [(&str, &str); 8] = [
    ("bin", "usr/bin"),
    ("sbin", "usr/sbin"),
    ("lib", "usr/lib"),
    ("lib64", "usr/lib64"),
    ("etc/os-release", "../usr/lib/os-release"),
    ("etc/quintet", "/run/quintet-config"),
    ("etc/resolv.conf", "/run/systemd/resolve/resolv.conf"),
    ("etc/mtab", "../proc/self/mounts"),
];

pub(super) fn build(tools: &Tools, recipe: &Recipe) -> anyhow::Result<Generation> {
    let place = directory().join(&recipe.version);
    if place.exists() {
        fs::remove_dir_all(&place).with_context(|| format!("remove {}", place.display()))?;
    }
    let tree = place.join("tree");
    fs::create_dir_all(&tree).with_context(|| format!("create {}", tree.display()))?;
    fill(tools, recipe, &tree)?;
    content::check(&tree)?;
    let (store, verity) = (place.join("store.erofs"), place.join("store.verity"));
    tools.run("mkfs.erofs", |mkfs| {
        mkfs.args(["--quiet", "-zlz4hc,9", "-C65536", "-Efragments", "-T0", "--all-root"]);
        // A random UUID would make every build another one.
        mkfs.arg(format!("-U{}", uuid(&Sha256::digest(recipe.version.as_bytes()))));
        mkfs.arg(tools.inside(&store)).arg(tools.inside(&tree));
    })?;
    let hash = seal(tools, recipe, &store, &verity)?;
    let root_hash = hash.as_bytes();
    let kernel = kernel::build(tools, recipe, &hash)?;
    fs::remove_dir_all(&tree).with_context(|| format!("remove {}", tree.display()))?;
    let half = |range: std::ops::Range<usize>| uuid_text(root_hash.get(range).unwrap_or_default());
    Ok(Generation {
        version: recipe.version.clone(),
        store,
        verity,
        kernel,
        // systemd finds the two by the halves of the root hash.
        store_uuid: half(0..32),
        verity_uuid: half(32..64),
    })
}

fn seal(tools: &Tools, recipe: &Recipe, store: &Path, verity: &Path) -> anyhow::Result<String> {
    let salt = hex(&Sha256::digest(format!("quintet {}", recipe.version).as_bytes()));
    let root_hash = verity.with_extension("roothash");
    tools.run("veritysetup", |setup| {
        setup.arg("format").arg(format!("--salt={salt}"));
        setup.arg(format!("--uuid={}", uuid(&Sha256::digest(salt.as_bytes()))));
        setup.arg(format!("--root-hash-file={}", tools.inside(&root_hash).display()));
        setup.arg(tools.inside(store)).arg(tools.inside(verity));
    })?;
    let hash = fs::read_to_string(&root_hash).context("read the root hash")?.trim().to_owned();
    ensure!(hash.len() == 64, "veritysetup wrote {hash:?} and no root hash");
    Ok(hash)
}

fn fill(tools: &Tools, recipe: &Recipe, tree: &Path) -> anyhow::Result<()> {
    pick::pick(&sources().join("root.files"), &tools.packages, tree)?;
    let packaging = workspace::root().join("packaging");
    for (from, to) in [
        ("systemd", "usr/lib/systemd/system"),
        ("sysusers.d", "usr/lib/sysusers.d"),
        ("tmpfiles.d", "usr/lib/tmpfiles.d"),
        ("config", "usr/share/quintet/config"),
    ] {
        fs::create_dir_all(tree.join(to))?;
        pick::overlay(&packaging.join(from), &tree.join(to))?;
    }
    pick::overlay(&sources().join("root"), tree)?;
    partitions(tree)?;
    extend_configurations(&sources().join("config"), &tree.join("usr/share/quintet/config"))?;
    for binary in BINARIES.into_iter().chain([AGENT]) {
        pick::program(&recipe.binaries.join(binary), &tools.packages, tree, binary)?;
    }
    for directory in MOUNT_POINTS {
        fs::create_dir_all(tree.join(directory))?;
    }
    for (link, target) in LINKS {
        let _ = fs::remove_file(tree.join(link));
        std::os::unix::fs::symlink(target, tree.join(link)).with_context(|| format!("link {link}"))?;
    }
    // The machine's own, from the firmware, is mounted over it.
    fs::write(tree.join("etc/machine-id"), "")?;
    fs::write(tree.join("usr/lib/os-release"), os_release(&recipe.version))?;
    fs::write(tree.join("usr/share/quintet/update.pub"), recipe.update_key.public())?;
    kernel::modules(tools, tree, kernel::Modules::All)?;
    let inside = tools.inside(tree);
    tools.run("systemd-sysusers", |sysusers| {
        sysusers.arg(format!("--root={}", inside.display()));
    })?;
    tools.run("systemctl", |systemctl| {
        systemctl.arg(format!("--root={}", inside.display())).args(["--quiet", "preset-all"]);
    })?;
    default_target(tree)?;
    for (path, content) in &recipe.replaced {
        fs::write(tree.join(path), content).with_context(|| format!("replace {}", path.display()))?;
    }
    Ok(())
}

/// The partitions of a disk: systemd-repart runs in the initrd if it finds some there, and then uses those of the root.
pub(super) fn partitions(tree: &Path) -> anyhow::Result<()> {
    let to = tree.join("usr/lib/repart.d");
    fs::create_dir_all(&to)?;
    pick::overlay(&sources().join("repart.d"), &to)
}

fn default_target(tree: &Path) -> anyhow::Result<()> {
    let link = tree.join("usr/lib/systemd/system/default.target");
    let _ = fs::remove_file(&link);
    std::os::unix::fs::symlink("multi-user.target", &link).context("link default.target")
}

/// Appends what an image's configurations have besides to the shipped ones, or adds a new one.
fn extend_configurations(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let destination = to.join(entry.file_name());
        let mut text = fs::read_to_string(&destination).unwrap_or_default();
        text.push_str(&fs::read_to_string(entry.path())?);
        fs::write(&destination, text).with_context(|| format!("write {}", destination.display()))?;
    }
    Ok(())
}

/// os-release(5): what systemd-sysupdate and the boot loader call this generation.
pub(super) fn os_release(version: &str) -> String {
    format!(
        "ID=quintet\nNAME=Quintet\nPRETTY_NAME=\"Quintet {version}\"\nIMAGE_ID=quintet\nIMAGE_VERSION={version}\n\
         VERSION_ID={version}\nID_LIKE=debian\n"
    )
}

/// A UUID of the first bytes of a hash.
fn uuid(hash: &[u8]) -> String {
    uuid_text(hex(hash).as_bytes())
}

/// The first 32 hexadecimal digits as a UUID.
fn uuid_text(digits: &[u8]) -> String {
    let digits = String::from_utf8_lossy(digits);
    let part = |range: std::ops::Range<usize>| digits.get(range).unwrap_or_default().to_owned();
    [part(0..8), part(8..12), part(12..16), part(16..20), part(20..32)].join("-")
}

/// Where the parts of a generation are kept.
pub(super) fn place(version: &str) -> PathBuf {
    directory().join(version)
}
