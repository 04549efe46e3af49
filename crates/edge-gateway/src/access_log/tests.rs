//! The lines of a running gateway.

use std::path::Path;

use bytes::Bytes;
use http::Request;

use crate::tests::{Fixture, get};

const ROUTE: &str = "[[routes]]\npath_prefix = \"/\"\nrespond = { body = \"hello\" }\n";

fn to_file(more: &str) -> String {
    format!("{ROUTE}[access_log]\nformat = \"combined\"\noutput = \"DIR/access.log\"\n{more}")
}

fn lines(path: &Path) -> Vec<String> {
    std::fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

/// Lines leave a worker a few times a second.
async fn wait_for_lines(path: &Path, count: usize) {
    let written = async {
        while lines(path).len() < count {
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(crate::tests::PATIENCE, written).await.unwrap();
}

#[tokio::test]
async fn every_request_has_its_line_in_the_file() {
    let mut fixture = Fixture::start(&to_file("queries = true\n")).await;
    let forged = "a\" 200 0 \"-\" \"b\u{e4}";
    let request = Request::get("/a?b=c").header("user-agent", forged.as_bytes()).body(Bytes::new()).unwrap();
    assert_eq!(fixture.client().request(request).await.unwrap().status(), 200);
    let mut sender = fixture.http2().await;
    let uri = format!("https://{}/two", fixture.authority());
    let request =
        Request::get(uri).header("referer", "https://a/").body(http_body_util::Full::default()).unwrap();
    assert_eq!(sender.send_request(request).await.unwrap().status(), 200);
    drop(sender);
    fixture.drain().await;
    let mut lines = lines(&fixture.dir.path().join("access.log"));
    lines.sort_by_key(|line| line.contains("HTTP/2.0"));
    let [first, second] = &lines[..] else { panic!("{lines:?}") };
    let wanted = "\"GET /a?b=c HTTP/1.1\" 200 5 \"-\" \"a\\x22 200 0 \\x22-\\x22 \\x22b\\xC3\\xA4\"";
    assert!(first.starts_with("127.0.0.1 - - [") && first.ends_with(wanted), "{first}");
    assert!(second.ends_with("+0000] \"GET /two HTTP/2.0\" 200 5 \"https://a/\" \"-\""), "{second}");
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_made_anew() {
    let mut fixture = Fixture::start(&to_file("")).await;
    let (path, old) = (fixture.dir.path().join("access.log"), fixture.dir.path().join("access.log.1"));
    let client = fixture.client();
    client.request(get("/one?secret=1")).await.unwrap();
    wait_for_lines(&path, 1).await;
    std::fs::rename(&path, &old).unwrap();
    client.request(get("/two")).await.unwrap();
    fixture.drain().await;
    assert!(lines(&old)[0].contains("\"GET /one HTTP/1.1\" 200 5 "), "{:?}", lines(&old));
    assert!(lines(&path)[0].contains("\"GET /two HTTP/1.1\" 200 5 "), "{:?}", lines(&path));
}

#[tokio::test]
async fn a_reload_sends_lines_elsewhere() {
    let mut fixture = Fixture::start(ROUTE).await;
    let client = fixture.client();
    client.request(get("/unseen")).await.unwrap();
    fixture.reload(&to_file("")).unwrap();
    client.request(get("/seen")).await.unwrap();
    fixture.drain().await;
    let lines = lines(&fixture.dir.path().join("access.log"));
    assert!(matches!(&lines[..], [only] if only.contains("/seen ")), "{lines:?}");
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_refuses_the_configuration() {
    let fixture = Fixture::start(ROUTE).await;
    let error = fixture.reload(&to_file("").replace("access.log", "missing/access.log")).unwrap_err();
    let text = crate::proxy::chain(&error);
    assert!(text.contains("access_log.output") && text.contains("missing/access.log"), "{text}");
    let relative = to_file("").replace("DIR/", "");
    let error = crate::config::Plan::new(&fixture.config(&relative)).unwrap_err();
    assert!(error.to_string().contains("access_log.output"), "{error}");
}
