//! The gateway's configuration file: the sections as written, and the plan they are parsed into.
//!
//! One file a section under `config/`. The raw structs refuse unknown keys. [`Plan::new`] checks everything
//! that relates one section to another (a route names a known upstream, sign-in has an identity section) so
//! that a running gateway never meets a configuration error. Files named here are read at start, not at parse.
//! Sections compare with `==`: a reload keeps what their equals became.

mod access_log;
mod acme;
mod cache;
mod client_auth;
mod content;
mod identity;
mod limits;
mod listen;
mod proxy_protocol;
mod reload;
mod retries;
mod route;
mod upstream;

use http::HeaderValue;
use quintet_service::{Invalid, ServiceSection};
use serde::Deserialize;

pub(crate) use self::access_log::{AccessLogFormat, AccessLogOutput, AccessLogSection};
pub(crate) use self::acme::{AcmeSection, CertificateSource, ChallengeKind, ExternalAccount};
pub(crate) use self::client_auth::{ClientAuthMode, ClientAuthSection, of_host as client_auth_of};
pub(crate) use self::content::ContentSection;
pub(crate) use self::identity::{Identity, Issuer};
pub(crate) use self::limits::{Limits, RateLimit};
pub(crate) use self::listen::{Certificate, HttpMode, Listen};
pub(crate) use self::reload::Reload;
pub(crate) use self::route::RouteSection;
pub(crate) use self::upstream::{HostPort, Place, Site, TlsSection as UpstreamTls, Upstream};
use crate::limits::{Access, Quota};
use crate::proxy_protocol::Expect;
use crate::router::Router;

/// The file's sections.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: ServiceSection,
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    pub(crate) listen: Listen,
    #[serde(default)]
    pub(crate) certificates: Vec<Certificate>,
    pub(crate) acme: Option<AcmeSection>,
    #[serde(default)]
    pub(crate) client_auth: Vec<ClientAuthSection>,
    #[serde(default)]
    pub(crate) upstreams: Vec<Upstream>,
    #[serde(default)]
    pub(crate) routes: Vec<RouteSection>,
    pub(crate) identity: Option<Identity>,
    #[serde(default)]
    pub(crate) content: ContentSection,
    #[serde(default)]
    pub(crate) cache: cache::CacheSection,
    #[serde(default)]
    pub(crate) limits: Limits,
    #[serde(default)]
    pub(crate) reload: Reload,
    #[serde(default)]
    pub(crate) access_log: AccessLogSection,
}

/// What the configuration amounts to, checked.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) router: Router,
    pub(crate) quota: Option<Quota>,
    pub(crate) access: Option<Box<Access>>,
    pub(crate) hsts: Option<HeaderValue>,
    /// Connections that begin with a PROXY header.
    pub(crate) proxy_protocol: Option<Box<Expect>>,
    /// Origin of the issuer (`https://host:port`) and its path (`/identity`).
    pub(crate) issuer: Option<Issuer>,
}

impl Plan {
    pub(crate) fn new(config: &Config) -> Result<Self, Invalid> {
        listen::check(config)?;
        acme::check(config)?;
        client_auth::check(&config.client_auth)?;
        upstream::check(&config.upstreams)?;
        limits::check(&config.limits)?;
        content::check(&config.content)?;
        cache::check(&config.cache)?;
        reload::check(&config.reload)?;
        access_log::check(&config.access_log)?;
        let issuer = config.identity.as_ref().map(identity::issuer).transpose()?;
        let quota = config
            .limits
            .rate_limit
            .as_ref()
            .map(|limit| limits::quota("limits.rate_limit", limit))
            .transpose()?;
        let access = limits::access("limits", &config.limits.allow, &config.limits.deny)?;
        let age = config.listen.hsts_max_age_s;
        let hsts = (age > 0)
            .then(|| HeaderValue::from_str(&format!("max-age={age}; includeSubDomains")).ok())
            .flatten();
        let proxy_protocol = proxy_protocol::expect(&config.listen)?;
        Ok(Self { router: router(config)?, quota, access, hsts, proxy_protocol, issuer })
    }
}

fn router(config: &Config) -> Result<Router, Invalid> {
    if config.routes.is_empty() {
        return invalid("routes", "needs at least one [[routes]] section");
    }
    let mut routes = Vec::with_capacity(config.routes.len());
    for (at, section) in config.routes.iter().enumerate() {
        routes.push(route::check(config, at, section)?);
    }
    Router::new(routes).map_err(|clash| {
        let message = if clash.first == clash.second {
            "names a host twice".to_owned()
        } else {
            format!("would never be reached: routes.{} takes all of its requests for a host", clash.first)
        };
        bad(&format!("routes.{}", clash.second), &message)
    })
}

fn bad(key: &str, message: &str) -> Invalid {
    Invalid::new(key, message)
}

fn invalid<T>(key: &str, message: &str) -> Result<T, Invalid> {
    Err(bad(key, message))
}
