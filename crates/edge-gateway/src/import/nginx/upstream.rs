//! `upstream` blocks and the targets of `proxy_pass`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::remarks::Remarks;
use super::tree::{Directive, Place};
use super::values::milliseconds;
use crate::import::draft::{Draft, Table, text};

/// Stands for an address that only a resolver knows (RFC 5737): nothing answers there.
const NOWHERE: &str = "192.0.2.1";

/// Upstreams by what nginx calls them; the index is that of the draft.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    by_name: BTreeMap<String, usize>,
    /// The gateway's names.
    names: BTreeSet<String>,
}

/// Where `proxy_pass` sends requests.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target<'u> {
    pub(super) tls: bool,
    authority: &'u str,
    /// What replaces the location's prefix.
    pub(super) uri: Option<&'u str>,
}

impl<'u> Target<'u> {
    /// None for a target with variables, and for what is no address.
    pub(super) fn parse(url: &'u str) -> Option<Self> {
        let (tls, rest) = match (url.strip_prefix("http://"), url.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (None, rest) => (true, rest?),
        };
        if url.contains('$') || rest.is_empty() {
            return None;
        }
        if let Some(path) = rest.strip_prefix("unix:") {
            let end = path.find(':').unwrap_or(path.len());
            let (path, uri) = path.split_at(end);
            let authority = rest.get(..path.len() + 5)?;
            let uri = uri.get(1..).filter(|uri| !uri.is_empty());
            return Some(Self { tls, authority, uri });
        }
        let at = rest.find('/').unwrap_or(rest.len());
        let (authority, uri) = rest.split_at(at);
        (!authority.is_empty()).then_some(Self { tls, authority, uri: (!uri.is_empty()).then_some(uri) })
    }
}

impl Upstreams {
    /// Takes an `upstream` block.
    pub(super) fn declare(&mut self, block: &Directive, draft: &mut Draft, remarks: &mut Remarks) {
        let mut table = Table::default();
        table.set("name", text(&self.free_name(block.arg(0))));
        let mut addresses = Vec::new();
        let mut balance = "round-robin";
        for directive in &block.block {
            match directive.name.as_str() {
                "server" => addresses.extend(server(directive, remarks)),
                "least_conn" => balance = "least-requests",
                "ip_hash" => balance = "hash",
                "hash" => {
                    balance = "hash";
                    hash_key(directive, &mut table, remarks);
                }
                "keepalive" => table.set("max_idle", directive.arg(0).parse::<u32>().unwrap_or(32)),
                "keepalive_timeout" => {
                    if let Some(time) = milliseconds(directive.arg(0)) {
                        table.set("idle_timeout_ms", time);
                    }
                }
                "zone" | "keepalive_requests" | "keepalive_time" => {}
                _ => remarks.left_out(directive, "the gateway has nothing for it in an upstream"),
            }
        }
        if addresses.is_empty() {
            remarks.missing(Some(&block.place), "the upstream has no server that can be used");
            addresses.push(text(&format!("{NOWHERE}:80")));
        }
        let mut seen = BTreeSet::new();
        addresses.retain(|address| seen.insert(address.clone()));
        table.set("addresses", format!("[{}]", addresses.join(", ")));
        table.set("balance", text(balance));
        self.by_name.insert(block.arg(0).to_owned(), draft.upstreams.len());
        draft.upstreams.push(table);
    }

    /// The index of the upstream that a target means, made where there is none.
    pub(super) fn of(
        &mut self,
        target: &Target<'_>,
        place: &Place,
        draft: &mut Draft,
        remarks: &mut Remarks,
    ) -> usize {
        if let Some(known) = self.by_name.get(target.authority) {
            return *known;
        }
        let mut table = Table::default();
        table.set("name", text(&self.free_name(target.authority)));
        let default_port = if target.tls { 443 } else { 80 };
        let address = address(target.authority, default_port, place, remarks);
        table.set("addresses", format!("[{}]", text(&address)));
        let index = draft.upstreams.len();
        self.by_name.insert(target.authority.to_owned(), index);
        draft.upstreams.push(table);
        index
    }

    /// A name of letters, digits and hyphens that no upstream has.
    fn free_name(&mut self, wanted: &str) -> String {
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let name: String = wanted.chars().map(plain).collect();
        let name = match name.trim_matches('-') {
            "" => "upstream",
            name => name,
        };
        let mut free = name.to_owned();
        let mut number = 1;
        while !self.names.insert(free.clone()) {
            number += 1;
            free = format!("{name}-{number}");
        }
        free
    }
}

/// The address of one `server`, with its weight; None where it gets no requests.
fn server(directive: &Directive, remarks: &mut Remarks) -> Option<String> {
    let mut weight = None;
    for parameter in directive.args.iter().skip(1) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        match name {
            "weight" => weight = value.parse::<u32>().ok().map(|weight| weight.clamp(1, 1_000)),
            "down" => return None,
            "backup" => {
                remarks.left_out(directive, "the gateway has no backup servers; this one is not used");
                return None;
            }
            "max_fails" | "fail_timeout" => {
                remarks
                    .differs(&directive.place, "the gateway judges failures by its own rules (see `health`)");
            }
            "resolve" | "slow_start" | "max_conns" | "service" | "route" => {
                remarks.differs(&directive.place, &format!("the parameter `{name}` is left out"));
            }
            _ => remarks.differs(&directive.place, &format!("the parameter `{name}` is unknown")),
        }
    }
    let address = text(&address(directive.arg(0), 80, &directive.place, remarks));
    Some(match weight {
        Some(weight) if weight > 1 => format!("{{ address = {address}, weight = {weight} }}"),
        _ => address,
    })
}

/// An address as the gateway takes it: of a socket, or an IP address with its port.
fn address(text: &str, default_port: u16, place: &Place, remarks: &mut Remarks) -> String {
    if let Some(path) = text.strip_prefix("unix:")
        && path.starts_with('/')
    {
        return text.to_owned();
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return address.to_string();
    }
    if let Ok(ip) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return SocketAddr::new(ip, default_port).to_string();
    }
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(default_port)),
        None => (text, default_port),
    };
    if name == "localhost" {
        return format!("127.0.0.1:{port}");
    }
    remarks.missing(Some(place), &format!("the address of `{name}`, which stands as {NOWHERE}:{port} here"));
    format!("{NOWHERE}:{port}")
}

fn hash_key(directive: &Directive, table: &mut Table, remarks: &mut Remarks) {
    let key = directive.arg(0);
    match key.strip_prefix("$http_").or_else(|| key.strip_prefix("$cookie_")) {
        Some(name) if key.starts_with("$http_") => {
            table.set("hash_key", text(&format!("header:{}", name.replace('_', "-"))));
        }
        Some(name) => table.set("hash_key", text(&format!("cookie:{name}"))),
        None if matches!(key, "$remote_addr" | "$binary_remote_addr") => {}
        None => remarks
            .differs(&directive.place, &format!("requests are hashed by client address, not by `{key}`")),
    }
}
