//! A local certificate authority and the gateway's certificate for this machine.
//!
//! The authority is made once and kept, so that trusting it in a browser lasts; the server certificate is renewed a
//! month before its end. Both keys are readable by their owner alone.

use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use quintet_types::{Clock as _, SystemClock};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use super::layout::Layout;
use super::secrets::write_private;

/// Browsers refuse server certificates that live longer than 825 days.
const SERVER_DAYS: u32 = 825;
const AUTHORITY_DAYS: u32 = 3650;
const RENEW_WITHIN_DAYS: u32 = 30;
const SECONDS_PER_DAY: u32 = 86_400;

/// Makes what is missing or about to end.
pub(crate) fn ensure(layout: &Layout) -> anyhow::Result<()> {
    let authority = layout.tls("ca.pem");
    let authority_key = layout.tls("ca.key");
    let renewed = if is_current(&authority)? && authority_key.is_file() {
        false
    } else {
        make_authority(&authority, &authority_key)?;
        true
    };
    let certificate = layout.tls("cert.pem");
    let key = layout.tls("key.pem");
    if renewed || !key.is_file() || !is_current(&certificate)? {
        make_server(&authority, &authority_key, &certificate, &key)?;
    }
    Ok(())
}

fn make_authority(certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "Quintet local authority");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    lasting(&mut params, AUTHORITY_DAYS);
    let pair = KeyPair::generate().context("make the authority's key")?;
    let made = params.self_signed(&pair).context("sign the authority's certificate")?;
    write_private(key, pair.serialize_pem().as_bytes())?;
    write_private(certificate, made.pem().as_bytes())
}

fn make_server(authority: &Path, authority_key: &Path, certificate: &Path, key: &Path) -> anyhow::Result<()> {
    let authority_pem = std::fs::read_to_string(authority).context("read the authority's certificate")?;
    let authority_pair =
        KeyPair::from_pem(&std::fs::read_to_string(authority_key).context("read the authority's key")?)
            .with_context(|| {
                format!("{} is not a private key: remove it and start again", authority_key.display())
            })?;
    let issuer = Issuer::from_ca_cert_pem(&authority_pem, authority_pair).context("use the authority")?;
    let names = ["localhost", "127.0.0.1", "::1"].map(String::from);
    let mut params = CertificateParams::new(names).context("name the server")?;
    params.distinguished_name.push(DnType::CommonName, "localhost");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    lasting(&mut params, SERVER_DAYS);
    let pair = KeyPair::generate().context("make the server's key")?;
    let made = params.signed_by(&pair, &issuer).context("sign the server's certificate")?;
    write_private(key, pair.serialize_pem().as_bytes())?;
    // The chain, so that a client which trusts only the authority can build its path.
    write_private(certificate, format!("{}{authority_pem}", made.pem()).as_bytes())
}

fn lasting(params: &mut CertificateParams, days: u32) {
    let now = std::time::SystemTime::from(SystemClock.now());
    // A day of grace for a clock that was set back.
    params.not_before = (now - Duration::from_secs(SECONDS_PER_DAY.into())).into();
    params.not_after = (now + Duration::from_secs(u64::from(days - 1) * u64::from(SECONDS_PER_DAY))).into();
}

fn is_current(certificate: &Path) -> anyhow::Result<bool> {
    let Ok(text) = std::fs::read(certificate) else { return Ok(false) };
    let (_, pem) = x509_parser::pem::parse_x509_pem(&text).with_context(|| {
        format!("{} is not a PEM certificate: remove it and start again", certificate.display())
    })?;
    let parsed =
        pem.parse_x509().with_context(|| format!("{} is not a certificate", certificate.display()))?;
    let renew_at = parsed.validity().not_after.timestamp() - i64::from(RENEW_WITHIN_DAYS * SECONDS_PER_DAY);
    Ok(SystemClock.now().as_second() < renew_at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn authority_outlives_a_renewed_server_certificate() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path()).unwrap();
        layout.create().unwrap();
        ensure(&layout).unwrap();
        let first = ["ca.pem", "cert.pem"].map(|name| std::fs::read(layout.tls(name)).unwrap());
        ensure(&layout).unwrap();
        assert_eq!(first, ["ca.pem", "cert.pem"].map(|name| std::fs::read(layout.tls(name)).unwrap()));
        std::fs::remove_file(layout.tls("cert.pem")).unwrap();
        ensure(&layout).unwrap();
        let second = ["ca.pem", "cert.pem"].map(|name| std::fs::read(layout.tls(name)).unwrap());
        assert_eq!(first[0], second[0]);
        assert_ne!(first[1], second[1]);
    }
}
