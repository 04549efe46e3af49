//! Caddy.

use anyhow::Context as _;

use super::{AccessLog, Launch, Ports, Setting, write};
use crate::gateway::client::HOST;
use crate::gateway::tools;

pub(super) fn launch(setting: &Setting<'_>, ports: Ports) -> anyhow::Result<Launch> {
    let config = config(setting, ports);
    let path = setting.directory.join("Caddyfile");
    write(&path, &config)?;
    let home = setting.directory.display().to_string();
    Ok(Launch {
        program: tools::find("caddy").context("caddy is not installed")?,
        arguments: ["run", "--adapter", "caddyfile", "--config"]
            .map(str::to_owned)
            .into_iter()
            .chain([path.display().to_string()])
            .collect(),
        // One thread runs Go code, as one does in the others.
        environment: vec![
            ("GOMAXPROCS", "1".to_owned()),
            ("HOME", home.clone()),
            ("XDG_CONFIG_HOME", home.clone()),
            ("XDG_DATA_HOME", home),
        ],
        config,
    })
}

fn config(setting: &Setting<'_>, ports: Ports) -> String {
    let directory = setting.directory.display();
    let protocols = if setting.http3 { "h1 h2 h3" } else { "h1 h2" };
    let log = match setting.access_log {
        AccessLog::Off => String::new(),
        AccessLog::File => format!(
            "log {{\n        output file {directory}/caddy.access.log {{\n            roll_disabled\n        }}\n    }}"
        ),
    };
    format!(
        r"{{
    admin off
    auto_https off
    log {{
        level ERROR
    }}
    servers {{
        protocols {protocols}
        timeouts {{
            idle 10m
        }}
    }}
}}

(proxying) {{
    bind 127.0.0.1
    {log}
    reverse_proxy {upstream} {{
        # It sets X-Forwarded-For, -Proto and -Host by itself.
        header_up X-Request-Id {{http.request.uuid}}
        transport http {{
            keepalive 10m
            # The default of 32 would close connections in the middle of a measurement.
            keepalive_idle_conns_per_host 256
            compression off
        }}
    }}
}}

http://{HOST}:{http} {{
    import proxying
}}

https://{HOST}:{https} {{
    # Its session tickets cannot be turned off here; it makes one a handshake, as the gateway does.
    tls {certificate} {key} {{
        protocols tls1.3
    }}
    import proxying
}}
",
        certificate = setting.certificate.chain.display(),
        key = setting.certificate.key.display(),
        upstream = setting.upstream,
        http = ports.http,
        https = ports.https,
    )
}
