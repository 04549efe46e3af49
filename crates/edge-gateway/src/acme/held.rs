//! The certificate that is there, and whether another one is wanted.

use std::time::Duration;

use instant_acme::CertificateIdentifier;
use quintet_types::Timestamp;
use rustls::crypto::aws_lc_rs;
use rustls::sign::CertifiedKey;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

use super::AcmeError;
use super::order::Issued;
use super::renewal::{self, Suggestion, millis};
use crate::config::{AcmeSection, CertificateSource};
use crate::tls::{self, Details};

/// The line of a certificate's file that says who issued it.
const ISSUED_BY: &str = "Directory: ";
/// The line that says when it was stored. The file's own date would change with a backup that is put back.
const STORED: &str = "Stored: ";
/// A certificate is not renewed sooner after it was stored, whatever its dates and the authority say: otherwise a wrong
/// answer would order without end.
const REST: Duration = Duration::from_hours(1);

/// What a certificate's file holds.
pub(super) struct Held {
    pub(super) details: Details,
    leaf: CertificateDer<'static>,
    /// URL of the directory of who issued it.
    directory: String,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub(super) stored: i64,
}

impl Held {
    /// None where there is no file, or one that cannot be used.
    pub(super) fn read(source: &CertificateSource) -> Option<Self> {
        let (key, details) = tls::load_key(source).ok()?;
        let leaf = key.cert.first()?.clone();
        let text = std::fs::read_to_string(&source.cert).ok()?;
        let line = |prefix| text.lines().find_map(|line| line.strip_prefix(prefix)).unwrap_or_default();
        let stored = line(STORED).parse().map_or(0, |stored: Timestamp| stored.as_millisecond());
        Some(Self { details, leaf, directory: line(ISSUED_BY).to_owned(), stored })
    }

    pub(super) fn is_from(&self, section: &AcmeSection) -> bool {
        self.directory == section.directory
    }

    /// What the authority calls it (RFC 9773 section 4.1).
    pub(super) fn identifier(&self) -> Option<CertificateIdentifier<'_>> {
        CertificateIdentifier::try_from(&self.leaf).ok()
    }

    /// When it is to be renewed, in milliseconds since the Unix epoch.
    pub(super) fn due(&self, section: &AcmeSection, suggestion: Option<Suggestion>) -> i64 {
        renewal::due(&self.details, section.renew_at_lifetime_share, suggestion)
            .max(self.stored.saturating_add(millis(REST)))
    }

    /// Why another one is wanted now, if it is.
    pub(super) fn wanting(
        held: Option<&Self>,
        section: &AcmeSection,
        source: &CertificateSource,
        suggestion: Option<Suggestion>,
        now: i64,
    ) -> Option<&'static str> {
        let Some(held) = held else { return Some("there is none") };
        if !is_for(&held.details, source) {
            return Some("the names in the configuration are others");
        }
        if !held.is_from(section) {
            return Some("the authority in the configuration is another");
        }
        (now >= held.due(section, suggestion)).then_some("it is due for renewal")
    }
}

fn is_for(details: &Details, source: &CertificateSource) -> bool {
    details.names.len() == source.managed.len()
        && source.managed.iter().all(|name| details.names.contains(name))
}

/// The file for what was issued, if a handshake could use it. Otherwise the old one stays.
pub(super) fn bundle(
    issued: &Issued,
    section: &AcmeSection,
    source: &CertificateSource,
    now: Timestamp,
) -> Result<String, AcmeError> {
    let unusable = |why: String| AcmeError::Certificate(why);
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(issued.chain.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|error| unusable(error.to_string()))?;
    let details =
        chain.first().and_then(tls::describe).ok_or_else(|| unusable("not a certificate".into()))?;
    if !is_for(&details, source) {
        return Err(unusable(format!("it is for {}", details.names.join(", "))));
    }
    let key =
        PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider())
        .map_err(|error| unusable(error.to_string()))?;
    let directory = &section.directory;
    Ok(format!("{ISSUED_BY}{directory}\n{STORED}{now}\n{}{}", issued.key, issued.chain))
}
