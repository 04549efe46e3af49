//! Mounted file systems and their room.

use std::collections::HashSet;
use std::path::Path;

use super::{Facts, read};

/// Kinds that have no room of their own, or whose server may not answer.
const IGNORED: [&str; 34] = [
    "9p",
    "afs",
    "autofs",
    "binfmt_misc",
    "bpf",
    "ceph",
    "cgroup",
    "cgroup2",
    "cifs",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "erofs",
    "fusectl",
    "fuse",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "nfs",
    "nfs4",
    "nsfs",
    "overlay",
    "proc",
    "procfs",
    "pstore",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "smb3",
    "squashfs",
    "sysfs",
    "tracefs",
];
const IGNORED_POINTS: [&str; 5] = ["/dev", "/proc", "/sys", "/run/credentials", "/var/lib/docker"];
const MAX_MOUNTS: usize = 256;

/// One line of a table of mounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    pub(crate) device: String,
    pub(crate) point: String,
    pub(crate) kind: String,
    pub(crate) options: String,
}

/// What this process sees mounted.
pub(crate) fn mounts(proc: &Path) -> Vec<Mount> {
    let text = read(&proc.join("self/mounts")).unwrap_or_default();
    text.lines().filter_map(parse).collect()
}

fn parse(line: &str) -> Option<Mount> {
    let mut words = line.split(' ').map(unescaped);
    Some(Mount { device: words.next()?, point: words.next()?, kind: words.next()?, options: words.next()? })
}

/// Spaces, tabs, line ends and backslashes are octal in the table (proc_mounts(5)).
fn unescaped(word: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(word.to_owned(), |word, (code, letter)| word.replace(code, letter))
}

pub(super) fn collect(proc: &Path, facts: &mut Facts) {
    let mut seen = HashSet::new();
    for mount in mounts(proc).into_iter().filter(Mount::has_room).take(MAX_MOUNTS) {
        // Of mounts over one another only the last can be asked; bind mounts show the same device twice.
        if seen.insert(mount.point.clone()) {
            room(&mount, facts);
        }
    }
}

impl Mount {
    /// Whether it can be asked for its room without waiting for another machine.
    pub(crate) fn has_room(&self) -> bool {
        let below = |point: &str| {
            self.point.strip_prefix(point).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let kind = self.kind.as_str();
        !IGNORED.contains(&kind)
            && !kind.starts_with("fuse.")
            && !IGNORED_POINTS.iter().any(|point| below(point))
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn room(mount: &Mount, facts: &mut Facts) {
    let labels = [
        ("device", mount.device.as_str()),
        ("mountpoint", mount.point.as_str()),
        ("fstype", mount.kind.as_str()),
    ];
    let found = rustix::fs::statvfs(mount.point.as_str());
    let failed = if found.is_err() { 1.0 } else { 0.0 };
    facts.gauge(
        "node_filesystem_device_error",
        "Whether the file system could not be asked.",
        &labels,
        failed,
    );
    let Ok(found) = found else { return };
    let bytes = |blocks: u64| blocks.saturating_mul(found.f_frsize) as f64;
    let read_only = mount.options.split(',').any(|option| option == "ro");
    for (name, value) in [
        ("node_filesystem_size_bytes", bytes(found.f_blocks)),
        ("node_filesystem_free_bytes", bytes(found.f_bfree)),
        ("node_filesystem_avail_bytes", bytes(found.f_bavail)),
        ("node_filesystem_files", found.f_files as f64),
        ("node_filesystem_files_free", found.f_ffree as f64),
        ("node_filesystem_readonly", if read_only { 1.0 } else { 0.0 }),
    ] {
        facts.gauge(name, "Room of a file system.", &labels, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_file_systems_with_room_of_their_own_are_asked() {
        let room = |line: &str| parse(line).unwrap().has_room();
        assert!(room("/dev/vda / ext4 rw,relatime 0 0"));
        assert!(room("tmpfs /run tmpfs rw 0 0"));
        assert!(!room("proc /proc proc rw 0 0"));
        assert!(!room("udev /dev/shm tmpfs rw 0 0"));
        assert!(!room("server:/x /mnt nfs4 rw 0 0"));
        assert!(!room("sshfs /mnt fuse.sshfs rw 0 0"));
        assert!(room("/dev/sdb /devices ext4 rw 0 0"));
        assert_eq!(parse("/dev/sdb /my\\040disk ext4 rw 0 0").unwrap().point, "/my disk");
    }
}
