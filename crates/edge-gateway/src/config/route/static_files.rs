//! `static_files`: a route that is answered from a directory.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use http::HeaderValue;
use quintet_service::Invalid;
use serde::Deserialize;

use super::{Place, RouteSection};
use crate::content::Encoding;
use crate::files::StaticFiles;
use crate::router::{Action, PathRule};

/// A directory whose files are the answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct StaticFilesSection {
    /// Absolute path. What the request's path has after `path_prefix` is looked up below it.
    pub(crate) root: PathBuf,
    /// This one file below `root` answers all requests of the route.
    pub(crate) file: Option<String>,
    /// The file that stands for its directory.
    #[serde(default = "default_index")]
    pub(crate) index: String,
    /// The file that answers navigations (`Accept: text/html`) to what is not there, as single-page
    /// applications need it.
    pub(crate) fallback: Option<String>,
    /// Use `x.zst`, `x.br` and `x.gz` beside `x` for clients that take them: any of "zstd", "br", "gzip", in
    /// the order of preference.
    #[serde(default)]
    pub(crate) precompressed: Vec<Encoding>,
    /// Serve names that begin with a dot.
    #[serde(default)]
    pub(crate) dotfiles: bool,
    /// `Cache-Control` of answers with files; `no-cache` for the fallback whatever this says.
    pub(crate) cache_control: Option<String>,
    /// Media types by extension, beside the known ones.
    #[serde(default)]
    pub(crate) types: BTreeMap<String, String>,
}

fn default_index() -> String {
    "index.html".to_owned()
}

pub(super) fn check(
    place: Place,
    route: &RouteSection,
    section: &StaticFilesSection,
    path: &PathRule,
) -> Result<Action, Invalid> {
    let others = [
        route.upstream.is_some(),
        route.split.is_some(),
        route.redirect.is_some(),
        route.respond.is_some(),
        route.mirror.is_some(),
    ];
    if others.contains(&true) {
        return place.refuse(
            "static_files",
            "cannot be combined with `upstream`, `split`, `redirect`, `respond` or `mirror`",
        );
    }
    if !matches!(path, PathRule::Prefix(_)) && section.file.is_none() {
        return place.refuse("static_files", "needs `path_prefix`, or one `file` that answers");
    }
    if !section.root.is_absolute() {
        return place.refuse("static_files.root", "must be an absolute path");
    }
    check_names(place, section)?;
    let Ok(cache_control) = section.cache_control.as_deref().map(HeaderValue::from_str).transpose() else {
        return place.refuse("static_files.cache_control", "holds a character that a header value cannot");
    };
    let mut types = Vec::with_capacity(section.types.len());
    for (extension, text) in &section.types {
        match HeaderValue::from_str(text) {
            Ok(value) if text.contains('/') => types.push((extension.to_ascii_lowercase(), value)),
            _ => {
                let field = format!("static_files.types.{extension}");
                return place.refuse(&field, "must be a media type such as \"text/plain\"");
            }
        }
    }
    Ok(Action::Files(Arc::new(StaticFiles {
        root: section.root.clone(),
        file: section.file.clone(),
        index: section.index.clone(),
        fallback: section.fallback.clone(),
        precompressed: section.precompressed.clone(),
        dotfiles: section.dotfiles,
        cache_control,
        types,
    })))
}

/// Names are looked up as they are written, so they must be what a file can be called.
fn check_names(place: Place, section: &StaticFilesSection) -> Result<(), Invalid> {
    let plain = |name: &str| {
        !name.is_empty() && name.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    };
    if !plain(&section.index) || section.index.contains('/') {
        return place.refuse("static_files.index", "must be a file's name");
    }
    for (field, name) in [("static_files.fallback", &section.fallback), ("static_files.file", &section.file)]
    {
        if name.as_deref().is_some_and(|name| !plain(name)) {
            return place.refuse(field, "must be a path below `root`");
        }
    }
    let encodings = &section.precompressed;
    let twice = encodings.iter().any(|one| encodings.iter().filter(|other| one == *other).count() > 1);
    if twice {
        return place.refuse("static_files.precompressed", "must name each encoding once");
    }
    Ok(())
}
