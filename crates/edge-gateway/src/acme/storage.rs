//! Files that are the gateway's alone: mode 0600 from their first byte on, and replaced whole or not at all.

use std::ffi::OsString;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use super::AcmeError;

/// Writes a file in place of the one that is there. A crash leaves either the old or the new one.
pub(super) fn replace(path: &Path, content: &[u8]) -> Result<(), AcmeError> {
    try_replace(path, content).map_err(|source| AcmeError::Storage { path: path.to_owned(), source })
}

fn try_replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let parent = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_directory(parent)?;
    let mut name = OsString::from(path.file_name().ok_or(io::ErrorKind::InvalidInput)?);
    name.push(".new");
    let fresh = path.with_file_name(name);
    // What a crash left behind may have been made under another mode.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&fresh)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&fresh, path)?;
    File::open(parent)?.sync_all()
}

fn make_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// Held by the one process that orders certificates; the kernel lets go when it ends.
#[derive(Debug)]
pub(super) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a storage directory, which is made where it is missing.
    pub(super) fn take(storage: &Path) -> Result<Self, AcmeError> {
        let path = storage.join("lock");
        let failed = |source| AcmeError::Storage { path: path.clone(), source };
        make_directory(storage).map_err(failed)?;
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(AcmeError::Locked(storage.to_owned())),
            Err(TryLockError::Error(source)) => Err(failed(source)),
        }
    }
}

/// Reads a file that need not be there.
pub(super) fn read(path: &Path) -> Result<Option<Vec<u8>>, AcmeError> {
    match std::fs::read(path) {
        Ok(content) => Ok(Some(content)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(AcmeError::Storage { path: PathBuf::from(path), source }),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn files_and_directories_are_the_gateways_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("acme/accounts/a.json");
        // Left by a crash, and open to others.
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path.with_file_name("a.json.new"), "half").unwrap();
        replace(&path, b"whole").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert_eq!(mode(&path), 0o600);
        let other = directory.path().join("made/here/a.json");
        replace(&other, b"whole").unwrap();
        assert_eq!(mode(other.parent().unwrap()), 0o700);
        assert_eq!(std::fs::read_dir(other.parent().unwrap()).unwrap().count(), 1, "nothing is left behind");
    }

    #[test]
    fn one_process_at_a_time_has_the_lock() {
        let directory = tempfile::tempdir().unwrap();
        let storage = directory.path().join("acme");
        let held = Lock::take(&storage).unwrap();
        assert!(matches!(Lock::take(&storage), Err(AcmeError::Locked(_))));
        drop(held);
        Lock::take(&storage).unwrap();
    }
}
