//! A blocking TLS 1.3 client with as little as a measurement needs: connect, ask, read the answer, hang up.
//!
//! Every proxy is offered the same key exchange and the same cipher suite, and never a session to resume, so
//! that each does the same cryptographic work.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, SupportedKxGroup, aws_lc_rs};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

/// The name in every certificate, SNI and Host.
pub(super) const HOST: &str = "localhost";
/// No answer here takes longer unless the proxy has failed.
const PATIENCE: Duration = Duration::from_secs(15);

/// Receive buffer of a client that wants little at a time: without it the kernel would take megabytes for each.
const NARROW: usize = 16 * 1024;

/// Key exchange that is offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyExchange {
    /// What all four can do.
    X25519,
    /// What browsers ask for first.
    X25519MlKem768,
}

/// What a client offers in its handshakes.
pub(super) fn tls(
    certificate: CertificateDer<'static>,
    exchange: KeyExchange,
    application: &[u8],
) -> anyhow::Result<ClientConfig> {
    let group: &'static dyn SupportedKxGroup = match exchange {
        KeyExchange::X25519 => aws_lc_rs::kx_group::X25519,
        KeyExchange::X25519MlKem768 => aws_lc_rs::kx_group::X25519MLKEM768,
    };
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256],
        kx_groups: vec![group],
        ..aws_lc_rs::default_provider()
    };
    let mut roots = RootCertStore::empty();
    roots.add(certificate).context("trust the bench's certificate")?;
    let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .context("choose TLS 1.3")?
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![application.to_vec()];
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// Makes connections that trust one certificate.
#[derive(Debug, Clone)]
pub(super) struct Client(Arc<ClientConfig>);

impl Client {
    pub(super) fn new(certificate: CertificateDer<'static>, exchange: KeyExchange) -> anyhow::Result<Self> {
        Ok(Self(Arc::new(tls(certificate, exchange, b"http/1.1")?)))
    }

    /// Connects and completes the handshake.
    pub(super) fn connect(&self, port: u16) -> io::Result<Connection> {
        self.handshake(TcpStream::connect(("127.0.0.1", port))?)
    }

    /// The same with so small a receive buffer that most of an answer stays at the proxy.
    pub(super) fn connect_narrowly(&self, port: u16) -> io::Result<Connection> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_recv_buffer_size(NARROW)?;
        socket.connect(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
        self.handshake(socket.into())
    }

    fn handshake(&self, mut socket: TcpStream) -> io::Result<Connection> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        let name = ServerName::try_from(HOST).map_err(io::Error::other)?;
        let mut session = ClientConnection::new(Arc::clone(&self.0), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut socket)?;
        }
        Ok(Connection(StreamOwned::new(session, socket)))
    }
}

/// One open connection.
#[derive(Debug)]
pub(super) struct Connection(StreamOwned<ClientConnection, TcpStream>);

impl Connection {
    /// Sends one GET and reads the whole answer into `buffer`; returns the length of its body.
    pub(super) fn get(&mut self, path: &str, buffer: &mut Vec<u8>) -> io::Result<usize> {
        // In one piece: each write becomes a TLS record and a segment of its own.
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
        buffer.clear();
        let mut piece = [0; 16 * 1024];
        loop {
            let read = self.0.read(&mut piece)?;
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            buffer.extend_from_slice(piece.get(..read).unwrap_or_default());
            if let Some(body) = body_length(buffer)? {
                return Ok(body);
            }
        }
    }

    /// Sends one GET whose answer is taken piece by piece.
    pub(super) fn ask(&mut self, path: &str) -> io::Result<()> {
        self.0.write_all(format!("GET {path} HTTP/1.1\r\nHost: {HOST}\r\n\r\n").as_bytes())?;
        let mut status = [0; 13];
        self.0.read_exact(&mut status)?;
        if &status == b"HTTP/1.1 200 " {
            return Ok(());
        }
        Err(io::Error::other(format!("the proxy answered `{}`", String::from_utf8_lossy(&status))))
    }

    /// Takes so many bytes of what was asked for.
    pub(super) fn take(&mut self, bytes: usize) -> io::Result<()> {
        self.0.read_exact(&mut vec![0; bytes])
    }

    /// Says goodbye and waits until the other side has too, so that it has done all of its work.
    pub(super) fn close(mut self) {
        self.0.conn.send_close_notify();
        // The other side may have closed already; then there is nothing to wait for.
        let _ = self.0.flush();
        let _ = self.0.sock.shutdown(Shutdown::Write);
        let mut rest = [0; 1024];
        while self.0.sock.read(&mut rest).is_ok_and(|read| read > 0) {}
    }
}

/// The length of a body that is there in full; `None` while bytes are missing. Only what the upstream sends is
/// an answer: any other status is an error.
fn body_length(answer: &[u8]) -> io::Result<Option<usize>> {
    const END: &[u8] = b"\r\n\r\n";
    let Some(end) = answer.windows(END.len()).position(|window| window == END) else { return Ok(None) };
    let head = String::from_utf8_lossy(answer.get(..end).unwrap_or_default());
    if !head.starts_with("HTTP/1.1 200 ") {
        let status = head.lines().next().unwrap_or_default();
        return Err(io::Error::other(format!("the proxy answered `{status}`")));
    }
    let declared = head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    });
    let declared = declared.ok_or_else(|| io::Error::other("the answer has no Content-Length"))?;
    Ok((answer.len() >= end + END.len() + declared).then_some(declared))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answer_is_complete_with_its_last_byte() {
        let whole = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(body_length(whole).unwrap(), Some(3));
        assert_eq!(body_length(&whole[..whole.len() - 1]).unwrap(), None);
        assert_eq!(body_length(&whole[..20]).unwrap(), None);
    }

    #[test]
    fn error_page_is_no_answer() {
        let error = body_length(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n").unwrap_err();
        assert!(error.to_string().contains("502"), "{error}");
    }
}
