//! The parts of one signal on disk.
//!
//! The directory is the truth; there is no list of parts beside it that could disagree. A part is there
//! once it has its name. One that takes over others' content says which; should the process end before
//! those are removed, they are removed at the next start. A damaged part is moved to `quarantine/`, counted,
//! and never stops the start; it is a person who deletes it. A part that the system does not let us read
//! does stop it, because nothing is known of its content.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jiff::Timestamp;
use parquet::errors::ParquetError;

use super::part::{Layout, Part, PartWriter, UNPUBLISHED, of_the_system};
use super::stub;
use crate::offload::reader::Reader;
use crate::storage::Signal;
use crate::storage::disk::{Disk, sync_directory};

const QUARANTINE: &str = "quarantine";

pub(crate) struct Shelf {
    signal: Signal,
    root: PathBuf,
    disk: Arc<dyn Disk>,
    next: AtomicU64,
}

impl Shelf {
    /// Opens every part below `DIRECTORY/parts/signal=NAME`, oldest first. Numbers up to `used` are never given
    /// again; they are known elsewhere.
    pub(crate) fn open(
        signal: Signal,
        directory: &Path,
        disk: Arc<dyn Disk>,
        reader: &Arc<Reader>,
        used: u64,
    ) -> io::Result<(Self, Vec<Arc<Part>>)> {
        let root = directory.join("parts").join(format!("signal={}", signal.as_str()));
        fs::create_dir_all(&root)?;
        let shelf = Self { signal, root, disk, next: AtomicU64::new(1) };
        let mut parts = Vec::new();
        for path in shelf.files()? {
            let opened =
                if stub::is_stub(&path) { Part::open_stub(&path, reader) } else { Part::open(&path) };
            match opened {
                Ok(part) => parts.push(Arc::new(part)),
                Err(error) => match of_the_system(&error) {
                    // A disk that fails or a file that may not be read says nothing about the part.
                    Some(kind) => {
                        let error = format!("cannot read {}: {error}", path.display());
                        return Err(io::Error::new(kind, error));
                    }
                    None => shelf.quarantine(&path, &error)?,
                },
            }
        }
        let newest = parts.iter().map(|part| part.facts.id).max().unwrap_or(0).max(used);
        shelf.next.store(newest + 1, Ordering::Release);
        let replaced: HashSet<u64> =
            parts.iter().flat_map(|part| part.facts.replaces.iter().copied()).collect();
        let (gone, mut parts): (Vec<_>, Vec<_>) =
            parts.into_iter().partition(|part| replaced.contains(&part.facts.id));
        Self::remove(&gone)?;
        parts.sort_by_key(|part| (part.facts.first, part.facts.id));
        Ok((shelf, parts))
    }

    /// The files that are named like parts; what an interrupted writer left is removed.
    fn files(&self) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if name.ends_with(UNPUBLISHED) {
                fs::remove_file(&path)?;
            } else if name.starts_with("date=") {
                files.extend(parts_of(&path)?);
            }
        }
        Ok(files)
    }

    fn quarantine(&self, path: &Path, error: &ParquetError) -> io::Result<()> {
        metrics::counter!("quintet_sink_parts_quarantined_total", "signal" => self.signal.as_str())
            .increment(1);
        tracing::error!(part = %path.display(), %error, "cannot open a part; moved to quarantine");
        let shelf = self.root.join(QUARANTINE);
        fs::create_dir_all(&shelf)?;
        if let Some(name) = path.file_name() {
            fs::rename(path, shelf.join(name))?;
        }
        sync_directory(&shelf)
    }

    /// A new part's number and writer.
    pub(super) fn create(&self, layout: &Layout) -> Result<(u64, PartWriter), ParquetError> {
        let id = self.next.fetch_add(1, Ordering::AcqRel);
        Ok((id, PartWriter::create(&*self.disk, &self.root, id, layout)?))
    }

    /// Where parts go that begin at a time: a directory for each day, UTC.
    pub(super) fn directory(&self, first: i64) -> PathBuf {
        let nanos = i128::from(first) * i128::from(self.signal.nanos_per_unit());
        let day = Timestamp::from_nanosecond(nanos).unwrap_or(Timestamp::UNIX_EPOCH);
        self.root.join(format!("date={}", day.strftime("%Y-%m-%d")))
    }

    /// Removes parts, and the days that are empty after that.
    pub(crate) fn remove(parts: &[Arc<Part>]) -> io::Result<()> {
        for part in parts {
            match fs::remove_file(&part.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let Some(directory) = part.path.parent() else { continue };
            // A day that still has parts refuses to go, which is meant.
            if fs::remove_dir(directory).is_err() {
                sync_directory(directory)?;
            }
        }
        Ok(())
    }
}

/// The parts of a day. One whose data is here needs no stub: the process ended before it dropped the data.
fn parts_of(day: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(day)? {
        let path = entry?.path();
        if stub::is_stub(&path) && path.with_extension("parquet").exists() || stub::is_unfinished(&path) {
            fs::remove_file(&path)?;
        } else if stub::is_stub(&path) || path.extension().is_some_and(|extension| extension == "parquet") {
            files.push(path);
        }
    }
    Ok(files)
}
