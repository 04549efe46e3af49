//! `rewrite` in its simple forms: one path, or a prefix whose rest is kept.

use super::tree::Directive;
use super::values;
use crate::import::draft::Matched;

/// What a simple expression matches.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Simple<'r> {
    /// `^/path$`
    Exact(&'r str),
    /// `^/path`, `^/path/(.*)$`, or `^/path/.*`; whether the rest is captured.
    Prefix(&'r str, bool),
}

/// A `rewrite` that sends the client elsewhere, or changes the path for the upstream.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rewrite {
    pub(super) matched: Matched,
    /// With the gateway's places.
    pub(super) to: String,
    /// Of a redirect.
    pub(super) status: Option<u16>,
    pub(super) keep_query: bool,
}

/// None for an expression that means more.
pub(super) fn simple(regex: &str) -> Option<Simple<'_>> {
    let rest = regex.strip_prefix('^')?;
    let (path, simple): (&str, fn(&str) -> Simple<'_>) = if let Some(path) = rest.strip_suffix("(.*)$") {
        (path, |path| Simple::Prefix(path, true))
    } else if let Some(path) = rest.strip_suffix("(.*)") {
        (path, |path| Simple::Prefix(path, true))
    } else if let Some(path) = rest.strip_suffix(".*$").or_else(|| rest.strip_suffix(".*")) {
        (path, |path| Simple::Prefix(path, false))
    } else if let Some(path) = rest.strip_suffix('$') {
        (path, |path| Simple::Exact(path))
    } else {
        (rest, |path| Simple::Prefix(path, false))
    };
    let literal =
        path.starts_with('/') && path.bytes().all(|b| b.is_ascii_alphanumeric() || b"/-_~".contains(&b));
    literal.then(|| simple(path))
}

/// None for a rewrite that is not simple.
pub(super) fn parse(directive: &Directive) -> Option<Rewrite> {
    let to = directive.arg(1);
    let absolute = ["http://", "https://"].iter().any(|scheme| to.starts_with(scheme));
    let status = match directive.arg(2) {
        "permanent" => Some(301),
        "redirect" => Some(302),
        "" if absolute => Some(302),
        "break" | "last" => None,
        _ => return None,
    };
    // A question mark at the end drops the query.
    let (to, keep_query) = match to.strip_suffix('?') {
        Some(to) => (to, false),
        None => (to, true),
    };
    let matched = match simple(directive.arg(0))? {
        Simple::Exact(path) => Matched::Exact(path.to_owned()),
        Simple::Prefix(path, captured) => {
            if to.contains("$1") && !(captured && path.ends_with('/') && to.ends_with("/$1")) {
                return None;
            }
            Matched::Prefix(path.to_owned())
        }
    };
    let to = match to.strip_suffix("$1") {
        Some(before) => format!("{}{{tail}}", values::text(before).ok()?),
        None => values::text(to).ok()?,
    };
    let places = status.is_none() && to.contains("{host}");
    (!places && (absolute || to.starts_with('/'))).then_some(Rewrite { matched, to, status, keep_query })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_literal_paths_are_simple() {
        assert_eq!(simple("^/a/b$"), Some(Simple::Exact("/a/b")));
        assert_eq!(simple("^/a/(.*)$"), Some(Simple::Prefix("/a/", true)));
        assert_eq!(simple("^/a/"), Some(Simple::Prefix("/a/", false)));
        for more in ["/a", "^/a.html$", r"^/a\d$", "^/(a|b)$", "^/a/(.+)$", r"\.php$", "^a", "^/a/(.*)/b$"] {
            assert_eq!(simple(more), None, "{more}");
        }
    }
}
