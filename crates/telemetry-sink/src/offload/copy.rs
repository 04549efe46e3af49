//! One pass: copy, drop here, point at what is missing here, clear what nobody needs.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use quintet_s3::Bucket;

use super::manifest::{KEY, Manifest, RANGE, State, Stored, key_of};
use super::{Copies, Error, Offload};
use crate::model::hex;
use crate::parts::Part;
use crate::parts::stub::{self, Stub};
use crate::storage::{Signal, aged_micros};

/// Copies after which the bucket's manifest is replaced, so that a long first pass is not for nothing.
const COPIES: usize = 32;
/// Of `max_bytes`, in percent: beyond it the oldest parts are dropped here before their time.
const NEARLY_FULL: u64 = 80;

impl Offload {
    fn directory(&self) -> &Path {
        self.storage.directory()
    }

    /// Does everything that is due. What fails is tried again by the next pass.
    pub(crate) async fn pass(&self) -> Result<(), Error> {
        if !self.settings.writes() {
            return Ok(());
        }
        let mut known = self.manifest.lock().await;
        if known.is_none() {
            *known = Some(self.begin().await?);
        }
        let Some(manifest) = &mut *known else { return Ok(()) };
        self.copy(manifest).await?;
        self.clear(manifest).await?;
        if self.settings.keep_local_days.is_some() {
            self.point_at_missing(manifest).await?;
            self.drop_old(manifest).await?;
        }
        self.note_success(manifest);
        Ok(())
    }

    #[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
    fn note_success(&self, manifest: &Manifest) {
        let now = self.storage.now_micros();
        let parts = manifest.parts.iter().filter(|part| part.state == State::Stored);
        let bytes: u64 = parts.clone().map(|part| part.bytes).sum();
        let count = parts.count();
        metrics::gauge!("quintet_sink_offload_last_success_timestamp_seconds").set(now as f64 / 1e6);
        metrics::gauge!("quintet_sink_offload_stored_parts").set(count as f64);
        metrics::gauge!("quintet_sink_offload_stored_bytes").set(bytes as f64);
        self.storage.note_copies(|copies| {
            *copies = Copies { parts: count, bytes, last_success: Some(now), error: None };
        });
    }

    /// The manifest to go on with, once it is known that the bucket is this store's.
    async fn begin(&self) -> Result<Manifest, Error> {
        let directory = self.directory().to_owned();
        let ours = tokio::task::spawn_blocking(move || Manifest::load(&directory)).await??;
        let theirs = Manifest::fetch(&self.bucket).await?;
        match (ours, theirs) {
            (Some(ours), theirs) => ours.compare(theirs.as_ref()).map(|()| ours),
            (None, Some(_)) => Err(Error::Foreign),
            (None, None) => {
                let mut name = [0; 16];
                self.entropy.fill(&mut name);
                Ok(Manifest::new(hex(&name)))
            }
        }
    }

    /// Copies what is due and not there.
    async fn copy(&self, manifest: &mut Manifest) -> Result<(), Error> {
        let stored: HashSet<String> = manifest.stored().into_iter().map(str::to_owned).collect();
        let due = self.due();
        let wanted = self.storage.all_parts().into_iter().filter(|(_, part)| {
            let asked = self.settings.backup || due.contains(&part.path);
            asked && !part.is_remote() && !part.is_damaged()
        });
        let missing = |part: &Arc<Part>| key_of(part).filter(|key| !stored.contains(key));
        let wanted: Vec<_> =
            wanted.filter_map(|(signal, part)| Some((missing(&part)?, signal, part))).collect();
        let count = wanted.len();
        for (number, (key, signal, part)) in wanted.into_iter().enumerate() {
            self.copy_one(manifest, key, signal, &part).await?;
            if (number + 1) % COPIES == 0 || number + 1 == count {
                manifest.publish(&self.bucket, self.directory()).await?;
            }
        }
        Ok(())
    }

    async fn copy_one(
        &self,
        manifest: &mut Manifest,
        key: String,
        signal: Signal,
        part: &Arc<Part>,
    ) -> Result<(), Error> {
        let path = part.path.clone();
        let sum = match tokio::task::spawn_blocking(move || sum_of_file(&path)).await? {
            Ok(sum) => sum,
            // Merged or deleted since; the next pass sees what took its place.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(Error::File { path: part.path.clone(), source }),
        };
        let mut entry = Stored {
            key,
            bytes: part.bytes,
            sha256: hex(&sum),
            aged_micros: aged_micros(signal, part),
            written_micros: part.written_micros,
            state: State::Sending,
        };
        manifest.set(entry.clone());
        manifest.save(self.directory()).await?;
        match self.bucket.put_file(&entry.key, &part.path, &sum).await {
            Err(quintet_s3::Error::File { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(());
            }
            sent => sent?,
        }
        if self.bucket.size(&entry.key).await? != Some(entry.bytes) {
            return Err(Error::Corrupt(entry.key));
        }
        entry.state = State::Stored;
        metrics::counter!("quintet_sink_offload_copied_parts_total").increment(1);
        metrics::counter!("quintet_sink_offload_copied_bytes_total").increment(entry.bytes);
        manifest.set(entry);
        manifest.save(self.directory()).await
    }

    /// The parts whose data need not stay here: old ones, the oldest while the disk is nearly full, and damaged ones.
    fn due(&self) -> HashSet<PathBuf> {
        let Some(keep) = self.settings.keep_micros() else { return HashSet::new() };
        let cutoff = self.storage.now_micros().saturating_sub(keep);
        let mut here: Vec<_> =
            self.storage.all_parts().into_iter().filter(|(_, part)| !part.is_remote()).collect();
        here.sort_by_key(|(signal, part)| aged_micros(*signal, part));
        let usage = self.storage.usage();
        let mut left: u64 = usage.local_bytes.iter().chain(&usage.log_bytes).sum();
        let most = self.storage.max_bytes() / 100 * NEARLY_FULL;
        let mut due = HashSet::new();
        for (signal, part) in here {
            if aged_micros(signal, &part) < cutoff || left > most || part.is_damaged() {
                left = left.saturating_sub(part.local_bytes);
                due.insert(part.path.clone());
            }
        }
        due
    }

    /// Drops data here that is in the bucket, once it was read back.
    async fn drop_old(&self, manifest: &mut Manifest) -> Result<(), Error> {
        let due = self.due();
        for (signal, part) in self.storage.all_parts() {
            let stored = key_of(&part).and_then(|key| manifest.find(&key)).cloned();
            let Some(stored) = stored.filter(|stored| stored.state == State::Stored) else { continue };
            if part.is_remote() || !due.contains(&part.path) {
                continue;
            }
            if !read_back(&self.bucket, &stored).await? {
                metrics::counter!("quintet_sink_offload_corrupt_objects_total").increment(1);
                tracing::error!(key = stored.key, "an object is not what was sent; it is sent again");
                manifest.parts.retain(|known| known.key != stored.key);
                manifest.save(self.directory()).await?;
                continue;
            }
            let tail = stub::tail_range(&part.path, stored.bytes);
            let tail = tail.ok_or_else(|| Error::Corrupt(stored.key.clone()))?;
            let bytes = self.bucket.read(&stored.key, tail).await?.unwrap_or_default();
            let storage = Arc::clone(&self.storage);
            tokio::task::spawn_blocking(move || storage.drop_data(signal, &part, bytes)).await??;
            metrics::counter!("quintet_sink_offload_dropped_parts_total").increment(1);
        }
        Ok(())
    }

    /// Makes parts that are stored, wanted, and not here answer queries from the bucket.
    async fn point_at_missing(&self, manifest: &Manifest) -> Result<(), Error> {
        let here = self.here();
        for stored in manifest.parts.iter().filter(|part| part.state == State::Stored) {
            let (Some(signal), Some(path)) = (stored.signal(), stored.path(self.directory())) else {
                continue;
            };
            if here.contains(&stored.key) || self.is_superseded(signal, stored) {
                continue;
            }
            let stub = fetch_stub(&self.bucket, stored, &path).await?;
            let storage = Arc::clone(&self.storage);
            tokio::task::spawn_blocking(move || storage.attach(signal, &path, &stub)).await??;
            tracing::warn!(key = stored.key, "a part was missing here; it is read from the bucket");
        }
        Ok(())
    }

    /// Removes objects whose part is in another one by now or is older than the retention, and what was being sent when its
    /// part went.
    async fn clear(&self, manifest: &mut Manifest) -> Result<(), Error> {
        let here = self.here();
        let mut changed = false;
        let leaves: HashSet<String> = manifest
            .parts
            .iter()
            .filter(|part| {
                let Some(signal) = part.signal() else { return true };
                match part.state {
                    State::Leaving => true,
                    State::Sending => !here.contains(&part.key),
                    State::Stored => {
                        !here.contains(&part.key) && self.is_superseded_in(manifest, signal, part)
                    }
                }
            })
            .map(|part| part.key.clone())
            .collect();
        for part in manifest.parts.iter_mut().filter(|part| leaves.contains(&part.key)) {
            changed |= part.state == State::Stored;
            part.state = State::Leaving;
        }
        if leaves.is_empty() {
            return Ok(());
        }
        manifest.save(self.directory()).await?;
        if changed {
            manifest.publish(&self.bucket, self.directory()).await?;
        }
        for key in leaves.iter().filter(|key| *key != KEY) {
            self.bucket.delete(key).await?;
        }
        manifest.parts.retain(|part| part.state != State::Leaving);
        manifest.save(self.directory()).await
    }

    /// The keys of the parts that queries see.
    fn here(&self) -> HashSet<String> {
        self.storage.all_parts().iter().filter_map(|(_, part)| key_of(part)).collect()
    }

    fn is_superseded_in(&self, manifest: &Manifest, signal: Signal, stored: &Stored) -> bool {
        let stored_keys = manifest.stored();
        let by_one_that_is_stored = self.storage.all_parts().iter().any(|(of, part)| {
            *of == signal
                && replaces(part, stored)
                && key_of(part).is_some_and(|key| stored_keys.contains(key.as_str()))
        });
        by_one_that_is_stored || self.is_expired(stored)
    }

    /// Whether a part is no longer wanted: its content is in another one, or it is too old.
    fn is_superseded(&self, signal: Signal, stored: &Stored) -> bool {
        let replaced = |(of, part): &(Signal, Arc<Part>)| *of == signal && replaces(part, stored);
        self.is_expired(stored) || self.storage.all_parts().iter().any(replaced)
    }

    fn is_expired(&self, stored: &Stored) -> bool {
        stored.aged_micros < self.storage.retained_since()
    }
}

fn replaces(part: &Part, stored: &Stored) -> bool {
    stored.number().is_some_and(|number| part.facts.replaces.contains(&number))
}

/// The stub of a stored part, from the bucket.
pub(super) async fn fetch_stub(bucket: &Bucket, stored: &Stored, path: &Path) -> Result<Stub, Error> {
    let corrupt = || Error::Corrupt(stored.key.clone());
    let range = stub::tail_range(path, stored.bytes).ok_or_else(corrupt)?;
    let tail: Bytes = bucket.read(&stored.key, range).await?.unwrap_or_default();
    Stub::new(path, tail, stored.bytes, stored.written_micros).ok_or_else(corrupt)
}

/// Whether an object is what was sent.
async fn read_back(bucket: &Bucket, stored: &Stored) -> Result<bool, Error> {
    let mut sum = Context::new(&SHA256);
    let mut start = 0;
    while start < stored.bytes {
        let end = stored.bytes.min(start + RANGE);
        let Some(bytes) = bucket.read(&stored.key, start..end).await? else { return Ok(false) };
        if u64::try_from(bytes.len()) != Ok(end - start) {
            return Ok(false);
        }
        sum.update(&bytes);
        start = end;
    }
    Ok(hex(sum.finish().as_ref()) == stored.sha256)
}

fn sum_of_file(path: &Path) -> std::io::Result<[u8; 32]> {
    use std::io::Read as _;
    let mut file = std::fs::File::open(path)?;
    let mut sum = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        let count = file.read(&mut buffer)?;
        if count == 0 {
            break;
        }
        sum.update(buffer.get(..count).unwrap_or_default());
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(sum.finish().as_ref());
    Ok(bytes)
}
