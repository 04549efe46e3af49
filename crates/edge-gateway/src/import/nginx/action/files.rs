//! `root`, `alias`, `index` and `try_files`.

use crate::import::draft::{Matched, Table, list, text};
use crate::import::nginx::remarks::Remarks;
use crate::import::nginx::scope::Scope;
use crate::import::nginx::tree::Directive;
use crate::import::nginx::values::milliseconds;

/// Where nginx looks for relative paths in most packages.
const PREFIX: &str = "/usr/share/nginx";

pub(super) fn convert(
    scope: &Scope<'_>,
    matched: &Matched,
    keys: &mut Table,
    remarks: &mut Remarks,
) -> Option<()> {
    let mut files = Table::default();
    let root = directory(scope, matched, &mut files, remarks)?;
    files.set("root", text(&root));
    if let Some(index) = scope.one("index") {
        let first = index.args.iter().find(|name| !name.contains(['/', '$']) && name.as_str() != "..");
        if let Some(name) = first.filter(|name| *name != "index.html" && *name != ".") {
            files.set("index", text(name));
        }
        if index.args.len() > 1 {
            remarks.differs(&index.place, "the first name alone stands for a directory");
        }
    }
    if let Some(directive) = scope.one("try_files") {
        fallback(directive, &mut files, remarks);
    }
    let precompressed: Vec<&str> = [("brotli_static", "br"), ("gzip_static", "gzip")]
        .into_iter()
        .filter(|(name, _)| scope.one(name).is_some_and(|switch| matches!(switch.arg(0), "on" | "always")))
        .map(|(_, coding)| coding)
        .collect();
    if !precompressed.is_empty() {
        files.set("precompressed", list(&precompressed));
    }
    if let Some(directive) = scope.one("expires") {
        match directive.arg(0) {
            "off" => {}
            "max" => files.set("cache_control", text("max-age=315360000")),
            "epoch" | "-1" => files.set("cache_control", text("no-cache")),
            time => match milliseconds(time) {
                Some(time) => files.set("cache_control", text(&format!("max-age={}", time / 1_000))),
                None => remarks.left_out(directive, "its time cannot be read"),
            },
        }
    }
    keys.set("static_files", files.inline());
    Some(())
}

/// The directory below which the rest of the path is looked up.
fn directory(
    scope: &Scope<'_>,
    matched: &Matched,
    files: &mut Table,
    remarks: &mut Remarks,
) -> Option<String> {
    let directives = scope.any(&["alias", "root"]);
    let directive = directives.last()?;
    let named = directive.arg(0);
    if named.contains('$') {
        remarks.left_out(directive, "it holds a variable");
        return None;
    }
    let absolute = if named.starts_with('/') {
        named.to_owned()
    } else {
        remarks
            .missing(Some(&directive.place), &format!("`{named}` is relative, and taken to be in {PREFIX}"));
        format!("{PREFIX}/{named}")
    };
    let base = absolute.trim_end_matches('/');
    let is_alias = directive.name == "alias";
    match matched {
        Matched::Prefix(_) if is_alias => Some(or_root(base)),
        Matched::Prefix(prefix) => Some(or_root(&format!("{base}{}", prefix.trim_end_matches('/')))),
        Matched::Exact(path) => {
            let whole = if is_alias { base.to_owned() } else { format!("{base}{path}") };
            let (directory, file) = whole.rsplit_once('/')?;
            if file.is_empty() || file == "." || file == ".." {
                remarks.left_out(directive, "an exact path needs one file that answers");
                return None;
            }
            files.set("file", text(file));
            Some(or_root(directory))
        }
    }
}

fn or_root(path: &str) -> String {
    if path.is_empty() { "/".to_owned() } else { path.to_owned() }
}

/// The last word of `try_files`: a page for what is not there, or a status.
fn fallback(directive: &Directive, files: &mut Table, remarks: &mut Remarks) {
    let Some(last) = directive.args.last() else { return };
    let tried = directive.args.get(..directive.args.len() - 1).unwrap_or_default();
    if tried.iter().any(|word| !matches!(word.as_str(), "$uri" | "$uri/" | "$uri/index.html")) {
        remarks.differs(&directive.place, "only the path itself and its index are looked for");
    }
    let page = last.split('?').next().unwrap_or_default().trim_start_matches('/');
    let plain = !page.is_empty()
        && page.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
        && !page.contains('$');
    match last.as_str() {
        "=404" => {}
        _ if last.starts_with('/') && plain => {
            files.set("fallback", text(page));
            let what = "the page stands in for navigations (`Accept: text/html`) alone; the rest gets 404";
            remarks.differs(&directive.place, what);
        }
        _ => remarks.left_out(directive, "its last word is neither a page nor =404"),
    }
}
