//! Opening a connection to an origin: TCP, TLS over TCP, or a unix socket.

use std::io;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::listen::Stream;
use crate::origin::Origin;

/// Says of an address whether it may be connected to.
pub type AddressFilter = Arc<dyn Fn(IpAddr) -> bool + Send + Sync>;

pub(super) enum Dialled {
    Plain(Stream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// Connects; the caller's deadline bounds it.
pub(super) async fn dial(
    origin: &Origin,
    tls: Option<&Arc<ClientConfig>>,
    filter: Option<&AddressFilter>,
) -> io::Result<Dialled> {
    match origin {
        Origin::Unix(path) => Ok(Dialled::Plain(Stream::Unix(UnixStream::connect(path).await?))),
        Origin::Http { host, port } => Ok(Dialled::Plain(Stream::Tcp(tcp(host, *port, filter).await?))),
        Origin::Https { host, port } => {
            let config = match tls {
                Some(config) => config.clone(),
                None => public_roots()?,
            };
            let name = ServerName::try_from(host.clone())
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
            let stream = TlsConnector::from(config).connect(name, tcp(host, *port, filter).await?).await?;
            Ok(Dialled::Tls(Box::new(stream)))
        }
    }
}

async fn tcp(host: &str, port: u16, filter: Option<&AddressFilter>) -> io::Result<TcpStream> {
    let stream = match filter {
        Some(filter) => admitted(host, port, filter).await?,
        None => TcpStream::connect((host, port)).await?,
    };
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Connects to the first address of a name that is admitted and answers.
async fn admitted(host: &str, port: u16, filter: &AddressFilter) -> io::Result<TcpStream> {
    let text = format!("{host} has no address that may be connected to");
    let mut failure = io::Error::new(io::ErrorKind::PermissionDenied, text);
    for address in tokio::net::lookup_host((host, port)).await? {
        if !filter(address.ip()) {
            continue;
        }
        match TcpStream::connect(address).await {
            Ok(stream) => return Ok(stream),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// Built once per process and shared, together with its session cache.
fn public_roots() -> io::Result<Arc<ClientConfig>> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(config.clone());
    }
    let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(CONFIG.get_or_init(|| Arc::new(config)).clone())
}
