//! The real binary: its commands, and a reload by signal.

#[cfg(test)]
#[path = "commands/gateway.rs"]
mod gateway;

use gateway::Gateway;

const NOBODY: &str = "01930a5e-7b1c-7c3a-9f7e-0d2b6f1c9a55";

#[test]
fn explain_works_on_the_file_alone_and_has_exit_codes() {
    let gateway = Gateway::new();
    let (code, text, _) =
        gateway.run(&["explain", "GET", "https://localhost/?a=b", "-H", "Accept: text/html"]);
    assert!(code == 0 && text.contains("200 with 5 bytes"), "{code} {text}");
    let (code, text, _) = gateway.run(&["explain", "GET", "https://localhost/other", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["refused"]["status"]), (0, &404.into()));
    for wrong in
        [["explain", "GET", "/path"], ["explain", "G E T", "https://a/"], ["explain", "GET", "ftp://a/"]]
    {
        assert_eq!(gateway.run(&wrong).0, 64, "{wrong:?}");
    }
    gateway.configure("path_exact = \"/\"");
    let (code, _, error) = gateway.run(&["explain", "GET", "https://localhost/"]);
    assert!(code == 78 && error.contains("routes.0.upstream"), "{code} {error}");
}

#[test]
fn why_asks_the_running_gateway() {
    let mut gateway = Gateway::new();
    let (code, _, error) = gateway.run(&["why", NOBODY]);
    assert!(code == 69 && error.contains("admin.sock"), "{code} {error}");
    gateway.start();
    let id = gateway.refused_request();
    let (code, text, error) = gateway.run(&["why", &id]);
    assert!(code == 0 && text.contains("400 host_invalid"), "{code} {text} {error}");
    let (code, text, error) = gateway.run(&["why", NOBODY]);
    assert!(code == 69 && text.contains("nothing is known"), "{code} {text} {error}");
    assert_eq!(gateway.run(&["why", "not an id"]).0, 64);
}

#[test]
fn a_signal_reloads_the_file_and_a_bad_one_changes_nothing() {
    let mut gateway = Gateway::new();
    gateway.start();
    gateway.configure("path_exact = \"/new\"\nrespond = { body = \"new\" }");
    gateway.reload();
    let log = gateway.wait_for_log("configuration replaced");
    assert!(log.contains("localhost/new"), "{log}");
    gateway.configure("path_exakt = \"/\"");
    gateway.reload();
    let log = gateway.wait_for_log("reload refused; the previous settings stay");
    assert!(log.contains("did you mean `path_exact`?"), "{log}");
    gateway.configure("path_exact = \"/\"\nrespond = {}\n[limits]\nconnections = 5");
    gateway.reload();
    gateway.wait_for_log(r#"routes_removed":"[\"localhost/new"#);
}

#[test]
fn top_shows_what_the_running_gateway_does() {
    const HELLO: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    const NOWHERE: &str = "GET /nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    let mut gateway = Gateway::new();
    let (code, _, error) = gateway.run(&["top", "--once"]);
    assert!(code == 69 && error.contains("admin listener") && error.contains("admin.sock"), "{code} {error}");
    gateway.start();
    let over = std::sync::atomic::AtomicBool::new(false);
    let ended = || over.load(std::sync::atomic::Ordering::Relaxed);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !ended() {
                assert!(gateway.exchange(HELLO).starts_with("HTTP/1.1 200 "));
                assert!(gateway.exchange(NOWHERE).starts_with("HTTP/1.1 404 "));
            }
        });
        let json = gateway.run(&["top", "--once", "--json", "--sort", "name"]);
        // As a pipe sees it: one page, without control sequences.
        let text = gateway.run(&["top", "--filter", "LOCALHOST"]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        let (code, json, error) = json;
        assert_eq!(code, 0, "{error}");
        let frame: serde_json::Value = serde_json::from_str(&json).unwrap();
        let names: Vec<_> = frame["routes"].as_array().unwrap().iter().map(|row| &row["route"]).collect();
        assert_eq!(names, ["(no route)", "localhost/"], "{json}");
        let [unrouted, hello] = [&frame["routes"][0], &frame["routes"][1]];
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or_else(|| panic!("{json}"));
        assert!(number(&hello["per_s"]) > 0.0 && number(&hello["p99_ms"]) > 0.0, "{json}");
        assert!(number(&hello["client_errors_per_s"]).abs() < f64::EPSILON, "{json}");
        assert!(number(&unrouted["client_errors_per_s"]) > 0.0, "{json}");
        assert!(
            number(&frame["memory_bytes"]) > 1e6 && number(&frame["connections"]["accepted_per_s"]) > 0.0
        );
        let (code, text, error) = text;
        assert!(code == 0 && text.contains("ROUTE (by requests)"), "{code} {text} {error}");
        assert!(text.contains("\nlocalhost/ ") && !text.contains("(no route)"), "{text}");
        assert!(!text.contains('\x1b'), "{text:?}");
    });
}

#[test]
fn top_says_what_is_wrong_with_another_admin_listener() {
    let mut gateway = Gateway::new();
    gateway.start();
    let (code, _, error) = gateway.run(&["top", "--once", "--admin", "unix:/nowhere/admin.sock"]);
    assert!(code == 69 && error.contains("unix:/nowhere/admin.sock"), "{code} {error}");
    assert_eq!(gateway.run(&["top", "--admin", "nonsense"]).0, 64);
    assert_eq!(gateway.run(&["top", "--interval-ms", "1"]).0, 64);
}

#[test]
fn import_prints_a_configuration_and_what_differs() {
    let gateway = Gateway::new();
    // None of its own is needed.
    gateway.configure("path_exakt = \"/\"");
    let samples = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nginx");
    let file = samples.join("node-app.conf");
    let (code, toml, remarks) = gateway.run(&["import", "nginx", file.to_str().unwrap()]);
    assert!(code == 0 && toml.contains("path_prefix = \"/api/v1/\""), "{code} {toml}");
    assert!(remarks.contains("node-app.conf:2: not converted: `map"), "{remarks}");
    assert!(remarks.contains("the result passes --check-config"), "{remarks}");
    let (code, _, error) = gateway.run(&["import", "nginx", "/nowhere.conf"]);
    assert!(code == 78 && error.contains("cannot read /nowhere.conf"), "{code} {error}");
}
