//! A running server and raw connections to it.

use std::time::Duration;

use axum::Router;
use quintet_http::{Address, Client, Limits, Origin, serve, standard};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Long enough for any machine; reached only by a test that fails.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct TestServer {
    pub(crate) address: Address,
    pub(crate) shutdown: CancellationToken,
    task: JoinSet<()>,
}

impl TestServer {
    pub(crate) fn start(router: Router, limits: Limits) -> Self {
        Self::start_on(&"127.0.0.1:0".parse().unwrap(), router, limits)
    }

    pub(crate) fn start_on(address: &Address, router: Router, limits: Limits) -> Self {
        let listener = address.bind().unwrap();
        let address = listener.local_address().unwrap();
        let shutdown = CancellationToken::new();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, standard(router, &limits), limits, shutdown.clone()));
        Self { address, shutdown, task }
    }

    pub(crate) fn client(&self) -> Client {
        let origin = match &self.address {
            Address::Tcp(address) => format!("http://{address}"),
            Address::Unix(path) => format!("unix:{}", path.display()),
        };
        Client::new(origin.parse::<Origin>().unwrap())
    }

    pub(crate) async fn connect(&self) -> TcpStream {
        let Address::Tcp(address) = &self.address else { panic!("not on TCP") };
        TcpStream::connect(address).await.unwrap()
    }

    /// Sends raw bytes and reads until the server closes.
    pub(crate) async fn exchange(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect().await;
        stream.write_all(bytes.as_ref()).await.unwrap();
        read_to_close(&mut stream).await
    }

    /// Waits until the server no longer accepts connections.
    pub(crate) async fn listener_closed(&self) {
        let Address::Tcp(address) = &self.address else { panic!("not on TCP") };
        let closed = async { while TcpStream::connect(address).await.is_ok() {} };
        tokio::time::timeout(PATIENCE, closed).await.expect("the listener closes");
    }

    /// Waits for `serve` to return after `shutdown`.
    pub(crate) async fn stopped(mut self) {
        tokio::time::timeout(PATIENCE, self.task.join_next())
            .await
            .expect("the drain ends")
            .unwrap()
            .unwrap();
    }
}

/// Reads until the server closes; a reset loses what the test asks about, so it fails the test.
pub(crate) async fn read_to_close(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer))
        .await
        .expect("the server closes the connection")
        .expect("the server closes without a reset");
    String::from_utf8(answer).unwrap()
}

/// Reads one answer head.
pub(crate) async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let byte =
            tokio::time::timeout(PATIENCE, stream.read_u8()).await.expect("an answer in time").unwrap();
        head.push(byte);
    }
    String::from_utf8(head).unwrap()
}

pub(crate) fn json(body: &[u8]) -> Value {
    serde_json::from_slice(body)
        .unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(body)))
}

/// The JSON body of a raw answer.
pub(crate) fn body_of(answer: &str) -> Value {
    json(answer.split_once("\r\n\r\n").expect("an answer with a head").1.as_bytes())
}
