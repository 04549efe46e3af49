//! When a stored answer is used, confirmed, replaced, and served stale.

use http::Method;

use super::*;

#[tokio::test]
async fn a_fresh_answer_is_served_with_its_age_until_it_is_stale() {
    let cached =
        Cached::start(CACHED, &[("cache-control", "max-age=60"), ("content-type", "text/plain")]).await;
    let first = cached.ask("/a?q=1", &[]).await;
    assert_eq!(first.cache(), "edge-gateway; fwd=uri-miss; fwd-status=200; stored");
    assert_eq!(first.header("age"), None);
    cached.after(10);
    let hit = cached.ask("/a?q=1", &[]).await;
    assert_eq!((hit.text(), hit.cache()), ("answer 1", "edge-gateway; hit; ttl=50"));
    assert_eq!((hit.header("age"), hit.header("content-type")), (Some("10"), Some("text/plain")));
    assert!(hit.header("x-request-id") != first.header("x-request-id"));
    assert_eq!(cached.ask("/a?q=2", &[]).await.text(), "answer 2");
    cached.after(50);
    assert_eq!(cached.ask("/a?q=1", &[]).await.text(), "answer 3");
}

#[tokio::test]
async fn what_the_upstream_does_not_release_is_not_stored() {
    let cached = Cached::start(CACHED, &[]).await;
    for headers in [
        &[][..],
        &[("cache-control", "no-store, max-age=60")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "max-age=60"), ("set-cookie", "session=1")],
        &[("cache-control", "max-age=60"), ("vary", "*")],
    ] {
        cached.origin.says(200, headers);
        let before = cached.origin.requests();
        cached.ask("/", &[]).await;
        let second = cached.ask("/", &[]).await;
        assert_eq!(cached.origin.requests(), before + 2, "{headers:?}");
        assert!(second.cache().contains("; detail="), "{}", second.cache());
    }
}

#[tokio::test]
async fn a_stale_answer_is_confirmed_by_its_validator() {
    let cached = Cached::start(CACHED, &[("cache-control", "max-age=5"), ("etag", "\"v1\"")]).await;
    cached.ask("/", &[]).await;
    cached.after(6);
    cached.origin.says(200, &[("cache-control", "max-age=50"), ("etag", "\"v1\""), ("x-new", "1")]);
    let confirmed = cached.ask("/", &[]).await;
    assert_eq!(cached.origin.last("if-none-match").as_deref(), Some("\"v1\""));
    assert_eq!((confirmed.status(), confirmed.text()), (200, "answer 1"));
    assert_eq!(confirmed.cache(), "edge-gateway; fwd=stale; fwd-status=304; ttl=50");
    assert_eq!(confirmed.header("x-new"), Some("1"));
    cached.after(40);
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 1");
    cached.after(20);
    cached.origin.says(200, &[("cache-control", "max-age=5"), ("etag", "\"v2\"")]);
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 3");
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 3");
    assert_eq!(cached.origin.requests(), 3);
}

#[tokio::test]
async fn no_cache_stores_but_asks_each_time() {
    let cached = Cached::start(CACHED, &[("cache-control", "no-cache"), ("etag", "\"v\"")]).await;
    for requests in 1..4 {
        assert_eq!(cached.ask("/", &[]).await.text(), "answer 1");
        assert_eq!(cached.origin.requests(), requests);
    }
}

#[tokio::test]
async fn conditions_ranges_and_heads_are_answered_from_the_whole() {
    let headers = [("cache-control", "max-age=60"), ("etag", "\"v\""), ("accept-ranges", "bytes")];
    let cached = Cached::start(CACHED, &headers).await;
    // A range that is not at hand goes upstream and is not stored as the whole.
    let missed = cached.ask("/", &[("range", "bytes=0-1")]).await;
    assert_eq!(missed.cache(), "edge-gateway; fwd=uri-miss; fwd-status=200");
    // A client that has an older copy fetches for all.
    assert_eq!(cached.ask("/", &[("if-none-match", "\"old\"")]).await.text(), "answer 2");
    assert_eq!(cached.origin.last("if-none-match"), None);
    let not_modified = cached.ask("/", &[("if-none-match", "\"v\"")]).await;
    assert_eq!((not_modified.status(), not_modified.text()), (304, ""));
    let part = cached.ask("/", &[("range", "bytes=0-2")]).await;
    assert_eq!((part.status(), part.text()), (206, "ans"));
    assert_eq!(part.header("content-range"), Some("bytes 0-2/8"));
    let changed = cached.ask("/", &[("range", "bytes=0-2"), ("if-range", "\"old\"")]).await;
    assert_eq!((changed.status(), changed.text()), (200, "answer 2"));
    let mut head = asking("/", &[]);
    *head.method_mut() = Method::HEAD;
    let head = cached.send(head).await;
    assert_eq!((head.header("content-length"), head.text()), (Some("8"), ""));
    assert_eq!(cached.origin.requests(), 2);
    // What only the upstream can judge goes there.
    cached.ask("/", &[("if-match", "\"v\"")]).await;
    assert_eq!(cached.origin.requests(), 3);
}

#[tokio::test]
async fn a_stale_answer_is_served_while_one_request_renews_it() {
    let headers = [("cache-control", "max-age=5, stale-while-revalidate=60")];
    let cached = Cached::start(CACHED, &headers).await;
    cached.ask("/", &[]).await;
    cached.after(10);
    cached.origin.open(false);
    for _ in 0..5 {
        let stale = cached.ask("/", &[]).await;
        assert_eq!((stale.text(), stale.cache()), ("answer 1", "edge-gateway; hit; ttl=-5"));
    }
    cached.origin.reached(2).await;
    cached.origin.open(true);
    let renewed = async { while cached.ask("/", &[]).await.text() != "answer 2" {} };
    tokio::time::timeout(PATIENCE, renewed).await.unwrap();
    assert_eq!(cached.origin.requests(), 2);
}

#[tokio::test]
async fn a_stale_answer_covers_an_upstream_that_fails() {
    let mut cached = Cached::start(CACHED, &[("cache-control", "max-age=5, stale-if-error=60")]).await;
    cached.ask("/", &[]).await;
    cached.after(10);
    cached.origin.says(503, &[]);
    let covered = cached.ask("/", &[]).await;
    assert_eq!((covered.status(), covered.text()), (200, "answer 1"));
    cached.origin.says(404, &[]);
    assert_eq!(cached.ask("/", &[]).await.status(), 404, "not an error of the upstream's");
    cached.origin.says(200, &[("cache-control", "max-age=5, stale-if-error=60")]);
    let renewed = cached.ask("/", &[]).await.text().to_owned();
    cached.after(30);
    cached.fixture.reload(&CACHED.replace("app.sock\"]", "gone.sock\"]\nrestart_patience_ms = 0")).unwrap();
    assert_eq!(cached.ask("/", &[]).await.text(), renewed);
    cached.after(60);
    assert_eq!(cached.ask("/", &[]).await.status(), 503);
    cached.fixture.drain().await;
}

#[tokio::test]
async fn clients_may_ask_for_a_newer_answer_unless_the_route_says_no() {
    let cached = Cached::start(CACHED, &[("cache-control", "max-age=60")]).await;
    cached.ask("/", &[]).await;
    cached.after(10);
    for newer in ["no-cache", "max-age=5", "min-fresh=55"] {
        let before = cached.origin.requests();
        cached.ask("/", &[("cache-control", newer)]).await;
        assert_eq!(cached.origin.requests(), before + 1, "{newer}");
        cached.after(10);
    }
    let before = cached.origin.requests();
    cached.ask("/", &[("cache-control", "max-age=15")]).await;
    assert_eq!(cached.origin.requests(), before);
    cached.fixture.reload(&CACHED.replace("cache = true", "cache = { obey_clients = false }")).unwrap();
    cached.ask("/", &[]).await;
    let before = cached.origin.requests();
    cached.ask("/", &[("cache-control", "no-cache"), ("pragma", "no-cache")]).await;
    assert_eq!(cached.origin.requests(), before);
}

#[tokio::test]
async fn a_route_may_give_answers_a_lifetime() {
    let config = CACHED.replace("cache = true", "cache = { default_ttl_s = 30 }");
    let cached = Cached::start(&config, &[]).await;
    cached.ask("/", &[]).await;
    assert_eq!(cached.ask("/", &[]).await.text(), "answer 1");
    cached.origin.says(404, &[]);
    cached.ask("/missing", &[]).await;
    assert_eq!(cached.ask("/missing", &[]).await.text(), "answer 3", "an error has none by default");
    // Nor has an answer to somebody.
    cached.origin.says(200, &[]);
    cached.ask("/page", &[("cookie", "user=1")]).await;
    assert_eq!(cached.ask("/page", &[("cookie", "user=2")]).await.text(), "answer 5");
}
