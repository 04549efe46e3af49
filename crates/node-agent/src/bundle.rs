//! An update bundle: a signed list of files, each with its hash.
//!
//! `manifest.json` names the version and the files; `manifest.sig` is its Ed25519 signature (64 bytes) by the
//! operator's key, whose public half is in the image. Nothing of a bundle is used before the signature was verified,
//! and no file before its hash was.

use anyhow::{Context as _, bail, ensure};
use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use serde::Deserialize;

use crate::secrets::hex;
use crate::version::Version;

pub(crate) const MANIFEST: &str = "manifest.json";
pub(crate) const SIGNATURE: &str = "manifest.sig";
/// A manifest of a handful of files.
pub(crate) const LARGEST_MANIFEST: usize = 64 * 1024;
const MOST_FILES: usize = 16;
/// The slots are 384 MiB; no file of a generation is larger.
const LARGEST_FILE: u64 = 384 * 1024 * 1024;

/// What a bundle consists of.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Manifest {
    pub(crate) version: Version,
    pub(crate) files: Vec<File>,
}

/// One file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) size: u64,
    /// Lowercase hexadecimal.
    pub(crate) sha256: String,
}

/// Reads a manifest that the operator signed.
pub(crate) fn open(manifest: &[u8], signature: &[u8], key: &[u8]) -> anyhow::Result<Manifest> {
    UnparsedPublicKey::new(&ED25519, key)
        .verify(manifest, signature)
        .ok()
        .context("the bundle's signature is not by the key of this image; nothing of it was used")?;
    let manifest: Manifest = serde_json::from_slice(manifest).context("read the manifest")?;
    ensure!(manifest.files.len() <= MOST_FILES, "the manifest names more than {MOST_FILES} files");
    let beginning = format!("quintet_{}", manifest.version);
    for file in &manifest.files {
        let rest = file.name.strip_prefix(&beginning).and_then(|rest| rest.bytes().next());
        let plain = file.name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        // After the version comes an end or a UUID, so a file cannot pass for one of another version.
        ensure!(
            plain && matches!(rest, Some(b'.' | b'_')) && file.name.len() < 128,
            "{:?} is no file of {beginning}",
            file.name
        );
        ensure!(file.size <= LARGEST_FILE, "{} is larger than {LARGEST_FILE} bytes", file.name);
    }
    Ok(manifest)
}

/// Fails unless `offered` is newer than what runs: an old bundle is as well signed as a new one, so whoever can
/// replace the source's files could otherwise bring back a hole that was closed.
pub(crate) fn newer(offered: &Version, running: &Version) -> anyhow::Result<bool> {
    if offered < running {
        bail!("the source offers {offered}, which is older than {running}; to go back, ask for a rollback");
    }
    Ok(offered > running)
}

/// The update key from its file: 64 hexadecimal digits.
pub(crate) fn parse_key(text: &str) -> anyhow::Result<Vec<u8>> {
    let text = text.trim();
    let byte = |index: usize| text.get(index..index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    let bytes = bytes.filter(|bytes| bytes.len() == 32 && hex(bytes) == text);
    bytes.context("the update key is not 64 lowercase hexadecimal digits")
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};

    use super::*;

    fn pair() -> Ed25519KeyPair {
        Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
    }

    fn opened(text: &str) -> anyhow::Result<Manifest> {
        let pair = pair();
        open(text.as_bytes(), pair.sign(text.as_bytes()).as_ref(), pair.public_key().as_ref())
    }

    fn manifest(version: &str, name: &str) -> String {
        format!(r#"{{"version":"{version}","files":[{{"name":"{name}","size":1,"sha256":"00"}}]}}"#)
    }

    #[test]
    fn a_changed_manifest_and_a_foreign_key_are_refused() {
        let text = manifest("1.2", "quintet_1.2.efi");
        assert_eq!(opened(&text).unwrap().version.to_string(), "1.2");
        let signature = pair().sign(text.as_bytes());
        let changed = text.replace(":1,", ":2,");
        open(changed.as_bytes(), signature.as_ref(), pair().public_key().as_ref()).unwrap_err();
        let other = Ed25519KeyPair::from_seed_unchecked(&[8; 32]).unwrap();
        open(text.as_bytes(), signature.as_ref(), other.public_key().as_ref()).unwrap_err();
    }

    #[test]
    fn files_of_other_versions_and_other_directories_are_refused() {
        opened(&manifest("1.2", "quintet_1.2_0a1b.root")).unwrap();
        for name in
            ["quintet_1.3.efi", "quintet_1.20.efi", "../quintet_1.2.efi", "quintet_1.2/x", "quintet_1.2"]
        {
            let error = opened(&manifest("1.2", name));
            // `quintet_1.20.efi` begins like a file of 1.2 and is none.
            assert!(error.is_err(), "{name}");
        }
    }

    #[test]
    fn an_older_version_is_refused_with_the_way_back() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(newer(&version("2"), &version("1.9")).unwrap());
        assert!(!newer(&version("2"), &version("2")).unwrap());
        let error = newer(&version("1"), &version("2")).unwrap_err().to_string();
        assert!(error.contains("rollback"), "{error}");
    }

    #[test]
    fn a_key_is_sixty_four_digits() {
        assert_eq!(parse_key(&format!("{}\n", "0a".repeat(32))).unwrap(), vec![10; 32]);
        for text in ["", "0a", "0A".repeat(32).as_str(), "zz".repeat(32).as_str(), "é".repeat(32).as_str()] {
            parse_key(text).unwrap_err();
        }
    }
}
