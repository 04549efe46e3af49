//! The edge gateway.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::{AccessLog, Launch, Ports, Setting, make, write};

fn program() -> anyhow::Result<PathBuf> {
    let path = e2e::fleet::bin_dir()?.join("edge-gateway");
    ensure!(path.is_file(), "{} is not there; run this through `cargo xtask bench gateway`", path.display());
    Ok(path)
}

pub(super) fn version() -> anyhow::Result<String> {
    let output = Command::new(program()?).arg("--version").output().context("run edge-gateway --version")?;
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Whether this build takes a configuration with HTTP/3.
pub(super) fn has_http3(setting: &Setting<'_>) -> anyhow::Result<bool> {
    make(setting.directory)?;
    let path = setting.directory.join("with-http3.toml");
    // Checked, not run: the ports do not matter.
    write(&path, &config(&Setting { http3: true, ..*setting }, Ports { https: 443, http: 80 }))?;
    let output = Command::new(program()?).arg("--check-config").arg("--config").arg(&path).output();
    let output = output.context("run edge-gateway --check-config")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success() || said.contains("listen.http3"), "edge-gateway --check-config: {said}");
    Ok(output.status.success())
}

pub(super) fn launch(setting: &Setting<'_>, ports: Ports) -> anyhow::Result<Launch> {
    let config = config(setting, ports);
    let path = setting.directory.join("edge-gateway.toml");
    write(&path, &config)?;
    Ok(Launch {
        program: program()?,
        arguments: vec!["--config".to_owned(), path.display().to_string()],
        environment: Vec::new(),
        config,
    })
}

fn config(setting: &Setting<'_>, ports: Ports) -> String {
    let log_level = match setting.access_log {
        AccessLog::Off => "warn",
        AccessLog::File => "info",
    };
    format!(
        r#"# One thread serves; the other only answers the admin listener.
[service]
admin = "unix:{directory}/edge-gateway.sock"
worker_threads = 1
drain_timeout_ms = 1000

# At "info" each request is a JSON line on standard output, which is a file here.
# No peer traces; the work has to be the same.
[telemetry]
log_level = "{log_level}"
sample_ratio = 0.0

[listen]
https = "127.0.0.1:{https}"
http = "127.0.0.1:{http}"
http_mode = "proxy"
workers = 1
http3 = {http3}

[[certificates]]
cert = "{certificate}"
key = "{key}"

[[upstreams]]
name = "upstream"
addresses = ["{upstream}"]
max_idle = 256
# Slow readers stay in flight all at once.
max_in_flight = 4096

[[routes]]
path_prefix = "/"
upstream = "upstream"

# All load comes from one address, and idle connections have to stay.
[limits]
connections = 20000
connections_per_ip = 20000
memory_per_ip = 0
header_read_timeout_ms = 600000
keep_alive_timeout_ms = 600000
"#,
        directory = setting.directory.display(),
        https = ports.https,
        http3 = setting.http3,
        http = ports.http,
        certificate = setting.certificate.chain.display(),
        key = setting.certificate.key.display(),
        upstream = setting.upstream,
    )
}
