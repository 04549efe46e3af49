//! The gateway's configuration file: the sections as written, and the plan they are parsed into.
//!
//! The raw structs refuse unknown keys. [`Plan::new`] checks everything that relates one section to
//! another (a route names a known upstream, sign-in has an identity section) so that a running gateway
//! never meets a configuration error. Files named here are read at start, not at parse.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use http::HeaderValue;
use quintet_http::listen::Address;
use quintet_http::origin::Origin;
use quintet_service::{Invalid, SecretFile, ServiceSection};
use serde::de::{SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};

use crate::limits::Quota;
use crate::router::{Auth, Route, Router};

/// The file's sections.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: ServiceSection,
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    pub(crate) listen: Listen,
    #[serde(default)]
    pub(crate) certificates: Vec<Certificate>,
    #[serde(default)]
    pub(crate) upstreams: Vec<Upstream>,
    #[serde(default)]
    pub(crate) routes: Vec<RouteSection>,
    pub(crate) identity: Option<Identity>,
    #[serde(default)]
    pub(crate) limits: Limits,
}

/// Public sockets.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Listen {
    /// TLS listeners.
    pub(crate) https: OneOrMany,
    /// Plain listeners that only redirect to HTTPS.
    #[serde(default)]
    pub(crate) http: OneOrMany,
    /// Threads that serve requests; one per core unless set.
    pub(crate) workers: Option<std::num::NonZeroUsize>,
    /// Port in redirects, where it differs from the first HTTPS port (behind port forwarding).
    pub(crate) public_https_port: Option<u16>,
    /// `max-age` of Strict-Transport-Security; 0 sends none, for names shared with plain-HTTP sites.
    #[serde(default)]
    pub(crate) hsts_max_age_s: u32,
}

/// One address or a list of them.
#[derive(Debug, Default)]
pub(crate) struct OneOrMany(Vec<SocketAddr>);

impl OneOrMany {
    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.0
    }
}

impl<'de> Deserialize<'de> for OneOrMany {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(AddressVisitor).map(Self)
    }
}

struct AddressVisitor;

impl<'de> Visitor<'de> for AddressVisitor {
    type Value = Vec<SocketAddr>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an address such as \"0.0.0.0:8443\" or \"[::]:8443\", or a list of addresses")
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Self::Value, E> {
        let address = text
            .parse()
            .map_err(|_| E::invalid_value(serde::de::Unexpected::Other("another text"), &self))?;
        Ok(vec![address])
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut addresses = Vec::new();
        while let Some(address) = list.next_element()? {
            addresses.push(address);
        }
        Ok(addresses)
    }
}

/// A certificate chain and its key, both PEM; served for the DNS names in the certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Certificate {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// A service behind the gateway.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Upstream {
    pub(crate) name: String,
    pub(crate) addresses: Vec<Address>,
    /// Time to establish a connection.
    #[serde(default = "default_connect_timeout_ms")]
    pub(crate) connect_timeout_ms: u64,
    /// How long a request waits for an upstream that refuses connections, as during a restart.
    #[serde(default = "default_restart_patience_ms")]
    pub(crate) restart_patience_ms: u64,
    /// Idle connections are closed after this; must be below the upstream's own timeout.
    #[serde(default = "default_idle_timeout_ms")]
    pub(crate) idle_timeout_ms: u64,
    /// Idle connections kept per address and worker.
    #[serde(default = "default_max_idle")]
    pub(crate) max_idle: usize,
    /// Requests in flight to the whole upstream before more are refused with 503.
    #[serde(default = "default_max_in_flight")]
    pub(crate) max_in_flight: usize,
}

const fn default_connect_timeout_ms() -> u64 {
    2_000
}
const fn default_restart_patience_ms() -> u64 {
    2_000
}
/// `quintet_http::server` closes idle connections after its header timeout of 10 s.
const fn default_idle_timeout_ms() -> u64 {
    5_000
}
const fn default_max_idle() -> usize {
    128
}
const fn default_max_in_flight() -> usize {
    4_096
}

/// Which requests go where.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    pub(crate) path_prefix: String,
    /// Only for these host names; empty means any.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    pub(crate) upstream: String,
    /// Remove `path_prefix` from the path sent upstream.
    #[serde(default)]
    pub(crate) strip_prefix: bool,
    #[serde(default)]
    pub(crate) auth: Auth,
    /// Scopes that the token must carry, all of them.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Allowance per client address.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Largest request body in bytes; `limits.max_body` where unset.
    pub(crate) max_body: Option<u64>,
    /// Time from the end of the request to the head of the answer.
    #[serde(default = "default_route_timeout_ms")]
    pub(crate) timeout_ms: u64,
}

const fn default_route_timeout_ms() -> u64 {
    30_000
}

/// `requests` per `window_ms`, of which `burst` at once.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RateLimit {
    pub(crate) requests: u32,
    #[serde(default = "default_window_ms")]
    pub(crate) window_ms: u32,
    pub(crate) burst: Option<u32>,
}

const fn default_window_ms() -> u32 {
    1_000
}

/// The identity provider: what tokens must say, and sign-in of browsers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// Exact `iss` of tokens, and the base of the provider's public URLs.
    pub(crate) issuer: String,
    #[serde(default = "default_audience")]
    pub(crate) audience: String,
    /// Origin of the back channel: keys at `/identity/jwks.json`, tokens at `/identity/token`.
    pub(crate) jwks: Origin,
    /// Path prefix on the back channel; the issuer's path where unset.
    pub(crate) path: Option<String>,
    #[serde(default = "default_client_id")]
    pub(crate) client_id: String,
    pub(crate) client_secret_file: Option<SecretFile>,
    /// 32 bytes as base64 (either alphabet) or 64 hexadecimal digits: seals the session cookies.
    pub(crate) cookie_key_file: Option<SecretFile>,
    /// Scopes asked for at sign-in besides the OpenID ones.
    #[serde(default = "default_scopes")]
    pub(crate) scopes: Vec<String>,
}

fn default_audience() -> String {
    "quintet".to_owned()
}
fn default_client_id() -> String {
    "console".to_owned()
}
fn default_scopes() -> Vec<String> {
    [
        "users:read",
        "users:write",
        "billing:read",
        "billing:write",
        "inventory:read",
        "inventory:write",
        "orders:read",
        "orders:write",
        "jobs:read",
        "jobs:write",
        "telemetry:read",
        "identity:admin",
    ]
    .map(str::to_owned)
    .to_vec()
}

/// Bounds on what clients can make the gateway hold.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Limits {
    pub(crate) connections: usize,
    pub(crate) connections_per_ip: usize,
    /// Bytes of a request head; more is answered 431.
    pub(crate) header_bytes: u32,
    pub(crate) header_count: usize,
    pub(crate) h2_streams: u32,
    pub(crate) tls_handshake_timeout_ms: u64,
    pub(crate) header_read_timeout_ms: u64,
    pub(crate) keep_alive_timeout_ms: u64,
    /// Longest pause while a request body is being sent.
    pub(crate) body_idle_timeout_ms: u64,
    /// Longest pause of a client that does not take its answer.
    pub(crate) write_timeout_ms: u64,
    pub(crate) tunnel_idle_timeout_ms: u64,
    pub(crate) max_body: u64,
    /// Allowance per client address over all routes.
    pub(crate) rate_limit: Option<RateLimit>,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            connections_per_ip: 1_024,
            header_bytes: 32 * 1024,
            header_count: 100,
            h2_streams: 100,
            tls_handshake_timeout_ms: 10_000,
            header_read_timeout_ms: 10_000,
            keep_alive_timeout_ms: 75_000,
            body_idle_timeout_ms: 30_000,
            write_timeout_ms: 60_000,
            tunnel_idle_timeout_ms: 600_000,
            max_body: 1024 * 1024,
            rate_limit: None,
        }
    }
}

/// What the configuration amounts to, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) router: Router,
    pub(crate) quota: Option<Quota>,
    pub(crate) hsts: Option<HeaderValue>,
    /// Origin of the issuer (`https://host:port`) and its path (`/identity`).
    pub(crate) issuer: Option<Issuer>,
}

/// The issuer URL in the parts that the gateway needs.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    pub(crate) url: String,
    pub(crate) origin: String,
    pub(crate) path: String,
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Result<Self, Invalid> {
        if config.listen.https.addresses().is_empty() {
            return invalid("listen.https", "needs at least one address, such as \"0.0.0.0:8443\"");
        }
        if config.certificates.is_empty() {
            return invalid(
                "certificates",
                "needs at least one [[certificates]] section with `cert` and `key`",
            );
        }
        check_upstreams(&config.upstreams)?;
        check_limits(&config.limits)?;
        let issuer = config.identity.as_ref().map(issuer).transpose()?;
        let mut routes = Vec::with_capacity(config.routes.len());
        for (at, section) in config.routes.iter().enumerate() {
            routes.push(route(config, at, section)?);
        }
        if routes.is_empty() {
            return invalid("routes", "needs at least one [[routes]] section");
        }
        let router = Router::new(routes).map_err(|clash| {
            bad(
                &format!("routes.{}.path_prefix", clash.second),
                &format!(
                    "repeats routes.{} for the same host; one of the two would never match",
                    clash.first
                ),
            )
        })?;
        let quota = config.limits.rate_limit.map(|limit| quota("limits.rate_limit", limit)).transpose()?;
        let age = config.listen.hsts_max_age_s;
        let hsts = (age > 0)
            .then(|| HeaderValue::from_str(&format!("max-age={age}; includeSubDomains")).ok())
            .flatten();
        Ok(Self { router, quota, hsts, issuer })
    }
}

fn check_upstreams(upstreams: &[Upstream]) -> Result<(), Invalid> {
    for (at, upstream) in upstreams.iter().enumerate() {
        let key = |field: &str| format!("upstreams.{at}.{field}");
        if upstream.name.is_empty() || !upstream.name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return invalid(&key("name"), "must be letters, digits and hyphens");
        }
        if upstreams.iter().take(at).any(|other| other.name == upstream.name) {
            return invalid(&key("name"), &format!("`{}` names an upstream twice", upstream.name));
        }
        if upstream.addresses.is_empty() {
            return invalid(
                &key("addresses"),
                "needs at least one address, such as \"unix:/run/quintet/core-api.sock\"",
            );
        }
        if upstream.connect_timeout_ms == 0 {
            return invalid(&key("connect_timeout_ms"), "must be at least 1");
        }
        if upstream.max_in_flight == 0 {
            return invalid(&key("max_in_flight"), "must be at least 1");
        }
    }
    Ok(())
}

fn check_limits(limits: &Limits) -> Result<(), Invalid> {
    let at_least = |key: &str, value: u64, least: u64| {
        if value < least {
            invalid(&format!("limits.{key}"), &format!("must be at least {least}"))
        } else {
            Ok(())
        }
    };
    at_least("connections", limits.connections as u64, 1)?;
    at_least("connections_per_ip", limits.connections_per_ip as u64, 1)?;
    at_least("header_bytes", u64::from(limits.header_bytes), 8_192)?;
    at_least("header_count", limits.header_count as u64, 16)?;
    at_least("h2_streams", u64::from(limits.h2_streams), 1)?;
    at_least("tls_handshake_timeout_ms", limits.tls_handshake_timeout_ms, 100)?;
    at_least("header_read_timeout_ms", limits.header_read_timeout_ms, 100)?;
    at_least("keep_alive_timeout_ms", limits.keep_alive_timeout_ms, 100)?;
    at_least("body_idle_timeout_ms", limits.body_idle_timeout_ms, 100)?;
    at_least("write_timeout_ms", limits.write_timeout_ms, 100)?;
    at_least("tunnel_idle_timeout_ms", limits.tunnel_idle_timeout_ms, 100)
}

fn route(config: &Config, at: usize, section: &RouteSection) -> Result<Route, Invalid> {
    let key = |field: &str| format!("routes.{at}.{field}");
    match crate::path::canonical(&section.path_prefix) {
        Ok(canonical) if canonical == section.path_prefix => {}
        Ok(canonical) => {
            return invalid(&key("path_prefix"), &format!("would never match; write it as `{canonical}`"));
        }
        Err(error) => return invalid(&key("path_prefix"), &error.to_string()),
    }
    if section.path_prefix.contains(['?', '#']) {
        return invalid(&key("path_prefix"), "must be a path without query");
    }
    let Some(upstream) = config.upstreams.iter().position(|upstream| upstream.name == section.upstream)
    else {
        let known: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        return invalid(
            &key("upstream"),
            &format!("`{}` is no [[upstreams]] name; known: {}", section.upstream, known.join(", ")),
        );
    };
    if section.auth == Auth::None && !section.scopes.is_empty() {
        return invalid(&key("scopes"), "have no effect with auth = \"none\"; use \"token\" or \"browser\"");
    }
    if section.auth != Auth::None && config.identity.is_none() {
        return invalid(&key("auth"), "needs an [identity] section");
    }
    if section.auth == Auth::Browser
        && config
            .identity
            .as_ref()
            .is_some_and(|i| i.client_secret_file.is_none() || i.cookie_key_file.is_none())
    {
        return invalid(
            &key("auth"),
            "\"browser\" needs identity.client_secret_file and identity.cookie_key_file",
        );
    }
    if section.timeout_ms == 0 {
        return invalid(&key("timeout_ms"), "must be at least 1");
    }
    if let Some(host) = section.hosts.iter().find(|host| host.is_empty() || host.contains([':', '/', '*'])) {
        return invalid(&key("hosts"), &format!("`{host}` must be a host name without port or wildcard"));
    }
    Ok(Route {
        path_prefix: section.path_prefix.clone(),
        hosts: section.hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        upstream,
        strip_prefix: section.strip_prefix,
        auth: section.auth,
        scopes: section.scopes.clone(),
        quota: section.rate_limit.map(|limit| quota(&key("rate_limit"), limit)).transpose()?,
        max_body: section.max_body.unwrap_or(config.limits.max_body),
        timeout: Duration::from_millis(section.timeout_ms),
    })
}

fn quota(key: &str, limit: RateLimit) -> Result<Quota, Invalid> {
    let burst = limit.burst.unwrap_or(limit.requests);
    if limit.requests == 0 || limit.window_ms == 0 || burst == 0 {
        return invalid(key, "`requests`, `window_ms` and `burst` must be at least 1");
    }
    Ok(Quota::new(limit.requests, Duration::from_millis(u64::from(limit.window_ms)), burst))
}

fn issuer(identity: &Identity) -> Result<Issuer, Invalid> {
    let parsed = url::Url::parse(&identity.issuer).ok().filter(|url| {
        matches!(url.scheme(), "https" | "http")
            && url.host().is_some()
            && url.query().is_none()
            && url.fragment().is_none()
    });
    let Some(url) = parsed else {
        return invalid("identity.issuer", "must be a URL such as https://example.com/identity");
    };
    let path = identity.path.clone().unwrap_or_else(|| url.path().trim_end_matches('/').to_owned());
    Ok(Issuer { url: identity.issuer.clone(), origin: url.origin().ascii_serialization(), path })
}

fn bad(key: &str, message: &str) -> Invalid {
    Invalid::new(key, message)
}

fn invalid<T>(key: &str, message: &str) -> Result<T, Invalid> {
    Err(bad(key, message))
}
