//! `upstream` blocks and the targets of `proxy_pass` and `grpc_pass`.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};

use super::remarks::Remarks;
use super::tree::{Directive, Place};
use super::values::milliseconds;
use crate::config::Site;
use crate::import::draft::{Draft, Table, text};

/// Stands for what is no address (RFC 5737): nothing answers there.
const NOWHERE: &str = "192.0.2.1";

/// Upstreams by what nginx calls them; an index is that of the draft. One that is spoken to in several ways, such as with
/// TLS and without, is as many upstreams of the gateway.
#[derive(Debug, Default)]
pub(super) struct Upstreams {
    by_name: BTreeMap<String, Vec<usize>>,
    /// How each is spoken to; those that are only declared so far have no place here.
    spoken: BTreeMap<usize, String>,
    /// Of `upstream` blocks.
    declared: BTreeMap<String, Table>,
    /// The gateway's names.
    names: BTreeSet<String>,
}

/// Where requests are sent.
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
        let schemes = [("http://", false), ("https://", true), ("grpc://", false), ("grpcs://", true)];
        let known = schemes.into_iter().find_map(|(scheme, tls)| Some((tls, url.strip_prefix(scheme)?)));
        // `grpc_pass` does without a scheme.
        let (tls, rest) = known.or_else(|| (!url.contains("//")).then_some((false, url)))?;
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

impl<'u> Target<'u> {
    /// The name that nginx calls it by in TLS; none for an IP address.
    pub(super) fn server_name(&self) -> Option<&'u str> {
        if self.authority.starts_with("unix:") {
            return Some("localhost");
        }
        let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
        let host = match self.authority.rsplit_once(':') {
            Some((host, port)) if is_port(port) => host,
            _ => self.authority,
        };
        host.trim_matches(['[', ']']).parse::<IpAddr>().is_err().then_some(host)
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
        self.by_name.insert(block.arg(0).to_owned(), vec![draft.upstreams.len()]);
        self.declared.insert(block.arg(0).to_owned(), table.clone());
        draft.upstreams.push(table);
    }

    /// The index of the upstream that a target means and that is spoken to like this, made where there is none.
    pub(super) fn of(
        &mut self,
        target: &Target<'_>,
        speech: &Table,
        place: &Place,
        draft: &mut Draft,
        remarks: &mut Remarks,
    ) -> usize {
        let known = self.by_name.entry(target.authority.to_owned()).or_default().clone();
        let how = speech.to_string();
        if let Some(same) = known.iter().find(|at| self.spoken.get(at) == Some(&how)) {
            return *same;
        }
        if let Some(unused) = known.iter().find(|at| !self.spoken.contains_key(at))
            && let Some(table) = draft.upstreams.get_mut(*unused)
        {
            table.merge(speech);
            self.spoken.insert(*unused, how);
            return *unused;
        }
        let mut table = Table::default();
        table.set("name", text(&self.free_name(target.authority)));
        if let Some(declared) = self.declared.get(target.authority) {
            table.merge(declared);
        } else {
            let default_port = if target.tls { 443 } else { 80 };
            let address = address(target.authority, default_port, place, remarks);
            table.set("addresses", format!("[{}]", text(&address)));
        }
        table.merge(speech);
        let index = draft.upstreams.len();
        self.by_name.entry(target.authority.to_owned()).or_default().push(index);
        self.spoken.insert(index, how);
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

/// An address as the gateway takes it: of a socket, or an IP address or name with its port.
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
    let named = format!("{}:{port}", name.to_ascii_lowercase());
    if matches!(named.parse(), Ok(Site::Name(_))) {
        return named;
    }
    remarks.missing(Some(place), &format!("the address of `{name}`, which stands as {NOWHERE}:{port} here"));
    format!("{NOWHERE}:{port}")
}

/// Whether an upstream has a DNS name among its addresses.
pub(super) fn holds_name(upstream: &Table) -> bool {
    let addresses = upstream.value("addresses").unwrap_or_default();
    addresses.split('"').skip(1).step_by(2).any(|one| matches!(one.parse(), Ok(Site::Name(_))))
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
