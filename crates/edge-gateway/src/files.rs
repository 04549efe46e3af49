//! A route's directory of files.
//!
//! The kernel resolves every path beneath the root (`openat2` with `RESOLVE_BENEATH`): no spelling and no symbolic
//! link leads out of it. Directories are never listed. What the kernel has in memory is opened and read on the
//! spot; what would wait for a disk goes to the worker's blocking pool, one piece at a time, so that a slow client
//! holds a file and at most one piece, and no thread.

mod lookup;
mod types;

use std::path::PathBuf;
use std::sync::Arc;

use http::header::{
    ACCEPT, ACCEPT_ENCODING, ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE,
    ETAG, HeaderMap, HeaderValue, LAST_MODIFIED, VARY, X_CONTENT_TYPE_OPTIONS,
};
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quintet_http::problem::Problem;

use self::lookup::{Found, Opened, Wish};
use crate::answer;
use crate::content::{Encoding, choose_encoding};
use crate::ranges::Ranges;
use crate::representation::{Reading, cut};

/// A directory whose files are the answers.
#[derive(Debug)]
pub(crate) struct StaticFiles {
    pub(crate) root: PathBuf,
    /// The one file that answers all requests of the route.
    pub(crate) file: Option<String>,
    pub(crate) index: String,
    pub(crate) fallback: Option<String>,
    pub(crate) precompressed: Vec<Encoding>,
    pub(crate) dotfiles: bool,
    pub(crate) cache_control: Option<HeaderValue>,
    /// By extension in lower case, beside the known ones.
    pub(crate) types: Vec<(String, HeaderValue)>,
}

/// The answer to a GET or HEAD for `tail`, what its canonical path has after the route's prefix.
pub(crate) async fn serve(
    files: &Arc<StaticFiles>,
    request: &Parts,
    path: &str,
    tail: &str,
    random: u64,
) -> Result<Response<Reading>, Problem> {
    let wish = match &files.file {
        Some(file) => Some(Wish::of_file(file, encodings(files, &request.headers))),
        None => Wish::new(files, tail, path.ends_with('/'), encodings(files, &request.headers)),
    };
    let Some(wish) = wish else { return Err(nothing()) };
    let mut response = match lookup::find(files, wish).await? {
        Found::File(opened) => answer_with(files, request, opened, random),
        Found::Directory => return Ok(to_directory(request, path)),
        Found::Nothing => return fall_back(files, request, random).await,
    };
    if let Some(cache_control) = &files.cache_control {
        response.headers_mut().insert(CACHE_CONTROL, cache_control.clone());
    }
    Ok(response)
}

/// The answer where no file has the name.
async fn fall_back(
    files: &Arc<StaticFiles>,
    request: &Parts,
    random: u64,
) -> Result<Response<Reading>, Problem> {
    let fallback = files.fallback.as_deref().filter(|_| is_navigation(&request.headers));
    let fallback = fallback.ok_or_else(nothing)?;
    let wish = Wish::of_file(fallback, encodings(files, &request.headers));
    let Found::File(opened) = lookup::find(files, wish).await? else { return Err(nothing()) };
    let mut response = answer_with(files, request, opened, random);
    // The same address may be a file tomorrow.
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn nothing() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "file_not_found", "there is no such file")
}

/// The codings of variants on disk that the client takes, the best first.
fn encodings(files: &StaticFiles, headers: &HeaderMap) -> Vec<Encoding> {
    let mut left = files.precompressed.clone();
    let mut ranked = Vec::with_capacity(left.len());
    while let Some(best) = choose_encoding(headers, &left) {
        left.retain(|other| *other != best);
        ranked.push(best);
    }
    ranked
}

/// A person follows a link, as far as headers tell: scripts and images would rather see that nothing is there.
fn is_navigation(headers: &HeaderMap) -> bool {
    let accept = headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// Relative links of an index only work below its directory.
fn to_directory(request: &Parts, path: &str) -> Response<Reading> {
    let query = request.uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    let location = format!("{path}/{query}");
    answer::redirect(StatusCode::PERMANENT_REDIRECT, &location).map(|_| Reading::empty())
}

fn answer_with(files: &StaticFiles, request: &Parts, opened: Opened, random: u64) -> Response<Reading> {
    let validators = opened.validators();
    let mut response = Response::new(Reading::empty());
    let headers = response.headers_mut();
    if let Some(etag) = &validators.etag {
        headers.insert(ETAG, etag.clone());
    }
    if let Some(modified) = validators.last_modified() {
        headers.insert(LAST_MODIFIED, modified);
    }
    if !files.precompressed.is_empty() {
        headers.insert(VARY, HeaderValue::from_name(ACCEPT_ENCODING));
    }
    if let Some(status) = validators.judge(&request.headers).status() {
        *response.status_mut() = status;
        return response;
    }
    let content_type = types::of(&opened.name, &files.types);
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CONTENT_TYPE, content_type);
    if let Some(encoding) = opened.encoding {
        headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.name()));
    }
    let ranges = if validators.allows_range(&request.method, &request.headers) {
        Ranges::read(&request.headers, opened.length())
    } else {
        Ranges::Whole
    };
    let length = opened.length();
    let reading = cut(ranges, opened.into_source(), length, &mut response, random);
    response.headers_mut().insert(CONTENT_LENGTH, HeaderValue::from(reading.length()));
    let reading = if request.method == Method::HEAD { Reading::empty() } else { reading };
    response.map(|_: Reading| reading)
}
