//! A small map on disk: silences, and which notifications were sent.
//!
//! # Layout
//!
//! One line for each change, `CRC32C JSON\n`, where the JSON is `[key, value]`, or `[key, null]` for one that is gone. The last
//! line of a key counts.
//!
//! # Protocol
//!
//! A change is appended and synced before it is acknowledged. What an append that failed left behind is cut off, so that the next
//! line stands alone. When most of the file is out of date, and at each start, it is written anew beside itself, synced, renamed
//! over the old one, and the directory synced; nothing is appended to a file of which that is not certain.
//!
//! # Recovery
//!
//! A line whose checksum does not fit, such as one that a crash cut off, is left out and counted; the damaged file is kept as
//! `NAME.damaged` for a person, and stays in its place too until it is written anew. Neither damage nor a full disk stops the start.
//! A file larger than [`MAX_BYTES`] is moved there unread; ours never become that large.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::storage::disk::{Disk, RealDisk, SegmentFile, sync_directory};

/// A change that would make the file larger is refused.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// So many times what it holds may a file be, and so much more, before it is written anew.
const GROWTH: u64 = 4;
const FEW_BYTES: u64 = 64 * 1024;
/// Where the file is as large as may be, so much must have been appended for it to be written anew.
const WORTH: u64 = MAX_BYTES / 8;
/// How much is written at a time when the file is written anew.
const AT_ONCE: usize = 1024 * 1024;

pub(super) struct Journal<V> {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// None where it must be written anew before the next line.
    file: Option<Arc<dyn SegmentFile>>,
    /// How much of the file is whole lines that were acknowledged.
    length: u64,
    /// How long it was when it was written anew.
    base: u64,
    entries: BTreeMap<String, V>,
}

impl<V: Serialize + DeserializeOwned> Journal<V> {
    /// Reads what is there, or begins anew.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Self::open_on(Arc::new(RealDisk), path)
    }

    fn open_on(disk: Arc<dyn Disk>, path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        if std::fs::metadata(path).is_ok_and(|found| found.len() > MAX_BYTES) {
            metrics::counter!("quintet_sink_journal_damaged_lines_total").increment(1);
            tracing::warn!(journal = %path.display(), "set aside a journal that is too large, as .damaged");
            std::fs::rename(path, path.with_extension("damaged"))?;
        }
        let (entries, length, damaged) = match read(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), 0, 0),
            Err(error) => return Err(error),
        };
        if damaged > 0 {
            metrics::counter!("quintet_sink_journal_damaged_lines_total").increment(damaged);
            let kept = keep(path).is_ok();
            tracing::warn!(journal = %path.display(), damaged, kept, "left out damaged lines; the file is kept as .damaged");
        }
        let mut journal = Self { disk, path: path.to_owned(), file: None, length, base: length, entries };
        match journal.rewrite() {
            // What was read is still there, and the next change tries again.
            Err(error) if is_full(&error) => {
                tracing::warn!(journal = %path.display(), %error, "a journal cannot be written anew");
            }
            done => done?,
        }
        Ok(journal)
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, V> {
        &self.entries
    }

    /// Stores a value; when this returns it survives a crash.
    pub(super) fn put(&mut self, key: &str, value: V) -> io::Result<()> {
        self.change([(key.to_owned(), Some(value))])
    }

    /// Drops every entry for which `keep` does not hold.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &V) -> bool) -> io::Result<()> {
        let gone = self.entries.iter().filter(|(key, value)| !keep(key, value));
        let gone: Vec<_> = gone.map(|(key, _)| (key.clone(), None)).collect();
        self.change(gone)
    }

    /// Stores values and drops entries; where it fails nothing is changed.
    pub(super) fn change(
        &mut self,
        changes: impl IntoIterator<Item = (String, Option<V>)>,
    ) -> io::Result<()> {
        let changes: Vec<_> = changes.into_iter().collect();
        if changes.is_empty() {
            return Ok(());
        }
        let mut lines = Vec::new();
        for (key, value) in &changes {
            lines.extend(line(key, value.as_ref())?);
        }
        self.append(&lines)?;
        for (key, value) in changes {
            match value {
                Some(value) => drop(self.entries.insert(key, value)),
                None => drop(self.entries.remove(&key)),
            }
        }
        self.rewrite_if_due();
        Ok(())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let is_too_long = |journal: &Self| journal.length + length(bytes) > MAX_BYTES;
        if self.file.is_none() || is_too_long(self) && self.length - self.base > WORTH {
            self.rewrite()?;
        }
        if is_too_long(self) {
            let message = format!("{} would be larger than {MAX_BYTES} bytes", self.path.display());
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, message));
        }
        let Some(file) = self.file.take() else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.append(bytes) {
            // Half a line would spoil the one that is appended to it.
            if file.truncate(self.length).is_ok() {
                self.file = Some(file);
            }
            return Err(error);
        }
        // After a sync that failed nothing is certain about the file: it is written anew.
        file.sync()?;
        self.file = Some(file);
        self.length += length(bytes);
        Ok(())
    }

    /// What was changed is safe already: that the file is not made shorter is no failure of the change.
    fn rewrite_if_due(&mut self) {
        if self.length <= self.base.saturating_mul(GROWTH) + FEW_BYTES {
            return;
        }
        if let Err(error) = self.rewrite() {
            tracing::warn!(journal = %self.path.display(), %error, "a journal cannot be written anew");
            // It is tried again, but not with every change.
            self.base = self.length;
        }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        remove(&beside)?;
        let file = self.disk.create(&beside)?;
        let written = match self.write(file.as_ref()) {
            Ok(written) => written,
            Err(error) => {
                // It would take the space that there is too little of.
                remove(&beside)?;
                return Err(error);
            }
        };
        self.file = None;
        std::fs::rename(&beside, &self.path)?;
        if let Some(directory) = self.path.parent() {
            sync_directory(directory)?;
        }
        (self.file, self.length, self.base) = (Some(file), written, written);
        Ok(())
    }

    /// Writes every entry; the answer is how many bytes that took.
    fn write(&self, file: &dyn SegmentFile) -> io::Result<u64> {
        let mut written = 0;
        let mut lines = Vec::new();
        for (key, value) in &self.entries {
            lines.extend(line(key, Some(value))?);
            if lines.len() > AT_ONCE {
                file.append(&lines)?;
                written += length(&lines);
                lines.clear();
            }
        }
        file.append(&lines)?;
        file.sync()?;
        Ok(written + length(&lines))
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

fn remove(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Keeps a second name of a damaged file, or a copy where that is not possible.
fn keep(path: &Path) -> io::Result<()> {
    let kept = path.with_extension("damaged");
    remove(&kept)?;
    std::fs::hard_link(path, &kept).or_else(|_| std::fs::copy(path, &kept).map(drop))
}

fn line<V: Serialize>(key: &str, value: Option<&V>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(&(key, value))?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

/// The entries, the length of the file, and how many lines are damaged.
type Found<V> = (BTreeMap<String, V>, u64, u64);

fn read<V: DeserializeOwned>(path: &Path) -> io::Result<Found<V>> {
    let mut reader = BufReader::new(File::open(path)?);
    let (mut entries, mut read, mut damaged) = (BTreeMap::new(), 0, 0);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        match parse(&line) {
            Some((key, Some(value))) => drop(entries.insert(key, value)),
            Some((key, None)) => drop(entries.remove(&key)),
            None => damaged += 1,
        }
        read += length(&line);
        line.clear();
    }
    Ok((entries, read, damaged))
}

fn parse<V: DeserializeOwned>(line: &[u8]) -> Option<(String, Option<V>)> {
    let text = std::str::from_utf8(line.strip_suffix(b"\n")?).ok()?;
    let (sum, json) = text.split_once(' ')?;
    if u32::from_str_radix(sum, 16).ok()? != crc32c::crc32c(json.as_bytes()) {
        return None;
    }
    serde_json::from_str(json).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::disk::faulty::FaultyDisk;

    fn open(path: &Path) -> Journal<u32> {
        Journal::open(path).unwrap()
    }

    #[test]
    fn what_was_put_is_there_after_a_restart_and_what_was_dropped_is_not() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = open(&path);
        for number in 0..2000 {
            journal.put(&format!("k{}", number % 5), number).unwrap();
        }
        journal.retain(|key, _| key != "k1").unwrap();
        let expected = BTreeMap::from([("k0", 1995), ("k2", 1997), ("k3", 1998), ("k4", 1999)]);
        let shown = |journal: &Journal<u32>| journal.entries().clone();
        let expected: BTreeMap<String, u32> =
            expected.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
        assert_eq!(shown(&journal), expected);
        assert_eq!(shown(&open(&path)), expected);
    }

    #[test]
    fn few_large_values_that_change_often_leave_a_file_of_their_own_size() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal: Journal<String> = Journal::open(&path).unwrap();
        for number in 0..150 {
            let value = format!("{number}{}", "x".repeat(10_000));
            journal.put(&format!("k{}", number % 2), value).unwrap();
            let length = std::fs::metadata(&path).unwrap().len();
            assert!(length <= GROWTH * 20_100 + FEW_BYTES, "{length} after {number}");
        }
        let again: Journal<String> = Journal::open(&path).unwrap();
        assert!(again.entries()["k1"].starts_with("149x") && again.entries().len() == 2);
    }

    #[test]
    fn a_file_that_is_too_large_is_set_aside_and_stops_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        File::create(&path).unwrap().set_len(MAX_BYTES + 1).unwrap();
        open(&path).put("a", 1).unwrap();
        assert_eq!(open(&path).entries(), &BTreeMap::from([("a".to_owned(), 1)]));
        assert_eq!(std::fs::metadata(path.with_extension("damaged")).unwrap().len(), MAX_BYTES + 1);
    }

    #[test]
    fn a_change_that_would_make_the_file_too_large_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = open(&path);
        journal.put("a", 1).unwrap();
        // As if it held that much.
        (journal.length, journal.base) = (MAX_BYTES, MAX_BYTES);
        assert_eq!(journal.put("b", 2).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        assert_eq!(open(&path).entries().len(), 1);
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_survived_and_loses_no_other_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = open(&path);
        for (key, value) in [("a", 1), ("b", 2), ("c", 3)] {
            journal.put(key, value).unwrap();
        }
        let whole = std::fs::read(&path).unwrap();
        let line = whole.len() / 3;
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert_eq!(open(&path).entries().len(), length / line, "cut at {length}");
        }
        for at in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[at / 8] ^= 1 << (at % 8);
            std::fs::write(&path, &bytes).unwrap();
            let found = open(&path);
            assert!(!found.entries().is_empty(), "bit {at}");
            let changed =
                found.entries().iter().find(|(key, value)| journal.entries().get(*key) != Some(*value));
            assert_eq!(changed, None, "bit {at}");
            let mut again = open(&path);
            again.put("d", 4).unwrap();
            assert_eq!(open(&path).entries().get("d"), Some(&4));
        }
    }

    #[test]
    fn a_full_disk_spoils_no_line_that_was_acknowledged_before_or_after_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let disk = FaultyDisk::with_allowance(10_000);
        let mut journal: Journal<u32> = Journal::open_on(Arc::new(disk.clone()), &path).unwrap();
        journal.put("before", 1).unwrap();
        disk.allow(7);
        assert!(journal.put("refused", 2).is_err());
        assert_eq!(journal.entries().get("refused"), None);
        disk.allow(10_000);
        journal.put("after", 3).unwrap();
        let found = open(&path);
        assert_eq!(found.entries(), &BTreeMap::from([("before".to_owned(), 1), ("after".to_owned(), 3)]));
        assert!(!path.with_extension("damaged").exists(), "nothing was left of what was refused");
    }

    #[test]
    fn a_damaged_file_loses_nothing_more_where_the_disk_is_full_at_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("j");
        let mut journal = open(&path);
        journal.put("a", 1).unwrap();
        journal.put("b", 2).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        let disk = FaultyDisk::with_allowance(0);
        for _ in 0..2 {
            let mut journal: Journal<u32> = Journal::open_on(Arc::new(disk.clone()), &path).unwrap();
            assert_eq!(journal.entries().get("a"), Some(&1));
            assert!(journal.put("c", 3).is_err(), "what cannot be kept is not acknowledged");
        }
        disk.allow(10_000);
        let mut journal: Journal<u32> = Journal::open_on(Arc::new(disk), &path).unwrap();
        journal.put("c", 3).unwrap();
        assert_eq!(open(&path).entries(), &BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 3)]));
        assert_eq!(std::fs::read(path.with_extension("damaged")).unwrap().len(), whole.len() - 1);
    }
}
