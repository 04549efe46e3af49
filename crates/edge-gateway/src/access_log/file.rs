//! A log file that may be moved away at any time, as logrotate does it.
//!
//! Before each batch of lines the file at the path is compared with the open one; when it is another, or gone, the path is
//! opened anew. So a rotation needs no signal, and a line is never split between two files.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// For the service's user and group; lines hold addresses of clients.
const MODE: u32 = 0o640;

pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    /// Device and inode of `file`.
    identity: (u64, u64),
    /// The next bytes begin a batch.
    between: bool,
    /// The path could not be opened, which has been told.
    stuck: bool,
}

impl LogFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let (file, identity) = open(path)?;
        Ok(Self { path: path.to_owned(), file, identity, between: true, stuck: false })
    }

    fn reopen_if_moved(&mut self) {
        if std::fs::metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            self.stuck = false;
            return;
        }
        match open(&self.path) {
            Ok((file, identity)) => (self.file, self.identity, self.stuck) = (file, identity, false),
            // Lines go on to the file that was moved away rather than nowhere.
            Err(error) => {
                if !std::mem::replace(&mut self.stuck, true) {
                    tracing::error!(path = %self.path.display(), %error, "the access log cannot be opened again");
                }
            }
        }
    }
}

fn open(path: &Path) -> io::Result<(File, (u64, u64))> {
    // Looked at first: opening a pipe would wait for its reader.
    if std::fs::metadata(path).is_ok_and(|found| !found.is_file()) {
        return Err(io::Error::other("it is no regular file"));
    }
    let file = OpenOptions::new().append(true).create(true).mode(MODE).open(path)?;
    let found = file.metadata()?;
    Ok((file, (found.dev(), found.ino())))
}

impl Write for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if std::mem::take(&mut self.between) {
            self.reopen_if_moved();
        }
        self.file.write(bytes)
    }

    /// Ends a batch.
    fn flush(&mut self) -> io::Result<()> {
        self.between = true;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_after_a_move_goes_to_a_new_file_and_none_is_split() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        std::fs::write(&path, "before\n").unwrap();
        let mut log = LogFile::open(&path).unwrap();
        log.write_all(b"one ").unwrap();
        std::fs::rename(&path, &old).unwrap();
        log.write_all(b"batch\n").unwrap();
        log.flush().unwrap();
        log.write_all(b"two\n").unwrap();
        log.flush().unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "before\none batch\n");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "two\n");
    }

    #[test]
    fn a_path_that_cannot_be_opened_again_keeps_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let (path, old) = (dir.path().join("access.log"), dir.path().join("access.log.1"));
        let mut log = LogFile::open(&path).unwrap();
        std::fs::rename(&path, &old).unwrap();
        std::fs::create_dir(&path).unwrap();
        log.write_all(b"line\n").unwrap();
        assert_eq!(std::fs::read_to_string(&old).unwrap(), "line\n");
        LogFile::open(&path).map(drop).unwrap_err();
    }
}
