//! Who shares answers: requests at the same time, workers, reloads, and the operator who purges.

use quintet_http::{Client, Origin as ClientOrigin};

use super::*;

const PUBLIC: [(&str, &str); 1] = [("cache-control", "max-age=60")];

async fn at_once(cached: &Cached, count: usize) -> Vec<String> {
    let asking = (0..count).map(|_| async { cached.ask("/", &[]).await.text().to_owned() });
    futures_util::future::join_all(asking).await
}

#[tokio::test]
async fn one_request_fetches_for_all_that_wait() {
    let config = CACHED.replace("cache = true", "cache = { wait_ms = 60000 }");
    let cached = Cached::start(&config, &PUBLIC).await;
    cached.origin.open(false);
    let opening = async {
        cached.origin.reached(1).await;
        // Nothing tells from outside that the others wait; any that comes later gets the stored answer.
        cached.origin.open(true);
    };
    let (answers, ()) = tokio::join!(at_once(&cached, 40), opening);
    assert!(answers.iter().all(|text| text == "answer 1"), "{answers:?}");
    assert_eq!(cached.origin.requests(), 1);
}

#[tokio::test]
async fn who_has_waited_long_enough_asks_for_himself() {
    let cached = Cached::start(&CACHED.replace("cache = true", "cache = { wait_ms = 1 }"), &PUBLIC).await;
    cached.origin.open(false);
    let opening = async {
        cached.origin.reached(3).await;
        cached.origin.open(true);
    };
    let (answers, ()) = tokio::join!(at_once(&cached, 3), opening);
    assert_eq!(answers.len(), 3);
}

#[tokio::test]
async fn answers_that_cannot_be_stored_are_fetched_side_by_side() {
    let cached = Cached::start(CACHED, &[("cache-control", "private")]).await;
    cached.ask("/", &[]).await;
    cached.origin.open(false);
    let opening = async {
        cached.origin.reached(4).await;
        cached.origin.open(true);
    };
    let (answers, ()) = tokio::join!(at_once(&cached, 3), opening);
    let different: std::collections::BTreeSet<_> = answers.iter().collect();
    assert_eq!(different.len(), 3, "{answers:?}");
}

#[tokio::test]
async fn a_reload_keeps_the_answers_of_unchanged_routes() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    cached.ask("/", &[]).await;
    cached
        .fixture
        .reload(&format!("{CACHED}[[routes]]\npath_prefix = \"/new\"\nupstream = \"app\"\n"))
        .unwrap();
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 1");
    cached.fixture.reload(&CACHED.replace("cache = true", "cache = true\ntimeout_ms = 1000")).unwrap();
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
}

#[tokio::test]
async fn too_large_answers_pass_and_are_not_stored() {
    let cached =
        Cached::start(&CACHED.replace("cache = true", "cache = { max_object_bytes = 4 }"), &PUBLIC).await;
    let first = cached.ask("/", &[]).await;
    assert_eq!(first.cache(), "edge-gateway; fwd=uri-miss; fwd-status=200; detail=too-large");
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 2");
}

#[tokio::test]
async fn the_admin_listener_purges_by_address_prefix_and_whole() {
    let mut cached = Cached::start(CACHED, &PUBLIC).await;
    let router = crate::cache::routes(Arc::clone(&cached.fixture.gateway));
    cached.fixture.serve("purge", router);
    let client = Client::new(ClientOrigin::Unix(cached.fixture.socket("purge"))).timeout(PATIENCE);
    let base = format!("https://{}", cached.fixture.authority());
    let mut number = 0;
    for (query, purged) in [
        (format!("url={base}/a/1?q"), 1),
        (format!("prefix={base}/a/"), 2),
        ("all=true".to_owned(), 3),
        (format!("prefix={base}/c"), 0),
    ] {
        for path in ["/a/1?q", "/a/2", "/b"] {
            cached.ask(path, &[]).await;
        }
        let path = format!("/gateway/cache/purge?{}", query.replace("?q", "%3Fq"));
        let answer = client.request(post(&path, "")).await.unwrap();
        let answer: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(answer["purged"], purged, "{query}");
        number += purged;
    }
    assert_eq!(number, 6);
    for wrong in ["", "all=false", "url=/a", "prefix=https://localhost", "url=https://a/&all=true"] {
        let path = format!("/gateway/cache/purge?{wrong}");
        assert_eq!(client.request(post(&path, "")).await.unwrap().status(), 400, "{wrong}");
    }
}

#[tokio::test]
async fn a_compressing_route_stores_the_answer_as_it_came() {
    let config = CACHED.replace("cache = true", "cache = true\ncompress = { min_bytes = 0 }");
    let headers = [("cache-control", "max-age=60"), ("content-type", "text/plain"), ("etag", "\"v\"")];
    let cached = Cached::start(&config, &headers).await;
    for _ in 0..2 {
        let zipped = cached.ask("/", &[("accept-encoding", "gzip")]).await;
        assert_eq!(zipped.header("content-encoding"), Some("gzip"));
        let plain = cached.ask("/", &[]).await;
        assert_eq!((plain.header("content-encoding"), plain.text()), (None, "answer 1"));
    }
    assert_eq!(cached.origin.requests(), 1);
}

#[tokio::test]
async fn settings_that_cannot_be_are_refused_by_key() {
    let cached = Cached::start(CACHED, &PUBLIC).await;
    for (from, to, key) in [
        ("cache = true", "cache = { wait_ms = 60001 }", "routes.0.cache.wait_ms"),
        ("cache = true", "cache = { max_object_bytes = 0 }", "routes.0.cache.max_object_bytes"),
        ("cache = true", "cache = { default_ttl_s = 31536001 }", "routes.0.cache.default_ttl_s"),
        ("upstream = \"app\"\ncache", "respond = {}\ncache", "routes.0.cache"),
        ("cache = true", "cache = true\n[cache]\nmax_bytes = 1", "cache.max_bytes"),
    ] {
        let config = cached.fixture.config(&CACHED.replace(from, to));
        let message = crate::config::Plan::new(&config).unwrap_err().to_string();
        assert!(message.contains(key), "{message}");
    }
}
