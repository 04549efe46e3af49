//! Headers that tell browsers what to forbid, beside those that the upstream sent.

use http::header::{CONTENT_SECURITY_POLICY, HeaderMap, HeaderName, HeaderValue, SERVER, X_FRAME_OPTIONS};

const X_POWERED_BY: HeaderName = HeaderName::from_static("x-powered-by");

/// What a route says to browsers.
#[derive(Debug)]
pub(crate) struct SecurityHeaders {
    pub(crate) set: Vec<(HeaderName, HeaderValue)>,
    /// The Content-Security-Policy without what it says of frames.
    pub(crate) policy: Option<HeaderValue>,
    pub(crate) framing: Option<Framing>,
    /// Headers that name the upstream's software go.
    pub(crate) remove_server: bool,
    /// Replaces what the upstream sent.
    pub(crate) replace: bool,
}

/// Who may show an answer in a frame.
#[derive(Debug)]
pub(crate) struct Framing {
    pub(crate) options: Option<HeaderValue>,
    /// The whole Content-Security-Policy, frames included.
    pub(crate) policy: HeaderValue,
}

impl SecurityHeaders {
    pub(super) fn apply(&self, headers: &mut HeaderMap) {
        if self.remove_server {
            headers.remove(SERVER);
            headers.remove(X_POWERED_BY);
        }
        for (name, value) in &self.set {
            if self.replace || !headers.contains_key(name) {
                headers.insert(name, value.clone());
            }
        }
        self.apply_policy(headers);
    }

    /// X-Frame-Options and `frame-ancestors` are one thing said twice, and browsers believe the latter: where the
    /// upstream has said either, the gateway says neither.
    fn apply_policy(&self, headers: &mut HeaderMap) {
        let theirs = headers.contains_key(CONTENT_SECURITY_POLICY) && !self.replace;
        let framed = !self.replace && says_who_frames(headers);
        let framing = self.framing.as_ref().filter(|_| !framed);
        if let Some(options) = framing.and_then(|framing| framing.options.as_ref()) {
            headers.insert(X_FRAME_OPTIONS, options.clone());
        }
        let policy = framing.map(|framing| &framing.policy).or(self.policy.as_ref());
        if let Some(policy) = policy.filter(|_| !theirs) {
            headers.insert(CONTENT_SECURITY_POLICY, policy.clone());
        }
    }
}

fn says_who_frames(headers: &HeaderMap) -> bool {
    headers.contains_key(X_FRAME_OPTIONS)
        || headers.get_all(CONTENT_SECURITY_POLICY).iter().any(|policy| {
            policy.to_str().is_ok_and(|text| text.to_ascii_lowercase().contains("frame-ancestors"))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn apply(replace: bool, theirs: &[(&'static str, &'static str)]) -> Vec<String> {
        let ours = SecurityHeaders {
            set: vec![(HeaderName::from_static("x-a"), HeaderValue::from_static("ours"))],
            policy: Some(HeaderValue::from_static("default-src x")),
            framing: Some(Framing {
                options: Some(HeaderValue::from_static("DENY")),
                policy: HeaderValue::from_static("default-src x; frame-ancestors 'none'"),
            }),
            remove_server: true,
            replace,
        };
        let mut headers = HeaderMap::new();
        for &(name, value) in theirs {
            headers.append(name, HeaderValue::from_static(value));
        }
        ours.apply(&mut headers);
        let mut lines: Vec<String> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    #[test]
    fn what_the_upstream_said_stays_and_is_not_contradicted() {
        let frames = "content-security-policy: default-src x; frame-ancestors 'none'";
        assert_eq!(
            apply(false, &[("server", "x"), ("x-powered-by", "y")]),
            [frames, "x-a: ours", "x-frame-options: DENY"]
        );
        assert_eq!(
            apply(false, &[("x-a", "theirs"), ("x-frame-options", "SAMEORIGIN")]),
            ["content-security-policy: default-src x", "x-a: theirs", "x-frame-options: SAMEORIGIN"]
        );
        assert_eq!(
            apply(false, &[("content-security-policy", "Frame-Ancestors *")]),
            ["content-security-policy: Frame-Ancestors *", "x-a: ours"]
        );
        assert_eq!(
            apply(false, &[("content-security-policy", "img-src y")]),
            ["content-security-policy: img-src y", "x-a: ours", "x-frame-options: DENY"]
        );
    }

    #[test]
    fn override_replaces_what_the_upstream_said() {
        let theirs = [("x-a", "theirs"), ("x-frame-options", "SAMEORIGIN"), ("content-security-policy", "a")];
        assert_eq!(
            apply(true, &theirs),
            [
                "content-security-policy: default-src x; frame-ancestors 'none'",
                "x-a: ours",
                "x-frame-options: DENY"
            ]
        );
    }
}
