//! The two places that blobs can be in.

use std::io;
use std::path::{Path, PathBuf};

use quintet_s3::Bucket;

use crate::reader::BlobReader;
use crate::{BlobError, Digest, failed};

#[derive(Debug)]
pub(crate) enum Place {
    Directory(PathBuf),
    Bucket(Bucket),
}

impl Place {
    pub(crate) async fn open(&self, digest: &Digest) -> Result<Option<BlobReader>, BlobError> {
        match self {
            Self::Directory(directory) => {
                let path = path(directory, digest);
                let opened = match tokio::fs::File::open(&path).await {
                    Ok(file) => file.metadata().await.map(|found| (file, found.len())),
                    Err(error) => Err(error),
                };
                match opened {
                    Ok((file, size_bytes)) => Ok(Some(BlobReader::of_file(file, path, size_bytes))),
                    Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
                    Err(source) => Err(BlobError::Io { path, source }),
                }
            }
            Self::Bucket(bucket) => {
                let size = bucket.size(&key(digest)).await?;
                Ok(size.map(|size| BlobReader::of_object(bucket.clone(), digest.clone(), size)))
            }
        }
    }

    /// Makes a file that is durable visible under its digest.
    pub(crate) async fn keep(&self, temporary: &Path, digest: &Digest) -> Result<(), BlobError> {
        match self {
            Self::Directory(directory) => {
                let target = path(directory, digest);
                let parent = target.parent().unwrap_or(directory);
                tokio::fs::create_dir_all(parent).await.map_err(failed(parent))?;
                tokio::fs::rename(temporary, &target).await.map_err(failed(&target))?;
                let handle = tokio::fs::File::open(parent).await.map_err(failed(parent))?;
                handle.sync_all().await.map_err(failed(parent))
            }
            Self::Bucket(bucket) => {
                let key = key(digest);
                if bucket.size(&key).await?.is_none() {
                    bucket.put_file(&key, temporary, &digest.bytes()).await?;
                }
                tokio::fs::remove_file(temporary).await.map_err(failed(temporary))
            }
        }
    }
}

fn path(directory: &Path, digest: &Digest) -> PathBuf {
    let (parent, name) = digest.place();
    directory.join(parent).join(name)
}

pub(crate) fn key(digest: &Digest) -> String {
    let (parent, name) = digest.place();
    format!("{parent}/{name}")
}
