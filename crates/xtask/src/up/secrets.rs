//! Random secrets, made once and kept in files that only their owner can read.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use anyhow::Context as _;

use super::layout::Layout;
use crate::build::hex;

/// Enough for a key of AES-256 or HMAC-SHA-256.
const BYTES: usize = 32;

/// Crockford's alphabet in lower case: no letter is mistaken for a digit.
const READABLE: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The secret of that name, made now if it does not exist.
pub(crate) fn ensure(layout: &Layout, name: &str) -> anyhow::Result<String> {
    kept(layout, name, || Ok(hex(&random::<BYTES>()?)))
}

/// The same for a password that a person types: 100 bits in four groups.
pub(crate) fn ensure_readable(layout: &Layout, name: &str) -> anyhow::Result<String> {
    kept(layout, name, || {
        let letter = |byte: &u8| char::from(READABLE.get(usize::from(byte % 32)).copied().unwrap_or(b'0'));
        let groups: Vec<String> =
            random::<20>()?.chunks(5).map(|group| group.iter().map(letter).collect()).collect();
        Ok(groups.join("-"))
    })
}

fn kept(
    layout: &Layout,
    name: &str,
    make: impl FnOnce() -> anyhow::Result<String>,
) -> anyhow::Result<String> {
    let path = layout.secret(name);
    if let Ok(text) = std::fs::read_to_string(&path) {
        return Ok(text.trim().to_owned());
    }
    let secret = make()?;
    write_private(&path, secret.as_bytes())?;
    Ok(secret)
}

fn random<const N: usize>() -> anyhow::Result<[u8; N]> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).ok().context("the system gave no randomness")?;
    Ok(bytes)
}

/// Replaces a file in one step with one that only its owner can read.
pub(crate) fn write_private(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let partial = path.with_extension("partial");
    let write = || -> std::io::Result<()> {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&partial)?;
        file.write_all(content)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    write().with_context(|| format!("write {}", path.display()))
}
