//! `location` blocks, and what a server says outside of them.

use super::action::{self, Made};
use super::remarks::Remarks;
use super::rewrite::{self, Simple};
use super::scope::Scope;
use super::server::{Server, Shared, remark_unknown};
use super::tree::Directive;
use crate::import::draft::{Draft, Matched, Route, Table};
use crate::path;

/// Converts what a server answers.
pub(super) fn convert<'t>(
    server: &Server<'t>,
    shared: &mut Shared<'t>,
    draft: &mut Draft,
    remarks: &mut Remarks,
) {
    for directive in &server.block.block {
        match directive.name.as_str() {
            "if" => condition(server, directive, draft, remarks),
            "rewrite" => redirect(server, directive, draft, remarks),
            _ => {}
        }
    }
    let everything = Matched::Prefix("/".to_owned());
    if server.scope.own("return").is_some() {
        // Before any location is looked at.
        let made = action::convert(&server.scope, server, &everything, shared, draft, remarks);
        add(server, server.block, everything, made, draft, remarks);
        return;
    }
    locations(server, &server.block.block, &server.scope, shared, draft, remarks);
    if server.scope.own("root").is_some() || server.scope.own("try_files").is_some() {
        let made = action::convert(&server.scope, server, &everything, shared, draft, remarks);
        // A location for all paths comes first, in nginx as well.
        if let Some(made) = made {
            draft.add_route(route(server, server.block, everything, made.keys));
        }
    }
}

fn locations<'t>(
    server: &Server<'t>,
    block: &'t [Directive],
    around: &Scope<'t>,
    shared: &mut Shared<'t>,
    draft: &mut Draft,
    remarks: &mut Remarks,
) {
    for location in block.iter().filter(|directive| directive.name == "location") {
        let scope = around.within(&location.block);
        locations(server, &location.block, &scope, shared, draft, remarks);
        let Some(matched) = matched(location, remarks) else { continue };
        remark_unknown(&location.block, remarks);
        for condition in location.block.iter().filter(|directive| directive.name == "if") {
            remarks.left_out(condition, "conditions within a location are not converted");
        }
        let made = action::convert(&scope, server, &matched, shared, draft, remarks);
        add(server, location, matched, made, draft, remarks);
    }
}

fn add(
    server: &Server<'_>,
    origin: &Directive,
    matched: Matched,
    made: Option<Made>,
    draft: &mut Draft,
    remarks: &mut Remarks,
) {
    // Left to the route around it, its requests would get what this location kept from them.
    let keys = made.map_or_else(
        || {
            remarks.differs(&origin.place, "requests get 503 until this route is written by hand");
            let mut keys = Table::default();
            keys.set("respond", "{ status = 503 }");
            keys
        },
        |made| made.keys,
    );
    if !draft.add_route(route(server, origin, matched, keys)) {
        remarks.left_out(origin, "an earlier server or location has the same hosts and path");
    }
}

fn route(server: &Server<'_>, origin: &Directive, matched: Matched, keys: Table) -> Route {
    Route { origin: origin.place.to_string(), hosts: server.hosts.clone(), matched, keys }
}

/// Whether a location does more than to change headers of what would be answered without it.
fn keeps_back(location: &Directive) -> bool {
    let harmless =
        ["expires", "add_header", "access_log", "log_not_found", "gzip_static", "try_files", "root"];
    location.block.iter().any(|directive| !harmless.contains(&directive.name.as_str()))
}

/// A location by expression that keeps files of the server from being sent as they are, such as programs. Hidden
/// files are kept back anyway.
pub(super) fn guard<'t>(server: &Server<'t>) -> Option<&'t Directive> {
    server.block.block.iter().filter(|directive| directive.name == "location").find(|location| {
        let (modifier, path) = (location.arg(0), location.arg(1));
        let by_expression = modifier.starts_with('~') && rewrite::simple(path).is_none();
        by_expression && !path.contains("/\\.") && keeps_back(location)
    })
}

/// Which paths a location takes; None for what routes cannot say.
fn matched(location: &Directive, remarks: &mut Remarks) -> Option<Matched> {
    let (modifier, path) = match location.args.as_slice() {
        [path] if path.starts_with('@') => return None,
        [path] => ("", path.as_str()),
        [modifier, path] => (modifier.as_str(), path.as_str()),
        _ => {
            remarks.left_out(location, "its path cannot be read");
            return None;
        }
    };
    let matched = match modifier {
        "" | "^~" => Some(Matched::Prefix(path.to_owned())),
        "=" => Some(Matched::Exact(path.to_owned())),
        "~" | "~*" => rewrite::simple(path).map(|simple| match simple {
            Simple::Exact(path) => Matched::Exact(path.to_owned()),
            Simple::Prefix(path, _) => Matched::Prefix(path.to_owned()),
        }),
        _ => None,
    };
    let canonical = |path: &str| {
        path::canonical(path).is_ok_and(|canonical| canonical == path) && !path.contains(['{', '}', '?', '#'])
    };
    let Some(matched) = matched.filter(|matched| canonical(matched.path())) else {
        let why = if keeps_back(location) {
            "WHAT IT KEEPS BACK OR HANDLES APART GOES TO THE ROUTE OF ITS PREFIX; routes have no expressions"
        } else {
            "routes have exact paths, prefixes and templates; requests go to the route of their prefix"
        };
        remarks.left_out(location, why);
        return None;
    };
    if let Matched::Prefix(prefix) = &matched
        && !prefix.ends_with('/')
    {
        let what = format!("`{prefix}` takes whole segments alone, so not `{prefix}x`");
        remarks.differs(&location.place, &what);
    }
    if modifier.starts_with('~') {
        remarks.differs(&location.place, "routes go by the longest path; nginx tries expressions first");
    }
    Some(matched)
}

/// `if ($host = name) { return … }`, as tools for certificates write it.
fn condition(server: &Server<'_>, directive: &Directive, draft: &mut Draft, remarks: &mut Remarks) {
    let text = directive.args.join(" ");
    let inner = text.trim_start_matches('(').trim_end_matches(')').trim();
    let named = inner.split_once('=').filter(|(variable, _)| variable.trim() == "$host");
    let host = named.map(|(_, host)| host.trim().trim_matches('"').to_ascii_lowercase());
    let made = directive
        .block
        .iter()
        .find(|inner| inner.name == "return")
        .map(|inner| action::answer(inner, remarks));
    match (host, made) {
        (Some(host), Some(Some(keys))) if crate::router::HostRule::parse(&host).is_ok() => {
            let matched = Matched::Prefix("/".to_owned());
            let origin = directive.place.to_string();
            draft.add_route(Route { origin, hosts: vec![host], matched, keys });
        }
        _ => remarks.left_out(
            directive,
            &format!("`{inner}`: conditions are not converted; in {}", server.block.place),
        ),
    }
}

/// A `rewrite` of the server that sends clients elsewhere.
fn redirect(server: &Server<'_>, directive: &Directive, draft: &mut Draft, remarks: &mut Remarks) {
    match rewrite::parse(directive) {
        Some(rewrite) if rewrite.status.is_some() => {
            let mut keys = Table::default();
            action::redirect(&mut keys, &rewrite.to, rewrite.status.unwrap_or(302), rewrite.keep_query);
            draft.add_route(route(server, directive, rewrite.matched, keys));
        }
        _ => remarks.left_out(directive, "only redirects of one path or of a prefix are converted"),
    }
}

/// Whether all that a plain server does is to send clients to HTTPS, which the gateway's plain listeners do.
pub(super) fn only_redirects(block: &[Directive]) -> bool {
    let https = |directive: &Directive| {
        let to = directive.args.last().map_or("", String::as_str);
        matches!(directive.arg(0), "301" | "302" | "307" | "308")
            && to.starts_with("https://$")
            && to.ends_with("$request_uri")
    };
    let mut redirects = false;
    for directive in block {
        redirects |= match directive.name.as_str() {
            "return" if directive.arg(0) == "404" => false,
            "return" if https(directive) => true,
            "if" | "location" if only_redirects(&directive.block) => true,
            "return" | "if" | "location" | "rewrite" | "root" | "proxy_pass" | "grpc_pass" | "try_files" => {
                return false;
            }
            _ => false,
        };
    }
    redirects
}

/// The one route of a configuration that has none.
pub(super) fn answer_not_found(draft: &mut Draft) {
    let mut keys = Table::default();
    keys.set("respond", "{ status = 404 }");
    let matched = Matched::Prefix("/".to_owned());
    draft.add_route(Route { origin: "nothing was converted".to_owned(), hosts: Vec::new(), matched, keys });
}
