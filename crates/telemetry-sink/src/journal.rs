//! The journal of systemd, read from its files.
//!
//! What is new is looked for each second, stored, and only then is the place remembered, in
//! `journal.cursor` in the storage directory: a line is stored again after a crash between the two, and never lost.
//! While the storage refuses nothing is read; the journal keeps it.
//!
//! Invariants: a round reads at most [`BATCH`] entries; a value is cut at [`MAX_VALUE`] bytes; a damaged file costs
//! its own entries and is told once a minute.

mod entry;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use quintet_service::Invalid;
use quintet_types::time::micros;
use sdjournal::{Cursor, EntryRef, Journal, SdJournalError};
use serde::{Deserialize, Serialize};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::ingest::count;
use crate::model::{Batch, LogRecord, Value};
use crate::storage::{AppendError, Signal, Storage};

const EVERY: Duration = Duration::from_secs(1);
const BATCH: usize = 1000;
const BATCH_BYTES: usize = 1024 * 1024;
const MAX_VALUE: usize = 64 * 1024;
/// How far back the first start reads, in microseconds.
const FIRST_READ: u64 = 3_600_000_000;
/// How many failing rounds pass between two warnings.
const WARN_EVERY: u32 = 60;

/// Whether and where the journal is read.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct JournalSection {
    /// Needs the right to read the files: the group `systemd-journal`.
    pub(crate) enabled: bool,
    pub(crate) directories: Vec<PathBuf>,
    /// Units whose lines are left out; `*` at the end stands for anything. The five send theirs themselves.
    pub(crate) skip_units: Vec<String>,
}

impl Default for JournalSection {
    fn default() -> Self {
        Self {
            enabled: false,
            directories: vec!["/var/log/journal".into(), "/run/log/journal".into()],
            skip_units: vec!["quintet-*".to_owned()],
        }
    }
}

impl JournalSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.enabled && self.directories.is_empty() {
            return Err(Invalid::new("journal.directories", "needs at least one directory"));
        }
        Ok(())
    }

    fn skips(&self, unit: &str) -> bool {
        let matches = |pattern: &String| match pattern.strip_suffix('*') {
            Some(prefix) => unit.starts_with(prefix),
            None => unit == pattern,
        };
        self.skip_units.iter().any(matches)
    }
}

/// Reads until the drain.
pub(crate) async fn run(
    settings: JournalSection,
    directory: &Path,
    storage: Arc<Storage>,
    shutdown: CancellationToken,
) {
    let mut reader = Reader::new(settings, directory.join("journal.cursor"));
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (storage, stop) = (Arc::clone(&storage), shutdown.clone());
        let rounds = tokio::task::spawn_blocking(move || {
            reader.catch_up(&storage, &stop);
            reader
        });
        match rounds.await {
            Ok(returned) => reader = returned,
            Err(error) => {
                tracing::error!(%error, "reading the journal stopped");
                return;
            }
        }
    }
}

/// Why a round read nothing.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error("cannot read the journal")]
    Journal(#[from] SdJournalError),
    #[error("cannot keep the place in the journal")]
    Place(#[source] io::Error),
    #[error("the storage refuses")]
    Storage(#[from] AppendError),
}

/// How far the journal has been read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Place {
    cursor: String,
    /// Where to go on should the entry itself be gone, in microseconds.
    realtime: u64,
}

struct Reader {
    settings: JournalSection,
    file: PathBuf,
    place: Option<Place>,
    /// The files as the last round found them; nothing is opened until they change.
    seen: Vec<(PathBuf, SystemTime, u64)>,
    failures: u32,
}

impl Reader {
    fn new(settings: JournalSection, file: PathBuf) -> Self {
        let place = std::fs::read(&file).ok().and_then(|text| serde_json::from_slice(&text).ok());
        Self { settings, file, place, seen: Vec::new(), failures: 0 }
    }

    /// Reads until there is nothing new.
    fn catch_up(&mut self, storage: &Storage, stop: &CancellationToken) {
        let files = files(&self.settings.directories);
        if files == self.seen || files.is_empty() || !storage.has_started() {
            return;
        }
        loop {
            match self.round(storage) {
                Ok(read) => {
                    self.failures = 0;
                    if read < BATCH || stop.is_cancelled() {
                        break;
                    }
                }
                Err(error) => {
                    self.report(&error);
                    return;
                }
            }
        }
        self.seen = files;
    }

    fn report(&mut self, error: &Failure) {
        if self.failures.is_multiple_of(WARN_EVERY) {
            let reason = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
            tracing::warn!(%error, reason, "the journal is not read; trying again each second");
        }
        self.failures = self.failures.saturating_add(1);
    }

    /// Stores one batch; returns how many entries it looked at.
    fn round(&mut self, storage: &Storage) -> Result<usize, Failure> {
        let journal = Journal::open_dirs(&self.settings.directories)?;
        let now = u64::try_from(micros(storage.clock().now())).unwrap_or(0);
        let mut query = journal.query();
        match &self.place {
            // By the cursor alone: a clock that was set back gives later entries earlier times.
            Some(place) => match Cursor::parse(&place.cursor) {
                Ok(cursor) => {
                    query.after_cursor(cursor);
                }
                Err(_) => {
                    query.since_realtime(place.realtime);
                }
            },
            None => {
                query.since_realtime(now.saturating_sub(FIRST_READ));
            }
        }
        query.limit(BATCH);
        let (mut batch, mut read, mut bytes, mut last) = (Batch::<LogRecord>::default(), 0, 0, None);
        for found in query.iter()? {
            let entry = found?;
            read += 1;
            bytes += self.take(&entry, &mut batch);
            last = Some(Place { cursor: entry.cursor()?.to_string(), realtime: entry.realtime_usec() });
            if bytes >= BATCH_BYTES {
                // As after a full batch, there may be more.
                read = BATCH;
                break;
            }
        }
        let Some(place) = last else { return Ok(0) };
        match storage.append_logs(&batch) {
            Ok(()) => count(Signal::Logs, batch.len()),
            // Trying again would end the same way, and nothing after it would ever be read.
            Err(AppendError::TooLarge) => metrics::counter!("quintet_sink_journal_dropped_total")
                .increment(u64::try_from(batch.len()).unwrap_or(0)),
            Err(error) => return Err(error.into()),
        }
        self.keep(place)?;
        Ok(read)
    }

    fn take(&self, entry: &EntryRef, batch: &mut Batch<LogRecord>) -> usize {
        let unit = entry.get("_SYSTEMD_UNIT").map(String::from_utf8_lossy).unwrap_or_default();
        if self.settings.skips(&unit) {
            return 0;
        }
        let fields = entry.iter_fields().map(|(name, value)| (name, value.get(..MAX_VALUE).unwrap_or(value)));
        let (resource, record) = entry::read(fields, entry.realtime_usec());
        let text = |value: &Value| if let Value::Text(text) = value { text.len() } else { 8 };
        let attributes = record.attributes.iter().map(|(name, value)| name.len() + text(value));
        let bytes = record.body.len() + attributes.sum::<usize>() + 1024;
        match batch.groups.iter_mut().find(|(known, _)| **known == resource) {
            Some((_, records)) => records.push(record),
            None => batch.groups.push((Arc::new(resource), vec![record])),
        }
        bytes
    }

    fn keep(&mut self, place: Place) -> Result<(), Failure> {
        let text = serde_json::to_vec(&place).map_err(|error| Failure::Place(error.into()))?;
        let fresh = self.file.with_extension("cursor.new");
        std::fs::write(&fresh, text)
            .and_then(|()| std::fs::rename(&fresh, &self.file))
            .map_err(Failure::Place)?;
        self.place = Some(place);
        Ok(())
    }
}

/// The journal's files with what changes when they are written: in the directories and one level below.
fn files(directories: &[PathBuf]) -> Vec<(PathBuf, SystemTime, u64)> {
    let list = |directory: &Path| {
        let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect::<Vec<_>>()
    };
    let mut paths: Vec<_> = directories.iter().flat_map(|directory| list(directory)).collect();
    let below: Vec<_> = paths.iter().filter(|path| path.is_dir()).flat_map(|path| list(path)).collect();
    paths.extend(below);
    let found = paths.into_iter().filter(|path| path.extension().is_some_and(|name| name == "journal"));
    let mut files: Vec<_> = found
        .filter_map(|path| {
            let meta = path.metadata().ok()?;
            let modified = meta.modified().ok()?;
            Some((path, modified, meta.len()))
        })
        .collect();
    files.sort_unstable();
    files
}

#[cfg(test)]
mod tests;
