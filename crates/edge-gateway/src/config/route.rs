//! `[[routes]]`: which requests go where, and on which conditions.

mod action;
mod edits;
mod matching;
mod static_files;

use std::time::Duration;

use quintet_service::Invalid;
use serde::Deserialize;

use self::action::{MirrorSection, RedirectSection, RespondSection, ShareSection, SplitBy};
use self::edits::EditsSection;
use self::matching::FieldMatch;
use self::static_files::StaticFilesSection;
use super::cache::{self, RouteCacheSection};
use super::content::{self, CompressSection, CorsSection, SecuritySection, Switch};
use super::limits::{self, RateLimit, access, quota, quota_key};
use super::retries::{self, RetriesSection};
use super::{Config, invalid};
use crate::limits::{Quota, QuotaKey};
use crate::router::{Auth, HeaderEdits, PathRewrite, PathRule, Route, Text};

/// Which requests go where.
///
/// Exactly one of `path_prefix`, `path_exact` and `path_template`, and exactly one of `upstream`,
/// `split`, `redirect`, `respond` and `static_files`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RouteSection {
    /// Name in metrics and in `explain`; what the route matches where unset.
    pub(crate) name: Option<String>,
    /// Only for these host names; `*.example.com` for all below; empty means any.
    #[serde(default)]
    pub(crate) hosts: Vec<String>,
    /// This path and all below it, by whole segments.
    pub(crate) path_prefix: Option<String>,
    /// This path alone.
    pub(crate) path_exact: Option<String>,
    /// Paths with captures: `{name}` is one segment, `{name*}` at the end all that follows.
    pub(crate) path_template: Option<String>,
    /// Only these methods; empty means any. `GET` does not include `HEAD`.
    #[serde(default)]
    pub(crate) methods: Vec<String>,
    /// Only with these request headers.
    #[serde(default)]
    pub(crate) headers: Vec<FieldMatch>,
    /// Only with these query parameters.
    #[serde(default)]
    pub(crate) query: Vec<FieldMatch>,
    /// Name of the upstream that gets the requests.
    pub(crate) upstream: Option<String>,
    /// Upstreams that share the requests by weight.
    pub(crate) split: Option<Vec<ShareSection>>,
    /// What keeps a client on one side of the split; chance where unset.
    pub(crate) split_by: Option<SplitBy>,
    /// Send the client elsewhere.
    pub(crate) redirect: Option<RedirectSection>,
    /// Answer without an upstream.
    pub(crate) respond: Option<RespondSection>,
    /// Answer from a directory.
    pub(crate) static_files: Option<StaticFilesSection>,
    /// Remove `path_prefix` from the path sent upstream.
    #[serde(default)]
    pub(crate) strip_prefix: bool,
    /// Path sent upstream, with captures or `{tail}` (what follows the prefix); the query is kept.
    pub(crate) rewrite_path: Option<String>,
    /// Headers changed on the way upstream.
    pub(crate) request_headers: Option<EditsSection>,
    /// Headers changed in every answer to the client.
    pub(crate) response_headers: Option<EditsSection>,
    /// Compress answers: `true`, `false` or a table; as in `[content]` where unset and `auth` is "none".
    pub(crate) compress: Option<Switch<CompressSection>>,
    /// Add headers that tell browsers what to forbid: `true`, `false` or a table; as in `[content]` where unset.
    pub(crate) security_headers: Option<Switch<SecuritySection>>,
    /// Let scripts of other sites use the route: a table, or `true` and `false` for those of `[content]`, which
    /// apply where unset.
    pub(crate) cors: Option<Switch<CorsSection>>,
    /// Store answers of the upstream and serve them again: `true`, `false` or a table.
    pub(crate) cache: Option<Switch<RouteCacheSection>>,
    /// Copy requests to another upstream, whose answers are thrown away.
    pub(crate) mirror: Option<MirrorSection>,
    /// Only clients that showed a certificate; others are answered 403. Needs `[[client_auth]]` for the route's hosts.
    #[serde(default)]
    pub(crate) client_certificate: bool,
    #[serde(default)]
    pub(crate) auth: Auth,
    /// Scopes that the token must carry, all of them.
    #[serde(default)]
    pub(crate) scopes: Vec<String>,
    /// Allowance, per client address unless its `key` says otherwise.
    pub(crate) rate_limit: Option<RateLimit>,
    /// Only clients of these networks (`"10.0.0.0/8"`); empty means all.
    #[serde(default)]
    pub(crate) allow: Vec<String>,
    /// Clients of these networks are answered 403, even where `allow` has them.
    #[serde(default)]
    pub(crate) deny: Vec<String>,
    /// Largest request body in bytes; `limits.max_body` where unset.
    pub(crate) max_body: Option<u64>,
    /// Bytes a second that a client has to send of a request body; `limits.body_min_rate` where unset, 0 for none.
    pub(crate) body_min_rate: Option<u64>,
    /// Time from the end of the request to the head of the answer.
    #[serde(default = "default_route_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// When a request is sent again.
    pub(crate) retries: Option<RetriesSection>,
    /// Send a GET or HEAD to a second address when the first takes so long; below `timeout_ms`.
    pub(crate) hedge_after_ms: Option<u64>,
}

const fn default_route_timeout_ms() -> u64 {
    30_000
}

/// Where a route's mistakes are reported.
#[derive(Clone, Copy)]
struct Place(usize);

impl Place {
    fn key(self, field: &str) -> String {
        format!("routes.{}.{field}", self.0)
    }

    fn refuse<T>(self, field: &str, message: &str) -> Result<T, Invalid> {
        invalid(&self.key(field), message)
    }

    /// The error of a parser that says what to write instead.
    fn parsed<T>(self, field: &str, parsed: Result<T, String>) -> Result<T, Invalid> {
        parsed.or_else(|message| self.refuse(field, &message))
    }
}

pub(super) fn check(config: &Config, at: usize, section: &RouteSection) -> Result<Route, Invalid> {
    let place = Place(at);
    check_auth(config, place, section)?;
    if section.client_certificate && config.client_auth.is_empty() {
        return place
            .refuse("client_certificate", "needs a [[client_auth]] section that has the route's hosts");
    }
    if section.timeout_ms == 0 {
        return place.refuse("timeout_ms", "must be at least 1");
    }
    if let Some(name) = &section.name
        && (name.is_empty() || name.len() > 64 || name.chars().any(char::is_control))
    {
        return place.refuse("name", "must be a text of 1 to 64 characters");
    }
    let path = matching::path(place, section)?;
    let edits = |field: &str, edits: &Option<EditsSection>| match edits {
        Some(edits) => edits::check(place, field, edits, &path).map(some_edits),
        None => Ok(None),
    };
    Ok(Route {
        name: section.name.clone(),
        hosts: matching::hosts(place, &section.hosts)?,
        conditions: matching::conditions(place, section)?,
        action: action::check(config, place, section, &path)?,
        rewrite: rewrite(place, section, &path)?,
        request_headers: edits("request_headers", &section.request_headers)?,
        response_headers: edits("response_headers", &section.response_headers)?,
        mirror: section.mirror.as_ref().map(|mirror| action::mirror(config, place, mirror)).transpose()?,
        content: content::of_route(config, at, section)?,
        cache: cache::of_route(config, at, section)?,
        client_certificate: section.client_certificate,
        auth: section.auth,
        scopes: section.scopes.clone(),
        quota: rate_limit(place, section)?,
        access: access(&format!("routes.{at}"), &section.allow, &section.deny)?,
        max_body: section.max_body.unwrap_or(config.limits.max_body),
        min_rate: limits::min_rate(&config.limits, section.body_min_rate),
        timeout: Duration::from_millis(section.timeout_ms),
        retries: retries::check(
            &format!("routes.{at}"),
            section.retries.as_ref(),
            section.hedge_after_ms,
            section.timeout_ms,
        )?,
        path,
    })
}

fn rate_limit(place: Place, section: &RouteSection) -> Result<Option<(Quota, QuotaKey)>, Invalid> {
    let Some(limit) = &section.rate_limit else { return Ok(None) };
    let key = quota_key(&place.key("rate_limit.key"), limit, section.auth != Auth::None)?;
    Ok(Some((quota(&place.key("rate_limit"), limit)?, key)))
}

fn some_edits(edits: HeaderEdits) -> Option<Box<HeaderEdits>> {
    (!edits.is_empty()).then(|| Box::new(edits))
}

fn check_auth(config: &Config, place: Place, section: &RouteSection) -> Result<(), Invalid> {
    if section.auth == Auth::None && !section.scopes.is_empty() {
        return place.refuse("scopes", "have no effect with auth = \"none\"; use \"token\" or \"browser\"");
    }
    let Some(identity) = &config.identity else {
        return match section.auth {
            Auth::None => Ok(()),
            Auth::Token | Auth::Browser => place.refuse("auth", "needs an [identity] section"),
        };
    };
    if section.auth == Auth::Browser
        && (identity.client_secret_file.is_none() || identity.cookie_key_file.is_none())
    {
        let message = "\"browser\" needs identity.client_secret_file and identity.cookie_key_file";
        return place.refuse("auth", message);
    }
    Ok(())
}

fn rewrite(place: Place, section: &RouteSection, path: &PathRule) -> Result<PathRewrite, Invalid> {
    let to_upstream = section.upstream.is_some() || section.split.is_some();
    match (&section.rewrite_path, section.strip_prefix) {
        (None, false) => Ok(PathRewrite::Keep),
        _ if !to_upstream => place.refuse(
            if section.strip_prefix { "strip_prefix" } else { "rewrite_path" },
            "has no effect without an upstream",
        ),
        (Some(_), true) => place.refuse("strip_prefix", "cannot be combined with `rewrite_path`"),
        (Some(text), false) => {
            Ok(PathRewrite::To(place.parsed("rewrite_path", Text::parse_path(text, path))?))
        }
        (None, true) if section.path_prefix.is_some() => Ok(PathRewrite::Strip),
        (None, true) => place.refuse("strip_prefix", "needs `path_prefix`; use `rewrite_path` here"),
    }
}

#[cfg(test)]
mod tests;
