//! What a route does with its requests.

use http::StatusCode;
use http::header::{HeaderName, HeaderValue};
use quintet_service::Invalid;
use serde::Deserialize;

use super::{Place, RouteSection, static_files};
use crate::config::Config;
use crate::router::{Action, Fixed, Mirror, PathRule, Redirect, Split, SplitKey, Text};

const MAX_SHARES: usize = 32;
const MAX_WEIGHT: u32 = 1_000_000;
/// Bytes of an answer that stands in the configuration.
const MAX_ANSWER: usize = 64 * 1024;
/// Bytes of a copied body, held while a request runs.
const MAX_MIRRORED: usize = 1024 * 1024;

/// One upstream of a split.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ShareSection {
    pub(crate) upstream: String,
    /// Its part of the sum of weights; 0 for none, at most 1000000.
    pub(crate) weight: u32,
}

/// What keeps a client on one side of a split: its cookie or header of this name.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum SplitBy {
    Cookie(String),
    Header(String),
}

/// A redirect.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RedirectSection {
    /// Where to: a URL or a path, with captures, `{host}`, `{path}`, `{tail}`.
    pub(crate) to: String,
    /// 301, 302, 303, 307 or 308.
    #[serde(default = "default_redirect_status")]
    pub(crate) status: u16,
    /// Append the request's query.
    #[serde(default = "yes")]
    pub(crate) keep_query: bool,
}

/// An answer that stands in the configuration.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RespondSection {
    /// 200 to 599.
    #[serde(default = "default_status")]
    pub(crate) status: u16,
    /// At most 64 KiB.
    #[serde(default)]
    pub(crate) body: String,
    #[serde(default = "default_content_type")]
    pub(crate) content_type: String,
}

/// Copies of requests to another upstream.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MirrorSection {
    pub(crate) upstream: String,
    /// Of the route's requests, 1 to 100.
    #[serde(default = "default_percent")]
    pub(crate) percent: u8,
    /// Copies on the way at once, over all workers; more are not made. 1 to 10000.
    #[serde(default = "default_mirror_in_flight")]
    pub(crate) max_in_flight: usize,
    /// Bytes of a request body that is copied; a request with more is not. At most 1048576.
    #[serde(default = "default_mirror_body")]
    pub(crate) max_body: usize,
}

const fn default_redirect_status() -> u16 {
    308
}
const fn default_status() -> u16 {
    200
}
const fn yes() -> bool {
    true
}
const fn default_percent() -> u8 {
    100
}
const fn default_mirror_in_flight() -> usize {
    64
}
const fn default_mirror_body() -> usize {
    64 * 1024
}
fn default_content_type() -> String {
    "text/plain; charset=utf-8".to_owned()
}

pub(super) fn check(
    config: &Config,
    place: Place,
    section: &RouteSection,
    path: &PathRule,
) -> Result<Action, Invalid> {
    if section.split_by.is_some() && section.split.is_none() {
        return place.refuse("split_by", "has no effect without `split`");
    }
    if let Some(files) = &section.static_files {
        return static_files::check(place, section, files, path);
    }
    match (&section.upstream, &section.split, &section.redirect, &section.respond) {
        (Some(name), None, None, None) => Ok(Action::Upstream(upstream(config, place, "upstream", name)?)),
        (None, Some(shares), None, None) => split(config, place, shares, section.split_by.as_ref()),
        (None, None, Some(to), None) => redirect(place, to, path),
        (None, None, None, Some(answer)) => respond(place, answer),
        _ => place.refuse(
            "upstream",
            "needs exactly one of `upstream`, `split`, `redirect`, `respond` and `static_files`",
        ),
    }
}

fn upstream(config: &Config, place: Place, field: &str, name: &str) -> Result<usize, Invalid> {
    if let Some(at) = config.upstreams.iter().position(|upstream| upstream.name == name) {
        return Ok(at);
    }
    let known: Vec<&str> = config.upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
    place.refuse(field, &format!("`{name}` is no [[upstreams]] name; known: {}", known.join(", ")))
}

fn split(
    config: &Config,
    place: Place,
    shares: &[ShareSection],
    by: Option<&SplitBy>,
) -> Result<Action, Invalid> {
    if shares.len() > MAX_SHARES || shares.iter().any(|share| share.weight > MAX_WEIGHT) {
        let message = format!("must be at most {MAX_SHARES} upstreams with weights up to {MAX_WEIGHT}");
        return place.refuse("split", &message);
    }
    if shares.iter().all(|share| share.weight == 0) {
        return place.refuse("split", "needs at least one upstream with a `weight` above 0");
    }
    let mut weights = Vec::with_capacity(shares.len());
    for (at, share) in shares.iter().enumerate() {
        let field = format!("split.{at}.upstream");
        weights.push((upstream(config, place, &field, &share.upstream)?, share.weight));
    }
    let key = match by {
        None => None,
        Some(SplitBy::Cookie(name)) if name.is_empty() => {
            return place.refuse("split_by.cookie", "must be a cookie's name");
        }
        Some(SplitBy::Cookie(name)) => Some(SplitKey::Cookie(name.clone())),
        Some(SplitBy::Header(name)) => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => Some(SplitKey::Header(name)),
            Err(_) => return place.refuse("split_by.header", &format!("`{name}` is no header name")),
        },
    };
    Ok(Action::Split(Split::new(&weights, key)))
}

fn redirect(place: Place, section: &RedirectSection, path: &PathRule) -> Result<Action, Invalid> {
    let status = match section.status {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(section.status).ok(),
        _ => None,
    };
    let Some(status) = status else {
        return place.refuse("redirect.status", "must be 301, 302, 303, 307 or 308");
    };
    let absolute = ["https://", "http://", "/"].iter().any(|start| section.to.starts_with(start));
    if !absolute || section.to.starts_with("//") {
        return place.refuse("redirect.to", "must begin with https://, http:// or one slash");
    }
    if HeaderValue::from_str(&section.to).is_err() {
        return place.refuse("redirect.to", "holds a character that a header cannot; percent-encode it");
    }
    let to = place.parsed("redirect.to", Text::parse(&section.to, path))?;
    Ok(Action::Redirect(Redirect { status, to, keep_query: section.keep_query }))
}

fn respond(place: Place, section: &RespondSection) -> Result<Action, Invalid> {
    let Some(status) = StatusCode::from_u16(section.status).ok().filter(|s| (200..600).contains(&s.as_u16()))
    else {
        return place.refuse("respond.status", "must be a status from 200 to 599");
    };
    if section.body.len() > MAX_ANSWER {
        return place.refuse("respond.body", "must be at most 64 KiB");
    }
    if matches!(section.status, 204 | 304) && !section.body.is_empty() {
        return place.refuse("respond.body", "must be empty for 204 and 304");
    }
    let Ok(content_type) = HeaderValue::from_str(&section.content_type) else {
        return place.refuse("respond.content_type", "must be a media type such as \"text/plain\"");
    };
    let content_type = (!section.body.is_empty()).then_some(content_type);
    Ok(Action::Respond(Fixed { status, content_type, body: section.body.clone().into() }))
}

pub(super) fn mirror(config: &Config, place: Place, section: &MirrorSection) -> Result<Box<Mirror>, Invalid> {
    let at = upstream(config, place, "mirror.upstream", &section.upstream)?;
    if !(1..=100).contains(&section.percent) {
        return place.refuse("mirror.percent", "must be from 1 to 100");
    }
    if !(1..=10_000).contains(&section.max_in_flight) {
        return place.refuse("mirror.max_in_flight", "must be from 1 to 10000");
    }
    if section.max_body > MAX_MIRRORED {
        return place.refuse("mirror.max_body", "must be at most 1048576");
    }
    Ok(Box::new(Mirror::new(at, section.percent, section.max_in_flight, section.max_body)))
}
