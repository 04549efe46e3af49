//! What must not go over the wire in the clear is sent to the same address on HTTPS.

use http::header::HOST;
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode, Uri};
use quintet_http::problem::Problem;

use super::host::{bad_host, host_name, is_authority};
use crate::answer;
use crate::body::{ClientBody, ResponseBody};
use crate::worker::View;

/// Sends any request to HTTPS; one without a usable host cannot be sent anywhere.
pub(super) fn of_any(view: &View, request: &Request<ClientBody>) -> Result<Response<ResponseBody>, Problem> {
    match request.headers().get(HOST).and_then(|host| host.to_str().ok()) {
        Some(host) if *request.method() != Method::CONNECT => to(view, host, request.uri()),
        _ => Err(bad_host()),
    }
}

/// The same address on HTTPS; 308 keeps method and body.
pub(super) fn to(view: &View, host: &str, uri: &Uri) -> Result<Response<ResponseBody>, Problem> {
    // The host goes into a header of the answer: only what a host may hold.
    if !is_authority(host) {
        return Err(bad_host());
    }
    let host = host_name(host);
    let port = if view.https_port == 443 { String::new() } else { format!(":{}", view.https_port) };
    let target = uri.path_and_query().map_or("/", PathAndQuery::as_str);
    Ok(answer::redirect(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{port}{target}")))
}
