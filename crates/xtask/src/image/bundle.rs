//! Update bundles: the files of a generation and a manifest that the operator's key signs.
//!
//! What reads them is `crates/node-agent/src/bundle.rs`.

use std::fs;
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::{Generation, directory};
use crate::build::hex;

/// The key that signs updates.
#[derive(Clone)]
pub(crate) struct UpdateKey([u8; 32]);

impl std::fmt::Debug for UpdateKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("UpdateKey")
    }
}

impl UpdateKey {
    /// From a file with 64 hexadecimal digits, or one made in the directory of images for tries.
    pub(crate) fn load(file: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(file) = file {
            let text = fs::read_to_string(file).with_context(|| format!("read {}", file.display()))?;
            return parse(text.trim()).with_context(|| {
                format!("{} does not hold 64 hexadecimal digits (openssl rand -hex 32)", file.display())
            });
        }
        let kept = directory().join("update-key");
        if let Ok(text) = fs::read_to_string(&kept) {
            return parse(text.trim()).with_context(|| format!("{} is broken: remove it", kept.display()));
        }
        let key = Self::random()?;
        crate::up::secrets::write_private(&kept, hex(&key.0).as_bytes())?;
        eprintln!(
            "note: updates are signed with {}, made just now; keep your own and give --update-key",
            kept.display()
        );
        Ok(key)
    }

    pub(crate) fn random() -> anyhow::Result<Self> {
        let mut seed = [0; 32];
        aws_lc_rs::rand::fill(&mut seed).ok().context("the system gave no randomness")?;
        Ok(Self(seed))
    }

    fn pair(&self) -> anyhow::Result<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.0).ok().context("use the update key")
    }

    /// What images verify updates with.
    pub(crate) fn public(&self) -> String {
        self.pair().map(|pair| format!("{}\n", hex(pair.public_key().as_ref()))).unwrap_or_default()
    }

    pub(crate) fn sign(&self, message: &[u8]) -> anyhow::Result<Vec<u8>> {
        Ok(self.pair()?.sign(message).as_ref().to_vec())
    }
}

fn parse(text: &str) -> Option<UpdateKey> {
    let byte = |index: usize| text.get(index..index + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    let bytes: Option<Vec<u8>> = (0..text.len()).step_by(2).map(byte).collect();
    Some(UpdateKey(bytes?.try_into().ok()?))
}

/// Writes a bundle into a directory, which a web server then serves. The manifest comes last, so that a node that
/// looks meanwhile sees the old bundle or the new one.
pub(crate) fn write(generation: &Generation, key: &UpdateKey, directory: &Path) -> anyhow::Result<()> {
    if directory.exists() {
        fs::remove_dir_all(directory).with_context(|| format!("remove {}", directory.display()))?;
    }
    fs::create_dir_all(directory).with_context(|| format!("create {}", directory.display()))?;
    let version = &generation.version;
    let plain = |uuid: &str| uuid.to_owned();
    let mut files = Vec::new();
    for (from, name) in [
        (&generation.store, format!("quintet_{version}_{}.root", plain(&generation.store_uuid))),
        (&generation.verity, format!("quintet_{version}_{}.verity", plain(&generation.verity_uuid))),
        (&generation.kernel, format!("quintet_{version}.efi")),
    ] {
        let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
        files.push(json!({ "name": name, "size": content.len(), "sha256": hex(&Sha256::digest(&content)) }));
        fs::write(directory.join(&name), content).with_context(|| format!("write {name}"))?;
    }
    let manifest = serde_json::to_vec_pretty(&json!({ "version": version, "files": files }))?;
    fs::write(directory.join("manifest.sig"), key.sign(&manifest)?).context("write the signature")?;
    fs::write(directory.join("manifest.json"), manifest).context("write the manifest")
}
