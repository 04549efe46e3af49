//! Configurations as people have them, beside what they become.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::*;
use crate::import::check;

/// Files below a directory, by names relative to it.
struct Below(PathBuf);

impl Load for Below {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        Files.read(&self.0.join(path))
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let found = Files.matching(&self.0.join(pattern));
        found.into_iter().map(|path| path.strip_prefix(&self.0).unwrap().to_owned()).collect()
    }
}

fn samples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/nginx")
}

/// Compares with the files `<name>.toml` and `<name>.remarks`; writes what came out beside them where it differs.
fn golden(directory: &str, name: &str) {
    let root = samples().join(directory);
    let imported = convert(Path::new(&format!("{name}.conf")), &Below(root.clone())).unwrap();
    check(&imported.toml).unwrap_or_else(|error| panic!("{error}\n{}", imported.toml));
    let remarks = imported.remarks.join("\n") + "\n";
    let differ: Vec<PathBuf> = [("toml", imported.toml), ("remarks", remarks)]
        .into_iter()
        .filter_map(|(extension, came_out)| {
            let path = root.join(format!("{name}.{extension}"));
            let new = root.join(format!("{name}.{extension}.new"));
            let same = std::fs::read_to_string(path).unwrap_or_default() == came_out;
            (!same).then(|| std::fs::write(&new, came_out).unwrap()).map(|()| new)
        })
        .collect();
    assert!(differ.is_empty(), "not what is expected; compare with {differ:?}");
}

#[test]
fn a_node_application_with_websockets() {
    golden("", "node-app");
}

#[test]
fn a_single_page_application() {
    golden("", "single-page-app");
}

#[test]
fn a_load_balancer_with_limits() {
    golden("", "load-balancer");
}

#[test]
fn a_php_site_of_which_little_can_be_converted() {
    golden("", "php-site");
}

#[test]
fn upstreams_over_tls_and_grpc_behind_a_balancer() {
    golden("", "secure-upstreams");
}

#[test]
fn a_configuration_in_many_files() {
    golden("includes", "nginx");
}

/// Files in memory.
struct InMemory(BTreeMap<PathBuf, String>);

impl Load for InMemory {
    fn read(&self, path: &Path) -> std::io::Result<String> {
        self.0.get(path).cloned().ok_or_else(|| std::io::ErrorKind::NotFound.into())
    }

    fn matching(&self, pattern: &Path) -> Vec<PathBuf> {
        let glob = |path: &&PathBuf| {
            tree::glob(pattern.as_os_str().as_encoded_bytes(), path.as_os_str().as_encoded_bytes())
        };
        self.0.keys().filter(glob).cloned().collect()
    }
}

fn import(text: &str) -> Result<Imported, String> {
    let files = BTreeMap::from([(PathBuf::from("n"), text.to_owned())]);
    convert(Path::new("n"), &InMemory(files)).map_err(|error| error.to_string())
}

#[test]
fn syntax_errors_name_file_and_line() {
    for (text, message) in [
        ("a;\nb {\n c;\n", "n:2: this block has no `}`"),
        ("a;\n}", "n:2: this `}` closes nothing, or a `;` is missing"),
        ("a {\n b }", "n:2: this `}` closes nothing, or a `;` is missing"),
        ("\na b", "n:2: this directive has no `;`"),
        ("a;\n'b", "n:2: a quote does not end"),
        (";", "n:1: a directive's name is missing"),
        ("include n;", "n:1: too many files include each other"),
        ("include other;", "cannot read other"),
    ] {
        assert_eq!(import(text).unwrap_err(), message, "{text}");
    }
    assert!(import(&"a {".repeat(100_000)).unwrap_err().contains("nested too deeply"));
}

#[test]
fn what_restricts_access_is_never_dropped() {
    for directive in ["auth_basic x;", "auth_request /auth;", "ssl_verify_client on;", "auth_jwt x;"] {
        for (server, location) in [("", directive), (directive, "")] {
            let config = format!(
                "server {{ listen 443 ssl; {server} location / {{ {location} proxy_pass http://10.0.0.1; }} }}"
            );
            let imported = import(&config).unwrap();
            let name = directive.split([' ', ';']).next().unwrap();
            let said = imported.remarks.iter().any(|line| line.contains(&format!("not converted: `{name}")));
            assert!(said, "{directive}: {:?}", imported.remarks);
            assert!(imported.toml.contains("status = 503") && !imported.toml.contains("10.0.0.1"));
        }
    }
    let open = "server { auth_basic x; location / { auth_basic off; proxy_pass http://10.0.0.1; } }";
    assert!(import(open).unwrap().toml.contains("upstream ="));
    for directive in ["deny unix:;", "satisfy any;"] {
        let config = format!("server {{ location / {{ {directive} proxy_pass http://10.0.0.1; }} }}");
        assert!(
            import(&config).unwrap().remarks.iter().any(|line| line.contains("not converted")),
            "{directive}"
        );
    }
}

#[test]
fn files_that_an_expression_keeps_back_are_not_served() {
    for location in ["~ \\.php$ { fastcgi_pass unix:/x; }", "~* \\.(sql|bak)$ { deny all; }"] {
        let config =
            format!("server {{ root /www; location {location} location / {{ try_files $uri =404; }} }}");
        let imported = import(&config).unwrap();
        assert!(!imported.toml.contains("static_files"), "{}", imported.toml);
        assert!(imported.toml.contains("status = 503"), "{}", imported.toml);
        check(&imported.toml).unwrap();
    }
    let harmless = "server { root /www; location ~ \\.png$ { expires 1d; } location ~ /\\.ht { deny all; } }";
    assert!(import(harmless).unwrap().toml.contains("static_files"));
}

#[test]
fn what_cannot_be_converted_does_not_fall_to_another_route() {
    for inner in [
        "proxy_pass http://$backend;",
        "fastcgi_pass unix:/x;",
        "deny all;",
        "internal; proxy_pass http://10.0.0.9;",
    ] {
        let config =
            format!("server {{ location / {{ proxy_pass http://10.0.0.1; }} location /x/ {{ {inner} }} }}");
        let imported = import(&config).unwrap();
        let (_, route) = imported.toml.split_once("path_prefix = \"/x/\"\n").unwrap();
        assert!(route.starts_with("respond = { status = "), "{inner}\n{}", imported.toml);
    }
}

#[test]
fn headers_that_name_the_client_are_believed_nowhere_unless_a_listener_takes_them() {
    let imported =
        import("server { real_ip_header X-Forwarded-For; set_real_ip_from 10.0.0.0/8; return 200; }")
            .unwrap();
    assert!(imported.remarks.iter().any(|line| line.contains("not converted: `real_ip_header")));
    assert!(!imported.toml.contains("proxy_protocol"), "{}", imported.toml);
}

#[test]
fn networks_keep_their_meaning() {
    for (rules, expected) in [
        ("allow 10.0.0.0/8; deny all;", "allow = [\"10.0.0.0/8\"]\n"),
        ("deny 10.1.1.1; allow all;", "deny = [\"10.1.1.1\"]\n"),
        ("deny all;", "deny = [\"0.0.0.0/0\", \"::/0\"]\n"),
        ("deny 10.1.1.1; allow 10.0.0.0/8; deny all;", "allow = [\"10.0.0.0/8\"]\ndeny = [\"10.1.1.1\"]\n"),
        // Nobody else is shut out.
        ("allow 10.0.0.0/8;", "timeout_ms = 60000\n\n"),
    ] {
        let config = format!("server {{ location / {{ {rules} proxy_pass http://10.0.0.1; }} }}");
        let imported = import(&config).unwrap();
        assert!(imported.toml.contains(expected), "{rules}\n{}", imported.toml);
        check(&imported.toml).unwrap();
    }
}

#[test]
fn whatever_is_imported_is_valid_or_said_not_to_be() {
    for config in [
        "",
        "server { }",
        "server { server_name a..b ~x *.a.* _; return 200; }",
        "server { listen 443 ssl; location \"/{x}\" { proxy_pass http://a; } location // { return 200; } }",
        "server { listen unix:/x; listen 80; location / { return 301 ftp://x; } }",
        "server { location / { return 200 \"\u{1}\\\"{$x\"; } location /a { add_header a\"b c; return 200; } }",
        "upstream a_b { server x; server y; } server { location / { proxy_pass https://a_b; } location /b { grpc_pass a_b; } }",
        "server { listen 80 proxy_protocol; set_real_ip_from 10.0.0.1/8; location / { proxy_pass https://unix:/x; } }",
        "server { location / { proxy_pass https://-a-:8443; } location /g { grpc_pass grpcs://[::1]:1; } }",
        "upstream a { } upstream A_ { server x; } server { location / { proxy_pass http://a; } }",
        "server { location / { root ../x; index a/b ..; try_files a b; } location = / { root /x; } }",
    ] {
        let imported = import(config).unwrap();
        check(&imported.toml).unwrap_or_else(|error| panic!("{config}: {error}\n{}", imported.toml));
    }
}

#[test]
fn patterns_name_files() {
    for (pattern, name, matches) in [
        ("*.conf", "a.conf", true),
        ("*.conf", ".conf", true),
        ("a*b?c", "aXXbYc", true),
        ("a*b?c", "abc", false),
        ("*", "", true),
        ("**x", "x", true),
        ("?", "", false),
    ] {
        assert_eq!(tree::glob(pattern.as_bytes(), name.as_bytes()), matches, "{pattern} {name}");
    }
}
