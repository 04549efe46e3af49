//! Precedence, and the compiled tables against a model that looks at every route.

use http::HeaderValue;
use http::header::HeaderName;
use proptest::prelude::*;

use super::*;

fn rule(path: &str) -> PathRule {
    match path.split_at(1) {
        ("=", exact) => PathRule::Exact(exact.to_owned()),
        ("^", prefix) => PathRule::Prefix(prefix.to_owned()),
        _ => PathRule::Template(Template::parse(path).unwrap()),
    }
}

/// `=/exact`, `^/prefix` or `/template/{x}`; conditions as `GET`, `x-name` (present) or `x-name=value`.
fn route(path: &str, hosts: &[&str], asks: &[&str]) -> Route {
    let mut conditions = Conditions::default();
    for ask in asks {
        if ask.bytes().all(|byte| byte.is_ascii_uppercase()) {
            conditions.methods.push(ask.parse().unwrap());
            continue;
        }
        let (name, test) = match ask.split_once('=') {
            Some((name, value)) => (name, Test::Equals(value.to_owned())),
            None => (*ask, Test::Present),
        };
        conditions.headers.push((name.parse().unwrap(), test));
    }
    Route {
        name: None,
        hosts: hosts.iter().map(|host| HostRule::parse(host).unwrap()).collect(),
        path: rule(path),
        conditions: (conditions.count() > 0).then(|| Box::new(conditions)),
        action: Action::Upstream(0),
        rewrite: PathRewrite::Keep,
        request_headers: None,
        response_headers: None,
        mirror: None,
        content: None,
        cache: None,
        client_certificate: false,
        auth: Auth::None,
        scopes: Vec::new(),
        quota: None,
        access: None,
        max_body: 0,
        min_rate: None,
        timeout: Duration::from_secs(1),
        retries: crate::proxy::Retries::default(),
    }
}

fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
    pairs.iter().map(|&(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
}

fn find(router: &Router, host: &str, path: &str, method: &Method, headers: &HeaderMap) -> Option<usize> {
    router.find(&Head { host, path, query: None, method, headers }).map(|(at, _)| at)
}

fn check(router: &Router, host: &str, path: &str, expected: Option<usize>) {
    assert_eq!(find(router, host, path, &Method::GET, &HeaderMap::new()), expected, "{host}{path}");
}

#[test]
fn the_longest_prefix_by_whole_segments_wins() {
    let router =
        Router::new(vec![route("^/", &[], &[]), route("^/api", &[], &[]), route("^/api/v1", &[], &[])])
            .unwrap();
    check(&router, "a", "/api", Some(1));
    check(&router, "a", "/api/v1/x", Some(2));
    check(&router, "a", "/api/v10", Some(1));
    check(&router, "a", "/apix", Some(0));
}

#[test]
fn the_more_specific_host_is_looked_at_first_and_the_next_one_if_it_has_nothing() {
    let router = Router::new(vec![
        route("^/api/v1", &[], &[]),
        route("^/", &["b.example"], &[]),
        route("^/x", &["*.example"], &[]),
        route("^/", &["*.deep.example"], &[]),
    ])
    .unwrap();
    check(&router, "b.example", "/api/v1", Some(1));
    check(&router, "b.example", "/x", Some(1));
    check(&router, "c.example", "/x", Some(2));
    check(&router, "c.example", "/api/v1", Some(0));
    check(&router, "c.deep.example", "/x", Some(3));
    check(&router, "example", "/x", None);
}

#[test]
fn exact_comes_before_template_before_prefix() {
    let router = Router::new(vec![
        route("^/users", &[], &[]),
        route("/users/{id}/{rest*}", &[], &[]),
        route("/users/{id}/orders", &[], &[]),
        route("/users/{id}", &[], &[]),
        route("/users/me/{what}", &[], &[]),
        route("=/users/me", &[], &[]),
    ])
    .unwrap();
    for (path, expected) in [
        ("/users/me", 5),
        ("/users/7", 3),
        ("/users/me/orders", 4),
        ("/users/7/orders", 2),
        ("/users/7/other", 1),
        ("/users/7/orders/1", 1),
        ("/users", 0),
        ("/users/", 0),
    ] {
        check(&router, "a", path, Some(expected));
    }
}

#[test]
fn more_conditions_come_first_and_then_the_order_of_the_configuration() {
    let router = Router::new(vec![
        route("^/", &[], &[]),
        route("^/", &[], &["x-a"]),
        route("^/", &[], &["x-b"]),
        route("^/", &[], &["POST", "x-b=1"]),
    ])
    .unwrap();
    let at = |method: Method, pairs| find(&router, "h", "/", &method, &headers(pairs));
    assert_eq!(at(Method::GET, &[]), Some(0));
    assert_eq!(at(Method::GET, &[("x-a", ""), ("x-b", "1")]), Some(1));
    assert_eq!(at(Method::GET, &[("x-b", "1")]), Some(2));
    assert_eq!(at(Method::POST, &[("x-a", ""), ("x-b", "1")]), Some(3));
}

#[test]
fn a_route_that_would_never_be_reached_is_a_clash() {
    let clash = |routes| Router::new(routes).err();
    let pair = |first, second| Some(Clash { first, second });
    let any = [route("^/x", &["a"], &[]), route("^/", &[], &[]), route("^/x", &["b", "a"], &[])];
    assert_eq!(clash(any.into()), pair(0, 2));
    assert_eq!(clash(vec![route("/{a}", &[], &[]), route("/{b}", &[], &[])]), pair(0, 1));
    let same = || vec![route("=/x", &[], &["x-a=1"]), route("=/x", &[], &["x-a=1"])];
    assert_eq!(clash(same()), pair(0, 1));
    assert_eq!(clash(vec![route("^/", &[], &["GET", "PUT"]), route("^/", &[], &["PUT"])]), pair(0, 1));
    assert_eq!(clash(vec![route("^/", &["a", "a"], &[])]), pair(0, 0));
    assert_eq!(clash(vec![route("^/", &[], &["PUT"]), route("^/", &[], &["GET", "PUT"])]), None);
    assert_eq!(clash(vec![route("^/x", &[], &[]), route("=/x", &[], &[])]), None);
    assert_eq!(clash(vec![route("^/", &[], &["x-a=1"]), route("^/", &[], &["x-a=2"])]), None);
}

#[test]
fn the_methods_that_would_do_are_known() {
    let routes = vec![route("^/x", &[], &["PUT", "GET"]), route("^/x", &[], &["PUT", "x-a"])];
    let router = Router::new(routes).unwrap();
    let allowed = |path, pairs| {
        let headers = headers(pairs);
        let head = Head { host: "h", path, query: None, method: &Method::DELETE, headers: &headers };
        router.allowed(&head).into_iter().map(Method::as_str).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(allowed("/x", &[]), ["PUT", "GET"]);
    assert_eq!(allowed("/y", &[]), <[String; 0]>::default());
}

/// The rank of a route for a host, straight from the rules in the module's first lines; larger is better.
fn rank(
    route: &Route,
    at: usize,
    host: &str,
) -> (usize, u8, Vec<u8>, usize, usize, std::cmp::Reverse<usize>) {
    let host_rank = |rule: &HostRule| match rule {
        HostRule::Exact(name) if name == host => usize::MAX,
        HostRule::Below(parent) if host.ends_with(&format!(".{parent}")) => parent.len(),
        _ => 0,
    };
    let text = route.path.text();
    let (class, literal) = match &route.path {
        PathRule::Exact(_) => (2, Vec::new()),
        PathRule::Template(_) => {
            let weight = |segment: &str| match segment {
                s if s.ends_with("*}") => 0,
                s if s.starts_with('{') => 1,
                _ => 2,
            };
            (1, text.split('/').skip(1).map(weight).collect())
        }
        PathRule::Prefix(_) => (0, Vec::new()),
    };
    let length = if class == 0 { text.len() } else { 0 };
    let host = route.hosts.iter().map(host_rank).max().unwrap_or(0);
    (host, class, literal, length, route.condition_count(), std::cmp::Reverse(at))
}

fn paths() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec![
        "=/a",
        "=/a/b",
        "=/",
        "^/",
        "^/a",
        "^/a/b",
        "^/b",
        "/{x}",
        "/{x}/b",
        "/a/{y}",
        "/{x}/{y}",
        "/a/{r*}",
        "/{x}/{r*}",
        "/{r*}",
        "/a/{y}/c",
        "/a/{y}/",
    ])
}

fn some_routes() -> impl Strategy<Value = Vec<(&'static str, Vec<&'static str>, Vec<&'static str>)>> {
    let hosts = prop::sample::subsequence(vec!["h.x.test", "*.x.test", "*.test", "other.test"], 0..3);
    let asks = prop::sample::subsequence(vec!["GET", "POST", "x-a", "x-a=1", "x-b"], 0..4);
    prop::collection::vec((paths(), hosts, asks), 1..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn the_tables_agree_with_a_look_at_every_route(
        sections in some_routes(),
        host in prop::sample::select(vec!["h.x.test", "g.x.test", "g.test", "other.test", "test"]),
        path in prop::sample::select(vec!["/", "/a", "/a/b", "/a/b/c", "/a/", "/b", "/b/b", "/c/d/e", "/a/q/"]),
        post in any::<bool>(),
        x_a in prop::option::of(prop::sample::select(vec!["1", "2"])),
        x_b in any::<bool>(),
    ) {
        // Routes that clash are left out, as an operator would have to.
        let mut kept: Vec<_> = Vec::new();
        for section in sections {
            kept.push(section);
            let made = kept.iter().map(|(path, hosts, asks)| route(path, hosts, asks)).collect();
            if Router::new(made).is_err() {
                kept.pop();
            }
        }
        let router = Router::new(kept.iter().map(|(path, hosts, asks)| route(path, hosts, asks)).collect()).unwrap();
        let mut sent = HeaderMap::new();
        if let Some(value) = x_a {
            sent.insert("x-a", HeaderValue::from_static(value));
        }
        if x_b {
            sent.insert("x-b", HeaderValue::from_static(""));
        }
        let method = if post { Method::POST } else { Method::GET };
        let head = Head { host, path, query: None, method: &method, headers: &sent };
        let model = router
            .routes()
            .iter()
            .enumerate()
            .filter(|(_, route)| route.mismatch(&head).is_none())
            .max_by_key(|(at, route)| rank(route, *at, host))
            .map(|(at, _)| at);
        prop_assert_eq!(router.find(&head).map(|(at, _)| at), model, "{:?}", kept);
    }
}
