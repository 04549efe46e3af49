//! Opening a stream to an address: TCP or a unix socket, with TLS over it where the upstream speaks that.

use std::io;
use std::time::Duration;

use quintet_http::listen::{Address, Stream};
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::proxy_protocol::Ends;
use crate::secured::Secured;
use crate::upstream::{Purpose, Transport};

/// No connection to an upstream.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConnectError {
    #[error("cannot connect to {address}")]
    Refused {
        address: Address,
        #[source]
        source: io::Error,
    },
    #[error("connecting to {0} took too long")]
    Timeout(Address),
    #[error("no TLS connection to {address}")]
    Tls {
        address: Address,
        #[source]
        source: io::Error,
    },
    #[error("{0} does not speak HTTP/2: it did not agree to it in the TLS handshake")]
    NoHttp2(Address),
    #[error("cannot speak HTTP to {address}")]
    Handshake {
        address: Address,
        #[source]
        source: h2::Error,
    },
    #[error("another request could not connect to {0}")]
    Elsewhere(Address),
}

impl ConnectError {
    /// Whether waiting for a restart of the upstream would not help.
    pub(crate) fn is_lasting(&self) -> bool {
        matches!(self, Self::Timeout(_) | Self::Tls { .. } | Self::NoHttp2(_))
    }

    /// Whether the upstream answered, but not as who or what it must be.
    pub(crate) fn is_distrust(&self) -> bool {
        matches!(self, Self::Tls { .. } | Self::NoHttp2(_))
    }
}

/// A stream to an upstream.
pub(crate) type Io = Secured<Stream, TlsStream<Stream>>;

/// Opens a stream to `address`, ready for HTTP. Where upstreams are told who the client is, `client` is announced.
pub(crate) async fn dial(
    address: &Address,
    transport: &Transport,
    purpose: Purpose,
    client: Option<&Ends>,
    timeout: Duration,
) -> Result<Io, ConnectError> {
    let connecting = async {
        let refused = |source| ConnectError::Refused { address: address.clone(), source };
        let mut stream = connect(address).await.map_err(refused)?;
        if let Some(version) = transport.announces {
            stream.write_all(&version.header(client.copied())).await.map_err(refused)?;
        }
        if transport.is_secure() {
            secure(address, transport, purpose, stream).await
        } else {
            Ok(Io::Plain(stream))
        }
    };
    match tokio::time::timeout(timeout, connecting).await {
        Ok(outcome) => outcome,
        Err(_) => Err(ConnectError::Timeout(address.clone())),
    }
}

async fn connect(address: &Address) -> io::Result<Stream> {
    match address {
        Address::Tcp(tcp) => {
            let stream = TcpStream::connect(tcp).await?;
            // Fails only on a connection that is already gone; the request will find out.
            let _ = stream.set_nodelay(true);
            Ok(Stream::Tcp(stream))
        }
        Address::Unix(path) => UnixStream::connect(path).await.map(Stream::Unix),
    }
}

async fn secure(
    address: &Address,
    transport: &Transport,
    purpose: Purpose,
    stream: Stream,
) -> Result<Io, ConnectError> {
    let Some((config, name)) = transport.client(address, purpose) else { return Ok(Io::Plain(stream)) };
    // Boxed: a handshake's state is large, and most connections have none.
    let stream = Box::pin(TlsConnector::from(config).connect(name, stream))
        .await
        .map_err(|source| ConnectError::Tls { address: address.clone(), source })?;
    let agreed = stream.get_ref().1.alpn_protocol();
    if purpose == Purpose::Requests && transport.is_http2() && agreed != Some(b"h2") {
        return Err(ConnectError::NoHttp2(address.clone()));
    }
    Ok(Io::Tls(Box::new(stream)))
}
