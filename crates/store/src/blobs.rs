//! Large immutable files beside the database, named by the SHA-256 of their content.
//!
//! Layout: `DIR/ab/cdef…` (two hexadecimal digits, then the other 62), temporary files in
//! `DIR/tmp`. A blob is written to `tmp`, flushed, renamed into place, and the directory flushed;
//! a crash leaves at most a temporary file, which the next [`Blobs::open`] removes. Writing the
//! same content twice is one file, which makes a repeated job harmless. Blobs are never changed.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What can go wrong with a blob.
#[derive(Debug, Error)]
pub enum BlobError {
    /// The directory or a file in it cannot be used.
    #[error("cannot use {path}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// More bytes came than the caller allows.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// The text is not 64 lower-case hexadecimal digits.
    #[error("a digest is 64 lower-case hexadecimal digits")]
    Digest,
}

/// The SHA-256 of a blob, 64 lower-case hexadecimal digits as text.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Digest(String);

impl Digest {
    /// The digest as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    fn of(hash: Sha256) -> Self {
        let text = hash.finalize().iter().fold(String::with_capacity(64), |mut text, byte| {
            use fmt::Write as _;
            let _ = write!(text, "{byte:02x}");
            text
        });
        Self(text)
    }
}

impl FromStr for Digest {
    type Err = BlobError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        if text.len() == 64 && text.bytes().all(digits) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BlobError::Digest)
        }
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A directory of blobs; cheap to clone.
#[derive(Debug, Clone)]
pub struct Blobs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    next: AtomicU64,
}

impl Blobs {
    /// Opens a directory of blobs, making it where it is missing. Several processes may share it.
    pub async fn open(dir: impl Into<PathBuf>) -> Result<Self, BlobError> {
        let dir = dir.into();
        let tmp = dir.join("tmp");
        tokio::fs::create_dir_all(&tmp)
            .await
            .map_err(|source| BlobError::Io { path: tmp.clone(), source })?;
        let blobs = Self(Arc::new(Inner { dir, next: AtomicU64::new(0) }));
        blobs.remove_stale_temporaries(&tmp).await;
        Ok(blobs)
    }

    /// Removes what crashed writers left, an hour old at least: a living one may be writing now.
    async fn remove_stale_temporaries(&self, tmp: &Path) {
        let Ok(mut entries) = tokio::fs::read_dir(tmp).await else { return };
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
        let path = self.0.dir.join("tmp").join(format!("{}-{number}", std::process::id()));
        let file = tokio::fs::File::create(&path)
            .await
            .map_err(|source| BlobError::Io { path: path.clone(), source })?;
        Ok(BlobWriter {
            blobs: self.clone(),
            file: Some(file),
            path,
            hash: Sha256::new(),
            written: 0,
            limit,
            kept: false,
        })
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
        let path = self.path(digest);
        match tokio::fs::metadata(&path).await {
            Ok(found) if found.len() > limit => return Err(BlobError::TooLarge { limit }),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(BlobError::Io { path, source }),
        }
        match tokio::fs::read(&path).await {
            Ok(bytes) => Ok(Some(bytes)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::Io { path, source }),
        }
    }

    /// Opens a blob to read it piece by piece, or gives nothing when it does not exist.
    pub async fn open_read(&self, digest: &Digest) -> Result<Option<BlobReader>, BlobError> {
        let path = self.path(digest);
        let opened = match tokio::fs::File::open(&path).await {
            Ok(file) => file.metadata().await.map(|found| (file, found.len())),
            Err(error) => Err(error),
        };
        match opened {
            Ok((file, size_bytes)) => Ok(Some(BlobReader { file, path, size_bytes })),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(BlobError::Io { path, source }),
        }
    }

    /// Whether a blob exists.
    pub async fn contains(&self, digest: &Digest) -> bool {
        tokio::fs::try_exists(self.path(digest)).await.unwrap_or(false)
    }

    /// Where a blob's file is, or would be.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        let (directory, name) = digest.0.split_at(2);
        self.0.dir.join(directory).join(name)
    }
}

/// Bytes read at once.
const CHUNK: usize = 64 * 1024;

/// A blob being read.
#[derive(Debug)]
pub struct BlobReader {
    file: tokio::fs::File,
    path: PathBuf,
    size_bytes: u64,
}

impl BlobReader {
    /// How long the blob is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The next bytes, or nothing at the end.
    pub async fn chunk(&mut self) -> Result<Option<Bytes>, BlobError> {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        match self.file.read_buf(&mut chunk).await {
            Ok(0) => Ok(None),
            Ok(_) => Ok(Some(chunk.freeze())),
            Err(source) => Err(BlobError::Io { path: self.path.clone(), source }),
        }
    }

    /// What is left of it.
    pub fn into_stream(self) -> impl Stream<Item = Result<Bytes, BlobError>> + Send {
        stream::try_unfold(self, |mut reader| async move {
            let chunk = reader.chunk().await?;
            Ok(chunk.map(|chunk| (chunk, reader)))
        })
    }
}

/// A blob being written; dropped before [`BlobWriter::finish`] it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    file: Option<tokio::fs::File>,
    path: PathBuf,
    hash: Sha256,
    written: u64,
    limit: u64,
    kept: bool,
}

impl BlobWriter {
    /// Appends `bytes`.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.written = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.written > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hash.update(bytes);
        let Some(file) = self.file.as_mut() else { return Err(BlobError::TooLarge { limit: 0 }) };
        file.write_all(bytes).await.map_err(|source| BlobError::Io { path: self.path.clone(), source })
    }

    /// Makes the blob durable and visible under its digest.
    pub async fn finish(mut self) -> Result<Digest, BlobError> {
        let digest = Digest::of(std::mem::take(&mut self.hash));
        let target = self.blobs.path(&digest);
        let directory = target.parent().map_or_else(|| self.blobs.0.dir.clone(), Path::to_path_buf);
        let failed = |path: &Path| {
            let path = path.to_path_buf();
            move |source| BlobError::Io { path, source }
        };
        if let Some(mut file) = self.file.take() {
            file.flush().await.map_err(failed(&self.path))?;
            file.sync_all().await.map_err(failed(&self.path))?;
        }
        tokio::fs::create_dir_all(&directory).await.map_err(failed(&directory))?;
        tokio::fs::rename(&self.path, &target).await.map_err(failed(&target))?;
        self.kept = true;
        let handle = tokio::fs::File::open(&directory).await.map_err(failed(&directory))?;
        handle.sync_all().await.map_err(failed(&directory))?;
        Ok(digest)
    }
}

impl Drop for BlobWriter {
    fn drop(&mut self) {
        if !self.kept {
            // Best effort: `open` removes what stays behind.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
