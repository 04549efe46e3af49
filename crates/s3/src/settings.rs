//! The configuration of a bucket.

use std::path::PathBuf;

use quintet_service::SecretFile;
use serde::Deserialize;

/// Where a bucket is and who asks for it.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// Where the service is, such as `https://s3.eu-central-1.amazonaws.com` or `http://10.0.0.5:9000`.
    pub endpoint: url::Url,
    /// The bucket's name. It must exist.
    pub bucket: String,
    /// The region that requests are signed for; many services of one's own take any.
    #[serde(default = "default_region")]
    pub region: String,
    /// What every object's name begins with, such as `quintet/`.
    #[serde(default)]
    pub prefix: String,
    /// Names the bucket in the path instead of the host. Amazon wants `false`, most services of one's own `true`.
    #[serde(default = "default_path_style")]
    pub path_style: bool,
    /// The file with the access key's id.
    pub access_key_id_file: SecretFile,
    /// The file with the access key itself.
    pub secret_access_key_file: SecretFile,
    /// Certificate authorities to trust besides the public ones, in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long one request may take, of an object's part or range.
    #[serde(default = "default_timeout_ms")]
    pub timeout_ms: u64,
}

fn default_region() -> String {
    "us-east-1".to_owned()
}

fn default_path_style() -> bool {
    true
}

fn default_timeout_ms() -> u64 {
    30_000
}
