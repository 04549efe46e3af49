//! TLS termination: the server configuration, and certificates by name that can be replaced while serving.
//!
//! Handshakes read the current set through an atomic pointer. A reload builds a whole new set before it
//! replaces the old one: a broken file leaves the running set in place. Resumption is by stateless
//! tickets whose keys live in this process only.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use rustls::crypto::aws_lc_rs;
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert, VerifierBuilderError};
use rustls::sign::CertifiedKey;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::CertificateSource;

/// Why certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TlsError {
    #[error("cannot read certificate file {path}")]
    Certificate {
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("certificate file {0} holds no PEM certificate")]
    Empty(PathBuf),
    #[error("cannot read private key file {path}")]
    Key {
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("private key {key} does not fit certificate {cert}")]
    Mismatch {
        cert: PathBuf,
        key: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("certificate {0} cannot be parsed")]
    Parse(PathBuf),
    #[error("a certificate in {path} cannot be used as an authority")]
    Authority {
        path: PathBuf,
        #[source]
        source: rustls::Error,
    },
    #[error("cannot verify client certificates with {path}")]
    Verifier {
        path: PathBuf,
        #[source]
        source: VerifierBuilderError,
    },
    #[error("cannot read revocation lists in {path}")]
    Revocations {
        path: PathBuf,
        #[source]
        source: rustls_pki_types::pem::Error,
    },
    #[error("cannot set up TLS")]
    Setup(#[source] rustls::Error),
}

/// Certificates by DNS name.
#[derive(Debug)]
pub(crate) struct CertificateSet {
    sources: Vec<CertificateSource>,
    exact: HashMap<String, Arc<CertifiedKey>>,
    /// `*.example.com` under `example.com`.
    wildcard: HashMap<String, Arc<CertifiedKey>>,
    /// The first one configured, for clients that send no name or an unknown one; none until the first is issued.
    default: Option<Arc<CertifiedKey>>,
    /// Names whose certificate has not been issued yet: their handshakes fail rather than show that of another name.
    awaited: HashSet<String>,
    /// Earliest expiry, in seconds since the Unix epoch.
    not_after: Option<i64>,
}

/// Chooses certificates for handshakes.
#[derive(Debug)]
pub(crate) struct Certificates {
    current: ArcSwap<CertificateSet>,
}

impl Certificates {
    pub(crate) fn load(sources: Vec<CertificateSource>) -> Result<Self, TlsError> {
        Ok(Self { current: ArcSwap::from_pointee(load_set(sources)?) })
    }

    /// Replaces the running set by one from [`load_set`].
    pub(crate) fn install(&self, set: CertificateSet) {
        self.current.store(Arc::new(set));
    }

    /// Reads the files again; on error the running set stays.
    pub(crate) fn reload(&self) -> Result<(), TlsError> {
        self.install(load_set(self.current.load().sources.clone())?);
        Ok(())
    }

    /// Earliest expiry of all certificates, in seconds since the Unix epoch; none where there are no certificates yet.
    pub(crate) fn not_after(&self) -> Option<i64> {
        self.current.load().not_after
    }

    /// Changes whenever one of the files does.
    pub(crate) fn fingerprint(&self) -> Vec<Stamp> {
        let set = self.current.load();
        set.sources.iter().flat_map(|source| [stamp(&source.cert), stamp(&source.key)]).collect()
    }
}

/// Changes when a file does; none where it cannot be read.
pub(crate) type Stamp = Option<(SystemTime, u64)>;

pub(crate) fn stamps(files: &[&Path]) -> Vec<Stamp> {
    files.iter().map(|file| stamp(file)).collect()
}

fn stamp(path: &Path) -> Stamp {
    let metadata = std::fs::metadata(path).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let set = self.current.load();
        // rustls has already lower-cased and checked the name.
        let name = hello.server_name();
        let named =
            name.and_then(|name| set.exact.get(name).or_else(|| set.wildcard.get(name.split_once('.')?.1)));
        if named.is_none() && name.is_some_and(|name| set.awaited.contains(name)) {
            return None;
        }
        named.or(set.default.as_ref()).map(Arc::clone)
    }
}

/// Reads all certificates and keys. A file of the operator's that is not usable is an error; one of the gateway's own is
/// as good as not issued, and whoever issues it sees why.
pub(crate) fn load_set(sources: Vec<CertificateSource>) -> Result<CertificateSet, TlsError> {
    let mut set = CertificateSet {
        sources: Vec::new(),
        exact: HashMap::new(),
        wildcard: HashMap::new(),
        default: None,
        awaited: HashSet::new(),
        not_after: None,
    };
    for source in &sources {
        match load_key(source) {
            Ok((key, details)) => set.add(&Arc::new(key), details),
            Err(_) if !source.managed.is_empty() => set.awaited.extend(source.managed.iter().cloned()),
            Err(error) => return Err(error),
        }
    }
    set.sources = sources;
    Ok(set)
}

impl CertificateSet {
    fn add(&mut self, key: &Arc<CertifiedKey>, details: Details) {
        self.not_after = Some(self.not_after.unwrap_or(i64::MAX).min(details.not_after));
        for name in details.names {
            match name.strip_prefix("*.") {
                Some(parent) => self.wildcard.entry(parent.to_owned()).or_insert_with(|| Arc::clone(key)),
                None => self.exact.entry(name).or_insert_with(|| Arc::clone(key)),
            };
        }
        self.default.get_or_insert_with(|| Arc::clone(key));
    }
}

/// What a certificate says about itself. Times are seconds since the Unix epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Details {
    /// DNS names in lower case.
    pub(crate) names: Vec<String>,
    pub(crate) not_before: i64,
    pub(crate) not_after: i64,
}

/// What the certificate in a file says.
pub(crate) fn details(source: &CertificateSource) -> Result<Details, TlsError> {
    let leaf = CertificateDer::from_pem_file(&source.cert)
        .map_err(|error| TlsError::Certificate { path: source.cert.clone(), source: error })?;
    describe(&leaf).ok_or_else(|| TlsError::Parse(source.cert.clone()))
}

/// Reads a certificate with its key.
pub(crate) fn load_key(source: &CertificateSource) -> Result<(CertifiedKey, Details), TlsError> {
    let (chain, key) = read_pair(&source.cert, &source.key)?;
    let mismatch =
        |error| TlsError::Mismatch { cert: source.cert.clone(), key: source.key.clone(), source: error };
    let key = CertifiedKey::from_der(chain, key, &aws_lc_rs::default_provider()).map_err(mismatch)?;
    let leaf = key.cert.first().ok_or_else(|| TlsError::Empty(source.cert.clone()))?;
    let details = describe(leaf).ok_or_else(|| TlsError::Parse(source.cert.clone()))?;
    Ok((key, details))
}

/// Reads a certificate chain and its key, both PEM.
pub(crate) fn read_pair(
    cert: &Path,
    key: &Path,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
    let chain = read_certificates(cert)?;
    let key =
        PrivateKeyDer::from_pem_file(key).map_err(|source| TlsError::Key { path: key.to_owned(), source })?;
    Ok((chain, key))
}

fn read_certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::Certificate { path: path.to_owned(), source };
    let all: Vec<_> =
        CertificateDer::pem_file_iter(path).map_err(failed)?.collect::<Result<_, _>>().map_err(failed)?;
    if all.is_empty() { Err(TlsError::Empty(path.to_owned())) } else { Ok(all) }
}

/// Reads certificate revocation lists.
pub(crate) fn read_revocations(path: &Path) -> Result<Vec<CertificateRevocationListDer<'static>>, TlsError> {
    let failed = |source| TlsError::Revocations { path: path.to_owned(), source };
    CertificateRevocationListDer::pem_file_iter(path)
        .map_err(failed)?
        .collect::<Result<_, _>>()
        .map_err(failed)
}

/// Reads certificate authorities to trust.
pub(crate) fn read_roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in read_certificates(path)? {
        roots.add(certificate).map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

/// What a certificate says about itself; none where it cannot be parsed.
pub(crate) fn describe(leaf: &CertificateDer<'_>) -> Option<Details> {
    use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let names = parsed.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |extension| {
        extension
            .value
            .general_names
            .iter()
            .filter_map(|name| match name {
                GeneralName::DNSName(dns) => Some(dns.to_ascii_lowercase()),
                _ => None,
            })
            .collect()
    });
    let validity = parsed.validity();
    let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    Some(Details { names, not_before, not_after })
}

/// TLS 1.2 and 1.3 with post-quantum key exchange first; ALPN h2 and http/1.1.
/// Clients are asked for a certificate where there is a verifier for it.
pub(crate) fn server_config(
    certificates: Arc<Certificates>,
    clients: Option<Arc<dyn ClientCertVerifier>>,
) -> Result<Arc<ServerConfig>, TlsError> {
    let builder = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?;
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(verifier) => builder.with_client_cert_verifier(verifier),
    };
    let mut config = builder.with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(TlsError::Setup)?;
    // One ticket serves one further connection; browsers open few.
    config.send_tls13_tickets = 1;
    Ok(Arc::new(config))
}

/// The same for QUIC, which has TLS 1.3 alone (RFC 9001 section 4.2); ALPN h3, without early data. Its tickets are opened by
/// no other configuration.
#[cfg(feature = "http3")]
pub(crate) fn quic_config(certificates: Arc<Certificates>) -> Result<Arc<ServerConfig>, TlsError> {
    let mut config = Arc::unwrap_or_clone(server_config(certificates, None)?);
    config.alpn_protocols = vec![b"h3".to_vec()];
    Ok(Arc::new(config))
}

/// A handshake failure in one of a few words, for a metric label.
pub(crate) fn failure_kind(error: &io::Error) -> &'static str {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(_)) => "alert",
        Some(rustls::Error::PeerIncompatible(_) | rustls::Error::NoApplicationProtocol) => "incompatible",
        Some(rustls::Error::InvalidMessage(_)) => "not_tls",
        Some(_) => "tls",
        None if error.kind() == io::ErrorKind::UnexpectedEof => "closed",
        None => "io",
    }
}
