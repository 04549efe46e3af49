//! The `[storage]` section of the programs that have blobs.

use std::path::PathBuf;

use serde::Deserialize;

/// Where blobs are.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The directory of blobs, such as pictures; core-api and the workers must see the same one. With a bucket, only what is
    /// on its way there, and each has a directory of its own.
    pub blobs: PathBuf,
    /// A bucket of S3-compatible object storage for them, so that several machines see the same ones.
    #[serde(default)]
    pub s3: Option<quintet_s3::Settings>,
}
