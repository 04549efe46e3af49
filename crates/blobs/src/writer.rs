//! Writing a blob piece by piece.

use std::path::PathBuf;

use sha2::{Digest as _, Sha256};
use tokio::io::AsyncWriteExt as _;

use crate::{BlobError, Blobs, Digest, failed};

/// A blob being written; dropped before [`BlobWriter::finish`] it leaves nothing.
#[derive(Debug)]
pub struct BlobWriter {
    blobs: Blobs,
    file: tokio::fs::File,
    path: PathBuf,
    hash: Sha256,
    written: u64,
    limit: u64,
    kept: bool,
}

impl BlobWriter {
    pub(crate) async fn create(blobs: Blobs, path: PathBuf, limit: u64) -> Result<Self, BlobError> {
        let file = tokio::fs::File::create(&path).await.map_err(failed(&path))?;
        Ok(Self { blobs, file, path, hash: Sha256::new(), written: 0, limit, kept: false })
    }

    /// Appends `bytes`.
    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), BlobError> {
        self.written = self.written.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.written > self.limit {
            return Err(BlobError::TooLarge { limit: self.limit });
        }
        self.hash.update(bytes);
        self.file.write_all(bytes).await.map_err(failed(&self.path))
    }

    /// How many bytes were written so far.
    pub fn size_bytes(&self) -> u64 {
        self.written
    }

    /// Makes the blob durable and visible under its digest.
    pub async fn finish(mut self) -> Result<Digest, BlobError> {
        let digest = Digest::of(&std::mem::take(&mut self.hash).finalize());
        self.file.flush().await.map_err(failed(&self.path))?;
        self.file.sync_all().await.map_err(failed(&self.path))?;
        self.blobs.keep(&self.path, &digest).await?;
        self.kept = true;
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
