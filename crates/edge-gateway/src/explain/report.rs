//! What `explain` says, as JSON and as text.

use std::fmt::{Display, Formatter, Result};

use serde::Serialize;

use super::certificate::Certificate;

/// Everything about one request.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    pub(super) request: Request,
    pub(super) listener: Listener,
    pub(super) certificate: Option<Certificate>,
    /// Whether the host asks clients for a certificate.
    pub(super) client_certificate: Option<String>,
    /// What ACME may make of the request.
    pub(super) acme: Option<String>,
    /// Why the request gets no further than the gateway.
    pub(super) refused: Option<Refusal>,
    pub(super) limits: Vec<Limit>,
    pub(super) route: Option<Route>,
    /// In the order of the configuration.
    pub(super) other_routes: Vec<Other>,
}

#[derive(Debug, Serialize)]
pub(super) struct Request {
    pub(super) method: String,
    pub(super) url: String,
    pub(super) host: String,
    /// In canonical form, where it has one.
    pub(super) path: Option<String>,
    pub(super) client: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Listener {
    pub(super) name: &'static str,
    pub(super) addresses: Vec<String>,
    /// How the client's address is known, unless it is its connection's.
    pub(super) client: Option<String>,
}

#[derive(Debug, Serialize)]
pub(super) struct Refusal {
    /// None where the gateway answers with a page of its own.
    pub(super) status: Option<u16>,
    pub(super) why: String,
}

/// A bound that the request counts against.
#[derive(Debug, Serialize)]
pub(super) struct Limit {
    pub(super) key: String,
    pub(super) value: String,
}

/// The route that takes the request.
#[derive(Debug, Serialize)]
pub(super) struct Route {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) matches: String,
    pub(super) captures: Vec<(String, String)>,
    pub(super) auth: String,
    pub(super) action: String,
    pub(super) upstreams: Vec<Upstream>,
    /// Path and query as the upstream sees them.
    pub(super) upstream_target: Option<String>,
    pub(super) request_headers: Vec<String>,
    pub(super) response_headers: Vec<String>,
    pub(super) cache: Option<String>,
    pub(super) mirror: Option<String>,
}

/// An upstream that may get the request.
#[derive(Debug, Serialize)]
pub(super) struct Upstream {
    pub(super) name: String,
    pub(super) addresses: Vec<String>,
    /// Protocol, and who the upstream must prove to be.
    pub(super) speaks: String,
    /// Its weight in a split.
    pub(super) weight: Option<u64>,
}

/// A route that does not.
#[derive(Debug, Serialize)]
pub(super) struct Other {
    pub(super) index: usize,
    pub(super) name: String,
    pub(super) why_not: String,
}

impl Refusal {
    /// `status` 0: no refusal but a page of the gateway's own.
    pub(super) fn new(status: u16, why: &str) -> Self {
        Self { status: (status > 0).then_some(status), why: why.to_owned() }
    }
}

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let request = &self.request;
        writeln!(f, "request      {} {} from {}", request.method, request.url, request.client)?;
        if let Some(path) = &request.path {
            writeln!(f, "             host {}, path {path}", request.host)?;
        }
        writeln!(f, "listener     {} on {}", self.listener.name, self.listener.addresses.join(", "))?;
        if let Some(client) = &self.listener.client {
            writeln!(f, "             client {client}")?;
        }
        if let Some(certificate) = &self.certificate {
            write!(f, "certificate  {certificate}")?;
        }
        if let Some(asked) = &self.client_certificate {
            writeln!(f, "client       {asked}")?;
        }
        if let Some(acme) = &self.acme {
            writeln!(f, "acme         {acme}")?;
        }
        for limit in &self.limits {
            writeln!(f, "limit        {} = {}", limit.key, limit.value)?;
        }
        match (&self.refused, &self.route) {
            (Some(refused), _) => match refused.status {
                Some(status) => writeln!(f, "answer       {status}: {}", refused.why)?,
                None => writeln!(f, "answer       {}", refused.why)?,
            },
            (None, Some(route)) => write!(f, "{route}")?,
            (None, None) => {}
        }
        for other in &self.other_routes {
            writeln!(f, "not routes.{}  {}: {}", other.index, other.name, other.why_not)?;
        }
        Ok(())
    }
}

impl Display for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        writeln!(f, "route        routes.{} {}: {}", self.index, self.name, self.matches)?;
        for (name, value) in &self.captures {
            writeln!(f, "  capture    {name} = {value:?}")?;
        }
        writeln!(f, "  auth       {}", self.auth)?;
        writeln!(f, "  action     {}", self.action)?;
        for upstream in &self.upstreams {
            let weight = upstream.weight.map(|weight| format!(", weight {weight}")).unwrap_or_default();
            let addresses = upstream.addresses.join(", ");
            writeln!(f, "  upstream   {} ({addresses}{weight}), {}", upstream.name, upstream.speaks)?;
        }
        if let Some(target) = &self.upstream_target {
            writeln!(f, "  sent as    {target}")?;
        }
        for edit in &self.request_headers {
            writeln!(f, "  request    {edit}")?;
        }
        for edit in &self.response_headers {
            writeln!(f, "  response   {edit}")?;
        }
        if let Some(cache) = &self.cache {
            writeln!(f, "  cache      {cache}")?;
        }
        if let Some(mirror) = &self.mirror {
            writeln!(f, "  mirror     {mirror}")?;
        }
        Ok(())
    }
}
