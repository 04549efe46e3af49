use std::collections::BTreeMap;
use std::ffi::OsString;

use serde::Deserialize;

use super::*;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    listen: Listen,
    #[serde(default)]
    database: Database,
    #[serde(default)]
    routes: Vec<Route>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listen {
    address: String,
    port: u16,
    #[serde(default)]
    mode: Mode,
    #[expect(dead_code, reason = "only its refusals matter here")]
    upstream: Option<quintet_http::Origin>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct Database {
    url: Option<String>,
    max_connections: Option<u32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Route {
    path: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Mode {
    #[default]
    Json,
    Text,
}

const GOOD: &str = "[listen]\naddress = \"127.0.0.1\"\nport = 80\n";

fn load(text: &str, variables: &[(&str, &str)]) -> (tempfile::TempDir, Result<Config, Error>) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("core-api.toml");
    std::fs::write(&path, text).unwrap();
    let variables = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v)));
    let result = Source::load_with("core-api", &path, variables).and_then(|source| source.parse());
    (directory, result)
}

/// The error without the directory in front of the file's name.
fn refusal(text: &str, variables: &[(&str, &str)]) -> String {
    let (directory, result) = load(text, variables);
    result.unwrap_err().to_string().replace(&format!("{}/", directory.path().display()), "")
}

#[test]
fn every_mistake_names_file_line_column_key_and_the_expected_form() {
    let check = |text: &str, expected: &str| assert_eq!(refusal(text, &[]), expected);
    check(
        "[listen]\naddress = \"a\"\nprot = 80\n",
        "core-api.toml:3:1: key `listen.prot`: unknown key; did you mean `port`?",
    );
    check(
        &format!("{GOOD}\n[databse]\nurl = \"x\"\n"),
        "core-api.toml:5:2: key `databse`: unknown key; did you mean `database`?",
    );
    check(
        &format!("{GOOD}xyzzy = 1\n"),
        "core-api.toml:4:1: key `listen.xyzzy`: unknown key; known here: address, port, mode, upstream",
    );
    check(
        "[listen]\naddress = \"a\"\nport = \"eighty\"\n",
        "core-api.toml:3:1: key `listen.port`: expected a whole number from 0 to 65535, found a string",
    );
    check(
        "[listen]\naddress = \"a\"\nport = 70000\n",
        "core-api.toml:3:1: key `listen.port`: expected a whole number from 0 to 65535, found an integer",
    );
    check(
        "[listen]\naddress = true\nport = 1\n",
        "core-api.toml:2:1: key `listen.address`: expected a string in double quotes, found true or false",
    );
    check("[listen]\naddress = \"a\"\n", "core-api.toml:1:2: key `listen.port`: this key is required");
    check("", "core-api.toml:1:1: key `listen`: this key is required");
    check(
        &format!("{GOOD}mode = \"txt\"\n"),
        "core-api.toml:4:1: key `listen.mode`: expected one of \"json\", \"text\"; did you mean \"text\"?",
    );
    check(
        &format!("{GOOD}[[routes]]\npath = \"/\"\n[[routes]]\npth = \"/a\"\n"),
        "core-api.toml:7:1: key `routes[1].pth`: unknown key; did you mean `path`?",
    );
    check("listen = 5\n", "core-api.toml:1:1: key `listen`: expected a section with keys, found an integer");
}

#[test]
fn a_value_that_its_own_type_refuses_is_not_repeated() {
    assert_eq!(
        refusal(&format!("{GOOD}upstream = \"http://admin:hunter2@host\"\n"), &[]),
        "core-api.toml:4:1: key `listen.upstream`: `…` is not an origin; \
         write http://HOST:PORT, https://HOST:PORT or unix:/PATH"
    );
    assert!(!refusal(&format!("{GOOD}upstream = \"hunter2\"\n"), &[]).contains("hunter2"));
}

#[test]
fn text_that_is_not_toml_is_refused_with_its_line() {
    let message = refusal("[listen]\naddress = \n", &[]);
    assert!(message.starts_with("core-api.toml:2:11: "), "{message}");
    assert!(!message.contains('\n'), "{message}");
}

#[test]
fn a_duplicate_key_is_refused_with_its_line() {
    let message = refusal("[listen]\nport = 1\nport = 2\n", &[]);
    assert!(message.starts_with("core-api.toml:3:1: "), "{message}");
}

#[test]
fn a_missing_file_says_how_to_name_another() {
    let error = Source::load_with("core-api", Path::new("/nonexistent/core-api.toml"), []).unwrap_err();
    assert_eq!(
        error.to_string(),
        "/nonexistent/core-api.toml: no such configuration file; create it or name another with --config"
    );
}

#[test]
fn a_directory_in_place_of_the_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let error = Source::load_with("core-api", directory.path(), []).unwrap_err();
    assert!(matches!(error, Error::Unreadable { .. }));
}

#[test]
fn text_that_is_not_utf8_is_refused_with_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, b"a = 1\nb = \"\xff\"\n").unwrap();
    let error = Source::load_with("core-api", &path, []).unwrap_err().to_string();
    assert!(error.ends_with("c.toml:2:6: not UTF-8 text"), "{error}");
}

#[test]
fn variables_override_and_create_keys_with_toml_types() {
    let (_directory, config) = load(
        GOOD,
        &[
            ("QUINTET_CORE_API__LISTEN__PORT", "8081"),
            ("QUINTET_CORE_API__LISTEN__MODE", "text"),
            ("QUINTET_CORE_API__DATABASE__URL", "sqlite:x.db"),
            ("QUINTET_CORE_API__DATABASE__MAX_CONNECTIONS", "4"),
            ("QUINTET_CORE_API__ROUTES", "[{path = \"/x\"}]"),
            ("QUINTET_EDGE_GATEWAY__LISTEN__PORT", "1"),
            ("PATH", "/bin"),
        ],
    );
    let config = config.unwrap();
    assert_eq!((config.listen.port, config.listen.mode), (8081, Mode::Text));
    assert_eq!(config.database.url.as_deref(), Some("sqlite:x.db"));
    assert_eq!(config.database.max_connections, Some(4));
    assert_eq!(config.routes.len(), 1);
    assert_eq!(config.routes[0].path, "/x");
    assert_eq!(config.listen.address, "127.0.0.1");
    assert!(config.labels.is_empty());
}

#[test]
fn a_variable_that_looks_like_a_number_still_fits_a_string_key() {
    let (_directory, config) = load(GOOD, &[("QUINTET_CORE_API__LISTEN__ADDRESS", "12345")]);
    assert_eq!(config.unwrap().listen.address, "12345");
}

#[test]
fn a_mistake_in_a_variable_names_the_variable_and_not_its_value() {
    assert_eq!(
        refusal(GOOD, &[("QUINTET_CORE_API__LISTEN__PORT", "hunter2")]),
        "environment variable QUINTET_CORE_API__LISTEN__PORT: key `listen.port`: \
         expected a whole number from 0 to 65535, found a string"
    );
    assert_eq!(
        refusal(GOOD, &[("QUINTET_CORE_API__LISTEN__PROT", "1")]),
        "environment variable QUINTET_CORE_API__LISTEN__PROT: key `listen.prot`: \
         unknown key; did you mean `port`?"
    );
    assert_eq!(
        refusal(GOOD, &[("QUINTET_CORE_API__LISTEN__PORT__X", "1")]),
        "environment variable QUINTET_CORE_API__LISTEN__PORT__X: \
         a part of this key is a plain value in the file, not a section"
    );
    assert_eq!(
        refusal(GOOD, &[("QUINTET_CORE_API__LISTEN__", "1")]),
        "environment variable QUINTET_CORE_API__LISTEN__: expected QUINTET_CORE_API__SECTION__KEY"
    );
}

#[test]
fn an_invalid_value_is_reported_at_its_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, GOOD).unwrap();
    let source = Source::load_with("core-api", &path, []).unwrap();
    let error = source.invalid(&Invalid::new("listen.port", "ports below 1024 need a systemd socket"));
    assert!(
        error.to_string().ends_with("c.toml:3:1: key `listen.port`: ports below 1024 need a systemd socket")
    );
}

#[test]
fn the_key_of_a_value_is_found_only_when_it_is_unique() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("c.toml");
    std::fs::write(&path, "[a]\nx = \"1:1\"\ny = \"same\"\n[[b]]\nz = \"same\"\nw = [\"2:2\"]\n").unwrap();
    let source = Source::load_with("core-api", &path, []).unwrap();
    assert_eq!(source.key_of("1:1").as_deref(), Some("a.x"));
    assert_eq!(source.key_of("2:2").as_deref(), Some("b[0].w[0]"));
    assert_eq!(source.key_of("same"), None);
}
