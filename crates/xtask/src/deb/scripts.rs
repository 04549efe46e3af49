//! The maintainer scripts, put together from the pieces in `packaging/debian`.

use anyhow::Context as _;

use super::{binary_of, packaging, read};

/// The units of a package: sockets, the target, and last the service.
pub(super) fn units(package: &str) -> anyhow::Result<Vec<String>> {
    let directory = packaging().join("systemd");
    let mut units = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("list {}", directory.display()))? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let own = match binary_of(package) {
            Some(_) => name.strip_prefix(package).is_some_and(|rest| rest.starts_with(['.', '-'])),
            None => name == "quintet.target" && package == "quintet-common",
        };
        if own {
            units.push(name);
        }
    }
    units.sort_by_key(|name| (name.ends_with(".service"), name.clone()));
    Ok(units)
}

/// The scripts of a package, by name.
pub(super) fn of(package: &str) -> anyhow::Result<Vec<(&'static str, String)>> {
    let units = units(package)?;
    if units.is_empty() {
        return Ok(Vec::new());
    }
    let (services, kept): (Vec<&String>, Vec<&String>) =
        units.iter().partition(|name| name.ends_with(".service"));
    let list = |names: &[&String]| names.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ");
    let all: Vec<&String> = units.iter().collect();
    let piece = |name: &str| read(&packaging().join("debian").join(name));
    let fill = |text: String| {
        let text = text.replace("#NAMES#", &list(&all)).replace("#KEPT#", &list(&kept));
        text.replace("#SERVICES#", &list(&services)).replace("#PURGED#", &purged(package))
    };
    let frame = if binary_of(package).is_some() { "service.postinst" } else { "quintet-common.postinst" };
    let secrets = match piece(&format!("{package}.secrets")) {
        Ok(made) => format!("{}    {}", piece("secret.sh")?, made.trim_end()),
        // Not every service has a secret.
        Err(_) => ":".to_owned(),
    };
    let postinst = piece(frame)?.replace("#SECRETS#", &secrets).replace("#UNITS#", &piece("units.postinst")?);
    Ok(vec![
        ("postinst", fill(postinst)),
        ("prerm", fill(piece("units.prerm")?)),
        ("postrm", fill(piece("units.postrm")?)),
    ])
}

/// What a purge takes with it: secrets and data that are of no use to anybody else. The database and the files of the core
/// belong to two services, so they go with what both need.
fn purged(package: &str) -> String {
    let name = package.trim_start_matches("quintet-");
    let own = match name {
        "edge-gateway" => "/etc/quintet/tls /var/lib/quintet/gateway",
        "identity-provider" => "/var/lib/quintet/identity",
        "telemetry-sink" => "/var/lib/quintet/telemetry",
        "common" => {
            return "/etc/credstore/quintet.* /etc/credstore.encrypted/quintet.* /var/lib/quintet".to_owned();
        }
        _ => "",
    };
    format!("/etc/credstore/{name}.* /etc/credstore.encrypted/{name}.* {own}").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_starts_after_its_sockets_and_no_socket_is_restarted() {
        let units = units("quintet-edge-gateway").unwrap();
        assert_eq!(units.len(), 4);
        assert_eq!(units.last().map(String::as_str), Some("quintet-edge-gateway.service"));
        let scripts = of("quintet-edge-gateway").unwrap();
        let postinst = &scripts[0].1;
        assert!(postinst.contains("for unit in quintet-edge-gateway.service; do"), "{postinst}");
        assert!(!postinst.contains('#') || !postinst.contains("#UNITS#"), "{postinst}");
    }

    #[test]
    fn no_placeholder_is_left_in_a_script() {
        for package in
            ["quintet-common", "quintet-core-api", "quintet-edge-gateway", "quintet-telemetry-sink"]
        {
            for (script, text) in of(package).unwrap() {
                for placeholder in ["#NAMES#", "#KEPT#", "#SERVICES#", "#PURGED#", "#SECRETS#", "#UNITS#"] {
                    assert!(!text.contains(placeholder), "{package}.{script}: {placeholder}");
                }
            }
        }
        assert!(of("quintet").unwrap().is_empty());
    }
}
