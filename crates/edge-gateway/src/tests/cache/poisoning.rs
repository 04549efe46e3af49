//! What an attacker sends so that others get it, or get at what is another's.

use http::{Method, Request};

use super::*;

const PUBLIC: [(&str, &str); 1] = [("cache-control", "max-age=60")];

#[tokio::test]
async fn headers_that_override_address_or_method_do_not_reach_the_upstream() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    for (at, name) in [
        "x-original-url",
        "x-rewrite-url",
        "x-http-method-override",
        "x-method-override",
        "x-host",
        "x-forwarded-scheme",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-middleware-subrequest",
    ]
    .into_iter()
    .enumerate()
    {
        cached.ask(&format!("/{at}"), &[(name, "evil")]).await;
        assert_eq!(cached.origin.last(name), None, "{name} reached the upstream");
    }
    cached.ask("/host", &[("x-forwarded-host", "evil.test")]).await;
    assert_eq!(cached.origin.last("x-forwarded-host"), Some(cached.fixture.authority()));
}

#[tokio::test]
async fn what_the_client_calls_the_resource_is_all_in_the_key() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    let port = cached.fixture.https.port();
    let mut seen = std::collections::BTreeSet::new();
    for (host, path) in [
        (format!("localhost:{port}"), "/a"),
        ("localhost".to_owned(), "/a"),
        ("LOCALHOST".to_owned(), "/a"),
        ("localhost".to_owned(), "/a?"),
        ("localhost".to_owned(), "/a?x"),
        ("localhost".to_owned(), "/a?utm_source=x"),
        ("localhost".to_owned(), "/a;x"),
        ("localhost".to_owned(), "/a%3Fx"),
        ("localhost".to_owned(), "/A"),
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = cached.fixture.raw(request.as_bytes()).await;
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(seen.insert(body.to_owned()), "{host}{path} shares an answer: {answer}");
    }
    assert_eq!(seen.len(), 9);
}

#[tokio::test]
async fn what_came_in_the_clear_is_not_served_over_tls() {
    let clock = FakeClock::default();
    let mut fixture = Fixture::start_with("http_mode = \"proxy\"", CACHED, clock.shared()).await;
    let origin = Origin::new(&PUBLIC);
    fixture.serve("app", origin.router());
    let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    for _ in 0..2 {
        let mut stream = tokio::net::TcpStream::connect(fixture.http).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, request).await.unwrap();
        let mut answer = String::new();
        tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await.unwrap();
        assert!(answer.ends_with("answer 1"), "{answer}");
        assert!(fixture.raw(request).await.ends_with("answer 2"));
    }
}

#[tokio::test]
async fn the_answer_to_a_head_is_not_stored() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    let mut head = asking("/", &[]);
    *head.method_mut() = Method::HEAD;
    cached.send(head).await;
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
}

#[tokio::test]
async fn a_get_with_a_body_neither_fills_nor_uses_the_cache() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    let with_body = || Request::builder().uri("/").body(Bytes::from_static(b"{\"evil\":1}")).unwrap();
    assert_eq!(cached.send(with_body()).await.text(), "answer 1");
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
    assert_eq!(cached.send(with_body()).await.text(), "answer 3");
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
}

#[tokio::test]
async fn errors_that_a_request_brought_about_are_not_stored() {
    let cached = Cached::start(CACHED, &[]).await;
    for status in [400, 403, 405, 413, 414, 431, 500, 501, 502] {
        cached.origin.says(status, &PUBLIC);
        cached.ask("/", &[("x-oversized", "y")]).await;
        cached.origin.says(200, &[]);
        assert_eq!(cached.ask("/", &[]).await.status(), 200, "{status} was served to another");
    }
}

#[tokio::test]
async fn one_persons_page_is_not_stored_for_others() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    // Deception: the address looks like a file, the upstream serves the account's page and calls it cacheable.
    for person in [("authorization", "Basic dTpw"), ("cookie", "session=victim")] {
        let path = format!("/account/{}.css", person.0);
        let mine = cached.ask(&path, &[person]).await.text().to_owned();
        let theirs = cached.ask(&path, &[]).await;
        assert_ne!(theirs.text(), mine, "{person:?}");
    }
    // The upstream may say that it is the same for all.
    cached.origin.says(200, &[("cache-control", "public, max-age=60")]);
    let mine = cached.ask("/logo", &[("cookie", "session=victim")]).await.text().to_owned();
    assert_eq!(cached.ask("/logo", &[]).await.text(), mine);
}

#[tokio::test]
async fn answers_vary_by_what_they_say_they_do() {
    let headers = [("cache-control", "max-age=60"), ("vary", "Accept-Language, Cookie")];
    let cached = Cached::start(CACHED, &headers).await;
    let german = [("accept-language", "de")];
    assert_eq!(cached.ask("/", &german).await.text(), "answer 1");
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
    assert_eq!(cached.ask("/", &[("accept-language", "de"), ("cookie", "a=1")]).await.text(), "answer 3");
    assert_eq!(cached.ask("/", &[("accept-language", "de"), ("cookie", "a=2")]).await.text(), "answer 4");
    assert_eq!(cached.ask("/", &german).await.text(), "answer 1");
    // What the gateway itself tells the upstream of each client cannot be told apart by the client's own headers.
    cached.origin.says(200, &[("cache-control", "max-age=60"), ("vary", "X-Forwarded-For")]);
    cached.ask("/ip", &[]).await;
    assert_eq!(cached.ask("/ip", &[]).await.text(), "answer 6");
}

#[tokio::test]
async fn an_answer_that_broke_off_is_not_stored() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let clock = FakeClock::default();
    let fixture = Fixture::start_with_clock(CACHED, clock.shared()).await;
    let listener = tokio::net::UnixListener::bind(fixture.socket("app")).unwrap();
    let answers: [&[u8]; 3] = [
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 9\r\n\r\ncut",
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\n\r\nuntil the end",
        b"HTTP/1.1 200 OK\r\ncache-control: max-age=60\r\ncontent-length: 5\r\n\r\nwhole",
    ];
    let mut serving = tokio::task::JoinSet::new();
    serving.spawn(async move {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = vec![0; 4_096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(answer).await.unwrap();
        }
        listener
    });
    fixture.client().request(get("/")).await.unwrap_err();
    // Nothing tells whether this is all.
    assert_eq!(&fixture.client().request(get("/")).await.unwrap().body()[..], b"until the end");
    assert_eq!(&fixture.client().request(get("/")).await.unwrap().body()[..], b"whole");
    drop(serving.join_next().await.unwrap().unwrap());
    assert_eq!(&fixture.client().request(get("/")).await.unwrap().body()[..], b"whole");
}

#[tokio::test]
async fn unsafe_methods_forget_what_is_at_their_address() {
    let more = "[[routes]]\npath_prefix = \"/\"\nmethods = [\"POST\", \"DELETE\"]\nupstream = \"app\"\n";
    let cached = Cached::start(&format!("{CACHED}{more}"), &PUBLIC).await;
    for path in ["/items", "/items/7"] {
        cached.ask(path, &[]).await;
    }
    cached.origin.says(500, &[]);
    cached.send(post("/items", "x")).await;
    assert_eq!(cached.ask("/items", &[]).await.text(), "answer 1", "a failed request changed nothing");
    cached.origin.says(201, &[("location", "/items/7")]);
    cached.send(post("/items", "x")).await;
    cached.origin.says(200, &PUBLIC);
    assert_eq!(cached.ask("/items", &[]).await.text(), "answer 5");
    assert_eq!(cached.ask("/items/7", &[]).await.text(), "answer 6");
    let mut delete = asking("/items", &[]);
    *delete.method_mut() = Method::DELETE;
    cached.send(delete).await;
    assert_eq!(cached.ask("/items", &[]).await.text(), "answer 8");
}
