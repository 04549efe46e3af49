use std::collections::BTreeMap;
use std::path::PathBuf;

use super::*;

/// What a service has of its own. Everything else is the same in all five.
const OWN: [&str; 13] = [
    "After",
    "Description",
    "Documentation",
    "ExecStart",
    "ImportCredential",
    "LimitNOFILE",
    "MemoryMax",
    "Requires",
    "RuntimeDirectory",
    "StateDirectory",
    "TasksMax",
    "User",
    "Wants",
];

fn packaging() -> PathBuf {
    workspace::root().join("packaging")
}

/// The lines of a unit: its keys, each with all of its values.
fn unit(name: &str) -> BTreeMap<String, Vec<String>> {
    let text = std::fs::read_to_string(packaging().join("systemd").join(name)).unwrap();
    let mut keys: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '[']) && !line.is_empty()) {
        let (key, value) = line.split_once('=').unwrap();
        keys.entry(key.to_owned()).or_default().push(value.to_owned());
    }
    keys
}

fn service(binary: &str) -> BTreeMap<String, Vec<String>> {
    unit(&format!("quintet-{binary}.service"))
}

fn config(binary: &str) -> toml::Table {
    let path = packaging().join("config").join(format!("{binary}.toml"));
    std::fs::read_to_string(path).unwrap().parse().unwrap()
}

/// Every string in a configuration.
fn strings(value: &toml::Value) -> Vec<String> {
    match value {
        toml::Value::String(text) => vec![text.clone()],
        toml::Value::Array(items) => items.iter().flat_map(strings).collect(),
        toml::Value::Table(table) => table.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_five_services_are_confined_in_the_same_way() {
    let shared = |binary: &str| {
        let mut keys = service(binary);
        keys.retain(|key, _| !OWN.contains(&key.as_str()));
        keys
    };
    for binary in BINARIES {
        assert_eq!(shared(binary), shared("core-api"), "{binary}");
    }
}

#[test]
fn sockets_listen_where_the_configurations_do() {
    for binary in BINARIES {
        let config = config(binary);
        let listen = config["listen"].as_table().unwrap();
        let mut wanted: Vec<(String, Vec<String>)> = listen
            .iter()
            .filter(|(_, value)| !matches!(value, toml::Value::Boolean(_)))
            .map(|(name, value)| (name.clone(), strings(value)))
            .collect();
        if listen.get("http3").is_some_and(|on| on.as_bool() == Some(true)) {
            wanted.push(("http3".to_owned(), strings(&listen["https"])));
        }
        let mut units = Vec::new();
        for (name, addresses) in wanted {
            let unit_name = format!("quintet-{binary}-{name}.socket");
            let socket = unit(&unit_name);
            let listens = if name == "http3" { "ListenDatagram" } else { "ListenStream" };
            let bare = addresses.iter().map(|address| address.trim_start_matches("unix:"));
            assert_eq!(socket[listens], bare.collect::<Vec<_>>(), "{unit_name}");
            assert_eq!(socket["FileDescriptorName"], [name], "{unit_name}");
            assert_eq!(socket["Service"], [format!("quintet-{binary}.service")], "{unit_name}");
            units.push(unit_name);
        }
        let service = service(binary);
        let asked = service["Requires"].iter().chain(service.get("Wants").into_iter().flatten());
        let mut required: Vec<String> = asked.flat_map(|names| names.split(' ')).map(str::to_owned).collect();
        required.sort();
        units.sort();
        assert_eq!(required, units, "quintet-{binary}.service");
    }
}

#[test]
fn each_credential_of_a_configuration_is_imported_by_its_unit() {
    for binary in BINARIES {
        let imported = &service(binary)["ImportCredential"];
        for text in strings(&toml::Value::Table(config(binary))) {
            let Some(name) = text.strip_prefix("credential:") else { continue };
            let covered = imported.iter().any(|pattern| match pattern.strip_suffix('*') {
                Some(prefix) => name.starts_with(prefix),
                None => name == pattern,
            });
            assert!(covered, "quintet-{binary}.service imports no credential {name}");
        }
    }
}

#[test]
fn configurations_keep_to_the_directories_of_their_units() {
    for binary in BINARIES {
        let service = service(binary);
        let own = [
            format!("/var/lib/{}/", service["StateDirectory"][0]),
            format!("/run/{}/", service["RuntimeDirectory"][0]),
        ];
        let state = strings(&toml::Value::Table(config(binary)));
        for path in state.iter().filter_map(|text| text.strip_prefix("sqlite:").or(Some(text))) {
            if path.starts_with("/var/") {
                assert!(format!("{path}/").starts_with(&own[0]), "{binary}: {path}");
            }
        }
        let admin = config(binary)["service"]["admin"].as_str().unwrap().to_owned();
        assert!(admin.trim_start_matches("unix:").starts_with(&own[1]), "{binary}: {admin}");
        assert_eq!(service["ExecStart"], [format!("/usr/bin/{binary} --config /etc/quintet/{binary}.toml")]);
    }
}

#[test]
fn an_exposure_is_read_from_the_closing_line() {
    let text = "→ Overall exposure level for quintet-core-api.service: 1.1 OK 🙂\n";
    assert!((exposure(text, "quintet-core-api.service").unwrap() - 1.1).abs() < f64::EPSILON);
    assert!(exposure(text, "quintet-edge-gateway.service").is_err());
}
