//! `[[routes]]`: which requests go where, and on which conditions.

use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use super::limits::{RateLimit, quota};
use super::{Config, invalid};
use crate::router::{Auth, Route};

/// Which requests go where.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
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

pub(super) fn check(config: &Config, at: usize, section: &RouteSection) -> Result<Route, Invalid> {
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
