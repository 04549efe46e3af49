//! PROXY headers from the proxy in front, and to upstreams.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::routing::any;
use http::StatusCode;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use quintet_types::SystemClock;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::harness::*;
use super::origin::Authority;
use crate::proxy_protocol::{Ends, Header, Version, read};

const TRUSTED: &str =
    "http_mode = \"proxy\"\nproxy_protocol = { from = [\"127.0.0.0/8\"], timeout_ms = 60000 }\n";

async fn start(listen: &str, more: &str) -> Fixture {
    let mut fixture = Fixture::start_with(listen, more, SystemClock::shared()).await;
    fixture.serve("echo", echo());
    fixture
}

fn header(version: Version, client: &str) -> Vec<u8> {
    let ends = Ends::new(client.parse().unwrap(), Some("198.51.100.1:443".parse().unwrap()));
    version.header(Some(ends))
}

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";

async fn to_end(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut all = Vec::new();
    // A reset counts as an end.
    let _ = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut all)).await.unwrap();
    String::from_utf8_lossy(&all).into_owned()
}

/// Sends these bytes to the plain listener and returns all that comes back.
async fn plain(fixture: &Fixture, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(fixture.http).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    to_end(&mut stream).await
}

async fn plain_from(fixture: &Fixture, header: &[u8]) -> String {
    plain(fixture, &[header, REQUEST].concat()).await
}

/// Makes a request over TLS behind these bytes.
async fn secure_from(fixture: &Fixture, header: &[u8]) -> Option<String> {
    let mut stream = TcpStream::connect(fixture.https).await.unwrap();
    stream.write_all(header).await.unwrap();
    let connector = TlsConnector::from(Arc::new(fixture.tls(&[b"http/1.1"])));
    let mut stream = connector.connect(ServerName::try_from("localhost").unwrap(), stream).await.ok()?;
    stream.write_all(REQUEST).await.unwrap();
    Some(to_end(&mut stream).await)
}

fn forwarded_for(answer: &str) -> String {
    let body = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}")).1;
    Seen::of(body.as_bytes()).header("x-forwarded-for").unwrap().to_owned()
}

#[tokio::test]
async fn the_header_names_the_client_before_tls_and_in_the_clear() {
    let fixture = start(TRUSTED, ECHO).await;
    for version in [Version::V1, Version::V2] {
        for (client, address) in [("192.0.2.7:1234", "192.0.2.7"), ("[2001:db8::7]:1234", "2001:db8::7")] {
            let header = header(version, client);
            assert_eq!(forwarded_for(&plain_from(&fixture, &header).await), address, "{version:?}");
            assert_eq!(forwarded_for(&secure_from(&fixture, &header).await.unwrap()), address, "{version:?}");
        }
        let local = version.header(None);
        assert_eq!(forwarded_for(&plain_from(&fixture, &local).await), "127.0.0.1", "{version:?}");
    }
}

#[tokio::test]
async fn a_header_may_come_in_pieces_and_takes_nothing_of_what_follows() {
    let fixture = start(TRUSTED, ECHO).await;
    for version in [Version::V1, Version::V2] {
        let whole = [header(version, "192.0.2.7:1234"), REQUEST.to_vec()].concat();
        for cut in [1, 12, 16, 20, 28, 43] {
            let mut stream = TcpStream::connect(fixture.http).await.unwrap();
            stream.set_nodelay(true).unwrap();
            for piece in whole.chunks(cut) {
                stream.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
            assert_eq!(forwarded_for(&to_end(&mut stream).await), "192.0.2.7", "{version:?} by {cut}");
        }
    }
}

#[tokio::test]
async fn limits_and_networks_judge_the_client_that_the_header_names() {
    let more =
        format!("{ECHO}deny = [\"192.0.2.66\"]\nrate_limit = {{ requests = 1, window_ms = 600000 }}\n");
    let fixture = start(TRUSTED, &more).await;
    let status = |answer: String| answer.split(' ').nth(1).map(str::to_owned).unwrap_or_default();
    for (client, expected) in
        [("192.0.2.66:1", "403"), ("192.0.2.7:1", "200"), ("192.0.2.7:2", "429"), ("192.0.2.8:1", "200")]
    {
        assert_eq!(status(plain_from(&fixture, &header(Version::V2, client)).await), expected, "{client}");
    }
}

#[tokio::test]
async fn connections_count_for_the_client_and_not_for_the_proxy() {
    let fixture = start(TRUSTED, &format!("{ECHO}[limits]\nconnections_per_ip = 1\n")).await;
    let mut open = Vec::new();
    for (client, served) in [("192.0.2.7:1", true), ("192.0.2.8:1", true), ("192.0.2.7:2", false)] {
        let mut stream = TcpStream::connect(fixture.http).await.unwrap();
        stream.write_all(&header(Version::V2, client)).await.unwrap();
        stream.write_all(b"GET /.gateway/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
        let mut first = [0; 12];
        let got = tokio::time::timeout(PATIENCE, stream.read_exact(&mut first)).await.unwrap();
        assert_eq!(got.is_ok(), served, "{client}");
        open.push(stream);
    }
}

#[tokio::test]
async fn from_a_trusted_network_nothing_goes_without_a_header() {
    let fixture = start(TRUSTED, ECHO).await;
    let malformed = b"PROXY TCP4 192.0.2.7 198.51.100.1 1 443 \r\n";
    let mut version_3 = header(Version::V2, "192.0.2.7:1");
    version_3[12] = 0x31;
    for bytes in [&b""[..], malformed, &version_3] {
        assert_eq!(plain_from(&fixture, bytes).await, "", "{bytes:?}");
        assert_eq!(secure_from(&fixture, bytes).await, None, "{bytes:?}");
    }
    let broken_off = TcpStream::connect(fixture.http).await.unwrap();
    drop(broken_off);
    assert!(plain_from(&fixture, &header(Version::V1, "192.0.2.7:1")).await.contains("200 OK"));
}

#[tokio::test]
async fn a_header_is_not_waited_for_forever() {
    let fixture = start("proxy_protocol = { from = [\"127.0.0.1\"], timeout_ms = 100 }\n", ECHO).await;
    assert_eq!(plain(&fixture, b"PROXY TCP4 192.0").await, "");
    assert_eq!(plain(&fixture, b"").await, "");
}

#[tokio::test]
async fn from_elsewhere_connections_are_refused_or_served_as_they_are() {
    let elsewhere = "http_mode = \"proxy\"\nproxy_protocol = { from = [\"10.0.0.0/8\"] }\n";
    let fixture = start(elsewhere, ECHO).await;
    let header = header(Version::V1, "192.0.2.7:1");
    assert_eq!(plain_from(&fixture, b"").await, "");
    assert_eq!(plain_from(&fixture, &header).await, "");
    let direct = "http_mode = \"proxy\"\nproxy_protocol = { from = [\"10.0.0.0/8\"], others = \"direct\" }\n";
    let fixture = start(direct, ECHO).await;
    assert_eq!(forwarded_for(&plain_from(&fixture, b"").await), "127.0.0.1");
    assert!(plain_from(&fixture, &header).await.contains(" 400 "), "a stranger's header is no header");
}

#[tokio::test]
async fn a_reload_changes_who_must_send_a_header() {
    let fixture = start("http_mode = \"proxy\"\n", ECHO).await;
    assert_eq!(forwarded_for(&plain_from(&fixture, b"").await), "127.0.0.1");
    fixture.reload_listening(TRUSTED, ECHO).unwrap();
    assert_eq!(plain_from(&fixture, b"").await, "");
    let named = plain_from(&fixture, &header(Version::V1, "192.0.2.7:1")).await;
    assert_eq!(forwarded_for(&named), "192.0.2.7");
}

/// An upstream that wants a PROXY header first, and answers with the number of its connection.
struct Told {
    address: SocketAddr,
    headers: Arc<Mutex<Vec<Header>>>,
    _task: JoinSet<()>,
}

impl Told {
    async fn start(tls: Option<Arc<rustls::ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let headers = Arc::new(Mutex::new(Vec::new()));
        let (noted, mut task) = (Arc::clone(&headers), JoinSet::new());
        task.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((mut stream, _)) = listener.accept().await {
                let header = read(&mut stream).await.unwrap();
                let number = {
                    let mut noted = noted.lock().unwrap();
                    noted.push(header);
                    noted.len() - 1
                };
                let tls = tls.clone();
                connections.spawn(async move {
                    match tls {
                        None => answer(number, stream).await,
                        Some(tls) => {
                            let stream = TlsAcceptor::from(tls).accept(stream).await.unwrap();
                            answer(number, stream).await;
                        }
                    }
                });
            }
        });
        Self { address, headers, _task: task }
    }

    fn headers(&self) -> Vec<Header> {
        self.headers.lock().unwrap().clone()
    }

    fn upstream(&self, version: &str, more: &str) -> String {
        format!(
            "[[upstreams]]\nname = \"told\"\naddresses = [\"{}\"]\nproxy_protocol = \"{version}\"\n{more}\n\
             [[routes]]\npath_prefix = \"/\"\nupstream = \"told\"\n",
            self.address
        )
    }
}

async fn answer(number: usize, stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) {
    let router = Router::new().fallback(any(move || async move { number.to_string() }));
    let service = TowerToHyperService::new(router);
    // Its errors reach the requests.
    let _ = auto::Builder::new(TokioExecutor::new())
        .serve_connection_with_upgrades(TokioIo::new(stream), service)
        .await;
}

/// One connection to the gateway that makes several requests.
struct Browser(TcpStream);

impl Browser {
    async fn connect(fixture: &Fixture, client: &str) -> Self {
        let mut stream = TcpStream::connect(fixture.http).await.unwrap();
        stream.write_all(&header(Version::V2, client)).await.unwrap();
        Self(stream)
    }

    /// The number of the upstream's connection that served a request.
    async fn ask(&mut self, more: &str) -> String {
        let request = format!("GET / HTTP/1.1\r\nHost: localhost\r\n{more}\r\n");
        self.0.write_all(request.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let byte = tokio::time::timeout(PATIENCE, self.0.read_u8()).await.unwrap();
            head.push(byte.unwrap_or_else(|error| panic!("{error}: {:?}", String::from_utf8_lossy(&head))));
        }
        assert!(head.starts_with(b"HTTP/1.1 200 "), "{:?}", String::from_utf8_lossy(&head));
        let mut body = [0];
        self.0.read_exact(&mut body).await.unwrap();
        String::from_utf8(body.to_vec()).unwrap()
    }
}

fn proxied(client: &str) -> Header {
    Header::Proxied(Ends::new(client.parse().unwrap(), Some("198.51.100.1:443".parse().unwrap())))
}

#[tokio::test]
async fn upstreams_are_told_of_each_client_and_no_two_clients_share_a_connection() {
    for version in ["v1", "v2"] {
        let told = Told::start(None).await;
        let fixture = start(TRUSTED, &told.upstream(version, "max_idle = 2")).await;
        let mut one = Browser::connect(&fixture, "192.0.2.7:1").await;
        let mut same_host = Browser::connect(&fixture, "192.0.2.7:2").await;
        let mut other = Browser::connect(&fixture, "[2001:db8::7]:1").await;
        assert_eq!((one.ask("").await, same_host.ask("").await), ("0".to_owned(), "1".to_owned()));
        assert_eq!((one.ask("").await, same_host.ask("").await), ("0".to_owned(), "1".to_owned()));
        other.ask("").await;
        let six = Ends::new("[2001:db8::7]:1".parse().unwrap(), Some("198.51.100.1:443".parse().unwrap()));
        let expected = [proxied("192.0.2.7:1"), proxied("192.0.2.7:2"), Header::Proxied(six)];
        assert_eq!(told.headers(), expected, "{version}");
    }
}

#[tokio::test]
async fn an_upgrade_is_announced_too() {
    let told = Told::start(None).await;
    let fixture = start(TRUSTED, &told.upstream("v2", "")).await;
    let mut browser = Browser::connect(&fixture, "192.0.2.7:1").await;
    browser.ask("Connection: upgrade\r\nUpgrade: websocket\r\n").await;
    assert_eq!(told.headers(), [proxied("192.0.2.7:1")]);
}

#[tokio::test]
async fn the_header_goes_before_tls_and_a_direct_client_is_told_with_where_it_connected() {
    let authority = Authority::new();
    let told = Told::start(Some(authority.server(&["app.internal"], &[b"http/1.1"], None))).await;
    let tls = "tls = { server_name = \"app.internal\", ca_file = \"DIR/ca.pem\" }";
    let fixture =
        Fixture::start_with_files(&told.upstream("v2", tls), |dir| authority.write(dir, "ca")).await;
    let answer = fixture.client().request(get("/")).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    let [Header::Proxied(ends)] = told.headers()[..] else { panic!("{:?}", told.headers()) };
    assert_eq!(ends.destination, fixture.https);
    assert!(ends.source.ip().is_loopback() && ends.source.port() > 0, "{ends:?}");
}

#[tokio::test]
async fn health_checks_say_that_they_are_the_gateways_own() {
    let told = Told::start(None).await;
    let health = "health = { path = \"/\", interval_ms = 100 }";
    let _fixture = start("", &told.upstream("v1", health)).await;
    let waiting = async {
        while told.headers().is_empty() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(PATIENCE, waiting).await.unwrap();
    assert_eq!(told.headers()[0], Header::Local);
}
