//! Large immutable files beside the database, named by the SHA-256 of their content.
//!
//! They are in a directory, or in a bucket of S3-compatible object storage, so that several machines see the same ones;
//! nothing outside this crate asks which. A blob is written to a file in `DIR/tmp` first, because its name is known only at its end,
//! and is visible under its name only when all of it is durable. Writing the same content twice is one blob, which makes
//! a repeated job harmless. Blobs are never changed.
//!
//! - Directory: `DIR/ab/cdef…` (two hexadecimal digits, then the other 62). The file is flushed, renamed into place, and the
//!   directory flushed.
//! - Bucket: an object `PREFIXab/cdef…`. The temporary file is sent and removed.
//!
//! A crash leaves at most a temporary file, which a later [`Blobs::open`] removes.

mod digest;
mod error;
mod place;
mod reader;
mod settings;
#[cfg(test)]
mod tests;
mod writer;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;

pub use self::digest::Digest;
pub use self::error::BlobError;
use self::place::Place;
pub use self::reader::BlobReader;
pub use self::settings::Settings;
pub use self::writer::BlobWriter;

/// Where blobs are; cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What is being written.
    temporary: PathBuf,
    next: AtomicU64,
    place: Place,
}

impl Blobs {
    /// Opens what the configuration names, making the directory where it is missing. Several processes may share it. Whether a
    /// bucket is there and lets us in is asked at once; one that does not answer is only warned of, because
    /// it may be back before it is needed.
    pub async fn open(settings: &Settings) -> Result<Self, BlobError> {
        let temporary = settings.blobs.join("tmp");
        tokio::fs::create_dir_all(&temporary)
            .await
            .map_err(|source| BlobError::Io { path: temporary.clone(), source })?;
        let place = match &settings.s3 {
            None => Place::Directory(settings.blobs.clone()),
            Some(bucket) => Place::Bucket(bucket_of(bucket).await?),
        };
        let blobs = Self(Arc::new(Inner { temporary, next: AtomicU64::new(0), place }));
        blobs.remove_stale_temporaries().await;
        Ok(blobs)
    }

    /// Blobs in a directory.
    pub async fn open_directory(directory: impl Into<PathBuf>) -> Result<Self, BlobError> {
        Self::open(&Settings { blobs: directory.into(), s3: None }).await
    }

    /// Removes what crashed writers left, an hour old at least: a living one may be writing now.
    async fn remove_stale_temporaries(&self) {
        let Ok(mut entries) = tokio::fs::read_dir(&self.0.temporary).await else { return };
        while let Ok(Some(entry)) = entries.next_entry().await {
            let age = entry.metadata().await.ok().and_then(|meta| meta.modified().ok()?.elapsed().ok());
            if age.is_some_and(|age| age.as_secs() > 3600) {
                // Another process may have removed it first.
                let _ = tokio::fs::remove_file(entry.path()).await;
            }
        }
    }

    /// Starts a blob of at most `limit` bytes; feed it and [`BlobWriter::finish`] it.
    pub async fn writer(&self, limit: u64) -> Result<BlobWriter, BlobError> {
        let number = self.0.next.fetch_add(1, Ordering::Relaxed);
        let path = self.0.temporary.join(format!("{}-{number}", std::process::id()));
        BlobWriter::create(self.clone(), path, limit).await
    }

    /// Stores `bytes`.
    pub async fn put(&self, bytes: &[u8]) -> Result<Digest, BlobError> {
        let mut writer = self.writer(u64::try_from(bytes.len()).unwrap_or(u64::MAX)).await?;
        writer.write(bytes).await?;
        writer.finish().await
    }

    /// A blob's bytes, or nothing when it does not exist.
    ///
    /// # Errors
    /// [`BlobError::TooLarge`] when it has more than `limit` bytes; it is not read then.
    pub async fn get(&self, digest: &Digest, limit: u64) -> Result<Option<Vec<u8>>, BlobError> {
        let Some(mut reader) = self.open_read(digest).await? else { return Ok(None) };
        if reader.size_bytes() > limit {
            return Err(BlobError::TooLarge { limit });
        }
        let mut bytes = Vec::with_capacity(usize::try_from(reader.size_bytes()).unwrap_or_default());
        while let Some(chunk) = reader.chunk().await? {
            bytes.extend_from_slice(&chunk);
        }
        Ok(Some(bytes))
    }

    /// Opens a blob to read it piece by piece, or gives nothing when it does not exist.
    pub async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>, BlobError> {
        self.0.place.open(digest).await
    }

    async fn keep(&self, temporary: &Path, digest: &Digest) -> Result<(), BlobError> {
        self.0.place.keep(temporary, digest).await
    }
}

/// The bytes that a reader gives at once.
type Chunk = Result<Option<Bytes>, BlobError>;

fn failed(path: &Path) -> impl FnOnce(io::Error) -> BlobError {
    let path = path.to_path_buf();
    move |source| BlobError::Io { path, source }
}

async fn bucket_of(settings: &quintet_s3::Settings) -> Result<quintet_s3::Bucket, BlobError> {
    let bucket = quintet_s3::Bucket::open(settings, "storage.s3")?;
    match bucket.check().await {
        Err(error @ quintet_s3::Error::Unreachable(_)) => {
            let endpoint = settings.endpoint.as_str();
            tracing::warn!(
                endpoint,
                error = &error as &dyn std::error::Error,
                "blobs cannot be read or written now"
            );
        }
        checked => checked?,
    }
    Ok(bucket)
}
