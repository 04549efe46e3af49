//! `proxy_set_header`, `grpc_set_header` and `add_header`.

use super::{Draft, Remarks, Scope, Table, editable_header, list, text, values};
use crate::import::nginx::tree::{Directive, Place};

/// Headers of requests that the gateway writes itself, with the values that mean the same as its own.
const OWN: [(&str, &[&str]); 10] = [
    ("host", &["$host", "$http_host", "$host:$server_port"]),
    (
        "connection",
        &["", "upgrade", "Upgrade", "$connection_upgrade", "$http_connection", "close", "keep-alive"],
    ),
    ("upgrade", &["$http_upgrade"]),
    ("x-forwarded-for", &["$proxy_add_x_forwarded_for", "$remote_addr"]),
    ("x-forwarded-proto", &["$scheme", "https", "$http_x_forwarded_proto"]),
    ("x-forwarded-host", &["$host", "$http_host", "$server_name", "$host:$server_port"]),
    ("x-forwarded-ssl", &["on"]),
    ("x-forwarded-port", &["$server_port", "443"]),
    ("x-request-id", &["$request_id"]),
    ("early-data", &["$ssl_early_data"]),
];

/// Headers on their way upstream.
pub(super) fn requests(
    scope: &Scope<'_>,
    family: &str,
    place: &Place,
    keys: &mut Table,
    remarks: &mut Remarks,
) {
    let (mut set, mut remove) = (Table::default(), Vec::new());
    let mut host_said = false;
    for directive in scope.all(&format!("{family}_set_header")) {
        let (name, value) = (directive.arg(0).to_ascii_lowercase(), directive.arg(1));
        host_said |= name == "host";
        let own = OWN.iter().find(|(own, _)| *own == name);
        if let Some((_, same)) = own {
            if same.contains(&value) {
                continue;
            }
            if name != "host" {
                remarks.differs(&directive.place, &format!("the gateway writes `{name}` itself"));
                continue;
            }
        }
        if value.is_empty() && editable_header(&name).is_ok() {
            remove.push(name);
        } else if let Some(value) = header(directive, &name, value, remarks) {
            set.set(&name, text(&value));
        }
    }
    if !host_said {
        remarks.differs(place, "upstreams get the client's `Host`; nginx sends them the name that it calls");
    }
    let mut edits = Table::default();
    if !remove.is_empty() {
        edits.set("remove", list(&remove));
    }
    if !set.is_empty() {
        edits.set("set", set.inline());
    }
    if !edits.is_empty() {
        keys.set("request_headers", edits.inline());
    }
}

/// Headers on their way to the client.
pub(super) fn answers(scope: &Scope<'_>, draft: &mut Draft, keys: &mut Table, remarks: &mut Remarks) {
    let mut add = Table::default();
    for directive in scope.all("add_header") {
        let (name, value) = (directive.arg(0).to_ascii_lowercase(), directive.arg(1));
        if name == "strict-transport-security" {
            hsts(directive, draft, remarks);
            continue;
        }
        if let Some(value) = header(directive, &name, value, remarks) {
            if add.has(&name) {
                remarks.left_out(directive, "a route adds each header once");
            }
            add.set(&name, text(&value));
            if directive.arg(2) != "always" {
                remarks.differs(&directive.place, &format!("`{name}` is added to errors as well"));
            }
        }
    }
    if !add.is_empty() {
        keys.set("response_headers", format!("{{ add = {} }}", add.inline()));
    }
}

/// A value with the gateway's places, if a route can have it.
fn header(directive: &Directive, name: &str, value: &str, remarks: &mut Remarks) -> Option<String> {
    if let Err(why) = editable_header(name) {
        remarks.left_out(directive, &why);
        return None;
    }
    match values::text(value) {
        Ok(value) if http::HeaderValue::from_str(&value).is_ok() => Some(value),
        Ok(_) => {
            remarks.left_out(directive, "its value is none that a header can have");
            None
        }
        Err(variable) => {
            remarks.left_out(directive, &format!("the gateway has nothing for `{variable}`"));
            None
        }
    }
}

fn hsts(directive: &Directive, draft: &mut Draft, remarks: &mut Remarks) {
    let age = directive.arg(1).split(';').find_map(|part| part.trim().strip_prefix("max-age="));
    match age.and_then(|age| age.trim().parse::<u32>().ok()) {
        Some(age) => {
            draft.listen.set("hsts_max_age_s", age);
            let what = "Strict-Transport-Security is for all hosts, and includes subdomains (`listen.hsts_max_age_s`)";
            remarks.differs(&directive.place, what);
        }
        None => remarks.left_out(directive, "its max-age cannot be read"),
    }
}
