//! Which paths a route takes: exactly one, those of a template, or all under a prefix.
//!
//! Paths are canonical (see [`crate::path`]), so segments are compared byte by byte. `{name}` stands for one
//! segment that is not empty, `{name*}` at the end for whatever follows the slash before it, even nothing.

use std::cmp::Ordering;

use crate::path::has_prefix;

/// Captures of one template at most; each costs a look at every request that comes so far.
const MAX_CAPTURES: usize = 16;

/// The paths of a route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum PathRule {
    Exact(String),
    Template(Template),
    Prefix(String),
}

/// A path with captures, such as `/users/{id}/orders/{rest*}`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template {
    text: String,
    segments: Vec<Segment>,
    names: Vec<String>,
}

/// In the order of specificity.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Segment {
    Literal(String),
    One,
    Rest,
}

impl PathRule {
    pub(crate) fn matches(&self, path: &str) -> bool {
        match self {
            Self::Exact(exact) => path == exact,
            Self::Template(template) => template.walk(path, |_| {}),
            Self::Prefix(prefix) => has_prefix(path, prefix),
        }
    }

    /// The path as it stands in the configuration.
    pub(crate) fn text(&self) -> &str {
        match self {
            Self::Exact(text) | Self::Prefix(text) => text,
            Self::Template(template) => &template.text,
        }
    }

    /// What follows a prefix, without the slash between; empty for other rules.
    pub(crate) fn tail<'p>(&self, path: &'p str) -> &'p str {
        match self {
            Self::Prefix(prefix) => path.strip_prefix(prefix.as_str()).unwrap_or("").trim_start_matches('/'),
            _ => "",
        }
    }

    /// The values of the captures of a path that matches, in the order of [`Self::names`].
    pub(crate) fn captures<'p>(&self, path: &'p str) -> Vec<&'p str> {
        let mut values = Vec::new();
        if let Self::Template(template) = self {
            values.reserve(template.names.len());
            template.walk(path, |value| values.push(value));
        }
        values
    }

    /// The names of the captures.
    pub(crate) fn names(&self) -> &[String] {
        match self {
            Self::Template(template) => &template.names,
            _ => &[],
        }
    }

    /// Whether the capture may hold slashes or nothing.
    pub(crate) fn is_rest(&self, capture: usize) -> bool {
        match self {
            Self::Template(template) => {
                capture + 1 == template.names.len() && template.segments.last() == Some(&Segment::Rest)
            }
            _ => false,
        }
    }

    /// The more specific of two rules comes first; equal for rules of the same paths.
    pub(crate) fn precedence(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Exact(a), Self::Exact(b)) => a.cmp(b),
            (Self::Template(a), Self::Template(b)) => {
                let differing = a.segments.iter().zip(&b.segments).find(|(a, b)| a != b);
                let order = differing.map_or(Ordering::Equal, |(a, b)| a.cmp(b));
                order.then_with(|| b.segments.len().cmp(&a.segments.len()))
            }
            (Self::Prefix(a), Self::Prefix(b)) => b.len().cmp(&a.len()).then_with(|| a.cmp(b)),
            _ => self.class().cmp(&other.class()),
        }
    }

    fn class(&self) -> u8 {
        match self {
            Self::Exact(_) => 0,
            Self::Template(_) => 1,
            Self::Prefix(_) => 2,
        }
    }
}

impl Template {
    /// Reads a template; the error says what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let Some(path) = text.strip_prefix('/') else {
            return Err("must begin with a slash".to_owned());
        };
        let mut segments: Vec<Segment> = Vec::new();
        let mut names: Vec<String> = Vec::new();
        for segment in path.split('/') {
            if segments.last() == Some(&Segment::Rest) {
                return Err("`{name*}` takes everything that follows, so it must come last".to_owned());
            }
            let Some(name) = segment.strip_prefix('{').and_then(|rest| rest.strip_suffix('}')) else {
                if segment.contains(['{', '}']) {
                    return Err(format!(
                        "`{segment}`: a capture must be a whole segment, as in `/a/{{id}}/b`"
                    ));
                }
                segments.push(Segment::Literal(literal(segment)?));
                continue;
            };
            let rest = name.strip_suffix('*');
            segments.push(if rest.is_some() { Segment::Rest } else { Segment::One });
            let name = rest.unwrap_or(name);
            check_name(name)?;
            if names.iter().any(|other| other == name) {
                return Err(format!("`{name}` is captured twice"));
            }
            names.push(name.to_owned());
        }
        if names.is_empty() {
            return Err("holds no capture such as `{id}`; use `path_exact` instead".to_owned());
        }
        if names.len() > MAX_CAPTURES {
            return Err(format!("holds more than {MAX_CAPTURES} captures"));
        }
        Ok(Self { text: text.to_owned(), segments, names })
    }

    /// Compares `path` and hands the captured parts to `take`. What was handed out before a mismatch means
    /// nothing.
    fn walk<'p>(&self, path: &'p str, mut take: impl FnMut(&'p str)) -> bool {
        let mut ahead = path.strip_prefix('/');
        for segment in &self.segments {
            let Some(rest) = ahead else { return false };
            if *segment == Segment::Rest {
                take(rest);
                return true;
            }
            let (head, tail) = match rest.split_once('/') {
                Some((head, tail)) => (head, Some(tail)),
                None => (rest, None),
            };
            match segment {
                Segment::Literal(literal) if literal != head => return false,
                Segment::Literal(_) => {}
                _ if head.is_empty() => return false,
                _ => take(head),
            }
            ahead = tail;
        }
        ahead.is_none()
    }
}

/// A literal segment in canonical form, or how to write it.
fn literal(segment: &str) -> Result<String, String> {
    let path = format!("/{segment}");
    match crate::path::canonical(&path) {
        Ok(canonical) if canonical == path => Ok(segment.to_owned()),
        Ok(canonical) => Err(format!("`{path}` would never match; write it as `{canonical}`")),
        Err(error) => Err(error.to_string()),
    }
}

fn check_name(name: &str) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_') {
        return Err(format!(
            "`{{{name}}}`: a capture's name must be lower-case letters, digits and underscores"
        ));
    }
    if super::text::RESERVED.contains(&name) {
        return Err(format!("`{{{name}}}` has a meaning of its own; give the capture another name"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn template(text: &str) -> PathRule {
        PathRule::Template(Template::parse(text).unwrap())
    }

    #[test]
    fn captures_are_whole_segments() {
        let rule = template("/users/{id}/orders/{rest*}");
        assert!(rule.matches("/users/7/orders/1/items"));
        assert_eq!(rule.captures("/users/7/orders/1/items"), ["7", "1/items"]);
        assert_eq!(rule.captures("/users/7/orders/"), ["7", ""]);
        for other in ["/users/7/orders", "/users//orders/", "/users/7", "/user/7/orders/1", "/"] {
            assert!(!rule.matches(other), "{other}");
        }
        assert!(template("/{only}").matches("/a"));
        assert!(!template("/{only}").matches("/"));
        assert!(!template("/{only}").matches("/a/"));
        assert!(template("/{all*}").matches("/"));
        assert!(template("/{id}/").matches("/a/"));
    }

    #[test]
    fn a_template_that_cannot_work_is_refused_with_what_to_write() {
        for (text, expected) in [
            ("users/{id}", "begin with a slash"),
            ("/users", "path_exact"),
            ("/x{id}", "whole segment"),
            ("/{a*}/b", "must come last"),
            ("/{a}/{a}", "captured twice"),
            ("/{A}", "lower-case"),
            ("/{path}", "meaning of its own"),
            ("/%61/{x}", "write it as `/a`"),
            ("/../{x}", "dot segment"),
        ] {
            let error = Template::parse(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_tail_is_what_a_prefix_leaves() {
        let tail = |prefix: &str, path: &'static str| PathRule::Prefix(prefix.to_owned()).tail(path);
        assert_eq!(tail("/api", "/api/v1/x"), "v1/x");
        assert_eq!(tail("/api", "/api"), "");
        assert_eq!(tail("/", "/a/b"), "a/b");
    }

    /// The same language as a regular expression.
    fn expression(text: &str) -> regex_lite::Regex {
        let segments = text.split('/').skip(1).map(|segment| match segment {
            s if s.ends_with("*}") => "(.*)".to_owned(),
            s if s.starts_with('{') => "([^/]+)".to_owned(),
            s => regex_lite::escape(s),
        });
        regex_lite::Regex::new(&format!("^/{}$", segments.collect::<Vec<_>>().join("/"))).unwrap()
    }

    fn templates() -> impl Strategy<Value = String> {
        let segment = prop_oneof![Just("a".to_owned()), Just("b".to_owned()), Just("{}".to_owned())];
        (prop::collection::vec(segment, 0..4), any::<bool>(), any::<bool>()).prop_filter_map(
            "without captures",
            |(segments, rest, slash)| {
                let mut text = String::new();
                for (at, segment) in segments.iter().enumerate() {
                    text.push('/');
                    text.push_str(&segment.replace("{}", &format!("{{c{at}}}")));
                }
                if rest {
                    text.push_str("/{rest*}");
                } else if slash {
                    text.push('/');
                }
                text.contains('{').then_some(text)
            },
        )
    }

    proptest! {
        #[test]
        fn a_template_matches_and_captures_what_its_regular_expression_does(
            text in templates(),
            path in "(/[abc]{0,2}){1,5}",
        ) {
            let rule = template(&text);
            let expected = expression(&text).captures(&path);
            prop_assert_eq!(rule.matches(&path), expected.is_some(), "{} {}", text, path);
            if let Some(expected) = expected {
                let groups: Vec<_> = expected.iter().skip(1).flatten().map(|group| group.as_str()).collect();
                prop_assert_eq!(rule.captures(&path), groups);
            }
        }
    }
}
