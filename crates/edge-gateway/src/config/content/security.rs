//! `security_headers`: what browsers are told to forbid.

use http::header::{HeaderName, HeaderValue, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS};
use quintet_service::Invalid;
use serde::Deserialize;

use crate::config::invalid;
use crate::content::{Framing, SecurityHeaders};

const PERMISSIONS_POLICY: HeaderName = HeaderName::from_static("permissions-policy");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
const RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const EMBEDDER_POLICY: HeaderName = HeaderName::from_static("cross-origin-embedder-policy");

const REFERRER_POLICIES: [&str; 8] = [
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
];
const OPENER_POLICIES: [&str; 4] =
    ["unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups"];
const RESOURCE_POLICIES: [&str; 3] = ["same-site", "same-origin", "cross-origin"];
const EMBEDDER_POLICIES: [&str; 3] = ["unsafe-none", "require-corp", "credentialless"];

/// Headers that tell browsers what to forbid. One that the upstream sent stays unless `override` is set; an
/// empty text leaves a header out.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SecuritySection {
    /// `X-Content-Type-Options: nosniff`.
    pub(crate) content_type_options: bool,
    pub(crate) referrer_policy: String,
    /// Who may show the page in a frame: `["none"]`, or `"self"` and origins; empty for anyone. Sent as
    /// `frame-ancestors` of the Content-Security-Policy and, where it can say the same, as X-Frame-Options.
    pub(crate) frame_ancestors: Vec<String>,
    /// Without `frame-ancestors`, which has its own key.
    pub(crate) content_security_policy: String,
    pub(crate) permissions_policy: String,
    pub(crate) cross_origin_opener_policy: String,
    pub(crate) cross_origin_resource_policy: String,
    pub(crate) cross_origin_embedder_policy: String,
    /// What becomes of the upstream's `Server` and `X-Powered-By`: `keep` or `remove`.
    pub(crate) server: ServerHeader,
    /// Replace what the upstream sent.
    pub(crate) r#override: bool,
}

/// What becomes of headers that name the upstream's software.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ServerHeader {
    Keep,
    Remove,
}

impl Default for SecuritySection {
    fn default() -> Self {
        Self {
            content_type_options: true,
            referrer_policy: "strict-origin-when-cross-origin".to_owned(),
            frame_ancestors: vec!["self".to_owned()],
            content_security_policy: String::new(),
            permissions_policy: String::new(),
            cross_origin_opener_policy: String::new(),
            cross_origin_resource_policy: String::new(),
            cross_origin_embedder_policy: String::new(),
            server: ServerHeader::Remove,
            r#override: false,
        }
    }
}

pub(super) fn check(key: &str, section: &SecuritySection) -> Result<SecurityHeaders, Invalid> {
    let mut set = Vec::new();
    if section.content_type_options {
        set.push((X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")));
    }
    let one_of = |field: &str, text: &str, known: &[&str]| {
        if text.is_empty() || known.contains(&text) {
            return Ok(());
        }
        invalid(&format!("{key}.{field}"), &format!("`{text}` must be empty or one of {}", known.join(", ")))
    };
    one_of("referrer_policy", &section.referrer_policy, &REFERRER_POLICIES)?;
    one_of("cross_origin_opener_policy", &section.cross_origin_opener_policy, &OPENER_POLICIES)?;
    one_of("cross_origin_resource_policy", &section.cross_origin_resource_policy, &RESOURCE_POLICIES)?;
    one_of("cross_origin_embedder_policy", &section.cross_origin_embedder_policy, &EMBEDDER_POLICIES)?;
    for (field, name, text) in [
        ("referrer_policy", REFERRER_POLICY, &section.referrer_policy),
        ("permissions_policy", PERMISSIONS_POLICY, &section.permissions_policy),
        ("cross_origin_opener_policy", OPENER_POLICY, &section.cross_origin_opener_policy),
        ("cross_origin_resource_policy", RESOURCE_POLICY, &section.cross_origin_resource_policy),
        ("cross_origin_embedder_policy", EMBEDDER_POLICY, &section.cross_origin_embedder_policy),
    ] {
        if !text.is_empty() {
            set.push((name, value(key, field, text)?));
        }
    }
    Ok(SecurityHeaders {
        set,
        policy: policy(key, section)?,
        framing: framing(key, section)?,
        remove_server: section.server == ServerHeader::Remove,
        replace: section.r#override,
    })
}

fn value(key: &str, field: &str, text: &str) -> Result<HeaderValue, Invalid> {
    let message = "holds a character that a header value cannot";
    HeaderValue::from_str(text).or_else(|_| invalid(&format!("{key}.{field}"), message))
}

fn policy(key: &str, section: &SecuritySection) -> Result<Option<HeaderValue>, Invalid> {
    let text = section.content_security_policy.trim().trim_end_matches(';');
    if text.to_ascii_lowercase().contains("frame-ancestors") {
        let message = "must not hold frame-ancestors; it has a key of its own, `frame_ancestors`";
        return invalid(&format!("{key}.content_security_policy"), message);
    }
    (!text.is_empty()).then(|| value(key, "content_security_policy", text)).transpose()
}

fn framing(key: &str, section: &SecuritySection) -> Result<Option<Framing>, Invalid> {
    let listed = &section.frame_ancestors;
    let mut sources = Vec::with_capacity(listed.len());
    for one in listed {
        sources.push(match one.as_str() {
            "self" => "'self'",
            "none" if listed.len() == 1 => "'none'",
            origin if is_source(origin) => origin,
            _ => {
                let message = format!("`{one}` must be \"self\", an origin, or \"none\" alone");
                return invalid(&format!("{key}.frame_ancestors"), &message);
            }
        });
    }
    if sources.is_empty() {
        return Ok(None);
    }
    let ancestors = format!("frame-ancestors {}", sources.join(" "));
    let both = match section.content_security_policy.trim().trim_end_matches(';') {
        "" => ancestors.clone(),
        policy => format!("{policy}; {ancestors}"),
    };
    Ok(Some(Framing {
        // The old header knows no list of origins.
        options: match sources.as_slice() {
            ["'none'"] => Some(HeaderValue::from_static("DENY")),
            ["'self'"] => Some(HeaderValue::from_static("SAMEORIGIN")),
            _ => None,
        },
        policy: value(key, "frame_ancestors", &both)?,
    }))
}

/// `https://host`, perhaps with `*.` and a port.
fn is_source(text: &str) -> bool {
    let host = text.strip_prefix("https://").or_else(|| text.strip_prefix("http://"));
    host.is_some_and(|host| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:*[]".contains(&b))
    })
}
