//! A small map on disk: silences, and which notifications were sent.
//!
//! # Layout
//!
//! One line for each change, `CRC32C JSON\n`, where the JSON is `[key, value]`, or `[key, null]` for one that is gone. The last
//! line of a key counts.
//!
//! # Protocol
//!
//! A change is appended and synced before it is acknowledged. When most lines are out of date, the file is written anew beside
//! itself, synced, renamed over the old one, and the directory synced.
//!
//! # Recovery
//!
//! A line whose checksum does not fit, such as one that a crash cut off, is left out and counted; the file is then written
//! anew at once, and the damaged one is kept as `NAME.damaged` for a person. Damage never stops the start.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::storage::disk::sync_directory;

/// Larger files are not ours.
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// A file with fewer lines is not worth being written anew.
const FEW_LINES: usize = 200;

pub(super) struct Journal<V> {
    path: PathBuf,
    file: File,
    lines: usize,
    entries: BTreeMap<String, V>,
}

impl<V: Serialize + DeserializeOwned> Journal<V> {
    /// Reads what is there, or begins anew.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory)?;
        }
        let (entries, lines, damaged) = match read(path) {
            Ok(found) => found,
            Err(error) if error.kind() == io::ErrorKind::NotFound => (BTreeMap::new(), 0, 0),
            Err(error) => return Err(error),
        };
        if damaged > 0 {
            metrics::counter!("quintet_sink_journal_damaged_lines_total").increment(damaged);
            tracing::warn!(journal = %path.display(), damaged, "left out damaged lines; the file is kept as .damaged");
            std::fs::rename(path, path.with_extension("damaged"))?;
        }
        let file = OpenOptions::new().append(true).create(true).open(path)?;
        let mut journal = Self { path: path.to_owned(), file, lines, entries };
        if damaged > 0 {
            journal.rewrite()?;
        }
        Ok(journal)
    }

    pub(super) fn entries(&self) -> &BTreeMap<String, V> {
        &self.entries
    }

    /// Stores a value; when this returns it survives a crash.
    pub(super) fn put(&mut self, key: &str, value: V) -> io::Result<()> {
        self.append(&line(key, Some(&value))?)?;
        self.entries.insert(key.to_owned(), value);
        self.rewrite_if_due()
    }

    /// Drops every entry for which `keep` does not hold.
    pub(super) fn retain(&mut self, keep: impl Fn(&str, &V) -> bool) -> io::Result<()> {
        let gone: Vec<String> = self
            .entries
            .iter()
            .filter(|(key, value)| !keep(key, value))
            .map(|(key, _)| key.clone())
            .collect();
        let mut lines = Vec::new();
        for key in &gone {
            lines.extend(line::<V>(key, None)?);
            self.entries.remove(key);
        }
        if !lines.is_empty() {
            self.lines += gone.len().saturating_sub(1);
            self.append(&lines)?;
        }
        self.rewrite_if_due()
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all(bytes)?;
        self.file.sync_data()?;
        self.lines += 1;
        Ok(())
    }

    fn rewrite_if_due(&mut self) -> io::Result<()> {
        if self.lines > FEW_LINES && self.lines > self.entries.len() * 4 { self.rewrite() } else { Ok(()) }
    }

    fn rewrite(&mut self) -> io::Result<()> {
        let beside = self.path.with_extension("new");
        let mut bytes = Vec::new();
        for (key, value) in &self.entries {
            bytes.extend(line(key, Some(value))?);
        }
        let mut file = File::create(&beside)?;
        file.write_all(&bytes)?;
        file.sync_all()?;
        std::fs::rename(&beside, &self.path)?;
        if let Some(directory) = self.path.parent() {
            sync_directory(directory)?;
        }
        self.file = OpenOptions::new().append(true).open(&self.path)?;
        self.lines = self.entries.len();
        Ok(())
    }
}

fn line<V: Serialize>(key: &str, value: Option<&V>) -> io::Result<Vec<u8>> {
    let json = serde_json::to_string(&(key, value))?;
    Ok(format!("{:08x} {json}\n", crc32c::crc32c(json.as_bytes())).into_bytes())
}

type Found<V> = (BTreeMap<String, V>, usize, u64);

fn read<V: DeserializeOwned>(path: &Path) -> io::Result<Found<V>> {
    if std::fs::metadata(path)?.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("larger than {MAX_BYTES} bytes")));
    }
    let bytes = std::fs::read(path)?;
    let (mut entries, mut lines, mut damaged) = (BTreeMap::new(), 0, 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        match parse(line) {
            Some((key, Some(value))) => drop(entries.insert(key, value)),
            Some((key, None)) => drop(entries.remove(&key)),
            None => damaged += 1,
        }
        lines += 1;
    }
    Ok((entries, lines, damaged))
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
        assert!(std::fs::metadata(&path).unwrap().len() < 20_000, "the file is written anew");
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
}
