//! What is refused, and that the message says where and what to write instead.

use crate::config::{Config, Plan};

const BASE: &str = "[service]\nadmin = \"unix:/run/admin.sock\"\n[listen]\nhttps = \"127.0.0.1:0\"\n\
                    [[certificates]]\ncert = \"/a\"\nkey = \"/b\"\n\
                    [[upstreams]]\nname = \"a\"\naddresses = [\"unix:/a\"]\n\
                    [[upstreams]]\nname = \"b\"\naddresses = [\"unix:/b\"]\n[[routes]]\n";

fn plan(route: &str) -> Result<Plan, String> {
    let config: Config = toml::from_str(&format!("{BASE}{route}")).map_err(|error| error.to_string())?;
    Plan::new(&config).map_err(|invalid| invalid.to_string())
}

fn check(route: &str, expected: &str) {
    let error = plan(route).err().unwrap_or_else(|| panic!("accepted: {route}"));
    assert!(error.contains(expected), "{route}\n{error}");
}

#[test]
fn what_makes_no_sense_is_refused_with_its_key() {
    let to_a = |more: &str| format!("path_prefix = \"/x\"\nupstream = \"a\"\n{more}");
    check("upstream = \"a\"", "`routes.0.path_prefix`: needs exactly one of");
    check("path_prefix = \"/\"\npath_exact = \"/\"\nupstream = \"a\"", "needs exactly one of");
    check("path_prefix = \"/\"", "`routes.0.upstream`: needs exactly one of");
    check("path_prefix = \"/\"\nupstream = \"c\"", "known: a, b");
    check("path_prefix = \"/{x}\"\nupstream = \"a\"", "path_template");
    check("path_exact = \"/a?b\"\nupstream = \"a\"", "without query");
    check("path_template = \"/a\"\nupstream = \"a\"", "`routes.0.path_template`");
    check(&to_a("methods = [\"get\"]"), "`routes.0.methods`: `get` must be a method in capitals");
    check(&to_a("hosts = [\"a:443\"]"), "`routes.0.hosts`");
    check(&to_a("headers = [{ name = \"x y\", present = true }]"), "`routes.0.headers.0.name`");
    check(&to_a("headers = [{ name = \"x\" }]"), "`routes.0.headers.0`: needs exactly one of");
    check(&to_a("query = [{ name = \"x\", pattern = \"(\" }]"), "`routes.0.query.0.pattern`");
    check(&to_a("query = [{ name = \"x\", pattern = \"(a{99}){99}\" }]"), "64 KiB");
    check(&to_a("split_by = { cookie = \"x\" }"), "`routes.0.split_by`");
    check(&to_a("strip_prefix = true\nrewrite_path = \"/\""), "cannot be combined");
    check(&to_a("rewrite_path = \"/{nobody}\""), "`routes.0.rewrite_path`");
    check(&to_a("request_headers = { set = { Connection = \"x\" } }"), "managed by the gateway");
    check(&to_a("request_headers = { set = { x = \"{nobody}\" } }"), "`routes.0.request_headers.set.x`");
    check(&to_a("response_headers = { remove = [\"a b\"] }"), "`routes.0.response_headers.remove`");
    check(&to_a("mirror = { upstream = \"c\" }"), "`routes.0.mirror.upstream`");
    check(&to_a("mirror = { upstream = \"b\", percent = 0 }"), "from 1 to 100");
    check("path_prefix = \"/\"\nsplit = [{ upstream = \"a\", weight = 0 }]", "above 0");
    check("path_prefix = \"/\"\nredirect = { to = \"//evil\" }", "`routes.0.redirect.to`");
    check("path_prefix = \"/\"\nredirect = { to = \"/\", status = 200 }", "`routes.0.redirect.status`");
    check("path_prefix = \"/\"\nrespond = { status = 100 }", "`routes.0.respond.status`");
    check("path_prefix = \"/\"\nrespond = { status = 204, body = \"x\" }", "must be empty");
    check("path_prefix = \"/\"\nrespond = {}\nstrip_prefix = true", "without an upstream");
}

#[test]
fn a_route_that_is_never_reached_is_refused() {
    let twice =
        "path_prefix = \"/x\"\nupstream = \"a\"\n[[routes]]\npath_prefix = \"/x\"\nupstream = \"b\"\n";
    check(twice, "`routes.1`");
    check(twice, "routes.0");
}

#[test]
fn a_route_may_use_everything_at_once() {
    let route = r#"
        name = "orders"
        hosts = ["shop.example", "*.shop.example"]
        path_template = "/users/{id}/{rest*}"
        methods = ["GET", "POST"]
        headers = [{ name = "x-canary", value = "1" }, { name = "x-old", present = false }]
        query = [{ name = "v", pattern = "^[0-9]+$" }]
        split = [{ upstream = "a", weight = 9 }, { upstream = "b", weight = 1 }]
        split_by = { cookie = "session" }
        rewrite_path = "/v2/{id}/{rest}"
        request_headers = { remove = ["x-a"], set = { x-user = "{id}", host = "inner" }, add = { via = "edge" } }
        response_headers = { set = { x-served-by = "{request_id}" } }
        mirror = { upstream = "b", percent = 5 }
    "#;
    assert_eq!(plan(route).unwrap().router.routes()[0].label(), "orders");
}
