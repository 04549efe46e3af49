//! How far a target is: a place in the log, kept in a file.
//!
//! The file is replaced by renaming and not synced: one that a power failure took back, or damaged, only makes the target get
//! some of the log again.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// Everything before `offset` in `segment`, and every earlier segment, was delivered. Segment 0 is before all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Cursor {
    pub(super) segment: u64,
    pub(super) offset: u64,
}

pub(super) struct CursorFile {
    path: PathBuf,
}

impl CursorFile {
    pub(super) fn new(directory: &Path, target: &str, signal: &str) -> Self {
        Self { path: directory.join(file_name(target, signal)) }
    }

    /// Where the target was; the beginning of the log where the file is missing or damaged.
    pub(super) fn read(&self) -> Cursor {
        match fs::read(&self.path) {
            Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or_else(|error| {
                tracing::warn!(cursor = %self.path.display(), %error, "a cursor is damaged; its target gets the log again");
                Cursor::default()
            }),
            Err(_) => Cursor::default(),
        }
    }

    pub(super) fn write(&self, cursor: Cursor) -> io::Result<()> {
        let fresh = self.path.with_extension("new");
        fs::write(&fresh, serde_json::to_vec(&cursor).map_err(io::Error::other)?)?;
        fs::rename(&fresh, &self.path)
    }
}

pub(super) fn file_name(target: &str, signal: &str) -> String {
    format!("{target}.{signal}.cursor")
}

/// Removes the cursors of targets that are no longer configured: were one to come back, it would not know what it missed.
pub(super) fn forget_others(directory: &Path, known: &[String]) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        if entry.file_name().to_str().is_none_or(|name| !known.iter().any(|known| known == name)) {
            fs::remove_file(entry.path())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_survives_and_a_damaged_one_begins_again() {
        let directory = tempfile::tempdir().unwrap();
        let file = CursorFile::new(directory.path(), "a", "logs");
        assert_eq!(file.read(), Cursor::default());
        let cursor = Cursor { segment: 7, offset: 21 };
        file.write(cursor).unwrap();
        assert_eq!(file.read(), cursor);
        fs::write(directory.path().join("a.logs.cursor"), "{").unwrap();
        assert_eq!(file.read(), Cursor::default());
        CursorFile::new(directory.path(), "b", "logs").write(cursor).unwrap();
        forget_others(directory.path(), &["b.logs.cursor".to_owned()]).unwrap();
        assert!(!directory.path().join("a.logs.cursor").exists());
        assert!(directory.path().join("b.logs.cursor").exists());
    }
}
