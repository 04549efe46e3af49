//! Reading a blob piece by piece.

use std::path::PathBuf;

use bytes::{Bytes, BytesMut};
use futures_util::stream::{self, Stream};
use quintet_s3::Bucket;

use crate::place::key;
use crate::{BlobError, Chunk, Digest};

/// Bytes that are read from a file at once.
const CHUNK: usize = 64 * 1024;
/// Bytes that are asked of a bucket at once: a round trip each.
const RANGE: u64 = 1024 * 1024;

/// A blob being read.
#[derive(Debug)]
pub struct BlobReader {
    size_bytes: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    File { file: tokio::fs::File, path: PathBuf },
    Object { bucket: Bucket, digest: Digest, at: u64 },
}

impl BlobReader {
    pub(crate) fn of_file(file: tokio::fs::File, path: PathBuf, size_bytes: u64) -> Self {
        Self { size_bytes, source: Source::File { file, path } }
    }

    pub(crate) fn of_object(bucket: Bucket, digest: Digest, size_bytes: u64) -> Self {
        Self { size_bytes, source: Source::Object { bucket, digest, at: 0 } }
    }

    /// How long the blob is.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// The next bytes, or nothing at the end.
    pub async fn chunk(&mut self) -> Chunk {
        match &mut self.source {
            Source::File { file, path } => {
                use tokio::io::AsyncReadExt as _;
                let mut chunk = BytesMut::with_capacity(CHUNK);
                match file.read_buf(&mut chunk).await {
                    Ok(0) => Ok(None),
                    Ok(_) => Ok(Some(chunk.freeze())),
                    Err(source) => Err(BlobError::Io { path: path.clone(), source }),
                }
            }
            Source::Object { bucket, digest, at } => next_range(bucket, digest, at, self.size_bytes).await,
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

async fn next_range(bucket: &Bucket, digest: &Digest, at: &mut u64, size: u64) -> Chunk {
    if *at >= size {
        return Ok(None);
    }
    let end = size.min(at.saturating_add(RANGE));
    let bytes = bucket.read(&key(digest), *at..end).await?.unwrap_or_default();
    let read = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
    if read != end - *at {
        return Err(BlobError::Short(digest.clone()));
    }
    *at = end;
    Ok(Some(bytes))
}
