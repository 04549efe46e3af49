//! What is in the bucket.
//!
//! The bucket's manifest names stored objects alone; the one here also those that are being sent and those that are to go, so
//! that an interruption leaves no object that nobody knows. It is replaced whole, by a rename here and by one request there.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use bytes::{Bytes, BytesMut};
use quintet_s3::Bucket;
use serde::{Deserialize, Serialize};

use super::Error;
use crate::parts::{Part, stub};
use crate::storage::Signal;
use crate::storage::disk::sync_directory;

/// The manifest's object.
pub(crate) const KEY: &str = "manifest.json";
const VERSION: u32 = 1;
/// A manifest that is longer is not read: about 200,000 parts.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// Bytes of an object that are read at once.
pub(crate) const RANGE: u64 = 8 * 1024 * 1024;

/// Where an object is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum State {
    Sending,
    Stored,
    Leaving,
}

/// One part in the bucket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stored {
    /// Its name in the bucket, and below the directory here.
    pub(crate) key: String,
    pub(crate) bytes: u64,
    /// In base 16.
    pub(crate) sha256: String,
    /// The time that counts for retention, microseconds.
    pub(crate) aged_micros: i64,
    pub(crate) written_micros: i64,
    pub(crate) state: State,
}

impl Stored {
    pub(crate) fn signal(&self) -> Option<Signal> {
        [Signal::Metrics, Signal::Logs, Signal::Spans]
            .into_iter()
            .find(|signal| self.key.starts_with(&format!("parts/signal={}/", signal.as_str())))
    }

    /// Where it belongs below a directory; nothing where the manifest names what is no part.
    pub(crate) fn path(&self, directory: &Path) -> Option<PathBuf> {
        self.signal()?;
        let path = directory.join(&self.key);
        let day = path.parent()?.file_name()?.to_str()?.starts_with("date=");
        let plain = self.key.split('/').count() == 4 && !self.key.contains("..");
        (day && plain && stub::number(&path).is_some()).then_some(path)
    }

    pub(crate) fn number(&self) -> Option<u64> {
        stub::number(Path::new(&self.key))
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Manifest {
    version: u32,
    /// Whose telemetry it is: a random name that a data directory gets when it first sends something.
    pub(crate) store: String,
    /// How often it was restored; who finds a higher one than its own has been taken over.
    pub(crate) generation: u64,
    /// Whether it was restored here and has not been sent back.
    #[serde(default)]
    pub(crate) restored: bool,
    pub(crate) parts: Vec<Stored>,
}

impl Manifest {
    pub(crate) fn new(store: String) -> Self {
        Self { version: VERSION, store, generation: 0, restored: false, parts: Vec::new() }
    }

    fn place(directory: &Path) -> PathBuf {
        directory.join("offload").join(KEY)
    }

    /// The manifest of a data directory, if it has one.
    pub(crate) fn load(directory: &Path) -> Result<Option<Self>, Error> {
        let path = Self::place(directory);
        match fs::read(&path) {
            Ok(bytes) => parse(&bytes, &path.display().to_string()).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(Error::File { path, source }),
        }
    }

    /// The highest number of a part of each signal that is in the bucket: no new part may have it.
    pub(crate) fn used(&self) -> HashMap<&'static str, u64> {
        let mut used = HashMap::new();
        for (signal, number) in self.parts.iter().filter_map(|part| Some((part.signal()?, part.number()?))) {
            let known = used.entry(signal.as_str()).or_insert(0);
            *known = number.max(*known);
        }
        used
    }

    /// Replaces the manifest of a data directory.
    pub(crate) async fn save(&self, directory: &Path) -> Result<(), Error> {
        let (manifest, directory) = (self.clone(), directory.to_owned());
        tokio::task::spawn_blocking(move || manifest.save_now(&directory)).await?
    }

    fn save_now(&self, directory: &Path) -> Result<(), Error> {
        let path = Self::place(directory);
        let write = || -> io::Result<()> {
            let parent = directory.join("offload");
            fs::create_dir_all(&parent)?;
            let unfinished = path.with_extension("unfinished");
            let file = fs::File::create(&unfinished)?;
            serde_json::to_writer(io::BufWriter::new(&file), self)?;
            file.sync_all()?;
            fs::rename(&unfinished, &path)?;
            sync_directory(&parent)
        };
        write().map_err(|source| Error::File { path: path.clone(), source })
    }

    /// The bucket's manifest, if there is one.
    pub(crate) async fn fetch(bucket: &Bucket) -> Result<Option<Self>, Error> {
        let Some(size) = bucket.size(KEY).await? else { return Ok(None) };
        if size > MAX_BYTES {
            let reason = format!("it has {size} bytes, more than {MAX_BYTES}");
            return Err(Error::Manifest { place: KEY.to_owned(), reason });
        }
        let mut bytes = BytesMut::new();
        for start in (0..size).step_by(usize::try_from(RANGE).unwrap_or(1)) {
            let range = bucket.read(KEY, start..size.min(start + RANGE)).await?;
            bytes.extend_from_slice(&range.unwrap_or_default());
        }
        parse(&bytes, KEY).map(Some)
    }

    /// Replaces the bucket's manifest by what is stored, unless the bucket is another's by now.
    pub(crate) async fn publish(&mut self, bucket: &Bucket, directory: &Path) -> Result<(), Error> {
        let theirs = Self::fetch(bucket).await?;
        self.compare(theirs.as_ref())?;
        if self.restored {
            self.generation += 1;
            self.restored = false;
        }
        let mut shown = self.clone();
        shown.parts.retain(|part| part.state == State::Stored);
        let text = serde_json::to_vec(&shown)
            .map_err(|error| Error::Manifest { place: KEY.to_owned(), reason: error.to_string() })?;
        let sum = sum_of(&text);
        if text.len() < quintet_s3::PART {
            bucket.put(KEY, Bytes::from(text), &sum).await?;
        } else {
            let path = directory.join("offload").join("manifest.sent");
            let written = tokio::fs::write(&path, &text).await;
            written.map_err(|source| Error::File { path: path.clone(), source })?;
            bucket.put_file(KEY, &path, &sum).await?;
        }
        self.save(directory).await
    }

    /// Whether the bucket's manifest is an earlier state of this one.
    pub(crate) fn compare(&self, theirs: Option<&Self>) -> Result<(), Error> {
        match theirs {
            Some(theirs) if theirs.store != self.store || theirs.generation > self.generation => {
                Err(Error::Foreign)
            }
            _ => Ok(()),
        }
    }

    pub(crate) fn find(&self, key: &str) -> Option<&Stored> {
        self.parts.iter().find(|part| part.key == key)
    }

    pub(crate) fn set(&mut self, part: Stored) {
        match self.parts.iter_mut().find(|known| known.key == part.key) {
            Some(known) => *known = part,
            None => self.parts.push(part),
        }
    }

    pub(crate) fn stored(&self) -> HashSet<&str> {
        let stored = self.parts.iter().filter(|part| part.state == State::Stored);
        stored.map(|part| part.key.as_str()).collect()
    }
}

/// The name of a part's object.
pub(crate) fn key_of(part: &Part) -> Option<String> {
    stub::Stub::key(&part.path.with_extension("parquet"))
}

pub(crate) fn sum_of(bytes: &[u8]) -> [u8; 32] {
    let mut sum = [0; 32];
    sum.copy_from_slice(digest(&SHA256, bytes).as_ref());
    sum
}

fn parse(bytes: &[u8], place: &str) -> Result<Manifest, Error> {
    let failed = |reason: String| Error::Manifest { place: place.to_owned(), reason };
    let manifest: Manifest = serde_json::from_slice(bytes).map_err(|error| failed(error.to_string()))?;
    if manifest.version != VERSION {
        return Err(failed(format!(
            "version {} is not {VERSION}; use a newer telemetry-sink",
            manifest.version
        )));
    }
    Ok(manifest)
}
