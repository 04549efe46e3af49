//! HAProxy.

use anyhow::Context as _;

use super::{AccessLog, Launch, Ports, Setting, write};
use crate::gateway::tools;

pub(super) fn launch(setting: &Setting<'_>, ports: Ports) -> anyhow::Result<Launch> {
    let config = config(setting, ports);
    let path = setting.directory.join("haproxy.cfg");
    write(&path, &config)?;
    Ok(Launch {
        program: tools::find("haproxy").context("haproxy is not installed")?,
        // In the foreground.
        arguments: vec!["-db".to_owned(), "-f".to_owned(), path.display().to_string()],
        environment: Vec::new(),
        config,
    })
}

fn config(setting: &Setting<'_>, ports: Ports) -> String {
    let (target, option) = match setting.access_log {
        AccessLog::Off => ("", "option dontlog-normal"),
        // Standard output is a file here. HAProxy has no batched writer to a file: this is its shortest way.
        AccessLog::File => (
            "log stdout format raw local0",
            r#"log global
    log-format '{"time":"%t","method":"%HM","path":"%HPO","status":%ST,"duration_ms":%Ta,"upstream":"%b","upstream_duration_ms":%Tr,"request_id":"%ID","bytes":%B,"client":"%ci"}'"#,
        ),
    };
    format!(
        r"global
    nbthread 1
    # 10,000 idle clients and what the upstream needs; the limit on open files is enough for that, not for
    # the two a connection that HAProxy would insist on.
    maxconn 10500
    no strict-limits
    {target}
    # No client resumes, so that it need not make tickets or keep sessions.
    tune.ssl.cachesize 0
    ssl-default-bind-options ssl-min-ver TLSv1.3 no-tls-tickets

defaults
    mode http
    {option}
    timeout connect 5s
    timeout client 10m
    timeout server 10m
    timeout http-keep-alive 10m
    # Upstream connections are shared between clients, as the others do.
    http-reuse always

frontend edge
    bind 127.0.0.1:{http} backlog 4096
    bind 127.0.0.1:{https} backlog 4096 ssl crt {combined} alpn h2,http/1.1
    # The gateway passes these on too.
    option forwardfor
    unique-id-format %[uuid()]
    unique-id-header X-Request-Id
    http-request set-header X-Forwarded-Proto https if {{ ssl_fc }}
    http-request set-header X-Forwarded-Host %[req.hdr(Host)]
    default_backend upstream

backend upstream
    server upstream {upstream} pool-max-conn 256
",
        combined = setting.certificate.combined.display(),
        upstream = setting.upstream,
        http = ports.http,
        https = ports.https,
    )
}
