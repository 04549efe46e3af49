//! Answers to challenges, for as long as the authority may ask.
//!
//! While nothing is pending, a request or handshake costs one look at a number that does not change.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::ClientHello;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::LazyConfigAcceptor;
use tokio_rustls::server::TlsStream;

use super::AcmeError;
use crate::answer;
use crate::body::ResponseBody;
use crate::client_auth::{ClientAuth, Verified};
use crate::tls::TlsError;

/// Where an authority looks for the answer to HTTP-01 (RFC 8555 section 8.3).
pub(crate) const PREFIX: &str = "/.well-known/acme-challenge/";
/// The protocol of TLS-ALPN-01 (RFC 8737 section 6.2).
const PROTOCOL: &[u8] = b"acme-tls/1";

/// The challenges that are pending.
#[derive(Debug, Default)]
pub(crate) struct Challenges {
    answers: ArcSwap<Answers>,
    files: AtomicUsize,
    handshakes: AtomicUsize,
}

#[derive(Debug, Clone, Default)]
struct Answers {
    /// Key authorizations by token.
    files: HashMap<String, String>,
    /// By server name, what its handshake is made with.
    handshakes: HashMap<String, Arc<ServerConfig>>,
}

/// Answers a challenge until it is dropped.
#[derive(Debug)]
pub(crate) struct Offer {
    challenges: Arc<Challenges>,
    what: What,
}

#[derive(Debug)]
enum What {
    File(String),
    Handshake(String),
}

impl Challenges {
    /// The answer, where a request asks for one that is pending.
    pub(crate) fn answer<B>(&self, request: &Request<B>) -> Option<Response<ResponseBody>> {
        if self.files.load(Ordering::Relaxed) == 0 {
            return None;
        }
        let token = request.uri().path().strip_prefix(PREFIX)?;
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return None;
        }
        let answers = self.answers.load();
        let key_authorization = answers.files.get(token)?;
        tracing::info!("answered an ACME challenge over HTTP");
        let content_type = HeaderValue::from_static("application/octet-stream");
        let body = Bytes::copy_from_slice(key_authorization.as_bytes());
        Some(answer::respond(StatusCode::OK, Some(content_type), body))
    }

    /// Whether a handshake may be one that answers a challenge.
    pub(crate) fn shakes_hands(&self) -> bool {
        self.handshakes.load(Ordering::Relaxed) > 0
    }

    fn handshake(&self, hello: &ClientHello<'_>) -> Option<Arc<ServerConfig>> {
        // The authority offers this protocol and no other (RFC 8737 section 3).
        let mut protocols = hello.alpn()?;
        if protocols.next() != Some(PROTOCOL) || protocols.next().is_some() {
            return None;
        }
        self.answers.load().handshakes.get(hello.server_name()?).cloned()
    }

    /// Answers HTTP-01 for a token.
    pub(crate) fn offer_file(self: &Arc<Self>, token: &str, key_authorization: &str) -> Offer {
        self.change(|answers| {
            answers.files.insert(token.to_owned(), key_authorization.to_owned());
        });
        Offer { challenges: Arc::clone(self), what: What::File(token.to_owned()) }
    }

    /// Answers TLS-ALPN-01 for a name; `digest` is the SHA-256 of the key authorization.
    pub(crate) fn offer_handshake(self: &Arc<Self>, name: &str, digest: &[u8]) -> Result<Offer, AcmeError> {
        let config = handshake_config(name, digest)?;
        self.change(|answers| {
            answers.handshakes.insert(name.to_owned(), Arc::clone(&config));
        });
        Ok(Offer { challenges: Arc::clone(self), what: What::Handshake(name.to_owned()) })
    }

    fn change(&self, change: impl Fn(&mut Answers)) {
        self.answers.rcu(|answers| {
            let mut next = Answers::clone(answers);
            change(&mut next);
            next
        });
        let answers = self.answers.load();
        self.files.store(answers.files.len(), Ordering::Relaxed);
        self.handshakes.store(answers.handshakes.len(), Ordering::Relaxed);
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.challenges.change(|answers| match &self.what {
            What::File(token) => drop(answers.files.remove(token)),
            What::Handshake(name) => drop(answers.handshakes.remove(name)),
        });
    }
}

/// The certificate that RFC 8737 section 3 asks for, and nothing that a client could use.
fn handshake_config(name: &str, digest: &[u8]) -> Result<Arc<ServerConfig>, AcmeError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::new([name.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let certificate = params.self_signed(&key)?;
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    let key = aws_lc_rs::sign::any_ecdsa_type(&key.into()).map_err(TlsError::Setup)?;
    // Not by rustls' usual way: that refuses the critical extension, which only an authority understands.
    let shown = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.der().clone()], key));
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(TlsError::Setup)?
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(shown));
    config.alpn_protocols = vec![PROTOCOL.to_vec()];
    config.send_tls13_tickets = 0;
    Ok(Arc::new(config))
}

/// Shakes hands while a challenge is pending. None where the handshake was the authority's, which needs no more.
pub(crate) async fn accept(
    challenges: &Challenges,
    stream: TcpStream,
    clients: Option<&ClientAuth>,
    others: &Arc<ServerConfig>,
) -> io::Result<Option<(TlsStream<TcpStream>, Option<Verified>)>> {
    let start = LazyConfigAcceptor::new(rustls::server::Acceptor::default(), stream).await?;
    if let Some(config) = challenges.handshake(&start.client_hello()) {
        start.into_stream(config).await?.shutdown().await?;
        tracing::info!("answered an ACME challenge in a TLS handshake");
        return Ok(None);
    }
    match clients {
        Some(clients) => clients.shake_hands(start, others).await.map(Some),
        None => start.into_stream(Arc::clone(others)).await.map(|stream| Some((stream, None))),
    }
}
