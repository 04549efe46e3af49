//! What the API asks root for: a file whose appearance starts a unit.
//!
//! The process that talks to clients has no rights. It makes `update`, `rollback` or `reboot` in a directory that a
//! path unit watches; the unit's command takes the file away first, so that a request is acted on once.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use anyhow::Context as _;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::files;

/// A request is small; more is not ours.
const LARGEST: u64 = 16 * 1024;

/// Fetch the newest bundle from its source.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Update {
    /// Where the bundle is, in place of the configured source.
    #[serde(default)]
    pub(crate) source: Option<String>,
    /// Whether to boot what was installed at once.
    #[serde(default)]
    pub(crate) reboot: bool,
}

/// Go back to the previous generation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rollback {
    /// Whether to boot it at once.
    #[serde(default)]
    pub(crate) reboot: bool,
}

/// A request's name, which is the file's.
pub(crate) trait Request: Serialize + DeserializeOwned {
    const NAME: &'static str;
}

impl Request for Update {
    const NAME: &'static str = "update";
}

impl Request for Rollback {
    const NAME: &'static str = "rollback";
}

/// Whether a request of that name waits.
pub(crate) fn waits(directory: &Path, name: &str) -> bool {
    directory.join(name).exists()
}

/// Makes the request.
pub(crate) fn make<R: Request>(directory: &Path, request: &R) -> anyhow::Result<()> {
    files::replace(&directory.join(R::NAME), &serde_json::to_vec(request)?, 0o600)
}

/// Asks for a reboot.
pub(crate) fn reboot(directory: &Path) -> anyhow::Result<()> {
    files::replace(&directory.join("reboot"), b"{}", 0o600)
}

/// Takes the request away and returns it.
pub(crate) fn take<R: Request>(directory: &Path) -> anyhow::Result<R> {
    let path = directory.join(R::NAME);
    let size = fs::metadata(&path).map(|found| found.len());
    let read = match size {
        Ok(size) if size <= LARGEST => fs::read(&path).context("read the request"),
        Ok(_) => Err(anyhow::anyhow!("the request is larger than {LARGEST} bytes")),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            return Err(error).context("nobody asked for this; the API makes the request");
        }
        Err(error) => Err(error).context("look at the request"),
    };
    fs::remove_file(&path).with_context(|| format!("remove {}", path.display()))?;
    serde_json::from_slice(&read?).context("the request is not what the API writes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_even_if_it_cannot_be_read() {
        let directory = tempfile::tempdir().unwrap();
        let update = Update { source: None, reboot: true };
        make(directory.path(), &update).unwrap();
        assert!(waits(directory.path(), "update"));
        assert_eq!(take::<Update>(directory.path()).unwrap(), update);
        take::<Update>(directory.path()).unwrap_err();
        fs::write(directory.path().join("update"), vec![b'['; 20_000]).unwrap();
        take::<Update>(directory.path()).unwrap_err();
        assert!(!waits(directory.path(), "update"));
    }
}
