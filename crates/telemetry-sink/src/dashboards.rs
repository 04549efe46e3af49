//! Dashboards that people keep: JSON documents that the console draws.
//!
//! # Layout
//!
//! `ID.json` in `dashboards` in the storage directory, as it was sent. The entity tag of one is the checksum of its bytes.
//!
//! # Protocol
//!
//! A change is written beside its file as `ID.json.new`, synced, renamed over it, and the directory synced; then it is acknowledged.
//! One lock is held from the comparison of entity tags to the end of that, so that of two editors one is told.
//!
//! # Recovery
//!
//! A start drops `.new` files. A file that is no dashboard, or whose name is no id, is left alone, told once and not shown.
//!
//! Invariants: at most [`MAX_DASHBOARDS`] of at most [`MAX_BYTES`] each; memory holds what a list shows, and no document.

mod document;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use thiserror::Error;

pub(crate) use document::Invalid;
use document::Summary;

use crate::storage::disk::sync_directory;

pub(crate) const MAX_DASHBOARDS: usize = 200;
pub(crate) const MAX_BYTES: usize = 1_000_000;
const MAX_ID: usize = 80;
const SUFFIX: &str = ".json";
const FRESH: &str = "json.new";

/// What a list shows of a dashboard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Listed {
    pub(crate) id: String,
    #[serde(flatten)]
    summary: Summary,
    bytes: usize,
    /// With its quotes, as `ETag` and `If-Match` have it.
    pub(crate) etag: String,
}

/// What must be there for a change to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Expected {
    Nothing,
    /// Whichever version there is.
    Any,
    /// One of these entity tags.
    Versions(Vec<String>),
}

/// Why a dashboard was not stored or dropped.
#[derive(Debug, Error)]
pub(crate) enum StoreError {
    #[error(transparent)]
    Invalid(#[from] Invalid),
    #[error("there is no such dashboard")]
    Unknown,
    /// Another version is there than the one that is to be changed.
    #[error("another version of the dashboard is there")]
    Changed,
    #[error("there are {MAX_DASHBOARDS} dashboards already; delete one")]
    TooMany,
    #[error("the dashboard cannot be stored")]
    Io(#[from] io::Error),
}

/// All dashboards.
pub(crate) struct Dashboards {
    directory: PathBuf,
    listed: Mutex<BTreeMap<String, Listed>>,
}

impl Dashboards {
    /// Reads what is there, or begins anew.
    pub(crate) fn open(directory: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(directory)?;
        let mut listed = BTreeMap::new();
        for entry in std::fs::read_dir(directory)? {
            let path = entry?.path();
            if path.extension().is_some_and(|end| end == "new") {
                std::fs::remove_file(&path)?;
                continue;
            }
            match known(&path) {
                Some(one) if listed.len() < MAX_DASHBOARDS => {
                    listed.insert(one.id.clone(), one);
                }
                _ => tracing::warn!(file = %path.display(), "a file among the dashboards is left alone"),
            }
        }
        Ok(Self { directory: directory.to_owned(), listed: Mutex::new(listed) })
    }

    pub(crate) fn list(&self) -> Vec<Listed> {
        self.lock().values().cloned().collect()
    }

    /// A document with its entity tag.
    pub(crate) fn get(&self, id: &str) -> Result<(Vec<u8>, String), StoreError> {
        // Under the lock, so that the tag is that of the bytes.
        let listed = self.lock();
        let one = listed.get(id).ok_or(StoreError::Unknown)?;
        Ok((read(&self.path(id))?, one.etag.clone()))
    }

    /// Stores a document; whether it is a new one.
    pub(crate) fn put(
        &self,
        id: &str,
        bytes: &[u8],
        expected: &Expected,
    ) -> Result<(Listed, bool), StoreError> {
        let one = Listed {
            id: checked_id(id)?.to_owned(),
            summary: document::check(id, bytes)?,
            bytes: bytes.len(),
            etag: etag(bytes),
        };
        let mut listed = self.lock();
        let present = listed.get(id);
        expected.allows(present)?;
        let fresh = present.is_none();
        if fresh && listed.len() >= MAX_DASHBOARDS {
            return Err(StoreError::TooMany);
        }
        self.replace(id, bytes)?;
        listed.insert(id.to_owned(), one.clone());
        Ok((one, fresh))
    }

    pub(crate) fn delete(&self, id: &str, expected: &Expected) -> Result<(), StoreError> {
        let mut listed = self.lock();
        let present = listed.get(id).ok_or(StoreError::Unknown)?;
        expected.allows(Some(present))?;
        match std::fs::remove_file(self.path(id)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error.into()),
            _ => listed.remove(id),
        };
        Ok(sync_directory(&self.directory)?)
    }

    fn replace(&self, id: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(id);
        let fresh = path.with_extension(FRESH);
        let written = File::create(&fresh)
            .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()))
            .and_then(|()| std::fs::rename(&fresh, &path));
        if written.is_err() {
            // What a full disk left of it is in nobody's way, but it is no use either.
            std::fs::remove_file(&fresh).ok();
        }
        written.and_then(|()| sync_directory(&self.directory))
    }

    fn path(&self, id: &str) -> PathBuf {
        self.directory.join(format!("{id}{SUFFIX}"))
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<String, Listed>> {
        // The map is changed in one step, after the disk was.
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Expected {
    fn allows(&self, present: Option<&Listed>) -> Result<(), StoreError> {
        let allowed = match (self, present) {
            (Self::Nothing, None) | (Self::Any, Some(_)) => true,
            (Self::Versions(tags), Some(one)) => tags.contains(&one.etag),
            (Self::Nothing, Some(_)) | (Self::Any | Self::Versions(_), None) => false,
        };
        if allowed { Ok(()) } else { Err(StoreError::Changed) }
    }
}

/// A dashboard as a file has it; none where it has none.
fn known(path: &Path) -> Option<Listed> {
    let id = checked_id(path.file_name()?.to_str()?.strip_suffix(SUFFIX)?).ok()?;
    let bytes = read(path).ok()?;
    let summary = document::check(id, &bytes).ok()?;
    Some(Listed { id: id.to_owned(), summary, bytes: bytes.len(), etag: etag(&bytes) })
}

/// A file that somebody else made too large is cut, and then is no JSON.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let most = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX);
    File::open(path)?.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// An id is a part of an address and the name of a file.
fn checked_id(id: &str) -> Result<&str, Invalid> {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    // The console draws what is behind the `#` of an address under this name.
    if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(plain) || id == "shared" {
        let detail =
            format!("an id is of at most {MAX_ID} lower-case letters, digits and hyphens, and not `shared`");
        return Err(Invalid { pointer: "/id".to_owned(), detail });
    }
    Ok(id)
}

fn etag(bytes: &[u8]) -> String {
    let half = |seed| twox_hash::XxHash64::oneshot(seed, bytes);
    format!("\"{:016x}{:016x}\"", half(0), half(1))
}

#[cfg(test)]
mod tests;
