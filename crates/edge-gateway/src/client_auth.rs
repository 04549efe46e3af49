//! Mutual TLS: which hosts ask their clients for a certificate, and what upstreams are told of it.
//!
//! A policy is chosen by the server name of the handshake and is a TLS configuration of its own, with tickets that no
//! other one opens. A request for a host with a policy is served only on a connection that was made under it: neither a
//! handshake without a server name nor a connection from before the policy gets around it.

mod certificate;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;
use tokio_rustls::{LazyConfigAcceptor, StartHandshake};

pub(crate) use self::certificate::ClientCertificate;
use crate::config::{ClientAuthMode, ClientAuthSection};
use crate::router::HostRule;
use crate::tls::{self, Certificates, Stamp, TlsError};

/// The policies of a configuration.
#[derive(Debug)]
pub(crate) struct ClientAuth {
    policies: Vec<Arc<Policy>>,
}

/// Of whom clients of some hosts must have a certificate.
#[derive(Debug)]
pub(crate) struct Policy {
    section: ClientAuthSection,
    hosts: Vec<HostRule>,
    current: ArcSwap<ServerConfig>,
    /// Of the files when they were read.
    seen: Mutex<Vec<Stamp>>,
}

/// What a connection's handshake found.
#[derive(Debug)]
pub(crate) struct Verified {
    policy: Arc<Policy>,
    pub(crate) certificate: Option<ClientCertificate>,
}

impl ClientAuth {
    /// Reads the files that the sections name. A policy whose section did not change stays the same.
    pub(crate) fn new(
        sections: &[ClientAuthSection],
        certificates: &Arc<Certificates>,
        previous: Option<&Self>,
    ) -> Result<Option<Self>, TlsError> {
        if sections.is_empty() {
            return Ok(None);
        }
        let kept = |section: &ClientAuthSection| {
            previous?.policies.iter().find(|policy| policy.section == *section).cloned()
        };
        let policies = sections.iter().map(|section| match kept(section) {
            Some(policy) => Ok(policy),
            None => Policy::new(section, certificates).map(Arc::new),
        });
        Ok(Some(Self { policies: policies.collect::<Result<_, _>>()? }))
    }

    /// The policy for a host in lower case.
    fn of(&self, host: &str) -> Option<&Arc<Policy>> {
        self.policies.iter().find(|policy| policy.hosts.iter().any(|rule| rule.matches(host)))
    }

    /// Whether a request for `host` may be served on a connection with this handshake.
    pub(crate) fn permits(&self, host: &str, verified: Option<&Verified>) -> bool {
        let Some(policy) = self.of(host) else { return true };
        verified.is_some_and(|verified| Arc::ptr_eq(&verified.policy, policy))
    }

    /// Shakes hands under the policy of the server name that the client sends; `others` is for all other names.
    pub(crate) async fn accept(
        &self,
        stream: TcpStream,
        others: &Arc<ServerConfig>,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Verified>)> {
        let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
        self.shake_hands(start, others).await
    }

    /// Goes on with a handshake whose first message has been read.
    pub(crate) async fn shake_hands(
        &self,
        start: StartHandshake<TcpStream>,
        others: &Arc<ServerConfig>,
    ) -> io::Result<(TlsStream<TcpStream>, Option<Verified>)> {
        let policy = start.client_hello().server_name().and_then(|name| self.of(name)).cloned();
        let Some(policy) = policy else {
            return start.into_stream(Arc::clone(others)).await.map(|stream| (stream, None));
        };
        let config = policy.current.load_full();
        let stream = start.into_stream(config).await?;
        let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let certificate = chain.first().and_then(ClientCertificate::read);
        Ok((stream, Some(Verified { policy, certificate })))
    }

    /// Reads files that changed again. Each error leaves its policy as it was.
    pub(crate) fn refresh(&self, certificates: &Arc<Certificates>) -> Vec<TlsError> {
        self.policies.iter().filter_map(|policy| policy.refresh(certificates).err()).collect()
    }
}

impl Policy {
    fn new(section: &ClientAuthSection, certificates: &Arc<Certificates>) -> Result<Self, TlsError> {
        // Before they are read: a change in between is looked at again.
        let seen = Mutex::new(tls::stamps(&section.files()));
        let current = ArcSwap::new(server_config(section, certificates)?);
        Ok(Self { section: section.clone(), hosts: section.rules(), current, seen })
    }

    fn refresh(&self, certificates: &Arc<Certificates>) -> Result<(), TlsError> {
        let now = tls::stamps(&self.section.files());
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        if *seen == now {
            return Ok(());
        }
        *seen = now;
        self.current.store(server_config(&self.section, certificates)?);
        tracing::info!(file = %self.section.ca_file.display(), "authorities of client certificates replaced");
        Ok(())
    }
}

fn server_config(
    section: &ClientAuthSection,
    certificates: &Arc<Certificates>,
) -> Result<Arc<ServerConfig>, TlsError> {
    tls::server_config(Arc::clone(certificates), Some(verifier(section)?))
}

fn verifier(section: &ClientAuthSection) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let roots = Arc::new(tls::read_roots(&section.ca_file)?);
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
    if let Some(file) = &section.crl_file {
        // A list that is out of date revokes what it names all the same; it does not lock everyone out.
        builder = builder.with_crls(tls::read_revocations(file)?).only_check_end_entity_revocation();
        builder = builder.allow_unknown_revocation_status();
    }
    if section.mode == ClientAuthMode::Optional {
        builder = builder.allow_unauthenticated();
    }
    let path = section.crl_file.as_ref().unwrap_or(&section.ca_file).clone();
    builder.build().map_err(|source| TlsError::Verifier { path, source })
}
