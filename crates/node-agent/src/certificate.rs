//! The gateway's certificate on a node that was given none: signed by itself, for the name of the node's address.
//!
//! It lets a new node answer at once. Clients must be told to trust it, so the console shows its SHA-256.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use quintet_types::Clock;
use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose};
use sha2::{Digest as _, Sha256};

use crate::secrets::hex;

const DAY: Duration = Duration::from_hours(24);
/// Ten years: nobody renews it, it is replaced by one of the operator's.
const DAYS: u32 = 3650;

/// PEM texts of a new certificate and its key.
#[derive(Debug)]
pub(crate) struct Made {
    pub(crate) certificate: String,
    pub(crate) key: String,
    /// SHA-256 of the certificate.
    pub(crate) fingerprint: String,
}

pub(crate) fn make(host: &str, clock: &dyn Clock) -> anyhow::Result<Made> {
    let mut params = CertificateParams::new([host.to_owned()]).context("name the certificate")?;
    params.distinguished_name.push(DnType::CommonName, host);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let now = SystemTime::from(clock.now());
    // A day of grace for a clock that is not set yet.
    params.not_before = (now - DAY).into();
    params.not_after = (now + DAY * DAYS).into();
    let key = KeyPair::generate().context("make the certificate's key")?;
    let made = params.self_signed(&key).context("sign the certificate")?;
    let fingerprint = hex(&Sha256::digest(made.der()));
    Ok(Made { certificate: made.pem(), key: key.serialize_pem(), fingerprint })
}
