//! `limit_req`, `allow` and `deny`.

use super::{Remarks, Scope, Shared, Table, list, text};
use crate::limits::Networks;

pub(super) fn convert(scope: &Scope<'_>, shared: &Shared<'_>, keys: &mut Table, remarks: &mut Remarks) {
    rate(scope, shared, keys, remarks);
    access(scope, keys, remarks);
}

fn rate(scope: &Scope<'_>, shared: &Shared<'_>, keys: &mut Table, remarks: &mut Remarks) {
    let directives = scope.all("limit_req");
    for further in directives.iter().skip(1) {
        remarks.left_out(further, "a route has one rate limit");
    }
    let Some(directive) = directives.first() else { return };
    let value = |name: &str| directive.args.iter().find_map(|arg| arg.strip_prefix(name));
    let zone = value("zone=").and_then(|name| shared.zones.get(name));
    let Some((key, requests, window)) = zone else {
        remarks.left_out(directive, "its zone is unknown");
        return;
    };
    let burst: u32 = value("burst=").and_then(|burst| burst.parse().ok()).unwrap_or(0);
    let mut limit = Table::default();
    limit.set("requests", requests);
    limit.set("window_ms", window);
    limit.set("burst", burst.saturating_add(1).min(1_000_000));
    match (*key, key.strip_prefix("$http_")) {
        ("$binary_remote_addr" | "$remote_addr", _) => {}
        ("$server_name" | "$host", _) => limit.set("key", text("route")),
        (_, Some(name)) => limit.set("key", text(&format!("header:{}", name.replace('_', "-")))),
        _ => remarks
            .differs(&directive.place, &format!("requests are counted by client address, not by `{key}`")),
    }
    let at_once = directive.args.iter().any(|arg| arg == "nodelay");
    if burst > 0 && !at_once {
        remarks.differs(&directive.place, "what nginx delays passes at once, up to `burst`");
    }
    remarks.differs(&directive.place, "each route counts for itself, and refuses with 429");
    keys.set("rate_limit", limit.inline());
}

fn access(scope: &Scope<'_>, keys: &mut Table, remarks: &mut Remarks) {
    let (mut allow, mut deny) = (Vec::new(), Vec::new());
    let mut closed = false;
    for directive in scope.any(&["allow", "deny"]) {
        let network = directive.arg(0);
        if closed {
            remarks.left_out(directive, "the line before it decides on everybody");
            continue;
        }
        let allows = directive.name == "allow";
        if network == "all" {
            closed = true;
            if !allows && allow.is_empty() {
                deny = vec!["0.0.0.0/0".to_owned(), "::/0".to_owned()];
            } else if allows && !allow.is_empty() {
                // Whoever is not denied by then is allowed.
                allow.clear();
            }
            continue;
        }
        if Networks::parse(&[network.to_owned()]).is_err() {
            remarks.left_out(directive, "it is no address and no network");
            continue;
        }
        if !allows && !allow.is_empty() {
            remarks.differs(&directive.place, "`deny` goes before `allow` in a route, whatever the order");
        }
        if allows { &mut allow } else { &mut deny }.push(network.to_owned());
    }
    // Without a last word nginx lets everybody in who is not denied.
    if !closed {
        allow.clear();
    }
    for (key, networks) in [("allow", allow), ("deny", deny)] {
        if !networks.is_empty() {
            keys.set(key, list(&networks));
        }
    }
}
