//! Finds the route of a request. Which one is taken depends on the request and the configuration alone:
//!
//! 1. Routes for the exact host come first, then those for wildcards (the longest first), then those for any
//!    host. Where no route of one group matches, the next group is looked at.
//! 2. Within a group: exact paths, then templates (literal segments before captures, from the left), then
//!    prefixes (the longest first, by whole segments).
//! 3. For the same paths: more conditions first, then the order of the configuration.
//!
//! Two routes of which one would never be reached are refused. Paths given here are canonical (see
//! [`crate::path`]).

mod action;
mod conditions;
mod edits;
mod hosts;
mod mirror;
mod pattern;
mod text;

use std::cmp::Ordering;
use std::time::Duration;

use http::{HeaderMap, Method};
use serde::Deserialize;

pub(crate) use self::action::{Action, Fixed, Redirect, Split, SplitKey};
pub(crate) use self::conditions::{Conditions, Test, Unmet};
pub(crate) use self::edits::{Edits, HeaderEdits, Value, name as editable_header};
pub(crate) use self::hosts::HostRule;
use self::hosts::HostTable;
pub(crate) use self::mirror::{Mirror, MirrorPermit};
pub(crate) use self::pattern::{PathRule, Template};
pub(crate) use self::text::{Text, Values};
use crate::body::MinRate;
use crate::cache::Policy;
use crate::content::Content;
use crate::limits::{Access, Quota, QuotaKey};
use crate::proxy::Retries;

/// Who may use a route.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Auth {
    /// Anyone.
    #[default]
    None,
    /// A bearer token.
    Token,
    /// A bearer token or the session cookie; navigations without either go to sign-in.
    Browser,
}

/// One checked `[[routes]]` section.
#[derive(Debug)]
pub(crate) struct Route {
    pub(crate) name: Option<String>,
    /// Empty for any.
    pub(crate) hosts: Vec<HostRule>,
    pub(crate) path: PathRule,
    pub(crate) conditions: Option<Box<Conditions>>,
    pub(crate) action: Action,
    pub(crate) rewrite: PathRewrite,
    pub(crate) request_headers: Option<Box<HeaderEdits>>,
    pub(crate) response_headers: Option<Box<HeaderEdits>>,
    pub(crate) mirror: Option<Box<Mirror>>,
    pub(crate) content: Option<Box<Content>>,
    pub(crate) cache: Option<Box<Policy>>,
    /// Only for clients that showed a certificate.
    pub(crate) client_certificate: bool,
    pub(crate) auth: Auth,
    pub(crate) scopes: Vec<String>,
    pub(crate) quota: Option<(Quota, QuotaKey)>,
    pub(crate) access: Option<Box<Access>>,
    pub(crate) max_body: u64,
    /// At which a client has to send a body.
    pub(crate) min_rate: Option<MinRate>,
    pub(crate) timeout: Duration,
    pub(crate) retries: Retries,
}

/// What becomes of the path on the way upstream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum PathRewrite {
    Keep,
    /// The prefix goes.
    Strip,
    To(Text),
}

impl PathRewrite {
    /// The path that a text makes of a request.
    pub(crate) fn made(&self, values: &Values<'_>) -> Option<String> {
        match self {
            Self::To(text) => Some(text.expand(values)),
            Self::Keep | Self::Strip => None,
        }
    }

    /// The path for the upstream, given what [`Self::made`] made; None where it stays as it is.
    pub(crate) fn apply<'p>(&self, rule: &PathRule, made: Option<&'p str>, path: &'p str) -> Option<&'p str> {
        match self {
            Self::Keep => None,
            Self::Strip => path.strip_prefix(rule.text()),
            Self::To(_) => made,
        }
    }
}

/// What routes look at in a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head<'r> {
    /// In lower case, without port.
    pub(crate) host: &'r str,
    /// Canonical.
    pub(crate) path: &'r str,
    pub(crate) query: Option<&'r str>,
    pub(crate) method: &'r Method,
    pub(crate) headers: &'r HeaderMap,
}

/// Why a route does not take a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mismatch<'c> {
    Host,
    Path,
    Condition(Unmet<'c>),
}

impl Route {
    /// The route's name in metrics: its own, or what it matches.
    pub(crate) fn label(&self) -> String {
        if let Some(name) = &self.name {
            return name.clone();
        }
        let host = self.hosts.first().map(ToString::to_string).unwrap_or_default();
        match self.conditions.as_ref().map(|conditions| conditions.methods.as_slice()) {
            None | Some([]) => format!("{host}{}", self.path.text()),
            Some(methods) => {
                let methods: Vec<&str> = methods.iter().map(Method::as_str).collect();
                format!("{} {host}{}", methods.join("|"), self.path.text())
            }
        }
    }

    /// All that the route matches on: equal for routes of the same requests, unequal for others.
    pub(crate) fn description(&self) -> String {
        let hosts: Vec<String> = self.hosts.iter().map(ToString::to_string).collect();
        let kind = match self.path {
            PathRule::Exact(_) => "=",
            PathRule::Template(_) => "",
            PathRule::Prefix(_) => "^",
        };
        let conditions = self.conditions.as_ref().map(ToString::to_string).unwrap_or_default();
        format!("{}{kind}{} {conditions}", hosts.join(","), self.path.text())
    }

    /// Which condition a request does not meet, if any.
    fn unmet(&self, head: &Head<'_>) -> Option<Unmet<'_>> {
        self.conditions.as_ref()?.unmet(head.method, head.headers, head.query)
    }

    /// Why this route does not take a request, or None where it would.
    pub(crate) fn mismatch(&self, head: &Head<'_>) -> Option<Mismatch<'_>> {
        if !self.hosts.is_empty() && !self.hosts.iter().any(|host| host.matches(head.host)) {
            return Some(Mismatch::Host);
        }
        if !self.path.matches(head.path) {
            return Some(Mismatch::Path);
        }
        self.unmet(head).map(Mismatch::Condition)
    }

    fn condition_count(&self) -> usize {
        self.conditions.as_ref().map_or(0, |conditions| conditions.count())
    }

    /// Whether this route, which stands earlier in the configuration, is looked at before `later` of the
    /// same host.
    fn precedes(&self, later: &Self) -> bool {
        let order = self
            .path
            .precedence(&later.path)
            .then_with(|| later.condition_count().cmp(&self.condition_count()));
        order != Ordering::Greater
    }

    /// Whether one of two routes of the same host, this being the earlier, can never be reached.
    fn hides(&self, later: &Self) -> bool {
        if self.path.precedence(&later.path) != Ordering::Equal {
            return false;
        }
        let none = Conditions::default();
        let (first, second) = if self.precedes(later) { (self, later) } else { (later, self) };
        first.conditions_or(&none).cover(second.conditions_or(&none))
    }

    fn conditions_or<'c>(&'c self, none: &'c Conditions) -> &'c Conditions {
        self.conditions.as_deref().unwrap_or(none)
    }
}

/// All routes; an index into it names a route everywhere else.
#[derive(Debug)]
pub(crate) struct Router {
    routes: Vec<Route>,
    hosts: HostTable,
}

/// Two routes of which one would never be reached.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

impl Router {
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, Clash> {
        let hosts = HostTable::new(&routes)?;
        Ok(Self { routes, hosts })
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route of a request, and its index.
    pub(crate) fn find(&self, head: &Head<'_>) -> Option<(usize, &Route)> {
        self.hosts.of(head.host).find_map(|candidates| candidates.find(&self.routes, head))
    }

    /// The methods that would have found a route where `head` found none; empty where none would.
    pub(crate) fn allowed(&self, head: &Head<'_>) -> Vec<&Method> {
        let mut methods: Vec<&Method> = Vec::new();
        for at in self.hosts.of(head.host).flat_map(hosts::Candidates::all) {
            let Some(route) = self.routes.get(at).filter(|route| route.path.matches(head.path)) else {
                continue;
            };
            for method in route.conditions.iter().flat_map(|conditions| &conditions.methods) {
                let met = route.unmet(&Head { method, ..*head }).is_none();
                if met && !methods.contains(&method) {
                    methods.push(method);
                }
            }
        }
        methods
    }
}

#[cfg(test)]
mod tests;
