//! What is spoken with an upstream: HTTP/1.1 or HTTP/2, plain or over TLS.
//!
//! TLS always verifies the upstream, against the public authorities or a file of its own. The files are read
//! again when they change; a file that is not usable leaves what was read before in place.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use quintet_http::listen::Address;
use rustls::crypto::aws_lc_rs;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{IpAddr, ServerName};
use serde::Deserialize;

use crate::config::UpstreamTls;
use crate::proxy_protocol::Version;
use crate::tls::{self, Stamp, TlsError};

/// What an upstream speaks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Protocol {
    /// HTTP/1.1.
    #[default]
    H1,
    /// HTTP/2 over TLS, agreed on by ALPN.
    H2,
    /// HTTP/2 from the first byte, without TLS.
    H2c,
}

/// How connections to an upstream are made; HTTP/1.1 without TLS unless told otherwise.
#[derive(Debug, Default)]
pub(crate) struct Transport {
    protocol: Protocol,
    tls: Option<Tls>,
    /// The PROXY header that begins each connection.
    pub(crate) announces: Option<Version>,
}

#[derive(Debug)]
struct Tls {
    section: UpstreamTls,
    name: Option<ServerName<'static>>,
    current: ArcSwap<Configs>,
    /// Of the files when they were read.
    seen: Mutex<Vec<Stamp>>,
}

#[derive(Debug)]
struct Configs {
    /// For requests.
    requests: Arc<ClientConfig>,
    /// For upgrades, which need HTTP/1.1.
    upgrades: Arc<ClientConfig>,
}

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    Requests,
    Upgrade,
}

impl Transport {
    /// Reads the files that the section names.
    pub(crate) fn new(
        protocol: Protocol,
        section: Option<&UpstreamTls>,
        announces: Option<Version>,
    ) -> Result<Self, TlsError> {
        Ok(Self { protocol, tls: section.map(|section| Tls::new(protocol, section)).transpose()?, announces })
    }

    pub(crate) fn is_http2(&self) -> bool {
        self.protocol != Protocol::H1
    }

    pub(crate) fn is_secure(&self) -> bool {
        self.tls.is_some()
    }

    /// What a TLS connection to `address` is made with; none where there is no TLS.
    pub(crate) fn client(
        &self,
        address: &Address,
        purpose: Purpose,
    ) -> Option<(Arc<ClientConfig>, ServerName<'static>)> {
        let tls = self.tls.as_ref()?;
        let configs = tls.current.load();
        let config = match purpose {
            Purpose::Requests => &configs.requests,
            Purpose::Upgrade => &configs.upgrades,
        };
        Some((Arc::clone(config), tls.name.clone().unwrap_or_else(|| name_of(address))))
    }

    /// Reads the files again if they changed. True if what they hold is in use from now on.
    pub(crate) fn refresh(&self) -> Result<bool, TlsError> {
        let Some(tls) = &self.tls else { return Ok(false) };
        let now = tls::stamps(&tls.section.files());
        let mut seen = tls.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(false);
        }
        *seen = now;
        tls.current.store(Arc::new(Configs::read(self.protocol, &tls.section)?));
        Ok(true)
    }
}

impl Tls {
    fn new(protocol: Protocol, section: &UpstreamTls) -> Result<Self, TlsError> {
        // Before they are read: a change in between is looked at again.
        let seen = Mutex::new(tls::stamps(&section.files()));
        let current = ArcSwap::from_pointee(Configs::read(protocol, section)?);
        Ok(Self { section: section.clone(), name: section.server_name(), current, seen })
    }
}

impl Configs {
    fn read(protocol: Protocol, section: &UpstreamTls) -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(TlsError::Setup)?
            .with_root_certificates(roots(section.ca_file.as_ref())?);
        let mut upgrades = match (&section.cert_file, &section.key_file) {
            (Some(cert), Some(key)) => {
                let (chain, secret) = tls::read_pair(cert, key)?;
                builder.with_client_auth_cert(chain, secret).map_err(|source| TlsError::Mismatch {
                    cert: cert.clone(),
                    key: key.clone(),
                    source,
                })?
            }
            _ => builder.with_no_client_auth(),
        };
        upgrades.alpn_protocols = vec![b"http/1.1".to_vec()];
        let upgrades = Arc::new(upgrades);
        let mut requests = Arc::clone(&upgrades);
        if protocol == Protocol::H2 {
            Arc::make_mut(&mut requests).alpn_protocols = vec![b"h2".to_vec()];
        }
        Ok(Self { requests, upgrades })
    }
}

fn roots(file: Option<&PathBuf>) -> Result<RootCertStore, TlsError> {
    match file {
        None => Ok(RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() }),
        Some(file) => tls::read_roots(file),
    }
}

/// What the certificate of an address without a name must have.
fn name_of(address: &Address) -> ServerName<'static> {
    let ip = match address {
        Address::Tcp(tcp) => tcp.ip(),
        // Refused in the configuration.
        Address::Unix(_) => std::net::Ipv4Addr::UNSPECIFIED.into(),
    };
    ServerName::IpAddress(IpAddr::from(ip))
}
