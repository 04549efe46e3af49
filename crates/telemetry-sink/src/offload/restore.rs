//! A data directory from the bucket.
//!
//! Nothing of the bucket is changed: a trial beside a running sink does it no harm. The sink that is started on the directory takes
//! the bucket over with the first part that it sends, and the sink that wrote to it before is refused from then on.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

use aws_lc_rs::digest::{Context, SHA256};
use quintet_s3::Bucket;

use super::copy::fetch_stub;
use super::manifest::{KEY, Manifest, RANGE, Stored};
use super::{Error, OffloadSection};
use crate::model::hex;
use crate::storage::disk::sync_directory;

/// What was restored.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Restored {
    /// Parts that are here again.
    pub(crate) whole: usize,
    /// Parts that stay in the bucket and are read from there.
    pub(crate) pointed_at: usize,
    /// Parts that an earlier try had brought.
    pub(crate) known: usize,
    pub(crate) bytes: u64,
}

/// Brings what the bucket's manifest names. What an interrupted try brought is not brought again.
pub(crate) async fn restore(
    bucket: &Bucket,
    directory: &Path,
    settings: &OffloadSection,
    now_micros: i64,
) -> Result<Restored, Error> {
    let nothing = || Error::Nothing(KEY.to_owned());
    let mut manifest = Manifest::fetch(bucket).await?.ok_or_else(nothing)?;
    match Manifest::load(directory)? {
        Some(known) if known.store == manifest.store && known.restored => {}
        Some(_) => return Err(Error::Occupied(directory.to_owned())),
        None if is_used(directory) => return Err(Error::Occupied(directory.to_owned())),
        None => {}
    }
    manifest.restored = true;
    manifest.save(directory).await?;
    let cutoff = settings.keep_micros().map(|keep| now_micros.saturating_sub(keep));
    let mut restored = Restored::default();
    for stored in &manifest.parts {
        let path = stored.path(directory).ok_or_else(|| Error::Corrupt(stored.key.clone()))?;
        if path.exists() || path.with_extension("remote").exists() {
            restored.known += 1;
            continue;
        }
        if let Some(day) = path.parent() {
            fs::create_dir_all(day).map_err(|source| Error::File { path: day.to_owned(), source })?;
        }
        if cutoff.is_some_and(|cutoff| stored.aged_micros < cutoff) {
            let stub = fetch_stub(bucket, stored, &path).await?;
            stub.write(&path).map_err(|source| Error::File { path, source })?;
            restored.pointed_at += 1;
        } else {
            bring(bucket, stored, &path).await?;
            restored.whole += 1;
            restored.bytes += stored.bytes;
        }
    }
    Ok(restored)
}

/// Whether a storage is there already.
fn is_used(directory: &Path) -> bool {
    ["parts", "wal"].iter().any(|name| {
        let kinds = fs::read_dir(directory.join(name)).into_iter().flatten().flatten();
        kinds.flat_map(|kind| fs::read_dir(kind.path())).flatten().next().is_some()
    })
}

/// Brings an object under its name, if it is what was sent.
async fn bring(bucket: &Bucket, stored: &Stored, path: &Path) -> Result<(), Error> {
    let unfinished = path.with_extension("unfinished");
    let failed = |source| Error::File { path: path.to_owned(), source };
    let corrupt = || Error::Corrupt(stored.key.clone());
    let mut file = fs::File::create(&unfinished).map_err(failed)?;
    let mut sum = Context::new(&SHA256);
    let mut start = 0;
    while start < stored.bytes {
        let end = stored.bytes.min(start + RANGE);
        let bytes = bucket.read(&stored.key, start..end).await?.ok_or_else(corrupt)?;
        if u64::try_from(bytes.len()) != Ok(end - start) {
            return Err(corrupt());
        }
        sum.update(&bytes);
        file.write_all(&bytes).map_err(failed)?;
        start = end;
    }
    if hex(sum.finish().as_ref()) != stored.sha256 {
        drop(fs::remove_file(&unfinished));
        return Err(corrupt());
    }
    // The age of rows from the future is that of their file.
    let written = UNIX_EPOCH + Duration::from_micros(u64::try_from(stored.written_micros).unwrap_or(0));
    file.set_modified(written).and_then(|()| file.sync_all()).map_err(failed)?;
    fs::rename(&unfinished, path).map_err(failed)?;
    path.parent().map_or(Ok(()), sync_directory).map_err(failed)
}
