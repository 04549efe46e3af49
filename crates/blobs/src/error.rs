//! What can go wrong with a blob.

use std::io;
use std::path::PathBuf;

use thiserror::Error;

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
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] quintet_s3::Error),
    /// More bytes came than the caller allows.
    #[error("the content is larger than {limit} bytes")]
    TooLarge {
        /// The caller's limit in bytes.
        limit: u64,
    },
    /// An object of the bucket ended before its length, or is gone.
    #[error("the blob {0} broke off while it was read")]
    Short(super::Digest),
    /// The text is not 64 lower-case hexadecimal digits.
    #[error("a digest is 64 lower-case hexadecimal digits")]
    Digest,
}
