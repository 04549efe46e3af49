//! The data directory: where each file is, which version wrote it, and who holds it.
//!
//! Invariants: the directory is readable by its owner alone; at most one supervisor holds it (an advisory lock the
//! kernel drops with the process); a directory written by a newer version is refused and left as it was.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{ErrorKind, Read as _, Seek as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use sha2::{Digest as _, Sha256};

use crate::build::hex;

/// Raised when a change to the layout keeps an older `xtask` from using the directory.
const VERSION: u32 = 1;

/// `sun_path` holds 108 bytes with its terminator.
const LONGEST_SOCKET_PATH: usize = 107;

/// The paths of one fleet.
#[derive(Debug, Clone)]
pub(crate) struct Layout {
    pub(crate) root: PathBuf,
    run: PathBuf,
}

impl Layout {
    /// Works out the paths; makes nothing.
    pub(crate) fn new(data_dir: &Path) -> anyhow::Result<Self> {
        let root =
            std::path::absolute(data_dir).with_context(|| format!("resolve {}", data_dir.display()))?;
        let longest = root.join("run/identity-provider.admin.sock");
        let run = if longest.as_os_str().len() <= LONGEST_SOCKET_PATH {
            root.join("run")
        } else {
            short_run_directory(&root)
        };
        Ok(Self { root, run })
    }

    /// Makes the directories that are missing and checks those that are there.
    pub(crate) fn create(&self) -> anyhow::Result<()> {
        private_directory(&self.root)?;
        self.check_version()?;
        private_directory(&self.run)?;
        for name in ["blobs", "config", "log", "mail", "secrets", "telemetry", "tls"] {
            private_directory(&self.root.join(name))?;
        }
        Ok(())
    }

    fn check_version(&self) -> anyhow::Result<()> {
        let path = self.root.join("version");
        match std::fs::read_to_string(&path) {
            Ok(text) => {
                let written: u32 = text.trim().parse().with_context(|| {
                    format!("{} holds {:?}, not a version number", path.display(), text.trim())
                })?;
                if written > VERSION {
                    bail!(
                        "{} was written by a newer version of Quintet (layout {written}, this one knows {VERSION}): \
                         check out that version again or use another --data-dir",
                        self.root.display()
                    );
                }
                Ok(())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                std::fs::write(&path, format!("{VERSION}\n"))
                    .with_context(|| format!("write {}", path.display()))
            }
            Err(error) => Err(error).with_context(|| format!("read {}", path.display())),
        }
    }

    pub(crate) fn config(&self, binary: &str) -> PathBuf {
        self.root.join(format!("config/{binary}.toml"))
    }

    pub(crate) fn secret(&self, name: &str) -> PathBuf {
        self.root.join("secrets").join(name)
    }

    pub(crate) fn tls(&self, name: &str) -> PathBuf {
        self.root.join("tls").join(name)
    }

    pub(crate) fn log(&self, name: &str) -> PathBuf {
        self.root.join(format!("log/{name}.log"))
    }

    /// A unix socket's path.
    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.run.join(format!("{name}.sock"))
    }

    /// The file that exists while the fleet is ready.
    pub(crate) fn ready_mark(&self) -> PathBuf {
        self.run.join("ready")
    }
}

/// A directory with a short name for the sockets of a data directory whose own path is too long for them.
fn short_run_directory(root: &Path) -> PathBuf {
    let digest = Sha256::digest(root.as_os_str().as_encoded_bytes());
    let name = format!("quintet-{}", hex(digest.get(..8).unwrap_or_default()));
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from);
    runtime
        .filter(|dir| dir.is_dir() && dir.as_os_str().len() < 48)
        .unwrap_or_else(|| PathBuf::from("/tmp"))
        .join(name)
}

/// Makes a directory that only this user can enter, or checks that an existing one is of that kind.
fn private_directory(path: &Path) -> anyhow::Result<()> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.with_context(|| format!("cannot create {}: choose a --data-dir you can write to", path.display()))?;
    // Not `metadata`: in a shared directory another user could have put a link there first.
    let found = std::fs::symlink_metadata(path).with_context(|| format!("look at {}", path.display()))?;
    if !found.is_dir() && !path.is_dir() {
        bail!("{} is not a directory", path.display());
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        bail!("{} belongs to another user: choose another --data-dir", path.display());
    }
    if found.is_dir() && found.mode() & 0o077 != 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("close {} to other users", path.display()))?;
    }
    std::fs::read_dir(path)
        .with_context(|| format!("cannot read {}: make it yours (chown, chmod 700)", path.display()))?;
    Ok(())
}

/// Proof that no other supervisor uses the data directory.
#[derive(Debug)]
pub(crate) struct Lock {
    // Held for its lock, which the kernel releases when the file is closed.
    _file: File,
}

impl Lock {
    /// Takes the lock and notes this process in it.
    pub(crate) fn take(layout: &Layout) -> anyhow::Result<Self> {
        let mut file = Self::open(layout)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                bail!(
                    "a fleet already runs on {}{}: stop it with `cargo xtask down --data-dir {}` or use another --data-dir",
                    layout.root.display(),
                    read_pid(&mut file).map(|pid| format!(" (process {pid})")).unwrap_or_default(),
                    layout.root.display()
                );
            }
            Err(TryLockError::Error(error)) => return Err(error).context("lock the data directory"),
        }
        file.set_len(0)?;
        file.rewind()?;
        writeln!(file, "{}", std::process::id())?;
        Ok(Self { _file: file })
    }

    /// The supervisor that holds the data directory, if one does.
    pub(crate) fn holder(layout: &Layout) -> anyhow::Result<Option<i32>> {
        if !layout.root.join("lock").is_file() {
            return Ok(None);
        }
        let mut file = Self::open(layout)?;
        match file.try_lock() {
            Ok(()) => Ok(None),
            Err(TryLockError::WouldBlock) => {
                let pid = read_pid(&mut file)
                    .with_context(|| format!("{} names no process", lock_path(layout).display()))?;
                Ok(Some(pid))
            }
            Err(TryLockError::Error(error)) => Err(error).context("look at the lock of the data directory"),
        }
    }

    fn open(layout: &Layout) -> anyhow::Result<File> {
        let path = lock_path(layout);
        OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&path)
            .with_context(|| format!("open {}", path.display()))
    }
}

fn lock_path(layout: &Layout) -> PathBuf {
    layout.root.join("lock")
}

fn read_pid(file: &mut File) -> Option<i32> {
    let mut text = String::new();
    file.rewind().ok()?;
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> (tempfile::TempDir, Layout) {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(&dir.path().join("data")).unwrap();
        layout.create().unwrap();
        (dir, layout)
    }

    #[test]
    fn directory_is_closed_to_other_users() {
        let (_dir, layout) = layout();
        assert_eq!(std::fs::metadata(&layout.root).unwrap().mode() & 0o777, 0o700);
    }

    #[test]
    fn newer_layout_is_refused_and_left_alone() {
        let (_dir, layout) = layout();
        std::fs::write(layout.root.join("version"), "99\n").unwrap();
        let error = layout.create().unwrap_err().to_string();
        assert!(error.contains("newer version") && error.contains("layout 99"), "{error}");
        assert_eq!(std::fs::read_to_string(layout.root.join("version")).unwrap(), "99\n");
    }

    #[test]
    fn second_supervisor_is_refused_and_told_how_to_stop_the_first() {
        let (_dir, layout) = layout();
        let held = Lock::take(&layout).unwrap();
        let error = Lock::take(&layout).unwrap_err().to_string();
        assert!(error.contains("already runs") && error.contains("cargo xtask down"), "{error}");
        assert_eq!(Lock::holder(&layout).unwrap(), Some(std::process::id().cast_signed()));
        drop(held);
        assert_eq!(Lock::holder(&layout).unwrap(), None);
    }

    #[test]
    fn socket_paths_fit_however_long_the_data_directory_is() {
        let long = Path::new("/tmp").join("d".repeat(120));
        let socket = Layout::new(&long).unwrap().socket("identity-provider.admin");
        assert!(socket.as_os_str().len() <= LONGEST_SOCKET_PATH, "{}", socket.display());
    }
}
