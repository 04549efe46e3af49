//! TLS, certificates, redirects, limits, tokens, and the gateway's own pages.

use http::{Request, StatusCode};
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::harness::*;

#[tokio::test]
async fn http2_is_negotiated_first_and_tls_1_3_uses_the_post_quantum_exchange() {
    let fixture = Fixture::start(ECHO).await;
    let stream = fixture.connect("localhost", &[b"h2", b"http/1.1"]).await;
    let session = stream.get_ref().1;
    assert_eq!(session.alpn_protocol(), Some(&b"h2"[..]));
    assert_eq!(session.protocol_version(), Some(rustls::ProtocolVersion::TLSv1_3));
    let group = session.negotiated_key_exchange_group().unwrap().name();
    assert_eq!(group, rustls::NamedGroup::X25519MLKEM768);
}

#[tokio::test]
async fn the_certificate_follows_the_server_name_and_the_host_must_too() {
    let mut fixture = Fixture::start(ECHO).await;
    fixture.serve("echo", echo());
    for name in ["a.test", "b.test", "x.wild.test"] {
        let mut stream = fixture.connect(name, &[b"http/1.1"]).await;
        stream
            .write_all(format!("GET / HTTP/1.1\r\nHost: {name}\r\nConnection: close\r\n\r\n").as_bytes())
            .await
            .unwrap();
        let answer = read_to_close(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
    let mut stream = fixture.connect("a.test", &[b"http/1.1"]).await;
    stream.write_all(b"GET / HTTP/1.1\r\nHost: b.test\r\nConnection: close\r\n\r\n").await.unwrap();
    let answer = read_to_close(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 421") && answer.contains("\"code\":\"misdirected\""), "{answer}");
}

#[tokio::test]
async fn certificates_are_replaced_while_serving_and_broken_ones_are_not_taken() {
    let fixture = Fixture::start(ECHO).await;
    let served = async || {
        let stream = fixture.connect("a.test", &[b"http/1.1"]).await;
        stream.get_ref().1.peer_certificates().unwrap()[0].clone()
    };
    let before = served().await;
    let seen = fixture.gateway.certificates.fingerprint();
    std::fs::write(fixture.dir.path().join("a.key"), "broken").unwrap();
    assert_ne!(fixture.gateway.certificates.fingerprint(), seen);
    assert!(fixture.gateway.certificates.reload().is_err());
    assert_eq!(served().await, before);
    let made = write_certificate(fixture.dir.path(), "a", &["a.test"]);
    fixture.gateway.certificates.reload().unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(std::sync::Arc::new(config));
    let stream = tokio::net::TcpStream::connect(fixture.https).await.unwrap();
    let stream = connector.connect("a.test".try_into().unwrap(), stream).await.unwrap();
    assert_eq!(&stream.get_ref().1.peer_certificates().unwrap()[0], made.cert.der());
}

#[tokio::test]
async fn plain_http_only_redirects() {
    let fixture = Fixture::start(ECHO).await;
    let ask = async |head: &str| {
        let mut stream = tokio::net::TcpStream::connect(fixture.http).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer.to_ascii_lowercase()
    };
    let port = fixture.https.port();
    let answer = ask("POST /a?b=c HTTP/1.1\r\nHost: Example.test:8080\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("http/1.1 308"), "{answer}");
    assert!(answer.contains(&format!("location: https://example.test:{port}/a?b=c\r\n")), "{answer}");
    let answer = ask("GET / HTTP/1.0\r\n\r\n").await;
    // A server tells its own version (RFC 9110 section 2.5).
    assert!(answer.starts_with("http/1.1 400") && answer.contains("connection: close\r\n"), "{answer}");
    let answer = ask("GET / HTTP/1.1\r\nHost: a\"b\r\nConnection: close\r\n\r\n").await;
    assert!(answer.starts_with("http/1.1 400"), "{answer}");
}

#[tokio::test]
async fn liveness_is_public_and_says_nothing_more() {
    let fixture = Fixture::start(ECHO).await;
    let client = fixture.client();
    let response = client.request(get("/.gateway/healthz")).await.unwrap();
    assert_eq!((response.status(), &response.body()[..]), (StatusCode::OK, &br#"{"status":"ok"}"#[..]));
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["cache-control"], "no-store");
    let other = client.request(get("/.gateway/metrics")).await.unwrap();
    assert_eq!(other.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_client_beyond_its_rate_is_told_when_to_come_back() {
    let more = format!(
        "{ECHO}rate_limit = {{ requests = 2, window_ms = 60000 }}\n\
                        [[routes]]\npath_prefix = \"/free\"\nupstream = \"echo\"\n"
    );
    let mut fixture = Fixture::start(&more).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    let first = client.request(get("/")).await.unwrap();
    assert_eq!(first.headers()["ratelimit-policy"], "\"client\";q=2;w=60");
    assert_eq!(first.headers()["ratelimit"], "\"client\";r=1;t=30");
    assert_eq!(client.request(get("/")).await.unwrap().status(), StatusCode::OK);
    let refused = client.request(get("/")).await.unwrap();
    assert_eq!(
        (refused.status(), &*problem_code(&refused)),
        (StatusCode::TOO_MANY_REQUESTS, "too_many_requests")
    );
    let wait: u64 = refused.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((28..=30).contains(&wait), "{wait}");
    assert_eq!(client.request(get("/free")).await.unwrap().status(), StatusCode::OK);
}

const PROTECTED: &str = "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
    [[routes]]\npath_prefix = \"/\"\nupstream = \"echo\"\n\
    [[routes]]\npath_prefix = \"/private\"\nupstream = \"echo\"\nauth = \"token\"\nscopes = [\"orders:read\"]\n\
    [identity]\nissuer = \"https://localhost/identity\"\njwks = \"unix:DIR/identity.sock\"\n";

#[tokio::test]
async fn a_protected_route_wants_a_valid_token_with_its_scope() {
    let mut fixture = Fixture::start(PROTECTED).await;
    fixture.serve("echo", echo());
    let client = fixture.client();
    let issuer = fixture.issuer.clone();
    let ask = async |authorization: Option<String>| {
        let mut request = get("/private/x");
        if let Some(value) = authorization {
            request.headers_mut().insert("authorization", value.parse().unwrap());
        }
        client.request(request).await.unwrap()
    };
    let good = issuer.bearer("usr_1", &["orders:read", "orders:write"]);
    // Until the keys have been fetched nothing can be said about a token.
    let early = ask(Some(good.clone())).await;
    assert_eq!(
        (early.status(), &*problem_code(&early)),
        (StatusCode::SERVICE_UNAVAILABLE, "auth_unavailable")
    );
    assert!(early.headers().contains_key("retry-after"));
    assert_eq!(client.request(get("/public")).await.unwrap().status(), StatusCode::OK);
    fixture.serve("identity", issuer.router());
    let deadline = std::time::Instant::now() + PATIENCE;
    let passed = loop {
        let response = ask(Some(good.clone())).await;
        if response.status() != StatusCode::SERVICE_UNAVAILABLE || std::time::Instant::now() > deadline {
            break response;
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(passed.status(), StatusCode::OK);
    assert_eq!(Seen::of(passed.body()).header("authorization"), Some(&*good));
    // The second time the token comes from the cache.
    assert_eq!(ask(Some(good)).await.status(), StatusCode::OK);
    let check = async |authorization: Option<String>, status: StatusCode, code: &str| {
        let response = ask(authorization).await;
        assert_eq!((response.status(), &*problem_code(&response)), (status, code));
        assert!(response.headers()["www-authenticate"].to_str().unwrap().starts_with("Bearer"));
    };
    check(None, StatusCode::UNAUTHORIZED, "token_missing").await;
    check(Some("Basic eDp5".to_owned()), StatusCode::UNAUTHORIZED, "token_missing").await;
    check(Some("Bearer rubbish".to_owned()), StatusCode::UNAUTHORIZED, "token_malformed").await;
    let expired = issuer.token("usr_1").scopes(&["orders:read"]).expires_in(-60).mint();
    check(Some(format!("Bearer {expired}")), StatusCode::UNAUTHORIZED, "token_expired").await;
    check(Some(issuer.bearer("usr_1", &["orders:write"])), StatusCode::FORBIDDEN, "scope_missing").await;
    // Another spelling of the path is the same path.
    let other = client.request(get("/%70rivate/x")).await.unwrap();
    assert_eq!(other.status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn configuration_errors_name_the_key_and_what_to_write() {
    let check = |more: &str, key: &str, part: &str| {
        let text = format!(
            "[service]\nadmin = \"unix:/tmp/a.sock\"\n[listen]\nhttps = \"127.0.0.1:0\"\n\
             [[certificates]]\ncert = \"/a\"\nkey = \"/b\"\n\
             [[upstreams]]\nname = \"core-api\"\naddresses = [\"unix:/tmp/u.sock\"]\n{more}"
        );
        let config: crate::config::Config = toml::from_str(&text).unwrap();
        let invalid = crate::config::Plan::new(&config).unwrap_err();
        assert_eq!(invalid.key, key);
        assert!(invalid.message.contains(part), "{}", invalid.message);
    };
    let route = |rest: &str| format!("[[routes]]\npath_prefix = \"/a\"\n{rest}\n");
    check("", "routes", "at least one");
    check(&route("upstream = \"corapi\""), "routes.0.upstream", "known: core-api");
    check(&route("upstream = \"core-api\"\nauth = \"token\""), "routes.0.auth", "[identity]");
    check(&route("upstream = \"core-api\"\nscopes = [\"a\"]"), "routes.0.scopes", "no effect");
    check(
        "[[routes]]\npath_prefix = \"/a/../b\"\nupstream = \"core-api\"\n",
        "routes.0.path_prefix",
        "dot segment",
    );
    check(
        "[[routes]]\npath_prefix = \"/%61\"\nupstream = \"core-api\"\n",
        "routes.0.path_prefix",
        "write it as `/a`",
    );
    let twice = format!("{}{}", route("upstream = \"core-api\""), route("upstream = \"core-api\""));
    check(&twice, "routes.1", "never be reached: routes.0");
    check(
        &format!(
            "{}[[upstreams]]\nname = \"core-api\"\naddresses = [\"unix:/tmp/u.sock\"]\n",
            route("upstream = \"core-api\"")
        ),
        "upstreams.1.name",
        "twice",
    );
    check(
        &format!("{}[limits]\nheader_bytes = 1\n", route("upstream = \"core-api\"")),
        "limits.header_bytes",
        "8192",
    );
}

#[test]
fn unknown_keys_and_wrong_addresses_do_not_parse() {
    let parse = |text: &str| toml::from_str::<crate::config::Config>(text).unwrap_err().message().to_owned();
    let error =
        parse("[service]\nadmin = \"unix:/tmp/a.sock\"\n[listen]\nhttps = \"127.0.0.1:0\"\nhtpp = \"x\"\n");
    assert!(error.contains("htpp"), "{error}");
    let error = parse("[service]\nadmin = \"unix:/tmp/a.sock\"\n[listen]\nhttps = \"localhost\"\n");
    assert!(error.contains("0.0.0.0:8443"), "{error}");
}

#[tokio::test]
async fn requests_without_a_route_are_answered_here() {
    let fixture = Fixture::start(
        "[[upstreams]]\nname = \"echo\"\naddresses = [\"unix:DIR/echo.sock\"]\n\
                                  [[routes]]\npath_prefix = \"/only\"\nupstream = \"echo\"\n",
    )
    .await;
    let request =
        Request::builder().uri("/else").header("accept", "text/html").body(axum::body::Bytes::new()).unwrap();
    let response = fixture.client().request(request).await.unwrap();
    assert_eq!((response.status(), &*problem_code(&response)), (StatusCode::NOT_FOUND, "not_found"));
    let problem: Value = serde_json::from_slice(response.body()).unwrap();
    assert_eq!(problem["type"], "about:blank");
}
