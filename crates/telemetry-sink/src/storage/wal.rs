//! The write-ahead log of one signal: appending, syncing, recovery and retention.
//!
//! Protocol: [`Wal::begin`] chooses the segment (starting a new one when the current is full),
//! [`Wal::write`] appends one frame with a single `write(2)`. A caller acknowledges its sender after
//! `write` returned; the frame survives the process from then on, and the machine after the next
//! sync (`dirty_file`, driven by the storage's sync thread, or by the caller in `always` mode).
//!
//! Recovery ([`Wal::open`]): the newest segment is cut at its first damaged byte, which is what a
//! torn write leaves. An older segment that is damaged keeps its intact prefix; its remainder is
//! moved to `quarantine/` and counted. A segment whose header is damaged is moved there whole.
//! Nothing here is ever fatal and nothing needs a person.
//!
//! Invariants: segment numbers only grow; each segment can be read without any other; after a
//! failed write the segment is cut back to its last whole frame and closed, so that encoders that
//! keep state per segment start afresh.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Signal;
use super::disk::{Disk, SegmentFile, sync_directory};
use super::held::{Held, LogView, report_given_up};
use super::segment::{self, End};
use crate::model::codec::Damaged;

/// Damaged pieces kept per signal, each at most a segment long.
const QUARANTINE_PIECES: usize = 4;

#[derive(Debug, Clone)]
pub(crate) struct SegmentInfo {
    pub(crate) number: u64,
    pub(crate) path: PathBuf,
    pub(crate) bytes: u64,
}

struct Active {
    info: SegmentInfo,
    file: Arc<dyn SegmentFile>,
}

pub(crate) struct Wal {
    signal: Signal,
    directory: PathBuf,
    disk: Arc<dyn Disk>,
    /// A segment of at least so many bytes is full.
    segment_bytes: u64,
    next_number: u64,
    sealed: VecDeque<SegmentInfo>,
    active: Option<Active>,
    held: Held,
    unsynced_bytes: u64,
    frame: Vec<u8>,
}

impl Wal {
    /// Opens the log below `directory`, listing what is there; [`replay_segment`] reads it.
    pub(crate) fn open(
        signal: Signal,
        directory: PathBuf,
        disk: Arc<dyn Disk>,
        segment_bytes: u64,
    ) -> io::Result<Self> {
        fs::create_dir_all(&directory)?;
        let mut sealed = list(&directory)?;
        sealed.sort_by_key(|info| info.number);
        let next_number = sealed.last().map_or(1, |info| info.number + 1);
        Ok(Self {
            signal,
            directory,
            disk,
            segment_bytes,
            next_number,
            sealed: sealed.into(),
            active: None,
            held: Held::default(),
            unsynced_bytes: 0,
            frame: Vec::new(),
        })
    }

    /// Keeps so many bytes of segments that are deleted otherwise; called before anything else.
    pub(super) fn hold(&mut self, limit: u64) -> io::Result<()> {
        self.held = Held::open(&self.directory, limit)?;
        self.next_number = self.next_number.max(self.held.newest_number() + 1);
        Ok(())
    }

    pub(super) fn held_mut(&mut self) -> &mut Held {
        &mut self.held
    }

    pub(super) fn view_from(&self, number: u64) -> LogView {
        let active = self.active.iter().map(|active| &active.info);
        let segments = self.held.segments().chain(&self.sealed).chain(active);
        LogView {
            segments: segments.filter(|info| info.number >= number).cloned().collect(),
            next: self.next_number,
        }
    }

    /// What a replay has to read, oldest first.
    pub(crate) fn segments(&self) -> Vec<SegmentInfo> {
        self.sealed.iter().cloned().collect()
    }

    /// Ends the open segment, so that all there is now stands in segments up to the answered number.
    /// Nothing where the log is empty.
    pub(crate) fn rotate(&mut self) -> io::Result<Option<u64>> {
        if let Some(active) = &self.active {
            let synced = active.file.sync();
            self.close_active();
            synced?;
        }
        Ok(self.newest_number())
    }

    /// Deletes the segments up to a number, whose content is elsewhere; later ones get greater numbers.
    pub(crate) fn forget_through(&mut self, number: u64) -> io::Result<()> {
        self.next_number = self.next_number.max(number.saturating_add(1));
        while self.sealed.front().is_some_and(|info| info.number <= number) {
            self.drop_oldest()?;
        }
        Ok(())
    }

    /// Moves a segment that cannot be read to `quarantine/`, so that it is not deleted as one whose content is elsewhere.
    pub(crate) fn set_aside(&mut self, info: &SegmentInfo) -> io::Result<()> {
        let shelf = self.directory.join("quarantine");
        fs::create_dir_all(&shelf)?;
        if let Some(name) = info.path.file_name() {
            fs::rename(&info.path, shelf.join(name))?;
        }
        self.sealed.retain(|known| known.number != info.number);
        sync_directory(&self.directory)
    }

    /// Forgets a segment that recovery moved away, and learns the new length of one it cut.
    pub(crate) fn recovered(&mut self, number: u64, outcome: Recovered) {
        match outcome {
            Recovered::Intact => {}
            Recovered::Cut { bytes } => {
                if let Some(info) = self.sealed.iter_mut().find(|info| info.number == number) {
                    info.bytes = bytes;
                }
            }
            Recovered::Gone => self.sealed.retain(|info| info.number != number),
        }
    }

    pub(crate) fn newest_number(&self) -> Option<u64> {
        self.sealed.back().map(|info| info.number)
    }

    /// Makes sure a segment is open and answers its number.
    pub(crate) fn begin(&mut self, now_micros: i64) -> io::Result<u64> {
        if let Some(active) = &self.active {
            if active.info.bytes < self.segment_bytes {
                return Ok(active.info.number);
            }
            let synced = active.file.sync();
            self.close_active();
            synced?;
        }
        let number = self.next_number;
        let path = self.directory.join(format!("{number:016}.wal"));
        let file = match self.disk.create(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.next_number += 1;
                return Err(error);
            }
            other => other?,
        };
        let header = segment::header(self.signal, now_micros);
        if let Err(error) = file.append(&header).and_then(|()| sync_directory(&self.directory)) {
            // An empty file would only be found damaged at the next start.
            drop(fs::remove_file(&path));
            return Err(error);
        }
        self.next_number += 1;
        let bytes = u64::try_from(header.len()).unwrap_or(0);
        self.unsynced_bytes += bytes;
        self.active = Some(Active { info: SegmentInfo { number, path, bytes }, file });
        Ok(number)
    }

    /// Appends one frame to the segment that [`Wal::begin`] opened.
    pub(crate) fn write(&mut self, body: &[u8]) -> io::Result<()> {
        segment::frame(body, &mut self.frame)?;
        let Some(active) = &mut self.active else {
            return Err(io::Error::other("no segment is open"));
        };
        let size = u64::try_from(self.frame.len()).unwrap_or(u64::MAX);
        match active.file.append(&self.frame) {
            Ok(()) => {
                active.info.bytes += size;
                self.unsynced_bytes += size;
                self.frame.shrink_to(1024 * 1024);
                Ok(())
            }
            Err(error) => {
                // Should the cut fail too, the torn frame stays last in a closed segment and
                // recovery cuts it there.
                drop(active.file.truncate(active.info.bytes));
                self.close_active();
                Err(error)
            }
        }
    }

    fn close_active(&mut self) {
        if let Some(active) = self.active.take() {
            self.sealed.push_back(active.info);
        }
    }

    /// Closes the segment without losing anything, after a sync failed: what the kernel could not
    /// write it may have dropped, and only a new file makes later syncs trustworthy.
    pub(crate) fn abandon_segment(&mut self) {
        self.close_active();
    }

    pub(crate) fn unsynced_bytes(&self) -> u64 {
        self.unsynced_bytes
    }

    /// The file that has bytes to sync, if any; the count of unsynced bytes starts again.
    pub(crate) fn dirty_file(&mut self) -> Option<Arc<dyn SegmentFile>> {
        if self.unsynced_bytes == 0 { None } else { self.active_file() }
    }

    /// The open file whether or not another thread is already syncing it.
    pub(crate) fn active_file(&mut self) -> Option<Arc<dyn SegmentFile>> {
        self.unsynced_bytes = 0;
        self.active.as_ref().map(|active| Arc::clone(&active.file))
    }

    pub(crate) fn total_bytes(&self) -> u64 {
        let sealed: u64 = self.sealed.iter().map(|info| info.bytes).sum();
        sealed + self.active.as_ref().map_or(0, |active| active.info.bytes)
    }

    /// Deletes the oldest sealed segment, or holds it.
    fn drop_oldest(&mut self) -> io::Result<()> {
        let Some(info) = self.sealed.front() else { return Ok(()) };
        if self.held.is_wanted() {
            self.held.take(info)?;
            self.sealed.pop_front();
            report_given_up(self.signal, self.held.fit()?);
            return sync_directory(&self.directory);
        }
        match fs::remove_file(&info.path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.sealed.pop_front();
        sync_directory(&self.directory)
    }
}

pub(super) fn list(directory: &Path) -> io::Result<Vec<SegmentInfo>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let name = entry.file_name();
        let Some(number) = name.to_str().and_then(|name| name.strip_suffix(".wal")?.parse().ok()) else {
            continue;
        };
        let metadata = entry.metadata()?;
        found.push(SegmentInfo { number, path: entry.path(), bytes: metadata.len() });
    }
    Ok(found)
}

/// What recovery did to one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Recovered {
    Intact,
    Cut { bytes: u64 },
    Gone,
}

/// Reads one segment into `visit` and repairs what is damaged. `newest` says that a torn end is
/// the expected mark of a crash and needs no quarantine.
pub(crate) fn replay_segment(
    info: &SegmentInfo,
    signal: Signal,
    newest: bool,
    visit: impl FnMut(&[u8]) -> Result<(), Damaged>,
) -> io::Result<Recovered> {
    match segment::read(&info.path, signal, visit)? {
        End::Clean => Ok(Recovered::Intact),
        End::Damaged { intact: 0 } => {
            quarantine(&info.path, 0)?;
            fs::remove_file(&info.path)?;
            sync_parent(&info.path)?;
            Ok(Recovered::Gone)
        }
        End::Damaged { intact } => {
            if !newest {
                quarantine(&info.path, intact)?;
            }
            let file = fs::OpenOptions::new().write(true).open(&info.path)?;
            file.set_len(intact)?;
            file.sync_all()?;
            Ok(Recovered::Cut { bytes: intact })
        }
    }
}

/// Copies the bytes from `offset` on beside the log, for a person to look at.
fn quarantine(path: &Path, offset: u64) -> io::Result<()> {
    let (Some(directory), Some(name)) = (path.parent(), path.file_name().and_then(|name| name.to_str()))
    else {
        return Ok(());
    };
    let shelf = directory.join("quarantine");
    fs::create_dir_all(&shelf)?;
    let mut from = fs::File::open(path)?;
    from.seek(SeekFrom::Start(offset))?;
    let mut to = fs::File::create(shelf.join(format!("{name}.{offset}")))?;
    let mut buffer = vec![0u8; 64 * 1024];
    loop {
        let count = from.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        to.write_all(buffer.get(..count).unwrap_or_default())?;
    }
    to.sync_all()?;
    thin_out(&shelf)?;
    sync_directory(&shelf)
}

/// Keeps the newest pieces only: a failing disk must not fill itself with evidence.
fn thin_out(shelf: &Path) -> io::Result<()> {
    let mut pieces: Vec<PathBuf> =
        fs::read_dir(shelf)?.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    pieces.sort();
    let surplus = pieces.len().saturating_sub(QUARANTINE_PIECES);
    pieces.iter().take(surplus).try_for_each(fs::remove_file)
}

fn sync_parent(path: &Path) -> io::Result<()> {
    path.parent().map_or(Ok(()), sync_directory)
}

#[cfg(test)]
mod tests;
