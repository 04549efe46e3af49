//! A client that speaks HTTP/3.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Buf as _, Bytes};
use h3_quinn::quinn::crypto::rustls::QuicClientConfig;
use h3_quinn::quinn::{ClientConfig, Endpoint};
use tokio::task::JoinSet;

use crate::fleet::Fleet;
use crate::load::PATIENCE;

pub(crate) type Stream = h3::client::RequestStream<h3_quinn::BidiStream<Bytes>, Bytes>;

pub(crate) struct Client {
    sender: h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>,
    port: u16,
    _driver: JoinSet<h3::error::ConnectionError>,
    _endpoint: Endpoint,
}

impl Client {
    pub(crate) async fn connect(fleet: &Fleet) -> Self {
        let mut tls = fleet.tls().clone();
        tls.alpn_protocols = vec![b"h3".to_vec()];
        let crypto = QuicClientConfig::try_from(tls).unwrap();
        let mut endpoint = Endpoint::client(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        endpoint.set_default_client_config(ClientConfig::new(Arc::new(crypto)));
        let port = fleet.port();
        let connecting = endpoint.connect(SocketAddr::from(([127, 0, 0, 1], port)), "localhost").unwrap();
        let connection = tokio::time::timeout(PATIENCE, connecting).await.unwrap().unwrap();
        let (mut driving, sender) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
        let mut driver = JoinSet::new();
        driver.spawn(async move { std::future::poll_fn(|cx| driving.poll_close(cx)).await });
        Self { sender, port, _driver: driver, _endpoint: endpoint }
    }

    pub(crate) async fn begin(&mut self, path: &str) -> Stream {
        let uri = format!("https://localhost:{}{path}", self.port);
        let mut stream = self.sender.send_request(http::Request::get(uri).body(()).unwrap()).await.unwrap();
        stream.finish().await.unwrap();
        stream
    }
}

/// The status of an answer, which has to be whole.
pub(crate) async fn status(mut stream: Stream) -> u16 {
    let reading = async {
        let status = stream.recv_response().await.unwrap().status().as_u16();
        while let Some(mut piece) = stream.recv_data().await.unwrap() {
            piece.advance(piece.remaining());
        }
        status
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap()
}
