//! Picking files from unpacked packages by a list, each program with the shared libraries it needs.
//!
//! A list of what is there, and not of what is taken out: a file that a package gains tomorrow is not in the image.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::dist::elf;

const LIBRARIES: [&str; 2] = ["usr/lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu/systemd"];

/// The lines of a list that say something.
pub(crate) fn lines(path: &Path) -> anyhow::Result<Vec<String>> {
    let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    let meant = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    Ok(meant.map(str::to_owned).collect())
}

/// Copies what a list names from one tree to another.
pub(crate) fn pick(list: &Path, from: &Path, to: &Path) -> anyhow::Result<()> {
    let mut picker = Picker { from, to, done: BTreeSet::new() };
    for line in lines(list)? {
        let (pattern, optional) = line.strip_prefix('?').map_or((line.as_str(), false), |rest| (rest, true));
        let found = matching(from, pattern.trim_start_matches('/'))?;
        if found.is_empty() && !optional {
            bail!("{}: no package has {pattern}", list.display());
        }
        for path in found {
            picker.take(&path)?;
        }
    }
    Ok(())
}

struct Picker<'a> {
    from: &'a Path,
    to: &'a Path,
    done: BTreeSet<PathBuf>,
}

impl Picker<'_> {
    /// Takes a file, what a link leads to, and the libraries of a program.
    fn take(&mut self, path: &Path) -> anyhow::Result<()> {
        let path = real_parent(self.from, path);
        if !self.done.insert(path.clone()) {
            return Ok(());
        }
        let source = self.from.join(&path);
        let kind = fs::symlink_metadata(&source).with_context(|| format!("look at {}", source.display()))?;
        let destination = self.to.join(&path);
        if let Some(parent) = destination.parent() {
            fs::create_dir_all(parent).with_context(|| format!("create {}", parent.display()))?;
        }
        if kind.is_dir() {
            for entry in fs::read_dir(&source)? {
                self.take(&path.join(entry?.file_name()))?;
            }
            return Ok(());
        }
        if kind.is_symlink() {
            let target = fs::read_link(&source)?;
            std::os::unix::fs::symlink(&target, &destination)
                .with_context(|| format!("link {}", destination.display()))?;
            let resolved = resolve(&path, &target);
            // Units are linked to units that the image may not have, and masked by a link to /dev/null.
            if self.from.join(&resolved).is_file() && !resolved.starts_with("usr/lib/systemd/system") {
                self.take(&resolved)?;
            }
            return Ok(());
        }
        fs::copy(&source, &destination).with_context(|| format!("copy {}", source.display()))?;
        // Nothing in an image is setuid, and nobody but root may write.
        let mode = kind.permissions().mode() & 0o755;
        fs::set_permissions(&destination, fs::Permissions::from_mode(mode))?;
        self.libraries(&destination)
    }

    fn libraries(&mut self, file: &Path) -> anyhow::Result<()> {
        let bytes = fs::read(file).with_context(|| format!("read {}", file.display()))?;
        if !bytes.starts_with(b"\x7fELF") {
            return Ok(());
        }
        let links = elf::links(&bytes).with_context(|| file.display().to_string())?;
        for name in links.needed {
            let candidates = LIBRARIES.iter().map(|directory| Path::new(directory).join(&name));
            let found = candidates.into_iter().find(|path| self.from.join(path).exists());
            self.take(&found.with_context(|| format!("no package has {name}, for {}", file.display()))?)?;
        }
        if let Some(interpreter) = links.interpreter {
            self.take(Path::new(interpreter.trim_start_matches('/')))?;
        }
        Ok(())
    }
}

/// Copies a program from elsewhere into a tree, with the libraries it needs of the packages.
pub(crate) fn program(from: &Path, packages: &Path, to: &Path, name: &str) -> anyhow::Result<()> {
    let destination = to.join("usr/bin").join(name);
    fs::copy(from, &destination).with_context(|| format!("copy {}", from.display()))?;
    fs::set_permissions(&destination, fs::Permissions::from_mode(0o755))?;
    Picker { from: packages, to, done: already(to)? }.libraries(&destination)
}

/// The libraries that are in a tree.
fn already(tree: &Path) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for directory in LIBRARIES.iter().chain(&["usr/lib64"]) {
        for entry in fs::read_dir(tree.join(directory)).into_iter().flatten() {
            found.insert(Path::new(directory).join(entry?.file_name()));
        }
    }
    Ok(found)
}

/// With /lib, /lib64, /bin and /sbin as the links into /usr that they are.
fn real_parent(root: &Path, path: &Path) -> PathBuf {
    let mut parts = path.components();
    let Some(first) = parts.next() else { return path.to_owned() };
    let is_link = root.join(first).is_symlink() && path.components().count() > 1;
    if is_link { Path::new("usr").join(path) } else { path.to_owned() }
}

/// Where a link leads, below the root.
fn resolve(link: &Path, target: &Path) -> PathBuf {
    let mut resolved = if target.is_absolute() {
        PathBuf::new()
    } else {
        link.parent().map(Path::to_path_buf).unwrap_or_default()
    };
    for part in target.components() {
        match part {
            std::path::Component::ParentDir => {
                resolved.pop();
            }
            std::path::Component::Normal(name) => resolved.push(name),
            _ => {}
        }
    }
    resolved
}

/// The paths below `root` that fit a pattern whose parts may have one or more `*`.
fn matching(root: &Path, pattern: &str) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = vec![PathBuf::new()];
    for part in pattern.trim_end_matches('/').split('/') {
        let mut next = Vec::new();
        for directory in found {
            if !part.contains('*') {
                next.push(directory.join(part));
                continue;
            }
            for entry in fs::read_dir(root.join(&directory)).into_iter().flatten() {
                let name = entry?.file_name();
                if name.to_str().is_some_and(|name| fits(name, part)) {
                    next.push(directory.join(name));
                }
            }
        }
        found = next;
    }
    found.retain(|path| fs::symlink_metadata(root.join(path)).is_ok());
    found.sort();
    Ok(found)
}

/// Whether a name fits a pattern with `*`.
fn fits(name: &str, pattern: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = parts.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let mut parts = parts.peekable();
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        let Some(at) = rest.find(part) else { return false };
        rest = rest.get(at + part.len()..).unwrap_or_default();
    }
    rest.is_empty()
}

/// Copies a tree over another.
pub(crate) fn overlay(from: &Path, to: &Path) -> anyhow::Result<()> {
    for entry in fs::read_dir(from).with_context(|| format!("list {}", from.display()))? {
        let entry = entry?;
        let destination = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            fs::create_dir_all(&destination).with_context(|| format!("create {}", destination.display()))?;
            overlay(&entry.path(), &destination)?;
        } else {
            let _ = fs::remove_file(&destination);
            fs::copy(entry.path(), &destination)
                .with_context(|| format!("copy {}", entry.path().display()))?;
            fs::set_permissions(&destination, fs::Permissions::from_mode(0o644))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_names_and_nothing_more() {
        for (name, pattern, expected) in [
            ("a.target", "*.target", true),
            ("a.targets", "*.target", false),
            ("systemd-udevd-kernel.socket", "systemd-udevd*", true),
            ("abc", "a*c", true),
            ("abd", "a*c", false),
            ("abc", "abc", true),
            ("abcd", "abc", false),
        ] {
            assert_eq!(fits(name, pattern), expected, "{name} {pattern}");
        }
    }

    #[test]
    fn links_lead_somewhere_below_the_root() {
        let from = Path::new("usr/lib/systemd/systemd-udevd");
        assert_eq!(resolve(from, Path::new("../../bin/udevadm")), Path::new("usr/bin/udevadm"));
        assert_eq!(resolve(from, Path::new("/usr/bin/x")), Path::new("usr/bin/x"));
    }

    #[test]
    fn a_name_that_no_package_has_is_an_error_unless_it_may_be_missing() {
        let root = tempfile::tempdir().unwrap();
        let list = root.path().join("list");
        fs::create_dir(root.path().join("from")).unwrap();
        fs::write(&list, "# nothing\n?/usr/bin/x\n").unwrap();
        pick(&list, &root.path().join("from"), &root.path().join("to")).unwrap();
        fs::write(&list, "/usr/bin/x\n").unwrap();
        let error = pick(&list, &root.path().join("from"), &root.path().join("to")).unwrap_err().to_string();
        assert!(error.contains("/usr/bin/x"), "{error}");
    }
}
