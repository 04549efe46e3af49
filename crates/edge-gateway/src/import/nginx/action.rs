//! What a location does with its requests, as keys of a route.

use super::location::guard;
use super::remarks::Remarks;
use super::rewrite;
use super::scope::Scope;
use super::server::{Server, Shared, max_body};
use super::tree::Directive;
use super::upstream::{Target, holds_name};
use super::values::{self, bytes, milliseconds};
use crate::import::draft::{Draft, Matched, Table, list, text};
use crate::router::editable_header;

mod files;
mod headers;
mod limits;
mod speech;

/// The keys of a route besides what it matches.
pub(super) struct Made {
    pub(super) keys: Table,
}

/// What happens to requests in this scope; None where nothing is left of it that a route could say.
pub(super) fn convert<'t>(
    scope: &Scope<'t>,
    server: &Server<'t>,
    matched: &Matched,
    shared: &mut Shared<'t>,
    draft: &mut Draft,
    remarks: &mut Remarks,
) -> Option<Made> {
    let mut keys = Table::default();
    if let Some(directive) = restriction(scope) {
        remarks.left_out(
            directive,
            "the gateway cannot ask for it (see `auth` of a route), so nobody is let in",
        );
        return None;
    }
    if scope.own("internal").is_some() {
        keys.set("respond", "{ status = 404 }");
        return Some(Made { keys });
    }
    if let Some(directive) = scope.own("return") {
        keys = answer(directive, remarks)?;
    } else if let Some(directive) = scope.own("proxy_pass").or_else(|| scope.own("grpc_pass")) {
        proxy(directive, scope, matched, shared, draft, &mut keys, remarks)?;
    } else if let Some(named) = fallback_location(scope, server) {
        // The named location's own block comes before what is around the one that names it.
        let inner = scope.within(&named.block);
        let directive = inner.own("proxy_pass")?;
        remarks
            .differs(&directive.place, "the upstream gets all requests; files beside it are not looked for");
        proxy(directive, &inner, matched, shared, draft, &mut keys, remarks)?;
    } else if let Some(guard) = guard(server) {
        let what =
            format!("no files are served, because the location at {} keeps some of them back", guard.place);
        remarks.differs(&server.block.place, &what);
        return None;
    } else {
        files::convert(scope, matched, &mut keys, remarks)?;
    }
    headers::answers(scope, draft, &mut keys, remarks);
    limits::convert(scope, shared, &mut keys, remarks);
    compress(scope, &mut keys);
    Some(Made { keys })
}

/// What lets only some clients in, by means that a route has not.
fn restriction<'t>(scope: &Scope<'t>) -> Option<&'t Directive> {
    let names =
        ["auth_basic", "auth_request", "auth_jwt", "ssl_verify_client", "secure_link", "valid_referers"];
    let effective =
        |directive: &&Directive| !matches!(directive.arg(0), "off" | "optional" | "optional_no_ca");
    names.iter().find_map(|name| scope.one(name).filter(effective))
}

/// The location `@name` that `try_files` ends with.
fn fallback_location<'t>(scope: &Scope<'t>, server: &Server<'t>) -> Option<&'t Directive> {
    let name = scope.own("try_files")?.args.last().filter(|last| last.starts_with('@'))?;
    let locations = server.block.block.iter().filter(|directive| directive.name == "location");
    locations.into_iter().find(|location| location.args.first() == Some(name))
}

/// `return`.
pub(super) fn answer(directive: &Directive, remarks: &mut Remarks) -> Option<Table> {
    let mut keys = Table::default();
    let (status, to) = match directive.arg(0).parse::<u16>() {
        Ok(status) => (status, directive.args.get(1)),
        Err(_) => (302, directive.args.first()),
    };
    match (status, to) {
        (301 | 302 | 303 | 307 | 308, Some(to)) => {
            // The whole target, path and query, is what the gateway keeps apart.
            let (to, keep_query) = match to.strip_suffix("$request_uri") {
                Some(before) => (format!("{before}$uri"), true),
                None => (to.clone(), false),
            };
            let Ok(to) = values::text(&to) else {
                remarks.left_out(directive, "it holds a variable that the gateway has not");
                return None;
            };
            let absolute = ["https://", "http://", "/"].iter().any(|start| to.starts_with(start));
            if !absolute || to.starts_with("//") || http::HeaderValue::from_str(&to).is_err() {
                remarks.left_out(directive, "its target is no URL and no path");
                return None;
            }
            redirect(&mut keys, &to, status, keep_query);
        }
        (444, _) => {
            remarks.differs(&directive.place, "the gateway answers 404 where nginx closes the connection");
            keys.set("respond", "{ status = 404 }");
        }
        (200..=599, body) => {
            let body = body.map_or("", String::as_str);
            let empty = matches!(status, 204 | 304) || body.contains('$') || body.len() > 65_536;
            if empty && !body.is_empty() {
                remarks.differs(&directive.place, "the answer has no body");
            }
            let mut respond = Table::default();
            respond.set("status", status);
            if !empty && !body.is_empty() {
                respond.set("body", text(body));
            }
            keys.set("respond", respond.inline());
        }
        _ => {
            remarks.left_out(directive, "its status is none that an answer can have");
            return None;
        }
    }
    Some(keys)
}

pub(super) fn redirect(keys: &mut Table, to: &str, status: u16, keep_query: bool) {
    let mut redirect = Table::default();
    redirect.set("to", text(to));
    redirect.set("status", status);
    redirect.set("keep_query", keep_query);
    keys.set("redirect", redirect.inline());
}

fn proxy<'t>(
    directive: &'t Directive,
    scope: &Scope<'t>,
    matched: &Matched,
    shared: &mut Shared<'t>,
    draft: &mut Draft,
    keys: &mut Table,
    remarks: &mut Remarks,
) -> Option<()> {
    let Some(target) = Target::parse(directive.arg(0)) else {
        remarks.left_out(directive, "its target is no plain URL");
        return None;
    };
    let family = speech::family(directive);
    let speech = speech::of(directive, &target, scope, remarks);
    let index = shared.upstreams.of(&target, &speech, &directive.place, draft, remarks);
    let upstream = draft.upstreams.get_mut(index)?;
    resolver(scope, upstream, remarks);
    if let Some(time) =
        scope.one(&format!("{family}_connect_timeout")).and_then(|time| milliseconds(time.arg(0)))
    {
        upstream.set("connect_timeout_ms", time.max(1));
    }
    keys.set("upstream", upstream.value("name")?);
    let time = scope.one(&format!("{family}_read_timeout")).and_then(|time| milliseconds(time.arg(0)));
    keys.set("timeout_ms", time.unwrap_or(60_000).max(1));
    if let Some(most) = scope.one("client_max_body_size").and_then(|size| bytes(size.arg(0))) {
        keys.set("max_body", max_body(most));
    }
    path(directive, &target, scope, matched, keys, remarks);
    headers::requests(scope, family, &directive.place, keys, remarks);
    cache(scope, keys, remarks);
    Some(())
}

/// How often names are looked up.
fn resolver(scope: &Scope<'_>, upstream: &mut Table, remarks: &mut Remarks) {
    let Some(directive) = scope.one("resolver").filter(|_| holds_name(upstream)) else { return };
    remarks.differs(&directive.place, "names of upstreams are looked up by the system's resolver");
    let valid = directive.args.iter().find_map(|arg| arg.strip_prefix("valid=")).and_then(milliseconds);
    if let Some(time) = valid {
        upstream.set("resolve_interval_ms", time.clamp(100, 3_600_000));
    }
}

/// What becomes of the path: the URI of `proxy_pass` replaces the location's prefix, and `rewrite` comes before.
fn path(
    directive: &Directive,
    target: &Target<'_>,
    scope: &Scope<'_>,
    matched: &Matched,
    keys: &mut Table,
    remarks: &mut Remarks,
) {
    if let Some(rewriting) = scope.own("rewrite") {
        match rewrite::parse(rewriting).filter(|rewrite| rewrite.status.is_none()) {
            Some(rewrite) if rewrite.matched == *matched && is_path(&rewrite.to) => {
                keys.set("rewrite_path", text(&rewrite.to));
            }
            _ => remarks.left_out(rewriting, "only a rewrite of the location's own path is converted"),
        }
        return;
    }
    let Some(uri) = target.uri else { return };
    let (uri, _) = uri.split_once('?').unwrap_or((uri, ""));
    match matched {
        Matched::Prefix(prefix) if prefix == uri => {}
        Matched::Prefix(prefix) if uri == "/" && prefix != "/" => keys.set("strip_prefix", true),
        Matched::Prefix(prefix) if is_path(uri) => {
            if prefix.ends_with('/') != uri.ends_with('/') {
                let what = "the path and the rest of the request's path are joined by one slash";
                remarks.differs(&directive.place, what);
            }
            keys.set("rewrite_path", text(&format!("{}/{{tail}}", uri.trim_end_matches('/'))));
        }
        Matched::Exact(_) if is_path(uri) => keys.set("rewrite_path", text(uri)),
        _ => remarks.left_out(directive, "its path is not in canonical form; the request's own path is sent"),
    }
}

/// A path that a route may send upstream, `{tail}` included.
fn is_path(text: &str) -> bool {
    let sample = text.replace("{tail}", "x");
    !sample.contains(['{', '}', '?', '#'])
        && crate::path::canonical(&sample).is_ok_and(|canonical| canonical == sample)
}

fn cache(scope: &Scope<'_>, keys: &mut Table, remarks: &mut Remarks) {
    let Some(directive) = scope.one("proxy_cache").filter(|zone| zone.arg(0) != "off") else { return };
    let valid = scope.all("proxy_cache_valid").into_iter().find_map(|valid| match valid.args.as_slice() {
        [time] => milliseconds(time),
        [codes @ .., time] if codes.iter().any(|code| code == "200" || code == "any") => milliseconds(time),
        _ => None,
    });
    let ttl = valid.map_or(0, |time| (time / 1_000).min(31_536_000));
    keys.set("cache", if ttl == 0 { "true".to_owned() } else { format!("{{ default_ttl_s = {ttl} }}") });
    remarks.differs(&directive.place, "the cache is in memory and keeps to RFC 9111 (see caching)");
}

fn compress(scope: &Scope<'_>, keys: &mut Table) {
    if !scope.is_on("gzip") && !scope.is_on("brotli") {
        return;
    }
    let mut table = Table::default();
    if let Some(least) = scope.one("gzip_min_length").and_then(|size| bytes(size.arg(0))) {
        table.set("min_bytes", least.min(1024 * 1024));
    }
    if let Some(level) = scope.one("gzip_comp_level").and_then(|level| level.arg(0).parse::<u32>().ok()) {
        table.set("gzip_level", level.clamp(1, 9));
    }
    if let Some(types) = scope.one("gzip_types") {
        // nginx compresses pages whatever this says.
        let mut all = vec!["text/html".to_owned()];
        let readable = |kind: &&String| crate::content::TypePattern::parse(kind).is_some();
        all.extend(types.args.iter().filter(readable).filter(|kind| *kind != "text/html").cloned());
        if !types.args.iter().any(|kind| kind == "*") {
            table.set("types", list(&all));
        }
    }
    keys.set("compress", if table.is_empty() { "true".to_owned() } else { table.inline() });
}
