//! What `explain` says of one configuration.

use serde_json::Value;

use super::*;

const CONFIG: &str = r#"
    [service]
    admin = "unix:/run/admin.sock"
    [listen]
    https = "0.0.0.0:443"
    http = "0.0.0.0:80"
    proxy_protocol = { from = ["10.0.0.0/8"], listeners = ["0.0.0.0:443"] }
    [limits]
    rate_limit = { requests = 100, window_ms = 1000 }
    [[certificates]]
    cert = "DIR/a.pem"
    key = "DIR/a.key"
    [[certificates]]
    cert = "DIR/b.pem"
    key = "DIR/b.key"
    [[upstreams]]
    name = "shop"
    addresses = ["unix:/run/shop.sock"]
    [[upstreams]]
    name = "next"
    addresses = ["127.0.0.1:9000", "localhost:9001"]
    proxy_protocol = "v2"
    [[routes]]
    name = "users"
    hosts = ["a.test"]
    path_template = "/users/{id}/{rest*}"
    methods = ["GET"]
    split = [{ upstream = "shop", weight = 9 }, { upstream = "next", weight = 1 }]
    split_by = { cookie = "who" }
    rewrite_path = "/u/{id}/{rest}"
    request_headers = { set = { x-user = "{id} {client_ip}" } }
    rate_limit = { requests = 5 }
    [[routes]]
    path_prefix = "/users"
    headers = [{ name = "x-canary", value = "1" }]
    upstream = "next"
    strip_prefix = true
    [[routes]]
    hosts = ["*.wild.test"]
    path_prefix = "/"
    redirect = { to = "https://a.test/{tail}" }
    [[routes]]
    path_prefix = "/users"
    methods = ["POST"]
    upstream = "shop"
"#;

fn ask(method: &str, url: &str, headers: &[&str]) -> (Value, String) {
    ask_of("", method, url, headers)
}

/// Of a configuration with further sections.
fn ask_of(more: &str, method: &str, url: &str, headers: &[&str]) -> (Value, String) {
    let dir = tempfile::TempDir::new().unwrap();
    crate::tests::write_certificate(dir.path(), "a", &["a.test"]);
    crate::tests::write_certificate(dir.path(), "b", &["*.wild.test"]);
    let text = format!("{CONFIG}{more}").replace("DIR", dir.path().to_str().unwrap());
    let config: Config = toml::from_str(&text).unwrap();
    let mut request = Explain {
        method: method.to_owned(),
        url: url.to_owned(),
        headers: headers.iter().map(|&header| header.to_owned()).collect(),
        client: "198.51.100.7".parse().unwrap(),
        json: true,
    };
    let print = |request: &Explain| {
        let mut out = Vec::new();
        assert_eq!(run(&config, request, &mut out).unwrap(), Code::Ok);
        String::from_utf8(out).unwrap()
    };
    let json = serde_json::from_str(&print(&request)).unwrap();
    request.json = false;
    (json, print(&request))
}

#[test]
fn the_route_its_work_and_why_not_the_others_are_told() {
    let (json, text) = ask("GET", "https://A.test/users/7/%6frders?q=1", &["Cookie: who=me"]);
    assert_eq!(json["request"]["path"], "/users/7/orders");
    assert_eq!(json["listener"]["name"], "https");
    assert!(json["certificate"]["file"].as_str().unwrap().ends_with("/a.pem"), "{text}");
    let route = &json["route"];
    assert_eq!((&route["index"], &route["name"]), (&0.into(), &"users".into()));
    assert_eq!(route["captures"][1], serde_json::json!(["rest", "orders"]));
    assert_eq!(route["upstream_target"], "/u/7/orders?q=1");
    assert_eq!(route["request_headers"][0], "set x-user: 7 198.51.100.7");
    assert_eq!(route["upstreams"].as_array().unwrap().len(), 1, "the cookie decides: {text}");
    let keys: Vec<_> = json["limits"].as_array().unwrap().iter().map(|limit| limit["key"].clone()).collect();
    assert!(keys.contains(&"limits.rate_limit".into()) && keys.contains(&"routes.0.rate_limit".into()));
    let why_not = |at: usize| json["other_routes"][at]["why_not"].as_str().unwrap().to_owned();
    assert_eq!(why_not(0), "needs header x-canary = \"1\"");
    assert_eq!(why_not(1), "only for host *.wild.test");
    assert_eq!(why_not(2), "not for method GET");
    assert!(text.contains("sent as    /u/7/orders?q=1"), "{text}");
    assert!(text.contains("not routes.1"), "{text}");
    assert!(text.contains("client named by the PROXY header"), "{text}");
    let (json, _) = ask("GET", "http://a.test/", &[]);
    assert!(json["listener"]["client"].is_null(), "not on this listener: {json}");
}

#[test]
fn what_gets_no_route_is_told_with_its_status() {
    let refused = |method, url| {
        let (json, _) = ask(method, url, &[]);
        (json["refused"]["status"].clone(), json["refused"]["why"].as_str().unwrap().to_owned())
    };
    assert_eq!(refused("GET", "https://b.test/").0, 404);
    let (status, why) = refused("DELETE", "https://b.test/users");
    assert!(status == 405 && why.contains("POST"), "{status} {why}");
    assert_eq!(refused("GET", "https://a.test/a//b").0, 400);
    assert_eq!(refused("GET", "http://a.test/").0, 308);
    assert!(refused("GET", "https://a.test/.auth/login").0.is_null());
}

#[test]
fn what_acme_makes_of_a_request_is_told() {
    let acme = "[[certificates]]\nacme = [\"new.test\"]\n[acme]\ndirectory = \"https://ca.test/dir\"\n\
        terms_of_service_agreed = true\nstorage = \"/nonexistent\"\n";
    let (json, text) = ask_of(acme, "GET", "http://new.test/.well-known/acme-challenge/token", &[]);
    assert!(json["acme"].as_str().unwrap().contains("https://ca.test/dir"), "{text}");
    assert_eq!(json["refused"]["status"], 308, "{text}");
    let (json, text) = ask_of(acme, "GET", "https://new.test/", &[]);
    assert!(json["acme"].is_null());
    assert!(json["certificate"]["why"].as_str().unwrap().contains("waits for its certificate"), "{text}");
    let (json, _) = ask("GET", "http://a.test/.well-known/acme-challenge/token", &[]);
    assert!(json["acme"].is_null(), "nobody asks for it");
}

#[test]
fn prefixes_redirects_and_wildcard_certificates_are_told() {
    let (json, _) = ask("GET", "https://x.wild.test/users", &["X-Canary: 1"]);
    assert_eq!(json["route"]["action"], "308 to https://a.test/users");
    assert_eq!(json["certificate"]["why"], "names *.wild.test");
    let (json, text) = ask("GET", "https://c.test/users/7", &["X-Canary: 1"]);
    assert_eq!(json["route"]["upstream_target"], "/7");
    let addresses = &json["route"]["upstreams"][0]["addresses"];
    let localhost = addresses[1].as_str().unwrap();
    assert!(addresses[0] == "127.0.0.1:9000" && localhost.starts_with("localhost:9001 -> "), "{addresses}");
    assert!(localhost.contains(":9001 ") || localhost.ends_with(":9001"), "{addresses}");
    assert_eq!(json["route"]["upstreams"][0]["speaks"], "HTTP/1.1, after a PROXY header (v2)");
    assert!(json["certificate"]["why"].as_str().unwrap().contains("no certificate names c.test"), "{text}");
}
