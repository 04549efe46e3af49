//! Which hosts a route serves, and the routes of a host in the order in which they are looked at.

use std::collections::HashMap;

use super::{Clash, Head, Route};

/// A host name in lower case, without port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum HostRule {
    Exact(String),
    /// `*.example.com` as `example.com`: any name below it, however deep, but not itself.
    Below(String),
}

impl HostRule {
    /// Reads a host of the configuration; the error says what to write instead.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (name, wildcard) = match text.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (text, false),
        };
        let ipv6 = name.starts_with('[') && name.ends_with(']') && !wildcard;
        let plain = !name.is_empty()
            && !name.starts_with('.')
            && !name.ends_with('.')
            && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
        if !ipv6 && !plain {
            return Err(format!("`{text}` must be a host name without port, or `*.` and a host name"));
        }
        let name = name.to_ascii_lowercase();
        Ok(if wildcard { Self::Below(name) } else { Self::Exact(name) })
    }

    /// Whether the rule covers a host in lower case.
    pub(crate) fn matches(&self, host: &str) -> bool {
        match self {
            Self::Exact(name) => host == name,
            Self::Below(parent) => host
                .strip_suffix(parent.as_str())
                .and_then(|rest| rest.strip_suffix('.'))
                .is_some_and(|rest| !rest.is_empty()),
        }
    }
}

impl std::fmt::Display for HostRule {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
        }
    }
}

/// Routes by host.
#[derive(Debug, Default)]
pub(super) struct HostTable {
    exact: HashMap<String, Candidates>,
    /// By the name below which they are.
    below: HashMap<String, Candidates>,
    any: Candidates,
}

/// The routes of one host, the first that matches being the one.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    /// Routes of one path each, so that hundreds of them cost one look-up.
    exact_paths: HashMap<String, Vec<usize>>,
    ordered: Vec<usize>,
}

impl HostTable {
    pub(super) fn new(routes: &[Route]) -> Result<Self, Clash> {
        let mut table = Self::default();
        for (at, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                table.any.insert(at, route, routes)?;
            }
            for host in &route.hosts {
                let candidates = match host {
                    HostRule::Exact(name) => table.exact.entry(name.clone()).or_default(),
                    HostRule::Below(parent) => table.below.entry(parent.clone()).or_default(),
                };
                candidates.insert(at, route, routes)?;
            }
        }
        Ok(table)
    }

    /// The candidates for `host`, the most specific first.
    pub(super) fn of<'t>(&'t self, host: &'t str) -> impl Iterator<Item = &'t Candidates> {
        let exact = if self.exact.is_empty() { None } else { self.exact.get(host) };
        let parents = if self.below.is_empty() { None } else { Some(parents(host)) };
        let below = parents.into_iter().flatten().filter_map(|parent| self.below.get(parent));
        exact.into_iter().chain(below).chain(std::iter::once(&self.any))
    }
}

/// `b.c`, then `c`, of `a.b.c`.
fn parents(host: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, parent)| parent)).skip(1)
}

impl Candidates {
    /// Keeps the order of precedence: rule, number of conditions, place in the configuration.
    fn insert(&mut self, at: usize, route: &Route, routes: &[Route]) -> Result<(), Clash> {
        let list = match &route.path {
            super::PathRule::Exact(path) => self.exact_paths.entry(path.clone()).or_default(),
            _ => &mut self.ordered,
        };
        let others = || list.iter().filter_map(|&other| routes.get(other).map(|route| (other, route)));
        if let Some((first, _)) = others().find(|(first, other)| *first == at || other.hides(route)) {
            return Err(Clash { first, second: at });
        }
        let position = others().take_while(|(_, other)| other.precedes(route)).count();
        list.insert(position, at);
        Ok(())
    }

    pub(super) fn find<'r>(&self, routes: &'r [Route], head: &Head<'_>) -> Option<(usize, &'r Route)> {
        let first = |list: &[usize]| {
            let routes = list.iter().filter_map(|&at| routes.get(at).map(|route| (at, route)));
            routes.into_iter().find(|(_, route)| route.path.matches(head.path) && route.unmet(head).is_none())
        };
        if !self.exact_paths.is_empty()
            && let Some(found) = self.exact_paths.get(head.path).and_then(|list| first(list))
        {
            return Some(found);
        }
        first(&self.ordered)
    }

    /// All routes, in no order.
    pub(super) fn all(&self) -> impl Iterator<Item = usize> {
        self.exact_paths.values().flatten().chain(&self.ordered).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wildcard_takes_every_name_below_and_not_its_own() {
        let rule = HostRule::parse("*.Example.com").unwrap();
        for (host, expected) in [
            ("a.example.com", true),
            ("a.b.example.com", true),
            ("example.com", false),
            (".example.com", false),
            ("badexample.com", false),
            ("example.com.evil", false),
        ] {
            assert_eq!(rule.matches(host), expected, "{host}");
        }
    }

    #[test]
    fn what_is_no_host_is_refused() {
        for text in ["", "a:443", "a/b", "*", "*.", "a.*.b", "*a.b", ".a", "a."] {
            assert!(HostRule::parse(text).is_err(), "{text}");
        }
        for text in ["localhost", "[::1]", "127.0.0.1", "a_b.example"] {
            assert!(HostRule::parse(text).is_ok(), "{text}");
        }
    }
}
