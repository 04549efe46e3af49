//! The certificate that all proxies serve: ECDSA P-256, as most of the web's are.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;

use super::client::HOST;

/// A certificate that signs itself, in the files that proxies want.
#[derive(Debug)]
pub(super) struct Certificate {
    pub(super) chain: PathBuf,
    pub(super) key: PathBuf,
    /// Chain and key in one file, as HAProxy wants them.
    pub(super) combined: PathBuf,
    pub(super) der: CertificateDer<'static>,
}

impl Certificate {
    pub(super) fn make(directory: &Path) -> anyhow::Result<Self> {
        let made = rcgen::generate_simple_self_signed([HOST.to_owned()]).context("make a certificate")?;
        let (chain, key) = (made.cert.pem(), made.signing_key.serialize_pem());
        let write = |name: &str, text: &str| {
            let path = directory.join(name);
            std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Self {
            chain: write("chain.pem", &chain)?,
            key: write("key.pem", &key)?,
            combined: write("combined.pem", &format!("{chain}{key}"))?,
            der: made.cert.der().clone(),
        })
    }
}
