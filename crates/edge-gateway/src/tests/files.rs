//! Files as clients see them.

use std::os::unix::fs::symlink;
use std::path::Path;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};

use super::content::asking;
use crate::config::Plan;
use crate::tests::harness::*;

fn route(more: &str) -> String {
    format!("[[routes]]\npath_prefix = \"/s\"\nstatic_files = {{ root = \"DIR/www\"{more} }}\n")
}

async fn fixture(more: &str, files: &[(&str, &[u8])]) -> Fixture {
    let fixture = Fixture::start(&route(more)).await;
    let root = fixture.dir.path().join("www");
    std::fs::create_dir(&root).unwrap();
    for (name, content) in files {
        write(&root, name, content);
    }
    fixture
}

fn write(root: &Path, name: &str, content: &[u8]) {
    let path = root.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, content).unwrap();
}

async fn ask(fixture: &Fixture, path: &str, headers: &[(&str, &str)]) -> Response<Bytes> {
    fixture.client().request(asking(path, headers)).await.unwrap()
}

fn header<'r>(response: &'r Response<Bytes>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

/// Content in which every offset can be told.
fn counting(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from((n / 256 + n) % 251).unwrap()).collect()
}

#[tokio::test]
async fn a_file_is_sent_whole_with_its_type_length_and_validators() {
    let content = counting(300_000);
    let fixture = fixture("", &[("a b.PNG", &content), ("empty.txt", b""), ("none", b"x")]).await;
    let response = ask(&fixture, "/s/a%20b.PNG", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "content-type"), Some("image/png"));
    assert_eq!(header(&response, "content-length"), Some("300000"));
    assert_eq!(header(&response, "accept-ranges"), Some("bytes"));
    assert_eq!(header(&response, "x-content-type-options"), Some("nosniff"));
    assert_eq!(header(&response, "vary"), None);
    assert!(response.body() == &content);
    let empty = ask(&fixture, "/s/empty.txt", &[]).await;
    assert_eq!((empty.status(), header(&empty, "content-length")), (StatusCode::OK, Some("0")));
    assert_eq!(
        header(&ask(&fixture, "/s/none", &[]).await, "content-type"),
        Some("application/octet-stream")
    );
    let mut head = asking("/s/a%20b.PNG", &[("range", "bytes=0-1")]);
    *head.method_mut() = Method::HEAD;
    let head = fixture.client().request(head).await.unwrap();
    assert_eq!((head.status(), header(&head, "content-length")), (StatusCode::OK, Some("300000")));
    let post = fixture.client().request(post("/s/none", "x")).await.unwrap();
    assert_eq!((post.status(), header(&post, "allow")), (StatusCode::METHOD_NOT_ALLOWED, Some("GET, HEAD")));
}

#[tokio::test]
async fn nothing_outside_the_root_is_served() {
    let fixture =
        fixture("", &[("in/a.txt", b"a"), (".env", b"secret"), ("in/.git/config", b"secret")]).await;
    let dir = fixture.dir.path();
    std::fs::write(dir.join("outside.txt"), "secret").unwrap();
    symlink("../outside.txt", dir.join("www/relative.txt")).unwrap();
    symlink(dir.join("outside.txt"), dir.join("www/absolute.txt")).unwrap();
    symlink("..", dir.join("www/up")).unwrap();
    symlink("in/a.txt", dir.join("www/inside.txt")).unwrap();
    for path in [
        "/s/relative.txt",
        "/s/absolute.txt",
        "/s/up/outside.txt",
        "/s/.env",
        "/s/%2eenv",
        "/s/in/.git/config",
        "/s/in/a.txt/",
        "/s/in/",
        "/s/in",
    ] {
        let response = ask(&fixture, path, &[]).await;
        assert_eq!(response.status(), StatusCode::NOT_FOUND, "{path}: {response:?}");
    }
    for path in ["/s/../outside.txt", "/s/%2e%2e/outside.txt", "/s/..%2foutside.txt", "/s/in/a.txt%00"] {
        assert_eq!(ask(&fixture, path, &[]).await.status(), StatusCode::BAD_REQUEST, "{path}");
    }
    assert_eq!(&ask(&fixture, "/s/inside.txt", &[]).await.body()[..], b"a");
    write(&dir.join("www"), ".well-known/security.txt", b"contact");
    assert_eq!(&ask(&fixture, "/s/.well-known/security.txt", &[]).await.body()[..], b"contact");
    std::fs::remove_dir_all(dir.join("www")).unwrap();
    symlink(dir, dir.join("next")).unwrap();
    let gone = ask(&fixture, "/s/in/a.txt", &[]).await;
    assert_eq!(gone.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(problem_code(&gone), "files_unavailable");
    std::fs::rename(dir.join("next"), dir.join("www")).unwrap();
    let swapped = ask(&fixture, "/s/outside.txt", &[]).await;
    assert_eq!(&swapped.body()[..], b"secret", "root may be a link that is put in another's place");
}

#[tokio::test]
async fn one_file_answers_all_requests_of_its_route() {
    let fixture = fixture("", &[("robots.txt", b"User-agent: *")]).await;
    let config = "[[routes]]\npath_exact = \"/robots.txt\"\n\
                  static_files = { root = \"DIR/www\", file = \"robots.txt\", cache_control = \"max-age=60\" }\n";
    fixture.reload(config).unwrap();
    let response = ask(&fixture, "/robots.txt", &[]).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(header(&response, "cache-control"), Some("max-age=60"));
    assert_eq!(header(&response, "content-type"), Some("text/plain; charset=utf-8"));
    let unchanged =
        ask(&fixture, "/robots.txt", &[("if-none-match", header(&response, "etag").unwrap())]).await;
    assert_eq!(unchanged.status(), StatusCode::NOT_MODIFIED);
    assert_eq!(header(&unchanged, "cache-control"), Some("max-age=60"));
}

#[tokio::test]
async fn conditions_are_judged_by_etag_and_time() {
    let fixture = fixture("", &[("a.txt", b"hello")]).await;
    let first = ask(&fixture, "/s/a.txt", &[]).await;
    let (etag, time) = (header(&first, "etag").unwrap(), header(&first, "last-modified").unwrap());
    let weak = format!("\"x\", W/{etag}");
    for condition in [("if-none-match", weak.as_str()), ("if-none-match", "*"), ("if-modified-since", time)] {
        let response = ask(&fixture, "/s/a.txt", &[condition]).await;
        assert_eq!(response.status(), StatusCode::NOT_MODIFIED, "{condition:?}");
        assert_eq!(header(&response, "etag"), Some(etag));
        assert!(response.body().is_empty());
    }
    let old = "Thu, 01 Jan 2004 00:00:00 GMT";
    for condition in [("if-match", "\"other\""), ("if-match", weak.as_str()), ("if-unmodified-since", old)] {
        assert_eq!(ask(&fixture, "/s/a.txt", &[condition]).await.status(), StatusCode::PRECONDITION_FAILED);
    }
    let sent: [&[(&str, &str)]; 4] = [
        &[("if-none-match", "\"other\""), ("if-modified-since", time)],
        &[("if-match", etag)],
        &[("if-modified-since", old)],
        &[("if-modified-since", "yesterday")],
    ];
    for conditions in sent {
        assert_eq!(ask(&fixture, "/s/a.txt", conditions).await.status(), StatusCode::OK, "{conditions:?}");
    }
    // The same size within the same second is another file all the same.
    let path = fixture.dir.path().join("www/a.txt");
    let earlier = std::fs::metadata(&path).unwrap().modified().unwrap();
    std::fs::write(&path, b"HELLO").unwrap();
    let file = std::fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(earlier + std::time::Duration::from_nanos(1)).unwrap();
    assert_eq!(&ask(&fixture, "/s/a.txt", &[("if-none-match", etag)]).await.body()[..], b"HELLO");
}

#[tokio::test]
async fn ranges_are_served_alone_and_as_parts() {
    let content = counting(200_000);
    let fixture = fixture("", &[("v.bin", &content)]).await;
    let one = ask(&fixture, "/s/v.bin", &[("range", "bytes=70000-199998")]).await;
    assert_eq!(one.status(), StatusCode::PARTIAL_CONTENT);
    assert_eq!(header(&one, "content-range"), Some("bytes 70000-199998/200000"));
    assert!(one.body() == &content[70_000..=199_998]);
    let many = ask(&fixture, "/s/v.bin", &[("range", "bytes=0-9, -5")]).await;
    assert_eq!(many.status(), StatusCode::PARTIAL_CONTENT);
    let boundary =
        header(&many, "content-type").unwrap().strip_prefix("multipart/byteranges; boundary=").unwrap();
    let mut expected = Vec::new();
    for (range, part) in [("0-9", &content[..10]), ("199995-199999", &content[199_995..])] {
        let head = format!(
            "\r\n--{boundary}\r\nContent-Type: application/octet-stream\r\nContent-Range: bytes {range}/200000\r\n\r\n"
        );
        expected.extend_from_slice(head.as_bytes());
        expected.extend_from_slice(part);
    }
    expected.extend_from_slice(format!("\r\n--{boundary}--\r\n").as_bytes());
    assert!(many.body() == &expected);
    assert_eq!(header(&many, "content-length"), Some(expected.len().to_string().as_str()));
    let beyond = ask(&fixture, "/s/v.bin", &[("range", "bytes=200000-")]).await;
    assert_eq!(beyond.status(), StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(header(&beyond, "content-range"), Some("bytes */200000"));
    let etag = header(&one, "etag").unwrap();
    let resumed = ask(&fixture, "/s/v.bin", &[("range", "bytes=1-"), ("if-range", etag)]).await;
    assert_eq!(resumed.status(), StatusCode::PARTIAL_CONTENT);
    for changed in ["\"other\"", &format!("W/{etag}"), "Thu, 01 Jan 2004 00:00:00 GMT"] {
        let whole = ask(&fixture, "/s/v.bin", &[("range", "bytes=1-"), ("if-range", changed)]).await;
        assert_eq!((whole.status(), whole.body().len()), (StatusCode::OK, 200_000), "{changed}");
    }
}

#[tokio::test]
async fn precompressed_variants_are_negotiated_and_keep_the_type() {
    let files: [(&str, &[u8]); 4] =
        [("app.js", b"plain"), ("app.js.br", b"brotli"), ("app.js.gz", b"gzip"), ("only.js.br", b"alone")];
    let fixture = fixture(", precompressed = [\"zstd\", \"br\", \"gzip\"]", &files).await;
    for (accept, body, encoding) in [
        ("gzip, br, zstd", "brotli", Some("br")),
        ("gzip, br;q=0.5", "gzip", Some("gzip")),
        ("zstd", "plain", None),
        ("identity", "plain", None),
    ] {
        let response = ask(&fixture, "/s/app.js", &[("accept-encoding", accept)]).await;
        assert_eq!(response.body(), body, "{accept}");
        assert_eq!(header(&response, "content-encoding"), encoding);
        assert_eq!(header(&response, "content-type"), Some("text/javascript; charset=utf-8"));
        assert_eq!(header(&response, "vary"), Some("accept-encoding"));
        let again = [("accept-encoding", accept), ("if-none-match", header(&response, "etag").unwrap())];
        assert_eq!(ask(&fixture, "/s/app.js", &again).await.status(), StatusCode::NOT_MODIFIED);
    }
    let alone = ask(&fixture, "/s/only.js", &[("accept-encoding", "br")]).await;
    assert_eq!(alone.status(), StatusCode::NOT_FOUND, "a variant stands beside its file");
}

#[tokio::test]
async fn directories_have_an_index_and_are_never_listed() {
    let files: [(&str, &[u8]); 3] =
        [("index.html", b"top"), ("docs/index.html", b"docs"), ("bare/a.txt", b"a")];
    let fixture = fixture(", fallback = \"index.html\"", &files).await;
    assert_eq!(&ask(&fixture, "/s/", &[]).await.body()[..], b"top");
    assert_eq!(&ask(&fixture, "/s/docs/", &[]).await.body()[..], b"docs");
    for (path, location) in [("/s", "/s/"), ("/s/docs?q=1", "/s/docs/?q=1")] {
        let response = ask(&fixture, path, &[]).await;
        assert_eq!(response.status(), StatusCode::PERMANENT_REDIRECT);
        assert_eq!(header(&response, "location"), Some(location));
    }
    assert_eq!(ask(&fixture, "/s/bare/", &[("accept", "*/*")]).await.status(), StatusCode::NOT_FOUND);
    let navigation = ask(&fixture, "/s/orders/7", &[("accept", "text/html,*/*;q=0.8")]).await;
    assert_eq!((navigation.status(), &navigation.body()[..]), (StatusCode::OK, &b"top"[..]));
    assert_eq!(header(&navigation, "cache-control"), Some("no-cache"));
    assert_eq!(ask(&fixture, "/s/lost.js", &[("accept", "*/*")]).await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn a_file_without_a_variant_is_compressed_on_the_way() {
    let text = "0123456789".repeat(10_000);
    let mut fixture = fixture("", &[]).await;
    write(&fixture.dir.path().join("www"), "a.txt", text.as_bytes());
    fixture.reload(&format!("[content]\ncompress = true\n{}", route(""))).unwrap();
    let response = ask(&fixture, "/s/a.txt", &[("accept-encoding", "zstd")]).await;
    assert_eq!(header(&response, "content-encoding"), Some("zstd"));
    assert!(header(&response, "etag").unwrap().starts_with("W/"));
    assert!(zstd::stream::decode_all(&response.body()[..]).unwrap() == text.as_bytes());
    let part = ask(&fixture, "/s/a.txt", &[("accept-encoding", "zstd"), ("range", "bytes=0-4999")]).await;
    assert_eq!((part.status(), header(&part, "content-encoding")), (StatusCode::PARTIAL_CONTENT, None));
    assert_eq!(part.body().len(), 5_000);
    let mut http2 = fixture.http2().await;
    let request = Request::builder()
        .uri(format!("https://{}/s/a.txt", fixture.authority()))
        .body(http_body_util::Full::default())
        .unwrap();
    let response = http2.send_request(request).await.unwrap();
    let body = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
    assert!(body == text.as_bytes());
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_key() {
    let fixture = fixture("", &[]).await;
    for (config, key) in [
        (route(", index = \"a/b\""), "static_files.index"),
        (route(", fallback = \"../x\""), "static_files.fallback"),
        (route(", file = \"/etc/passwd\""), "static_files.file"),
        (route(", cache_control = \"a\\nb\""), "static_files.cache_control"),
        (route(", precompressed = [\"br\", \"br\"]"), "static_files.precompressed"),
        (route(", types = { x = \"none\" }"), "static_files.types.x"),
        (route("").replace("DIR/www", "www"), "static_files.root"),
        (route("").replace("path_prefix", "path_exact"), "static_files"),
        (format!("{}respond = {{ body = \"x\" }}\n", route("")), "static_files"),
    ] {
        let message = Plan::new(&fixture.config(&config)).unwrap_err().to_string();
        assert!(message.contains(&format!("routes.0.{key}")), "{message}");
    }
}
