//! Pieces of objects on this disk, the least recently read of which go first.
//!
//! It begins empty with each start: it holds nothing that is not in the bucket. What it gives is compared with checksums by who
//! asks.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

#[derive(Debug)]
pub(crate) struct Cache {
    directory: PathBuf,
    most: u64,
    pieces: Mutex<Pieces>,
}

#[derive(Debug, Default)]
struct Pieces {
    /// Bytes, and when it was read last.
    known: HashMap<String, (u64, u64)>,
    ages: BTreeMap<u64, String>,
    total: u64,
    now: u64,
}

impl Pieces {
    fn touch(&mut self, name: &str) -> bool {
        let Some((_, age)) = self.known.get_mut(name) else { return false };
        self.now += 1;
        self.ages.remove(age);
        *age = self.now;
        self.ages.insert(self.now, name.to_owned());
        true
    }

    fn remove(&mut self, name: &str) {
        if let Some((bytes, age)) = self.known.remove(name) {
            self.ages.remove(&age);
            self.total -= bytes;
        }
    }

    fn insert(&mut self, name: &str, bytes: u64) {
        self.remove(name);
        self.now += 1;
        self.known.insert(name.to_owned(), (bytes, self.now));
        self.ages.insert(self.now, name.to_owned());
        self.total += bytes;
    }

    /// Takes the pieces that are too much out.
    fn surplus(&mut self, most: u64) -> Vec<String> {
        let mut gone = Vec::new();
        while self.total > most {
            let Some((_, name)) = self.ages.first_key_value() else { break };
            let name = name.clone();
            self.remove(&name);
            gone.push(name);
        }
        gone
    }
}

impl Cache {
    /// Begins with an empty directory.
    pub(crate) fn open(directory: &Path, most: u64) -> io::Result<Self> {
        match fs::remove_dir_all(directory) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::create_dir_all(directory)?;
        Ok(Self { directory: directory.to_owned(), most, pieces: Mutex::default() })
    }

    // A panic while the lock was held leaves at worst a piece that is not counted until the next start.
    fn pieces(&self) -> MutexGuard<'_, Pieces> {
        self.pieces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.pieces().total
    }

    pub(crate) fn get(&self, name: &str) -> Option<Bytes> {
        if !self.pieces().touch(name) {
            return None;
        }
        // Another reader may have pushed it out by now.
        fs::read(self.directory.join(name)).ok().map(Bytes::from)
    }

    /// Keeps a piece. Where the disk does not let us, it is fetched again.
    pub(crate) fn put(&self, name: &str, piece: &Bytes) {
        if fs::write(self.directory.join(name), piece).is_err() {
            self.forget(name);
            return;
        }
        let gone = {
            let mut pieces = self.pieces();
            pieces.insert(name, u64::try_from(piece.len()).unwrap_or(u64::MAX));
            pieces.surplus(self.most)
        };
        for name in gone {
            self.delete(&name);
        }
    }

    pub(crate) fn forget(&self, name: &str) {
        self.pieces().remove(name);
        self.delete(name);
    }

    fn delete(&self, name: &str) {
        // What stays is overwritten or removed by the next start.
        drop(fs::remove_file(self.directory.join(name)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_recently_read_piece_goes_first_and_the_bound_holds() {
        let directory = tempfile::tempdir().unwrap();
        let cache = Cache::open(directory.path(), 250).unwrap();
        let piece = Bytes::from(vec![7; 100]);
        cache.put("a", &piece);
        cache.put("b", &piece);
        assert_eq!(cache.get("a").unwrap(), piece);
        cache.put("c", &piece);
        assert_eq!(cache.bytes(), 200);
        assert!(cache.get("b").is_none() && cache.get("a").is_some() && cache.get("c").is_some());
        let files = fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(files, 2);
        drop(cache);
        let cache = Cache::open(directory.path(), 250).unwrap();
        assert!(cache.get("a").is_none());
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
