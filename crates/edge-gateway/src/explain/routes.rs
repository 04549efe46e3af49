//! The route of a request and what it does, and why the others do not take it.

use std::net::ToSocketAddrs as _;

use super::report::{Limit, Other, Refusal, Report, Route as RouteReport, Upstream};
use crate::cache::Policy;
use crate::config::{Config, Place, Plan, RateLimit, Site, Upstream as UpstreamSection};
use crate::proxy_protocol::Version;
use crate::router::{Action, Auth, Head, HeaderEdits, Mismatch, Route, Unmet, Value, Values};
use crate::upstream::Protocol;

/// Stands for what only a real request has.
const REQUEST_ID: &str = "<request id>";

/// The limits that every request counts against.
pub(super) fn connection_limits(config: &Config, plan: &Plan) -> Vec<Limit> {
    let limits = &config.limits;
    let mut list = vec![
        limit("limits.connections", limits.connections),
        limit("limits.connections_per_ip", limits.connections_per_ip),
        limit("limits.memory_per_ip", limits.memory_per_ip),
        limit("limits.header_bytes", limits.header_bytes),
    ];
    if plan.quota.is_some() {
        list.extend(limits.rate_limit.as_ref().map(|rate| limit("limits.rate_limit", rate_text(rate))));
    }
    list
}

fn limit(key: &str, value: impl ToString) -> Limit {
    Limit { key: key.to_owned(), value: value.to_string() }
}

fn rate_text(rate: &RateLimit) -> String {
    let burst = rate.burst.unwrap_or(rate.requests);
    let per = match rate.key.as_deref() {
        None | Some("ip") => "client address",
        Some(key) => key,
    };
    format!("{} requests in {} ms per {per}, {burst} at once", rate.requests, rate.window_ms)
}

/// Adds what the routes make of the request.
pub(super) fn explain(
    config: &Config,
    plan: &Plan,
    head: &Head<'_>,
    client: &str,
    authority: &str,
    report: &mut Report,
) {
    let found = plan.router.find(head);
    for (index, route) in plan.router.routes().iter().enumerate() {
        if found.is_none_or(|(at, _)| at != index) {
            let name = route.label();
            report.other_routes.push(Other { index, name, why_not: why_not(route, head, found) });
        }
    }
    let Some((index, route)) = found else {
        let methods = plan.router.allowed(head);
        report.refused = Some(if methods.is_empty() {
            Refusal::new(404, "not_found: no route takes this request")
        } else {
            let methods: Vec<&str> = methods.into_iter().map(http::Method::as_str).collect();
            Refusal::new(405, &format!("method_not_allowed: this address takes {}", methods.join(", ")))
        });
        return;
    };
    if let Some(rate) = config.routes.get(index).and_then(|section| section.rate_limit.as_ref()) {
        report.limits.push(limit(&format!("routes.{index}.rate_limit"), rate_text(rate)));
    }
    report.limits.push(limit(&format!("routes.{index}.max_body"), route.max_body));
    let least = route.min_rate.map_or_else(
        || "none".to_owned(),
        |min| format!("{} bytes a second after {} ms", min.rate, min.grace.as_millis()),
    );
    report.limits.push(limit(&format!("routes.{index}.body_min_rate"), least));
    report.limits.push(limit(&format!("routes.{index}.timeout_ms"), route.timeout.as_millis()));
    let values = Values {
        client_ip: client,
        request_id: REQUEST_ID,
        host: authority,
        path: head.path,
        query: head.query,
        rule: &route.path,
    };
    report.route = Some(describe(config, index, route, head, &values));
}

/// Whether the request's route asks for a token or a session.
pub(super) fn needs_https(plan: &Plan, head: &Head<'_>) -> bool {
    plan.router.find(head).is_some_and(|(_, route)| route.auth != Auth::None)
}

fn why_not(route: &Route, head: &Head<'_>, found: Option<(usize, &Route)>) -> String {
    match route.mismatch(head) {
        Some(Mismatch::Host) => {
            let hosts: Vec<String> = route.hosts.iter().map(ToString::to_string).collect();
            format!("only for host {}", hosts.join(", "))
        }
        Some(Mismatch::Path) => format!("the path does not match {}", route.path.text()),
        Some(Mismatch::Condition(Unmet::Method)) => format!("not for method {}", head.method),
        Some(Mismatch::Condition(Unmet::Header(name, test))) => format!("needs header {name} {test}"),
        Some(Mismatch::Condition(Unmet::Query(name, test))) => format!("needs parameter {name} {test}"),
        None => match found {
            Some((at, _)) => format!("matches too, but routes.{at} comes first"),
            None => "matches".to_owned(),
        },
    }
}

fn describe(
    config: &Config,
    index: usize,
    route: &Route,
    head: &Head<'_>,
    values: &Values<'_>,
) -> RouteReport {
    let captures = route.path.captures(head.path).into_iter().map(str::to_owned);
    let upstreams: Vec<Upstream> = candidates(config, &route.action, head);
    RouteReport {
        index,
        name: route.label(),
        matches: route.description(),
        captures: route.path.names().iter().cloned().zip(captures).collect(),
        auth: match (route.client_certificate, auth_text(route, head)) {
            (true, text) => format!("a client certificate, 403 without; {text}"),
            (false, text) => text,
        },
        action: action_text(&route.action, values),
        upstream_target: (!upstreams.is_empty()).then(|| target(route, head, values)),
        upstreams,
        request_headers: edit_texts(route.request_headers.as_deref(), values),
        response_headers: edit_texts(route.response_headers.as_deref(), values),
        cache: route.cache.as_ref().map(|policy| cache_text(policy)),
        mirror: config.routes.get(index).and_then(|section| section.mirror.as_ref()).map(|mirror| {
            format!(
                "{} % of requests to {}, bodies up to {} bytes",
                mirror.percent, mirror.upstream, mirror.max_body
            )
        }),
    }
}

fn cache_text(policy: &Policy) -> String {
    let freshness = match policy.default_ttl {
        0 => "as the upstream says".to_owned(),
        seconds => format!("as the upstream says, or {seconds} s"),
    };
    format!("answers fresh {freshness}; up to {} bytes each", policy.max_object_bytes)
}

fn auth_text(route: &Route, head: &Head<'_>) -> String {
    let has_token = head.headers.contains_key(http::header::AUTHORIZATION);
    let scopes = match route.scopes.as_slice() {
        [] => String::new(),
        scopes => format!(" with scopes {}", scopes.join(", ")),
    };
    match (route.auth, has_token) {
        (Auth::None, _) => "none needed".to_owned(),
        (Auth::Token, false) => format!("a bearer token{scopes}; this request has none: 401"),
        (Auth::Browser, false) => format!(
            "a session or bearer token{scopes}; without a session a page goes to sign-in (303), a call gets 401"
        ),
        (Auth::Token | Auth::Browser, true) => {
            format!("a bearer token{scopes}; this request has one, which is not verified here")
        }
    }
}

fn action_text(action: &Action, values: &Values<'_>) -> String {
    match action {
        Action::Upstream(_) => "sent upstream".to_owned(),
        Action::Split(split) => match split.key_text() {
            Some(key) => format!("split by weight; the {key} decides and keeps the client on one side"),
            None => "split by weight at random".to_owned(),
        },
        Action::Redirect(redirect) => {
            format!("{} to {}", redirect.status.as_u16(), redirect.location(values))
        }
        Action::Files(files) => match &files.file {
            Some(file) => format!("the file {}", files.root.join(file).display()),
            None => format!("files below {}", files.root.display()),
        },
        Action::Respond(fixed) => {
            format!("{} with {} bytes of the configuration", fixed.status.as_u16(), fixed.body.len())
        }
    }
}

/// An address, or a name with the addresses that it has here and now.
fn address_text(place: &Place) -> String {
    let Site::Name(name) = &place.address else { return place.to_string() };
    let found = match (name.host.as_str(), name.port).to_socket_addrs() {
        Ok(found) => found.map(|one| one.to_string()).collect::<Vec<_>>().join(" "),
        Err(error) => format!("no address: {error}"),
    };
    format!("{place} -> {found}")
}

fn speaks(section: &UpstreamSection) -> String {
    let protocol = if section.protocol == Protocol::H1 { "HTTP/1.1" } else { "HTTP/2" };
    let told = match section.proxy_protocol {
        None => "",
        Some(Version::V1) => ", after a PROXY header (v1)",
        Some(Version::V2) => ", after a PROXY header (v2)",
    };
    match &section.tls {
        None => format!("{protocol}{told}"),
        Some(tls) => {
            let name = tls.server_name.as_deref().unwrap_or("its address");
            format!("{protocol} over TLS, certificate verified for {name}{told}")
        }
    }
}

/// The upstreams that may get the request: one of a split where its key already decides.
fn candidates(config: &Config, action: &Action, head: &Head<'_>) -> Vec<Upstream> {
    let upstream = |at: usize, weight| {
        let section = config.upstreams.get(at)?;
        let addresses = section.addresses.iter().map(address_text).collect();
        Some(Upstream { name: section.name.clone(), addresses, speaks: speaks(section), weight })
    };
    match action {
        Action::Upstream(at) => upstream(*at, None).into_iter().collect(),
        Action::Split(split) => {
            let decided = split.decided(head.headers);
            let weights = split.weights().into_iter();
            let left = weights.filter(|(at, weight)| decided.map_or(*weight > 0, |chosen| chosen == *at));
            left.filter_map(|(at, weight)| upstream(at, Some(weight))).collect()
        }
        Action::Redirect(_) | Action::Respond(_) | Action::Files(_) => Vec::new(),
    }
}

fn target(route: &Route, head: &Head<'_>, values: &Values<'_>) -> String {
    let made = route.rewrite.made(values);
    let path = route.rewrite.apply(&route.path, made.as_deref(), head.path).unwrap_or(head.path);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let query = head.query.map(|query| format!("?{query}")).unwrap_or_default();
    format!("{slash}{path}{query}")
}

fn edit_texts(edits: Option<&HeaderEdits>, values: &Values<'_>) -> Vec<String> {
    let Some(edits) = edits else { return Vec::new() };
    let value = |value: &Value| String::from_utf8_lossy(value.of(values).as_bytes()).into_owned();
    let removed = edits.remove.iter().map(|name| format!("remove {name}"));
    let set = edits.set.iter().map(|(name, text)| format!("set {name}: {}", value(text)));
    let added = edits.add.iter().map(|(name, text)| format!("add {name}: {}", value(text)));
    removed.chain(set).chain(added).collect()
}
