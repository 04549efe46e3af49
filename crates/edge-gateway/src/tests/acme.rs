//! Certificates from a real authority: Pebble, which verifies the names at the gateway's own listeners.

mod authority;
mod failures;
mod renewal;
mod suggesting;

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, ServerName};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use self::authority::Pebble;
use super::harness::*;
use crate::acme::Acme;

/// Ordering takes Pebble a second on a busy machine.
const ISSUING: Duration = Duration::from_mins(1);

/// Two names in one certificate, and a route.
const SHOP: &str = "[[certificates]]\nacme = [\"shop.test\", \"www.shop.test\"]\n\
    [[routes]]\npath_prefix = \"/\"\nrespond = { status = 200, body = \"served\" }\n";

/// A gateway that gets certificates from `pebble`, which is started.
async fn start(pebble: &mut Pebble, challenge: &str, more: &str) -> Fixture {
    let mut fixture = Fixture::start(&format!("{more}{}", pebble.section(challenge))).await;
    pebble.start(fixture.http.port(), fixture.https.port());
    fixture.get_certificates();
    fixture
}

/// What the gateway says of its certificates, once `holds` of it.
async fn until(fixture: &Fixture, pebble: &Pebble, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
    let mut last = Vec::new();
    let waiting = async {
        loop {
            last = statuses(&fixture.gateway.acme);
            if holds(&last) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let timely = tokio::time::timeout(ISSUING, waiting).await.is_ok();
    assert!(timely, "{last:#?}\n{}", pebble.log());
    last
}

fn statuses(acme: &Acme) -> Vec<Value> {
    match serde_json::to_value(acme.statuses()).unwrap() {
        Value::Array(all) => all,
        other => panic!("{other}"),
    }
}

async fn issued(fixture: &Fixture, pebble: &Pebble) -> Vec<Value> {
    until(fixture, pebble, |all| !all.is_empty() && all.iter().all(|one| one["state"] == "current")).await
}

async fn connect(
    fixture: &Fixture,
    root: &CertificateDer<'static>,
    name: &str,
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(root.clone()).unwrap();
    let config = ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(fixture.https).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

/// The certificate that a handshake for `name` is shown, which `root` must have signed.
async fn shown(fixture: &Fixture, root: &CertificateDer<'static>, name: &str) -> CertificateDer<'static> {
    let stream = connect(fixture, root, name).await.unwrap();
    stream.get_ref().1.peer_certificates().unwrap()[0].clone().into_owned()
}

/// One request on a connection that stays.
async fn ask(stream: &mut TlsStream<TcpStream>) -> String {
    stream.write_all(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let reading = async {
        while !answer.ends_with("served") {
            let mut chunk = [0u8; 4096];
            let count = stream.read(&mut chunk).await.unwrap();
            assert_ne!(count, 0, "closed after {answer:?}");
            answer.push_str(&String::from_utf8_lossy(&chunk[..count]));
        }
    };
    tokio::time::timeout(PATIENCE, reading).await.unwrap();
    answer
}

/// The files below a directory.
fn files(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn http_01_gets_one_certificate_for_several_names() {
    let mut pebble = Pebble::new();
    let fixture = start(&mut pebble, "http-01", SHOP).await;
    let all = issued(&fixture, &pebble).await;
    assert_eq!(all[0]["names"], serde_json::json!(["shop.test", "www.shop.test"]));
    let root = pebble.root().await;
    let first = shown(&fixture, &root, "shop.test").await;
    assert_eq!(first, shown(&fixture, &root, "www.shop.test").await);
    let written = files(&pebble.storage());
    assert_eq!(written.len(), 3, "{written:?}");
    for file in written {
        assert_eq!(
            std::fs::metadata(&file).unwrap().permissions().mode() & 0o777,
            0o600,
            "{}",
            file.display()
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tls_alpn_01_gets_a_certificate_beside_client_authentication() {
    let mut pebble = Pebble::new();
    let more = "[[client_auth]]\nhosts = [\"staff.test\"]\nca_file = \"DIR/a.pem\"\n";
    let fixture = start(&mut pebble, "tls-alpn-01", &format!("{SHOP}{more}")).await;
    issued(&fixture, &pebble).await;
    let root = pebble.root().await;
    shown(&fixture, &root, "www.shop.test").await;
    let mut stream = connect(&fixture, &root, "shop.test").await.unwrap();
    assert!(ask(&mut stream).await.starts_with("HTTP/1.1 200"));
}

#[tokio::test(flavor = "multi_thread")]
async fn acme_handshakes_are_answered_only_while_their_challenge_is_pending() {
    let fixture = Fixture::start(ECHO).await;
    let shake = |name: &'static str| {
        let mut config = fixture.tls(&[b"acme-tls/1"]);
        config.dangerous().set_certificate_verifier(Arc::new(Anyone));
        async move {
            let stream = TcpStream::connect(fixture.https).await.unwrap();
            let name = ServerName::try_from(name).unwrap();
            TlsConnector::from(Arc::new(config)).connect(name, stream).await
        }
    };
    assert!(shake("shop.test").await.is_err(), "nothing is pending");
    let offer = fixture.gateway.acme.challenges.offer_handshake("shop.test", &[7; 32]).unwrap();
    let mut stream = shake("shop.test").await.unwrap();
    let certificate = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let (_, parsed) = x509_parser::parse_x509_certificate(&certificate).unwrap();
    let extension =
        parsed.extensions().iter().find(|one| one.oid.to_id_string() == "1.3.6.1.5.5.7.1.31").unwrap();
    assert!(extension.critical);
    assert_eq!(extension.value, [&[4, 32][..], &[7; 32]].concat());
    assert_eq!(read_to_close(&mut stream).await, "");
    assert!(shake("other.test").await.is_err(), "another name is not pending");
    // Everybody else is served meanwhile.
    fixture.connect("a.test", &[b"h2"]).await;
    drop(offer);
    assert!(shake("shop.test").await.is_err(), "it is over");
}

#[tokio::test(flavor = "multi_thread")]
async fn http_challenges_come_before_the_redirect_and_leave_other_tokens_alone() {
    let fixture = Fixture::start(ECHO).await;
    let ask = async |token: &str| {
        let origin = quintet_http::Origin::Http { host: "127.0.0.1".to_owned(), port: fixture.http.port() };
        let path = format!("{}{token}", crate::acme::PREFIX);
        quintet_http::Client::new(origin).request(get(&path)).await.unwrap()
    };
    let offer = fixture.gateway.acme.challenges.offer_file("token", "token.thumbprint");
    let answer = ask("token").await;
    assert_eq!((answer.status(), &answer.body()[..]), (StatusCode::OK, &b"token.thumbprint"[..]));
    assert_eq!(ask("other").await.status(), StatusCode::PERMANENT_REDIRECT);
    drop(offer);
    assert_eq!(ask("token").await.status(), StatusCode::PERMANENT_REDIRECT);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wildcard_serves_a_name_until_its_own_certificate_is_there() {
    let pebble = Pebble::new();
    let more = format!("[[certificates]]\nacme = [\"x.wild.test\"]\n{ECHO}{}", pebble.section("http-01"));
    let fixture = Fixture::start(&more).await;
    fixture.connect("x.wild.test", &[b"h2"]).await;
}

#[test]
fn the_gateway_starts_with_nothing_but_names_and_with_a_damaged_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let source = |stem: &str, managed: &[&str]| crate::config::CertificateSource {
        cert: dir.path().join(format!("{stem}.pem")),
        key: dir.path().join(format!("{stem}.pem")),
        managed: managed.iter().map(|&name| name.to_owned()).collect(),
    };
    std::fs::write(dir.path().join("half.pem"), "-----BEGIN CERTIFICATE-----\nMIIB").unwrap();
    let own = vec![source("none", &["shop.test"]), source("half", &["www.shop.test"])];
    assert_eq!(crate::tls::Certificates::load(own).unwrap().not_after(), None);
    crate::tls::Certificates::load(vec![source("half", &[])]).expect_err("an operator's file must be whole");
}

#[derive(Debug)]
struct Anyone;

impl rustls::client::danger::ServerCertVerifier for Anyone {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls_pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}
