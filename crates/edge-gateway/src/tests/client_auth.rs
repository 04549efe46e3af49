//! Mutual TLS with clients.

use std::sync::Arc;

use base64::Engine as _;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::harness::*;
use super::origin::Authority;

const AUTH: &str = "[[client_auth]]\nhosts = [\"a.test\"]\nca_file = \"DIR/ca.pem\"\n\
                    [[client_auth]]\nhosts = [\"*.wild.test\"]\nca_file = \"DIR/ca.pem\"\nmode = \"optional\"\n\
                    [[routes]]\npath_prefix = \"/staff\"\nupstream = \"echo\"\nclient_certificate = true\n";

async fn start(authority: &Authority, more: &str) -> Fixture {
    let mut fixture =
        Fixture::start_with_files(&format!("{ECHO}{more}"), |dir| authority.write(dir, "ca")).await;
    fixture.serve("echo", echo());
    fixture
}

/// The TLS side of a client with a certificate that `authority` signed, and the certificate.
fn with_certificate(fixture: &Fixture, authority: &Authority) -> (ClientConfig, CertificateDer<'static>) {
    let (certificate, key) = authority.sign(&["till-7.shop.example", "a, DNS:admin"]);
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).unwrap();
    let mut config = ClientConfig::builder()
        .with_root_certificates(fixture.roots())
        .with_client_auth_cert(vec![certificate.clone()], key)
        .unwrap();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    (config, certificate)
}

async fn connect(fixture: &Fixture, config: ClientConfig, name: &'static str) -> TlsStream<TcpStream> {
    let stream = TcpStream::connect(fixture.https).await.unwrap();
    let connector = TlsConnector::from(Arc::new(config));
    connector.connect(ServerName::try_from(name).unwrap(), stream).await.unwrap()
}

/// The answer on a connection of its own; empty where the handshake was refused, which TLS 1.3 tells late.
async fn ask(fixture: &Fixture, config: ClientConfig, name: &'static str, head: &str) -> String {
    let mut stream = connect(fixture, config, name).await;
    let request = format!("GET {head}\r\nConnection: close\r\n\r\n");
    // Fails where the gateway has closed already.
    let _ = stream.write_all(request.as_bytes()).await;
    read_to_close(&mut stream).await
}

fn seen(answer: &str) -> Seen {
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    Seen::of(answer.split_once("\r\n\r\n").unwrap().1.as_bytes())
}

#[tokio::test]
async fn a_host_that_requires_a_certificate_takes_those_of_its_authority_alone() {
    let (authority, other) = (Authority::new(), Authority::new());
    let fixture = start(&authority, AUTH).await;
    let head = "/ HTTP/1.1\r\nHost: a.test";
    assert_eq!(ask(&fixture, fixture.tls(&[b"http/1.1"]), "a.test", head).await, "");
    let (config, _) = with_certificate(&fixture, &other);
    assert_eq!(ask(&fixture, config, "a.test", head).await, "");
    let (config, certificate) = with_certificate(&fixture, &authority);
    let answer = seen(&ask(&fixture, config, "a.test", head).await);
    let encoded = base64::engine::general_purpose::STANDARD.encode(&certificate);
    assert_eq!(answer.header("client-cert").unwrap(), format!(":{encoded}:"));
    assert_eq!(
        answer.header("x-quintet-client-names").unwrap(),
        "DNS:till-7.shop.example, DNS:a%2C DNS:admin"
    );
    assert!(answer.header("x-quintet-client-subject").unwrap().contains("CN="));
    let others =
        seen(&ask(&fixture, fixture.tls(&[b"http/1.1"]), "b.test", "/ HTTP/1.1\r\nHost: b.test").await);
    assert_eq!(others.header("client-cert"), None);
}

#[tokio::test]
async fn an_optional_certificate_opens_its_routes_and_claims_of_one_do_not() {
    let authority = Authority::new();
    let fixture = start(&authority, AUTH).await;
    let claims = "Host: x.wild.test\r\nClient-Cert: :AAAA:\r\nClient_Cert: :AAAA:\r\nClient-Cert-Chain: :AAAA:\r\n\
                  X-Quintet-Client-Subject: CN=admin\r\nX-Quintet-Client-Names: DNS:admin";
    let plain = || fixture.tls(&[b"http/1.1"]);
    let open = seen(&ask(&fixture, plain(), "x.wild.test", &format!("/ HTTP/1.1\r\n{claims}")).await);
    for name in [
        "client-cert",
        "client_cert",
        "client-cert-chain",
        "x-quintet-client-subject",
        "x-quintet-client-names",
    ] {
        assert_eq!(open.header(name), None, "{name}");
    }
    let staff = format!("/staff HTTP/1.1\r\n{claims}");
    let refused = ask(&fixture, plain(), "x.wild.test", &staff).await;
    assert!(
        refused.starts_with("HTTP/1.1 403") && refused.contains("client_certificate_required"),
        "{refused}"
    );
    let (config, _) = with_certificate(&fixture, &authority);
    let served = seen(&ask(&fixture, config, "x.wild.test", &staff).await);
    assert!(served.header("x-quintet-client-names").unwrap().starts_with("DNS:till-7"));
}

#[tokio::test]
async fn no_connection_made_for_another_name_or_before_the_policy_gets_around_it() {
    let authority = Authority::new();
    let fixture = start(&authority, AUTH).await;
    let head = "/ HTTP/1.1\r\nHost: a.test";
    let mut nameless = fixture.tls(&[b"http/1.1"]);
    nameless.enable_sni = false;
    let answer = ask(&fixture, nameless, "localhost", head).await;
    assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("misdirected"), "{answer}");
    let (config, _) = with_certificate(&fixture, &authority);
    let answer = ask(&fixture, config, "x.wild.test", head).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");

    let mut early = connect(&fixture, fixture.tls(&[b"http/1.1"]), "b.test").await;
    let more = AUTH.replacen("\"a.test\"", "\"a.test\", \"b.test\"", 1);
    fixture.reload(&format!("{ECHO}{more}")).unwrap();
    early.write_all(b"GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = read_to_close(&mut early).await;
    assert!(answer.starts_with("HTTP/1.1 421"), "{answer}");
}

#[tokio::test]
async fn a_changed_authority_file_is_used_and_a_broken_one_is_not() {
    let (before, after) = (Authority::new(), Authority::new());
    let fixture = start(&before, AUTH).await;
    let served = async |authority: &Authority| {
        let (config, _) = with_certificate(&fixture, authority);
        !ask(&fixture, config, "a.test", "/ HTTP/1.1\r\nHost: a.test").await.is_empty()
    };
    let refresh = || {
        let snapshot = fixture.gateway.snapshot();
        snapshot.client_auth.as_ref().unwrap().refresh(&fixture.gateway.certificates).len()
    };
    assert!(served(&before).await && !served(&after).await);
    std::fs::write(fixture.dir.path().join("ca.pem"), "no certificate").unwrap();
    assert_eq!(refresh(), 2);
    assert!(served(&before).await);
    std::fs::write(fixture.dir.path().join("ca.pem"), format!("# new\n{}", after.pem)).unwrap();
    assert_eq!(refresh(), 0);
    assert!(!served(&before).await && served(&after).await);
}

#[tokio::test]
async fn a_revoked_certificate_is_refused() {
    let authority = Authority::new();
    let more =
        "[[client_auth]]\nhosts = [\"a.test\"]\nca_file = \"DIR/ca.pem\"\ncrl_file = \"DIR/crl.pem\"\n";
    let mut served = Vec::new();
    for revoked in [&[7u64][..], &[8]] {
        let mut fixture = Fixture::start_with_files(&format!("{ECHO}{more}"), |dir| {
            authority.write(dir, "ca");
            std::fs::write(dir.join("crl.pem"), authority.revoke(revoked)).unwrap();
        })
        .await;
        fixture.serve("echo", echo());
        let (config, _) = with_certificate(&fixture, &authority);
        served.push(!ask(&fixture, config, "a.test", "/ HTTP/1.1\r\nHost: a.test").await.is_empty());
    }
    assert_eq!(served, [false, true]);
}

#[tokio::test]
async fn an_answer_to_a_client_with_a_certificate_is_not_stored_for_others() {
    let authority = Authority::new();
    let more = AUTH.replace("client_certificate = true", "cache = { default_ttl_s = 3600 }");
    let mut fixture =
        Fixture::start_with_files(&format!("{ECHO}{more}"), |dir| authority.write(dir, "ca")).await;
    let asked = Counter::default();
    fixture.serve("echo", asked.router());
    let head = "/staff HTTP/1.1\r\nHost: x.wild.test";
    let (config, _) = with_certificate(&fixture, &authority);
    ask(&fixture, config, "x.wild.test", head).await;
    for requests in [2, 2] {
        let answer = ask(&fixture, fixture.tls(&[b"http/1.1"]), "x.wild.test", head).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
        assert_eq!(asked.of("/staff"), requests);
    }
}
