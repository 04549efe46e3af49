//! Parts whose data is in object storage: dropping data here, and pointing at what is missing here.

use std::io;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::flush::{put, replace};
use super::{Signal, Storage, lock, read, write};
use crate::offload::reader::Reader;
use crate::offload::{Copies, Error};
use crate::parts::Part;
use crate::parts::stub::Stub;

impl Storage {
    pub(crate) fn directory(&self) -> &Path {
        &self.limits.directory
    }

    pub(crate) fn max_bytes(&self) -> u64 {
        self.limits.max_bytes
    }

    pub(crate) fn reader(&self) -> &Reader {
        &self.reader
    }

    /// What the bucket is known to hold; nothing where none is configured.
    pub(crate) fn copies(&self) -> Option<Copies> {
        lock(&self.copies).clone()
    }

    pub(crate) fn note_copies(&self, change: impl FnOnce(&mut Copies)) {
        change(lock(&self.copies).get_or_insert_default());
    }

    /// Rows that are older are deleted, microseconds.
    pub(crate) fn retained_since(&self) -> i64 {
        let retention = i64::try_from(self.limits.retention.as_micros()).unwrap_or(i64::MAX);
        self.now_micros().saturating_sub(retention)
    }

    /// Every part that queries see.
    pub(crate) fn all_parts(&self) -> Vec<(Signal, Arc<Part>)> {
        let of = |signal: Signal, parts: &[Arc<Part>]| -> Vec<_> {
            parts.iter().map(|part| (signal, Arc::clone(part))).collect()
        };
        let mut all = of(Signal::Metrics, &read(&self.metrics_state).parts);
        all.extend(of(Signal::Logs, &read(&self.logs.state).parts));
        all.extend(of(Signal::Spans, &read(&self.spans.state).parts));
        all
    }

    fn with_parts<T>(&self, signal: Signal, change: impl FnOnce(&mut Vec<Arc<Part>>) -> T) -> T {
        match signal {
            Signal::Metrics => change(&mut write(&self.metrics_state).parts),
            Signal::Logs => change(&mut write(&self.logs.state).parts),
            Signal::Spans => change(&mut write(&self.spans.state).parts),
        }
    }

    fn open_stub(&self, part: &Path, stub: &Stub) -> Result<Part, Error> {
        let path = stub.write(part).map_err(|source| Error::File { path: part.to_owned(), source })?;
        Part::open_stub(&path, &self.reader).map_err(|source| Error::Part { path, source })
    }

    /// Removes the file of a part whose copy is known to be whole, and reads the part from the bucket from now on. One that
    /// was merged or deleted in the meantime stays so. Blocking.
    pub(crate) fn drop_data(&self, signal: Signal, part: &Arc<Part>, tail: Bytes) -> Result<(), Error> {
        let _only_one = lock(&self.maintaining);
        let known = |parts: &mut Vec<Arc<Part>>| parts.iter().any(|known| Arc::ptr_eq(known, part));
        if !self.with_parts(signal, known) {
            return Ok(());
        }
        let stub = Stub::new(&part.path, tail, part.bytes, part.written_micros);
        let stub = stub.ok_or_else(|| Error::Corrupt(part.path.display().to_string()))?;
        let remote = self.open_stub(&part.path, &stub)?;
        self.with_parts(signal, |parts| replace(parts, std::slice::from_ref(part), Some(remote)));
        match std::fs::remove_file(&part.path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(Error::File { path: part.path.clone(), source })
            }
            _ => Ok(()),
        }
    }

    /// Reads a part that is missing here from the bucket from now on, unless it is here by now. Blocking.
    pub(crate) fn attach(&self, signal: Signal, path: &Path, stub: &Stub) -> Result<(), Error> {
        let _only_one = lock(&self.maintaining);
        let number = crate::parts::stub::number(path);
        let known = |parts: &mut Vec<Arc<Part>>| {
            parts.iter().any(|part| {
                Some(part.facts.id) == number || number.is_some_and(|id| part.facts.replaces.contains(&id))
            })
        };
        if self.with_parts(signal, known) {
            return Ok(());
        }
        if let Some(day) = path.parent() {
            let made = std::fs::create_dir_all(day);
            made.map_err(|source| Error::File { path: day.to_owned(), source })?;
        }
        let part = self.open_stub(path, stub)?;
        self.with_parts(signal, |parts| put(parts, Some(part)));
        Ok(())
    }
}
