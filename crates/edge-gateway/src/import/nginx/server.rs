//! `http` and `server` blocks: sockets, certificates, names, and what holds for all of their locations.

use std::collections::BTreeMap;

use super::location;
use super::remarks::Remarks;
use super::scope::Scope;
use super::tree::{Directive, Place};
use super::upstream::Upstreams;
use super::values::{bytes, milliseconds};
use crate::import::draft::{Draft, Table, list};

/// What the whole configuration has besides its servers.
pub(super) struct Shared<'t> {
    pub(super) upstreams: Upstreams,
    /// Of `limit_req_zone`, by name: key, requests, and time in milliseconds.
    pub(super) zones: BTreeMap<&'t str, (&'t str, u32, u32)>,
}

/// A server as its locations see it.
pub(super) struct Server<'t> {
    pub(super) scope: Scope<'t>,
    pub(super) block: &'t Directive,
    /// Empty for any.
    pub(super) hosts: Vec<String>,
}

/// Directives of `http` that are met elsewhere, or that the gateway needs no setting for.
const KNOWN: &str = "include server upstream limit_req_zone events user pid worker_processes worker_connections \
    worker_rlimit_nofile worker_cpu_affinity load_module multi_accept use sendfile sendfile_max_chunk tcp_nopush tcp_nodelay \
    types types_hash_max_size types_hash_bucket_size default_type server_names_hash_bucket_size \
    server_names_hash_max_size variables_hash_max_size variables_hash_bucket_size map_hash_bucket_size keepalive_requests \
    ssl_session_cache ssl_session_timeout ssl_session_tickets ssl_prefer_server_ciphers ssl_dhparam ssl_ecdh_curve \
    ssl_stapling ssl_stapling_verify ssl_trusted_certificate ssl_buffer_size resolver resolver_timeout real_ip_header \
    set_real_ip_from real_ip_recursive grpc_pass grpc_set_header grpc_read_timeout grpc_send_timeout grpc_connect_timeout grpc_ssl_name \
    grpc_ssl_server_name grpc_ssl_verify grpc_ssl_verify_depth grpc_ssl_trusted_certificate grpc_ssl_certificate \
    grpc_ssl_certificate_key grpc_ssl_session_reuse proxy_ssl_name proxy_ssl_server_name proxy_ssl_verify \
    proxy_ssl_verify_depth proxy_ssl_trusted_certificate proxy_ssl_certificate proxy_ssl_certificate_key \
    proxy_ssl_session_reuse \
    proxy_http_version proxy_buffering proxy_request_buffering proxy_buffers proxy_buffer_size \
    proxy_busy_buffers_size proxy_max_temp_file_size proxy_temp_file_write_size proxy_headers_hash_max_size \
    proxy_headers_hash_bucket_size proxy_socket_keepalive proxy_cache_path proxy_cache_lock gzip_vary gzip_proxied \
    gzip_disable gzip_http_version gzip_buffers http2 server_tokens etag if_modified_since log_not_found \
    log_subrequest client_body_buffer_size client_header_buffer_size large_client_header_buffers \
    client_body_temp_path open_file_cache open_file_cache_valid open_file_cache_min_uses open_file_cache_errors \
    directio aio output_buffers reset_timedout_connection underscores_in_headers merge_slashes absolute_redirect \
    port_in_redirect server_name_in_redirect limit_req_status limit_req_log_level charset internal listen server_name \
    ssl_certificate ssl_certificate_key location root alias index try_files return rewrite proxy_pass proxy_set_header \
    add_header gzip gzip_types gzip_min_length gzip_comp_level gzip_static brotli brotli_static expires limit_req \
    client_max_body_size proxy_connect_timeout proxy_read_timeout proxy_send_timeout allow deny keepalive_timeout \
    client_header_timeout client_body_timeout send_timeout proxy_cache proxy_cache_valid";

/// Tells of the directives of a block that nothing else looks at.
pub(super) fn remark_unknown(block: &[Directive], remarks: &mut Remarks) {
    for directive in block {
        let arg = directive.arg(0);
        match directive.name.as_str() {
            name if KNOWN.split_ascii_whitespace().any(|known| known == name) => {}
            "access_log" | "error_log" if matches!(arg, "off" | "/dev/null") => {}
            "access_log" | "error_log" | "log_format" => {
                remarks.left_out(directive, "the gateway logs by its [telemetry] section");
            }
            "error_page" => remarks.left_out(
                directive,
                "errors of the gateway are problem+json, and those of upstreams pass as they are",
            ),
            "proxy_redirect" if matches!(arg, "off" | "default") => {}
            "proxy_redirect" => remarks.left_out(directive, "`Location` of upstreams passes as it is"),
            "ssl_protocols" if !directive.args.iter().any(|arg| arg == "TLSv1" || arg == "TLSv1.1") => {}
            "ssl_protocols" => remarks.differs(&directive.place, "the gateway speaks TLS 1.2 and 1.3 alone"),
            "ssl_ciphers" | "ssl_conf_command" => {
                remarks.differs(&directive.place, "the gateway's cipher suites are its own");
            }
            "stream" | "mail" => remarks.left_out(directive, "the gateway serves HTTP alone"),
            "fastcgi_pass" | "uwsgi_pass" | "scgi_pass" | "memcached_pass" => {
                remarks.left_out(directive, "the gateway speaks HTTP with upstreams alone");
            }
            // Told where they hold: nobody is let in there, or it is a condition of its server or location.
            "auth_basic"
            | "auth_basic_user_file"
            | "auth_request"
            | "auth_request_set"
            | "auth_jwt"
            | "secure_link"
            | "valid_referers"
            | "if" => {}
            "ssl_verify_client" if arg == "on" => {}
            "satisfy" if arg == "any" => {
                remarks.left_out(directive, "clients must meet all that restricts them");
            }
            _ => remarks.left_out(directive, "the import has no rule for it"),
        }
    }
}

/// Converts the `http` block, or a file that holds what stands in one.
pub(super) fn convert(tree: &[Directive], draft: &mut Draft, remarks: &mut Remarks) {
    let http = tree.iter().find(|directive| directive.name == "http");
    let inner = http.map_or(tree, |http| http.block.as_slice());
    if http.is_some() {
        for directive in tree.iter().filter(|directive| directive.name != "http") {
            remark_unknown(std::slice::from_ref(directive), remarks);
        }
    }
    remark_unknown(inner, remarks);
    let scope = Scope::new(inner);
    let mut shared = Shared { upstreams: Upstreams::default(), zones: zones(inner, remarks) };
    for block in inner.iter().filter(|directive| directive.name == "upstream") {
        shared.upstreams.declare(block, draft, remarks);
    }
    limits(&scope, draft);
    for block in inner.iter().filter(|directive| directive.name == "server") {
        server(block, &scope, &mut shared, draft, remarks);
    }
    complete(draft, remarks);
}

/// Time limits of clients and the size of bodies, with nginx's standard for the latter.
fn limits(scope: &Scope<'_>, draft: &mut Draft) {
    let body = scope.one("client_max_body_size").and_then(|directive| bytes(directive.arg(0)));
    draft.limits.set("max_body", max_body(body.unwrap_or(1024 * 1024)));
    for (name, key) in [
        ("keepalive_timeout", "keep_alive_timeout_ms"),
        ("client_header_timeout", "header_read_timeout_ms"),
        ("client_body_timeout", "body_idle_timeout_ms"),
        ("send_timeout", "write_timeout_ms"),
    ] {
        let time = scope.one(name).and_then(|directive| milliseconds(directive.arg(0)));
        if let Some(time) = time.filter(|time| (1..=86_400_000).contains(time)) {
            draft.limits.set(key, time);
        }
    }
}

/// 0 means no limit in nginx.
pub(super) fn max_body(bytes: u64) -> u64 {
    let most = u64::try_from(i64::MAX).unwrap_or(u64::MAX);
    if bytes == 0 { most } else { bytes.min(most) }
}

fn zones<'t>(http: &'t [Directive], remarks: &mut Remarks) -> BTreeMap<&'t str, (&'t str, u32, u32)> {
    let mut zones = BTreeMap::new();
    for directive in http.iter().filter(|directive| directive.name == "limit_req_zone") {
        let value = |name: &str| directive.args.iter().find_map(|arg| arg.strip_prefix(name));
        let name = value("zone=").and_then(|zone| zone.split(':').next());
        let rate = value("rate=").and_then(|rate| match rate.rsplit_once("r/") {
            Some((count, "s")) => Some((count.parse().ok()?, 1_000)),
            Some((count, "m")) => Some((count.parse().ok()?, 60_000)),
            _ => None,
        });
        match (name, rate) {
            (Some(name), Some((requests, window))) if requests > 0 => {
                zones.insert(name, (directive.arg(0), requests, window));
            }
            _ => remarks.left_out(directive, "its zone or rate cannot be read"),
        }
    }
    zones
}

fn server<'t>(
    block: &'t Directive,
    http: &Scope<'t>,
    shared: &mut Shared<'t>,
    draft: &mut Draft,
    remarks: &mut Remarks,
) {
    let scope = http.within(&block.block);
    let (tls, is_default) = listen(&scope, &block.place, draft, remarks);
    let mut hosts = Vec::new();
    for directive in scope.all("server_name") {
        directive.args.iter().for_each(|name| host(name, directive, &mut hosts, remarks));
    }
    if is_default {
        hosts.clear();
    }
    remark_unknown(&block.block, remarks);
    if !tls && location::only_redirects(&block.block) {
        return;
    }
    if !tls {
        draft.listen.set("http_mode", "\"proxy\"");
        remarks.differs(&block.place, "routes are served in the clear and over TLS, on all listeners alike");
    }
    certificates(&scope, tls, block, draft, remarks);
    location::convert(&Server { scope, block, hosts }, shared, draft, remarks);
}

/// Takes the sockets of a server. Whether one of them is for TLS, and whether it answers to all names.
fn listen(scope: &Scope<'_>, place: &Place, draft: &mut Draft, remarks: &mut Remarks) -> (bool, bool) {
    let (mut tls, mut is_default, mut proxied) = (false, false, false);
    let directives = scope.all("listen");
    if directives.is_empty() {
        push(&mut draft.http, "0.0.0.0:80".to_owned());
        remarks.differs(place, "the server has no `listen`; it is taken for port 80");
    }
    for directive in directives {
        let has = |word: &str| directive.args.iter().any(|arg| arg == word);
        let Some(address) = socket(directive.arg(0)) else {
            remarks.left_out(directive, "the gateway listens on IP addresses and ports alone");
            continue;
        };
        is_default |= has("default_server") || has("default");
        if has("quic") {
            remarks.left_out(directive, "this address is taken for TCP alone");
            continue;
        }
        proxied |= has("proxy_protocol");
        if has("proxy_protocol") {
            push(&mut draft.proxied, address.clone());
        }
        let secure = has("ssl") || scope.own("ssl").is_some_and(|ssl| ssl.arg(0) == "on");
        tls |= secure;
        push(if secure { &mut draft.https } else { &mut draft.http }, address);
    }
    real_ip(scope, place, proxied, draft, remarks);
    (tls, is_default)
}

/// Whose word counts for the address of a client.
fn real_ip(scope: &Scope<'_>, place: &Place, proxied: bool, draft: &mut Draft, remarks: &mut Remarks) {
    let header = scope.one("real_ip_header");
    let by_proxy_header = header.is_some_and(|header| header.arg(0) == "proxy_protocol");
    if !proxied {
        let told = header.or_else(|| scope.one("set_real_ip_from")).filter(|_| !by_proxy_header);
        if let Some(directive) = told {
            remarks.left_out(directive, "the gateway believes no header about the client's address");
        }
        return;
    }
    if !by_proxy_header {
        remarks.differs(place, "the client is the one that the PROXY header names, in limits and logs too");
    }
    for directive in scope.all("set_real_ip_from") {
        let network = directive.arg(0).to_owned();
        if crate::limits::Networks::parse(std::slice::from_ref(&network)).is_err() {
            remarks.left_out(directive, "it is no network that the gateway takes");
        } else {
            push(&mut draft.proxies, network);
        }
    }
}

fn push(list: &mut Vec<String>, address: String) {
    if !list.contains(&address) {
        list.push(address);
    }
}

fn socket(text: &str) -> Option<String> {
    let text = match text.strip_prefix("*:") {
        Some(port) => format!("0.0.0.0:{port}"),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => format!("0.0.0.0:{text}"),
        None => text.to_owned(),
    };
    let address = text.parse::<std::net::SocketAddr>().ok();
    let address = address.or_else(|| {
        let ip = text.trim_start_matches('[').trim_end_matches(']').parse().ok()?;
        Some(std::net::SocketAddr::new(ip, 80))
    });
    Some(address?.to_string())
}

fn host(name: &str, directive: &Directive, hosts: &mut Vec<String>, remarks: &mut Remarks) {
    let mut add = |host: String| {
        if crate::router::HostRule::parse(&host).is_err() {
            remarks.left_out(directive, &format!("`{name}` is no host name that a route can have"));
        } else if !hosts.contains(&host) {
            hosts.push(host);
        }
    };
    match name.strip_prefix('.') {
        _ if matches!(name, "_" | "" | "default") => {}
        Some(domain) => {
            add(domain.to_ascii_lowercase());
            add(format!("*.{}", domain.to_ascii_lowercase()));
        }
        None => add(name.to_ascii_lowercase()),
    }
}

fn certificates(scope: &Scope<'_>, tls: bool, block: &Directive, draft: &mut Draft, remarks: &mut Remarks) {
    let keys = scope.all("ssl_certificate_key");
    let chains = scope.all("ssl_certificate");
    if tls && chains.is_empty() {
        remarks.missing(Some(&block.place), "the server has no `ssl_certificate`");
    }
    for (chain, key) in chains.iter().zip(&keys) {
        let pair = (chain.arg(0).to_owned(), key.arg(0).to_owned());
        if !pair.0.starts_with('/') || pair.0.contains('$') {
            remarks.missing(Some(&chain.place), "the certificate's absolute path");
        }
        if !draft.certificates.contains(&pair) {
            draft.certificates.push(pair);
        }
    }
}

/// What a configuration of the gateway must have.
fn complete(draft: &mut Draft, remarks: &mut Remarks) {
    if draft.https.is_empty() {
        draft.https.push("0.0.0.0:8443".to_owned());
        remarks.missing(None, "listen.https: nginx had no TLS listener, and the gateway always has one");
    }
    if !draft.proxied.is_empty() {
        if draft.proxies.is_empty() {
            draft.proxies.push("192.0.2.1".to_owned());
            remarks.missing(
                None,
                "listen.proxy_protocol.from: the networks of the proxies, which nginx does not ask for",
            );
        }
        let mut expected = Table::default();
        expected.set("from", list(&draft.proxies));
        expected.set("listeners", list(&draft.proxied));
        draft.listen.set("proxy_protocol", expected.inline());
    }
    if draft.certificates.is_empty() {
        let file = |name: &str| format!("/etc/quintet/{name}.pem");
        draft.certificates.push((file("certificate"), file("key")));
        remarks.missing(None, "certificates: the files of a chain and its key");
    }
    if !draft.has_routes() {
        location::answer_not_found(draft);
        remarks.missing(None, "routes: nothing in the file could be converted to one");
    }
}
