//! Opening a stream to an address: TCP or a unix socket, with TLS over it where the upstream speaks that.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use quintet_http::listen::{Address, Stream};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::proxy_protocol::Ends;
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
        source: hyper::Error,
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
pub(crate) enum Io {
    Plain(Stream),
    Tls(Box<TlsStream<Stream>>),
}

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

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Io::Plain(stream) => Pin::new(stream).$method($($argument),*),
            Io::Tls(stream) => Pin::new(&mut **stream).$method($($argument),*),
        }
    };
}

impl AsyncRead for Io {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, cx, buffer)
    }
}

impl AsyncWrite for Io {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, cx, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, cx, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, cx)
    }
}
