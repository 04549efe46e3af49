//! nginx, tuned as its own documentation advises for a reverse proxy.

use anyhow::Context as _;

use super::{AccessLog, Launch, Ports, Setting, write};
use crate::gateway::tools;

pub(super) fn launch(setting: &Setting<'_>, ports: Ports) -> anyhow::Result<Launch> {
    let config = config(setting, ports);
    let path = setting.directory.join("nginx.conf");
    write(&path, &config)?;
    Ok(Launch {
        program: tools::find("nginx").context("nginx is not installed")?,
        arguments: vec![
            "-c".to_owned(),
            path.display().to_string(),
            "-p".to_owned(),
            setting.directory.display().to_string(),
            // Before it has read the file it would complain to a log it may not write.
            "-e".to_owned(),
            "stderr".to_owned(),
        ],
        environment: Vec::new(),
        config,
    })
}

fn config(setting: &Setting<'_>, ports: Ports) -> String {
    let directory = setting.directory.display();
    let access_log = match setting.access_log {
        AccessLog::Off => "access_log off;".to_owned(),
        AccessLog::File => format!("access_log {directory}/nginx.access.log json buffer=64k flush=1s;"),
    };
    // The workers run as whoever runs this, so that the measuring program may look at them.
    let user = if rustix::process::geteuid().is_root() { "user root;" } else { "" };
    format!(
        r#"daemon off;
{user}
worker_processes 1;
worker_rlimit_nofile 20000;
pid {directory}/nginx.pid;
error_log stderr error;

events {{
    worker_connections 20000;
    use epoll;
}}

http {{
    # The same fields as in the gateway's line, written in batches as the gateway does.
    log_format json escape=json '{{"time":"$time_iso8601","method":"$request_method","path":"$uri",'
        '"status":$status,"duration_s":$request_time,"upstream":"$proxy_host",'
        '"upstream_duration_s":"$upstream_response_time","request_id":"$request_id",'
        '"bytes":$body_bytes_sent,"client":"$remote_addr"}}';
    {access_log}

    client_body_temp_path {directory}/nginx.body;
    proxy_temp_path {directory}/nginx.proxy;
    fastcgi_temp_path {directory}/nginx.fastcgi;
    uwsgi_temp_path {directory}/nginx.uwsgi;
    scgi_temp_path {directory}/nginx.scgi;

    tcp_nodelay on;
    # The default of 1000 would make it open new connections in the middle of a measurement.
    keepalive_requests 1000000000;
    keepalive_timeout 600s;

    ssl_certificate {certificate};
    ssl_certificate_key {key};
    ssl_protocols TLSv1.3;
    # No client resumes, so that it need not make two tickets a handshake.
    ssl_session_tickets off;
    ssl_session_cache off;
    ssl_conf_command NumTickets 0;

    upstream upstream {{
        server {upstream};
        # Without it every request would open a connection.
        keepalive 256;
        keepalive_requests 1000000000;
        keepalive_timeout 600s;
    }}

    server {{
        listen 127.0.0.1:{http} backlog=4096;
        listen 127.0.0.1:{https} ssl http2 backlog=4096;
        location / {{
            proxy_pass http://upstream;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            # The gateway passes these on too.
            proxy_set_header Host $http_host;
            proxy_set_header X-Forwarded-For $remote_addr;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Request-Id $request_id;
            # Room for the 64 KB body in memory: the default would write a part of it to a file.
            proxy_buffers 8 16k;
            proxy_buffer_size 16k;
            proxy_max_temp_file_size 0;
        }}
    }}
}}
"#,
        certificate = setting.certificate.chain.display(),
        key = setting.certificate.key.display(),
        upstream = setting.upstream,
        http = ports.http,
        https = ports.https,
    )
}
