//! The store itself: budget, variants, who waits for whom.

use http::HeaderValue;
use http::header::{ACCEPT, HeaderMap};

use super::freshness::Lifetime;
use super::*;

const SCOPE: Scope = Scope { route: 1, upstream: 1 };
const LIFETIME: Lifetime = Lifetime {
    received: 0,
    initial_age: 0,
    fresh_for: 60,
    always_validate: false,
    while_revalidating: 0,
    if_error: 0,
};

fn key(path: &str) -> Key {
    Key::new(true, "a.test", path, None)
}

fn put(cache: &Cache, path: &str, bytes: usize, accept: Option<&'static str>) -> Option<Arc<Object>> {
    let request: HeaderMap =
        accept.map(|value| (ACCEPT, HeaderValue::from_static(value))).into_iter().collect();
    let names: &[HeaderName] = if accept.is_some() { &[ACCEPT] } else { &[] };
    let (key, variant) = (key(path), Variant::of(names, &request));
    let epoch = cache.epoch(&key);
    cache.store(&key, SCOPE, epoch, variant, Response::new(()), vec![b'x'; bytes].into(), LIFETIME)
}

fn find(cache: &Cache, path: &str) -> Option<Arc<Object>> {
    cache.find(&key(path), SCOPE, &HeaderMap::new())
}

#[test]
fn the_budget_holds_and_what_is_used_stays() {
    let cache = Cache::new(100_000);
    put(&cache, "/used", 5_000, None);
    for n in 0..1_000 {
        put(&cache, &format!("/{n}"), 5_000, None);
        assert!(find(&cache, "/used").is_some(), "evicted after {n}");
        // The one that is being stored counts before another makes room for it.
        assert!(cache.total.load(Ordering::Relaxed) <= 110_000);
    }
    assert!(cache.purge(|_| true) > 10);
    assert_eq!(cache.total.load(Ordering::Relaxed), 0);
}

#[test]
fn an_object_counts_until_its_last_reader_is_done() {
    let cache = Cache::new(100_000);
    let read = put(&cache, "/a", 50_000, None).unwrap();
    let held = cache.total.load(Ordering::Relaxed);
    assert!((50_000..52_000).contains(&held), "{held}");
    assert_eq!(cache.invalidate(&key("/a")), 1);
    assert_eq!(cache.total.load(Ordering::Relaxed), held);
    assert!(cache.charge(60_000).is_none(), "memory that a slow reader holds was counted as free");
    drop(read);
    assert_eq!(cache.total.load(Ordering::Relaxed), 0);
    assert!(cache.charge(60_000).is_some());
}

#[test]
fn one_address_cannot_have_variants_without_end() {
    let cache = Cache::new(10_000_000);
    let words: Vec<&'static str> = (0..100).map(|n| &*format!("text/x-{n}").leak()).collect();
    for word in &words {
        put(&cache, "/", 10, Some(word));
    }
    let stored = words.iter().filter(|word| {
        let request = HeaderMap::from_iter([(ACCEPT, HeaderValue::from_static(word))]);
        cache.find(&key("/"), SCOPE, &request).is_some()
    });
    assert_eq!(stored.count(), 16);
}

#[test]
fn other_routes_and_upstreams_do_not_share_answers() {
    let cache = Cache::new(100_000);
    put(&cache, "/", 10, None);
    assert!(find(&cache, "/").is_some());
    for scope in [Scope { route: 2, ..SCOPE }, Scope { upstream: 2, ..SCOPE }] {
        assert!(cache.find(&key("/"), scope, &HeaderMap::new()).is_none());
    }
}

#[test]
fn what_was_invalidated_meanwhile_is_not_stored() {
    let cache = Cache::new(100_000);
    let epoch = cache.epoch(&key("/"));
    cache.invalidate(&key("/"));
    let (head, body) = (Response::new(()), Bytes::new());
    assert!(cache.store(&key("/"), SCOPE, epoch, Variant::default(), head, body, LIFETIME).is_none());
    assert!(find(&cache, "/").is_none());
}

#[tokio::test]
async fn one_fetches_and_the_others_wait_for_it() {
    let cache = Arc::new(Cache::new(100_000));
    let Turn::Fetch(guard) = cache.turn(&key("/"), SCOPE, 0) else { panic!("nobody fetches") };
    let Turn::Wait(flight) = cache.turn(&key("/"), SCOPE, 0) else { panic!("two fetch") };
    assert!(!flight.wait(Duration::from_millis(1)).await);
    drop(guard);
    assert!(flight.wait(Duration::ZERO).await);
    assert!(matches!(cache.turn(&key("/"), SCOPE, 0), Turn::Fetch(_)));
    cache.do_not_wait(&key("/"), SCOPE, 10);
    assert!(matches!(cache.turn(&key("/"), SCOPE, 9), Turn::Alone));
    assert!(matches!(cache.turn(&key("/"), SCOPE, 10), Turn::Fetch(_)));
}

#[test]
fn references_name_addresses_of_the_same_origin_only() {
    let key = Key::new(true, "a.test:8443", "/x", Some("q"));
    let beside = |reference: &str| key.beside(reference).map(|key| key.text().to_owned());
    assert_eq!(beside("/y?z#f").as_deref(), Some("https://a.test:8443/y?z"));
    assert_eq!(beside("https://a.test:8443/y").as_deref(), Some("https://a.test:8443/y"));
    for elsewhere in ["//b.test/y", "https://b.test/y", "http://a.test:8443/y", "y", ""] {
        assert_eq!(beside(elsewhere), None, "{elsewhere}");
    }
}
