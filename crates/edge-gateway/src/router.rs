//! Finds the route of a request: routes for its host first, then those for any host; among them the
//! longest path prefix by whole segments.
//!
//! Paths given here are canonical (see [`crate::path`]). The number of routes is small, so a scan over
//! prefixes sorted by length beats a tree.

use std::collections::HashMap;
use std::time::Duration;

use serde::Deserialize;

use crate::limits::Quota;
use crate::path::has_prefix;

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
    pub(crate) path_prefix: String,
    /// Lower-case host names; empty for any.
    pub(crate) hosts: Vec<String>,
    /// Index into the upstreams.
    pub(crate) upstream: usize,
    pub(crate) strip_prefix: bool,
    pub(crate) auth: Auth,
    pub(crate) scopes: Vec<String>,
    pub(crate) quota: Option<Quota>,
    pub(crate) max_body: u64,
    pub(crate) timeout: Duration,
}

impl Route {
    /// The route's name in metrics: what it matches.
    pub(crate) fn label(&self) -> String {
        match self.hosts.as_slice() {
            [] => self.path_prefix.clone(),
            [host, ..] => format!("{host}{}", self.path_prefix),
        }
    }
}

/// All routes; an index into it names a route everywhere else.
#[derive(Debug)]
pub(crate) struct Router {
    routes: Vec<Route>,
    by_host: HashMap<String, Vec<usize>>,
    any_host: Vec<usize>,
}

/// Two routes that match the same requests.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Clash {
    pub(crate) first: usize,
    pub(crate) second: usize,
}

impl Router {
    pub(crate) fn new(routes: Vec<Route>) -> Result<Self, Clash> {
        let mut by_host: HashMap<String, Vec<usize>> = HashMap::new();
        let mut any_host = Vec::new();
        for (at, route) in routes.iter().enumerate() {
            if route.hosts.is_empty() {
                insert(&mut any_host, at, &routes)?;
            }
            for host in &route.hosts {
                insert(by_host.entry(host.clone()).or_default(), at, &routes)?;
            }
        }
        Ok(Self { routes, by_host, any_host })
    }

    pub(crate) fn routes(&self) -> &[Route] {
        &self.routes
    }

    /// The route for a canonical `path` on a lower-case `host`, and its index.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<(usize, &Route)> {
        let of_host = if self.by_host.is_empty() { None } else { self.by_host.get(host) };
        of_host.and_then(|list| self.longest(list, path)).or_else(|| self.longest(&self.any_host, path))
    }

    fn longest(&self, sorted: &[usize], path: &str) -> Option<(usize, &Route)> {
        sorted
            .iter()
            .filter_map(|&at| self.routes.get(at).map(|route| (at, route)))
            .find(|(_, route)| has_prefix(path, &route.path_prefix))
    }
}

/// Keeps `list` sorted by falling prefix length, so that the first match is the longest.
fn insert(list: &mut Vec<usize>, at: usize, routes: &[Route]) -> Result<(), Clash> {
    let prefix = |at: usize| routes.get(at).map_or("", |route| route.path_prefix.as_str());
    if let Some(&first) = list.iter().find(|&&other| prefix(other) == prefix(at)) {
        return Err(Clash { first, second: at });
    }
    let position = list.partition_point(|&other| prefix(other).len() >= prefix(at).len());
    list.insert(position, at);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(path_prefix: &str, hosts: &[&str]) -> Route {
        Route {
            path_prefix: path_prefix.to_owned(),
            hosts: hosts.iter().map(|&host| host.to_owned()).collect(),
            upstream: 0,
            strip_prefix: false,
            auth: Auth::None,
            scopes: Vec::new(),
            quota: None,
            max_body: 0,
            timeout: Duration::from_secs(1),
        }
    }

    fn check(router: &Router, host: &str, path: &str, expected: Option<usize>) {
        assert_eq!(router.find(host, path).map(|(at, _)| at), expected, "{host}{path}");
    }

    #[test]
    fn the_longest_prefix_by_whole_segments_wins() {
        let router = Router::new(vec![route("/", &[]), route("/api", &[]), route("/api/v1", &[])]).unwrap();
        check(&router, "a", "/api", Some(1));
        check(&router, "a", "/api/v1/x", Some(2));
        check(&router, "a", "/api/v10", Some(1));
        check(&router, "a", "/apix", Some(0));
    }

    #[test]
    fn routes_of_the_host_come_before_routes_for_any_host() {
        let router = Router::new(vec![route("/api/v1", &[]), route("/", &["b"])]).unwrap();
        check(&router, "b", "/api/v1", Some(1));
        check(&router, "a", "/api/v1", Some(0));
        check(&router, "a", "/", None);
    }

    #[test]
    fn two_routes_for_the_same_requests_clash() {
        let clash = Router::new(vec![route("/x", &["a"]), route("/", &[]), route("/x", &["b", "a"])]);
        assert_eq!(clash.err(), Some(Clash { first: 0, second: 2 }));
    }
}
