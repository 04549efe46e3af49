//! A running gateway, its upstreams and its clients.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::Request as AxumRequest;
use axum::routing::any;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper_util::rt::{TokioExecutor, TokioIo};
use quintet_http::{Address, Client, Limits, Origin};
use quintet_testkit::issuer::TestIssuer;
use quintet_types::{SharedClock, SystemClock};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::ServerName;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::gateway::{Changes, Gateway, Giver, ReloadError, assemble};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// One gateway with everything around it.
pub(crate) struct Fixture {
    pub(crate) dir: TempDir,
    pub(crate) https: SocketAddr,
    pub(crate) http: SocketAddr,
    pub(crate) issuer: Arc<TestIssuer>,
    pub(crate) gateway: Arc<Gateway>,
    /// What DNS knows.
    pub(crate) names: Names,
    /// The configuration before what a test adds; `LISTEN` stands for further keys of `[listen]`.
    base: String,
    pub(crate) shutdown: CancellationToken,
    roots: RootCertStore,
    running: Vec<tokio::sync::oneshot::Receiver<std::io::Result<()>>>,
    tasks: JoinSet<()>,
}

/// Addresses of names, as a test says they are; other names have none.
#[derive(Clone, Default)]
pub(crate) struct Names {
    known: Arc<Mutex<HashMap<String, Vec<SocketAddr>>>>,
    asked: Arc<AtomicUsize>,
}

impl Names {
    pub(crate) fn set(&self, name: &str, addresses: &[SocketAddr]) {
        self.known.lock().unwrap().insert(name.to_owned(), addresses.to_vec());
    }

    /// Look-ups so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Waits until there were so many look-ups.
    pub(crate) async fn asked_again(&self, times: usize) {
        let enough = async {
            while self.asked() < times {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, enough).await.unwrap();
    }
}

impl crate::upstream::Resolve for Names {
    async fn resolve(&self, host: &str, _: u16) -> std::io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let found = self.known.lock().unwrap().get(host).cloned();
        found.ok_or_else(|| std::io::Error::other("no such name"))
    }
}

/// Makes a certificate for `names` that signs itself, and writes it where the configuration looks.
pub(crate) fn write_certificate(
    dir: &std::path::Path,
    stem: &str,
    names: &[&str],
) -> rcgen::CertifiedKey<rcgen::KeyPair> {
    let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
    let made = rcgen::generate_simple_self_signed(names).unwrap();
    std::fs::write(dir.join(format!("{stem}.pem")), made.cert.pem()).unwrap();
    std::fs::write(dir.join(format!("{stem}.key")), made.signing_key.serialize_pem()).unwrap();
    made
}

fn parse(base: &str, dir: &std::path::Path, listen: &str, more: &str) -> Config {
    let base = base.replace("LISTEN", listen);
    toml::from_str(&format!("{base}{}", more.replace("DIR", dir.to_str().unwrap()))).unwrap()
}

impl Fixture {
    /// A gateway whose configuration ends with `more`; `DIR` in it is the fixture's directory.
    pub(crate) async fn start(more: &str) -> Self {
        Self::start_with("", more, SystemClock::shared()).await
    }

    pub(crate) async fn start_with_clock(more: &str, clock: SharedClock) -> Self {
        Self::start_in("", more, clock, |_| ()).await
    }

    /// `listen` are further keys of that section.
    pub(crate) async fn start_with(listen: &str, more: &str, clock: SharedClock) -> Self {
        Self::start_in(listen, more, clock, |_| ()).await
    }

    /// A gateway that finds the files which `write` puts into its directory.
    pub(crate) async fn start_with_files(more: &str, write: impl FnOnce(&Path)) -> Self {
        Self::start_in("", more, SystemClock::shared(), write).await
    }

    #[expect(clippy::unused_async, reason = "parts of the gateway start tasks, so a runtime must be there")]
    async fn start_in(listen: &str, more: &str, clock: SharedClock, write: impl FnOnce(&Path)) -> Self {
        let dir = TempDir::new().unwrap();
        write(dir.path());
        let a = write_certificate(dir.path(), "a", &["localhost", "a.test", "127.0.0.1"]);
        let b = write_certificate(dir.path(), "b", &["b.test", "*.wild.test"]);
        let mut roots = RootCertStore::empty();
        roots.add(a.cert.der().clone()).unwrap();
        roots.add(b.cert.der().clone()).unwrap();
        let base = "[service]\nadmin = \"unix:DIR/admin.sock\"\ndrain_timeout_ms = 5000\n\
             [listen]\nhttps = \"127.0.0.1:0\"\nhttp = \"127.0.0.1:0\"\nworkers = 2\nLISTEN\n\
             [[certificates]]\ncert = \"DIR/a.pem\"\nkey = \"DIR/a.key\"\n\
             [[certificates]]\ncert = \"DIR/b.pem\"\nkey = \"DIR/b.key\"\n"
            .replace("DIR", dir.path().to_str().unwrap());
        #[cfg_attr(not(feature = "http3"), expect(unused_mut, reason = "HTTP/3 adds sockets"))]
        let mut assembled =
            assemble(parse(&base, dir.path(), listen, more), clock.clone(), |_| Ok(None), Giver::Systemd)
                .unwrap();
        let https = assembled.sockets[0].https[0].listener.local_addr().unwrap();
        let http = assembled.sockets[0].http[0].listener.local_addr().unwrap();
        let gateway = Arc::clone(&assembled.gateway);
        let shutdown = CancellationToken::new();
        #[cfg(feature = "http3")]
        if gateway.snapshot().config.listen.http3 {
            let never = CancellationToken::new();
            crate::gateway::open_http3(&mut assembled, Vec::new(), None, never, Giver::Systemd).unwrap();
        }
        let running = assembled.run(shutdown.clone(), || None).unwrap();
        let mut issuer = TestIssuer::with_clock(clock);
        issuer.issuer = ISSUER.to_owned();
        let issuer = Arc::new(issuer);
        let mut tasks = JoinSet::new();
        let names = Names::default();
        let upkept = crate::upstream::upkeep(Arc::clone(&gateway), names.clone(), shutdown.clone());
        tasks.spawn(async { upkept.await.unwrap() });
        Self { dir, https, http, issuer, gateway, names, base, shutdown, roots, running, tasks }
    }

    /// The configuration that ends with `more`, beside the sections that all have.
    pub(crate) fn config(&self, more: &str) -> Config {
        parse(&self.base, self.dir.path(), "", more)
    }

    /// Reloads the gateway with a configuration that ends with `more`.
    pub(crate) fn reload(&self, more: &str) -> Result<Changes, ReloadError> {
        self.gateway.apply(self.config(more), std::time::Instant::now())
    }

    pub(crate) fn socket(&self, name: &str) -> PathBuf {
        self.dir.path().join(format!("{name}.sock"))
    }

    /// Reloads with further keys of `[listen]`.
    pub(crate) fn reload_listening(&self, listen: &str, more: &str) -> Result<Changes, ReloadError> {
        let config = parse(&self.base, self.dir.path(), listen, more);
        self.gateway.apply(config, std::time::Instant::now())
    }

    /// Serves `router` as the upstream `name`; cancelling the token stops it.
    pub(crate) fn serve(&mut self, name: &str, router: Router) -> CancellationToken {
        let stop = CancellationToken::new();
        let listener = Address::Unix(self.socket(name)).bind().unwrap();
        self.tasks.spawn(quintet_http::serve(listener, router, Limits::default(), stop.clone()));
        stop
    }

    /// The authorities that have signed the gateway's certificates.
    pub(crate) fn roots(&self) -> RootCertStore {
        self.roots.clone()
    }

    pub(crate) fn tls(&self, alpn: &[&[u8]]) -> ClientConfig {
        let mut config =
            ClientConfig::builder().with_root_certificates(self.roots.clone()).with_no_client_auth();
        config.alpn_protocols = alpn.iter().map(|protocol| protocol.to_vec()).collect();
        config
    }

    /// A pooled HTTP/1.1 client.
    pub(crate) fn client(&self) -> Client {
        let origin = Origin::Https { host: "localhost".to_owned(), port: self.https.port() };
        Client::with_tls(origin, self.tls(&[b"http/1.1"])).timeout(PATIENCE)
    }

    /// A TLS connection that says it wants `name`.
    pub(crate) async fn connect(&self, name: &'static str, alpn: &[&[u8]]) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(self.https).await.unwrap();
        let connector = TlsConnector::from(Arc::new(self.tls(alpn)));
        connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap()
    }

    /// Sends bytes on a connection of their own and reads everything until the gateway closes it.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect("localhost", &[b"http/1.1"]).await;
        stream.write_all(bytes).await.unwrap();
        stream.flush().await.unwrap();
        read_to_close(&mut stream).await
    }

    /// The same, where it may be refused.
    pub(crate) async fn try_connect(&self, name: &'static str) -> std::io::Result<TlsStream<TcpStream>> {
        let stream = TcpStream::connect(self.https).await?;
        let connector = TlsConnector::from(Arc::new(self.tls(&[b"http/1.1"])));
        connector.connect(ServerName::try_from(name).unwrap(), stream).await
    }

    /// Gets and renews certificates until the gateway ends.
    pub(crate) fn get_certificates(&mut self) {
        let keeping = crate::acme::run(Arc::clone(&self.gateway), self.shutdown.clone());
        self.tasks.spawn(async { keeping.await.unwrap() });
    }

    /// An HTTP/2 client on one connection.
    pub(crate) async fn http2(&mut self) -> hyper::client::conn::http2::SendRequest<Full<Bytes>> {
        let stream = self.connect("localhost", &[b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        self.tasks.spawn(async move {
            // Its errors reach the requests.
            let _ = connection.await;
        });
        sender
    }

    /// The authority that clients name.
    pub(crate) fn authority(&self) -> String {
        format!("localhost:{}", self.https.port())
    }

    /// Drains the gateway and waits for its threads.
    pub(crate) async fn drain(&mut self) {
        self.shutdown.cancel();
        for worker in std::mem::take(&mut self.running) {
            tokio::time::timeout(PATIENCE, worker).await.unwrap().unwrap().unwrap();
        }
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// The public address that tests give the issuer; nothing connects to it.
pub(crate) const ISSUER: &str = "https://localhost/identity";

/// Reads until the peer closes; a reset counts as a close.
pub(crate) async fn read_to_close(stream: &mut TlsStream<TcpStream>) -> String {
    let mut all = Vec::new();
    let reading = async {
        let mut chunk = [0u8; 4096];
        while let Ok(count @ 1..) = stream.read(&mut chunk).await {
            all.extend_from_slice(&chunk[..count]);
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.expect("the gateway should close the connection");
    String::from_utf8_lossy(&all).into_owned()
}

/// What the echo upstream saw.
#[derive(Debug)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) headers: HashMap<String, Vec<String>>,
    pub(crate) length: u64,
}

impl Seen {
    pub(crate) fn of(body: &[u8]) -> Self {
        let value: Value =
            serde_json::from_slice(body).unwrap_or_else(|_| panic!("{:?}", String::from_utf8_lossy(body)));
        Self {
            method: value["method"].as_str().unwrap().to_owned(),
            target: value["target"].as_str().unwrap().to_owned(),
            headers: serde_json::from_value(value["headers"].clone()).unwrap(),
            length: value["length"].as_u64().unwrap(),
        }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        match self.headers.get(name).map(Vec::as_slice) {
            None => None,
            Some([only]) => Some(only),
            Some(many) => panic!("{name} was sent {} times: {many:?}", many.len()),
        }
    }
}

/// An upstream that describes each request it gets.
pub(crate) fn echo() -> Router {
    Router::new().fallback(any(describe))
}

async fn describe(request: AxumRequest) -> Response<Body> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map(http_body_util::Collected::to_bytes).unwrap_or_default();
    let mut headers: HashMap<&str, Vec<String>> = HashMap::new();
    for (name, value) in &parts.headers {
        headers
            .entry(name.as_str())
            .or_default()
            .push(String::from_utf8_lossy(value.as_bytes()).into_owned());
    }
    let document = json!({
        "method": parts.method.as_str(),
        "target": parts.uri.path_and_query().map(http::uri::PathAndQuery::as_str),
        "headers": headers,
        "length": body.len(),
    });
    Response::builder()
        .header("x-upstream", "echo")
        .header("connection", "keep-alive")
        .header("x-request-id", "from-upstream")
        .body(Body::from(document.to_string()))
        .unwrap()
}

/// An upstream that counts requests per target.
#[derive(Clone, Default)]
pub(crate) struct Counter(Arc<Mutex<HashMap<String, usize>>>);

impl Counter {
    pub(crate) fn router(&self) -> Router {
        let counts = self.clone();
        Router::new().fallback(any(move |request: AxumRequest| {
            let counts = counts.clone();
            async move {
                *counts.0.lock().unwrap().entry(request.uri().path().to_owned()).or_default() += 1;
                "counted"
            }
        }))
    }

    pub(crate) fn of(&self, path: &str) -> usize {
        self.0.lock().unwrap().get(path).copied().unwrap_or_default()
    }

    pub(crate) fn total(&self) -> usize {
        self.0.lock().unwrap().values().sum()
    }
}

pub(crate) fn get(path: &str) -> Request<Bytes> {
    Request::builder().uri(path).body(Bytes::new()).unwrap()
}

pub(crate) fn post(path: &str, body: impl Into<Bytes>) -> Request<Bytes> {
    Request::builder().method(Method::POST).uri(path).body(body.into()).unwrap()
}

/// The `code` of a problem, checking that it is one and names its request.
pub(crate) fn problem_code(response: &Response<Bytes>) -> String {
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let problem: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["status"], response.status().as_u16());
    assert_eq!(problem["request_id"].as_str().unwrap(), response.headers()["x-request-id"]);
    problem["code"].as_str().unwrap().to_owned()
}

/// One upstream `echo` and a route to it for everything.
pub(crate) const ECHO: &str = "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
                               [[routes]]\npath_prefix = \"/\"\nupstream = \"echo\"\n";
