//! A client of another implementation, and one that says what no client should.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes, BytesMut};
use h3_quinn::quinn::crypto::rustls::QuicClientConfig;
use h3_quinn::quinn::{ClientConfig, Connection, ConnectionError, Endpoint, RecvStream, SendStream};
use http::{HeaderMap, Request, Response};
use tokio::task::JoinSet;

use crate::tests::harness::{Fixture, PATIENCE};

pub(super) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;
pub(super) type Failure = h3::error::StreamError;

/// A client with one connection.
pub(super) struct Client {
    pub(super) endpoint: Endpoint,
    pub(super) connection: Connection,
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    port: u16,
    /// Reads what the gateway says of the connection.
    pub(super) driver: JoinSet<h3::error::ConnectionError>,
}

pub(super) fn endpoint(fixture: &Fixture) -> Endpoint {
    let crypto = QuicClientConfig::try_from(fixture.tls(&[b"h3"])).unwrap();
    let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
    endpoint
}

pub(super) async fn connect(
    fixture: &Fixture,
    name: &str,
) -> Result<(Endpoint, Connection), ConnectionError> {
    let endpoint = endpoint(fixture);
    let connecting = endpoint.connect(fixture.https, name).unwrap();
    let connection = tokio::time::timeout(PATIENCE, connecting).await.unwrap()?;
    Ok((endpoint, connection))
}

impl Client {
    pub(super) async fn start(fixture: &Fixture) -> Self {
        Self::start_for(fixture, "localhost").await
    }

    pub(super) async fn start_for(fixture: &Fixture, name: &str) -> Self {
        let (endpoint, connection) = connect(fixture, name).await.unwrap();
        let quic = h3_quinn::Connection::new(connection.clone());
        let (mut driving, sender) = h3::client::new(quic).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { std::future::poll_fn(|cx| driving.poll_close(cx)).await });
        Self { endpoint, connection, sender, port: fixture.https.port(), driver }
    }

    /// Begins a request; `path` is of `localhost` unless it is a whole address.
    pub(super) async fn begin(&mut self, request: Request<()>) -> Result<Stream, Failure> {
        let (mut parts, ()) = request.into_parts();
        if parts.uri.authority().is_none() {
            parts.uri = format!("https://localhost:{}{}", self.port, parts.uri).parse().unwrap();
        }
        tokio::time::timeout(PATIENCE, self.sender.send_request(Request::from_parts(parts, ())))
            .await
            .unwrap()
    }

    pub(super) async fn send(&mut self, request: Request<Bytes>) -> Result<Response<Bytes>, Failure> {
        let (parts, body) = request.into_parts();
        let mut stream = self.begin(Request::from_parts(parts, ())).await?;
        if !body.is_empty() {
            // The gateway may answer and stop before it has read everything.
            let _ = stream.send_data(body).await;
        }
        let _ = stream.finish().await;
        read(&mut stream).await.map(|(response, _)| response)
    }
}

/// Reads an answer to its end, with its trailers.
pub(super) async fn read(stream: &mut Stream) -> Result<(Response<Bytes>, Option<HeaderMap>), Failure> {
    let reading = async {
        let response = stream.recv_response().await?;
        let mut body = BytesMut::new();
        while let Some(mut piece) = stream.recv_data().await? {
            body.extend_from_slice(&piece.copy_to_bytes(piece.remaining()));
        }
        let trailers = stream.recv_trailers().await?;
        Ok((response.map(|()| body.freeze()), trailers))
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the answer should come")
}

/// A connection on which a test writes bytes.
pub(super) struct Raw {
    _endpoint: Endpoint,
    pub(super) connection: Connection,
    control: SendStream,
}

/// A field section with a request for `https://localhost/`, in a HEADERS frame.
pub(super) const GET: &[u8] = b"\x01\x10\0\0\xd1\xd7\xc1\x50\x09localhost";

impl Raw {
    pub(super) async fn start(fixture: &Fixture) -> Self {
        let (endpoint, connection) = connect(fixture, "localhost").await.unwrap();
        let control = connection.open_uni().await.unwrap();
        Self { _endpoint: endpoint, connection, control }
    }

    /// Writes on the control stream, whose type comes first.
    pub(super) async fn control(&mut self, bytes: &[u8]) {
        self.control.write_all(bytes).await.unwrap();
    }

    pub(super) fn close_control(&mut self) {
        self.control.finish().unwrap();
    }

    /// Opens a stream in one direction.
    pub(super) async fn uni(&self, bytes: &[u8]) -> SendStream {
        let mut stream = self.connection.open_uni().await.unwrap();
        stream.write_all(bytes).await.unwrap();
        stream
    }

    pub(super) async fn request(&self, bytes: &[u8]) -> (SendStream, RecvStream) {
        let (mut send, receive) = self.connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        (send, receive)
    }

    /// The code that the gateway ends the connection with.
    pub(super) async fn closed(&self) -> u64 {
        match tokio::time::timeout(PATIENCE, self.connection.closed()).await.expect("it should be closed") {
            ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
            other => panic!("{other}"),
        }
    }
}
