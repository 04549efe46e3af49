//! What must not be in an image: shells, interpreters, package managers, login programs, setuid files, capabilities
//! of files.
//!
//! The lists of files decide what is in; this decides, from the result and whatever a list says, that none of it is a
//! way in.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use anyhow::{Context as _, ensure};

/// Names of programs that are never in an image; a name that goes on with digits, dots or dashes counts too.
const FORBIDDEN: [&str; 40] = [
    "agetty",
    "apt",
    "apt-get",
    "ash",
    "awk",
    "bash",
    "busybox",
    "csh",
    "dash",
    "dpkg",
    "dropbear",
    "fish",
    "gawk",
    "getty",
    "ksh",
    "login",
    "lua",
    "mawk",
    "mksh",
    "nix",
    "nix-store",
    "node",
    "passwd",
    "perl",
    "pkexec",
    "python",
    "rbash",
    "rpm",
    "ruby",
    "sh",
    "ssh",
    "sshd",
    "su",
    "sudo",
    "sulogin",
    "tclsh",
    "telnet",
    "toybox",
    "yash",
    "zsh",
];

pub(crate) fn check(tree: &Path) -> anyhow::Result<()> {
    let mut found = Vec::new();
    look(tree, tree, &mut found)?;
    found.sort();
    ensure!(found.is_empty(), "this must not be in an image:\n  {}", found.join("\n  "));
    Ok(())
}

fn look(root: &Path, directory: &Path, found: &mut Vec<String>) -> anyhow::Result<()> {
    for entry in fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))? {
        let path = entry?.path();
        let shown = path.strip_prefix(root).unwrap_or(&path).display().to_string();
        let kind = fs::symlink_metadata(&path).with_context(|| format!("look at {shown}"))?;
        if kind.is_dir() {
            look(root, &path, found)?;
            continue;
        }
        let mode = kind.permissions().mode();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        // A link to a shell that is not there is a way in for whoever can bring one.
        let program = kind.is_symlink() || mode & 0o111 != 0;
        if program && is_forbidden(&name) && !shown.contains("/modules/") {
            found.push(format!("{shown}: a forbidden program"));
        }
        if kind.is_symlink() {
            continue;
        }
        if mode & 0o6000 != 0 {
            found.push(format!("{shown}: set-user-ID or set-group-ID"));
        }
        if mode & 0o002 != 0 {
            found.push(format!("{shown}: everybody may write it"));
        }
        let beginning = beginning(&path)?;
        if mode & 0o111 != 0 && beginning.starts_with(b"#!") {
            found.push(format!("{shown}: a script, which needs an interpreter"));
        }
        if rustix::fs::lgetxattr(&path, "security.capability", &mut [0; 64]).is_ok() {
            found.push(format!("{shown}: has capabilities"));
        }
    }
    Ok(())
}

fn is_forbidden(name: &str) -> bool {
    FORBIDDEN.iter().any(|forbidden| {
        name.strip_prefix(forbidden).is_some_and(|rest| {
            rest.is_empty()
                || (rest.starts_with(|first: char| first.is_ascii_digit() || first == '.')
                    && rest.chars().all(|letter| letter.is_ascii_digit() || letter == '.'))
        })
    })
}

fn beginning(path: &Path) -> anyhow::Result<Vec<u8>> {
    use std::io::Read as _;
    let mut bytes = Vec::new();
    fs::File::open(path)?
        .take(2)
        .read_to_end(&mut bytes)
        .with_context(|| format!("read {}", path.display()))?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(name: &str, content: &[u8], mode: u32) -> String {
        let tree = tempfile::tempdir().unwrap();
        let path = tree.path().join("usr/bin").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        check(tree.path()).map_or_else(|error| error.to_string(), |()| String::new())
    }

    #[test]
    fn ways_in_are_found_by_name_mode_and_content() {
        for (name, content, mode, expected) in [
            ("bash", b"\x7fELF".as_slice(), 0o755, "a forbidden program"),
            ("python3.13", b"\x7fELF", 0o755, "a forbidden program"),
            ("mount", b"\x7fELF", 0o4755, "set-user-ID"),
            ("shared", b"\x7fELF", 0o666, "everybody may write"),
            ("start", b"#!/usr/bin/lua", 0o755, "a script"),
        ] {
            let complaint = complaint(name, content, mode);
            assert!(complaint.contains(expected), "{name}: {complaint}");
        }
        for (name, content) in
            [("shutdown", b"\x7fELF".as_slice()), ("systemctl", b"\x7fELF"), ("nodeps", b"x")]
        {
            assert_eq!(complaint(name, content, 0o755), "", "{name}");
        }
    }
}
