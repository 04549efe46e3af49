//! The plain-HTTP listener's only answer: the same address on HTTPS.

use std::rc::Rc;
use std::time::Instant;

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, HeaderValue};
use http::uri::PathAndQuery;
use http::{Method, Request, Response, StatusCode};
use hyper::body::{Body as _, Incoming};

use super::host::{bad_host, host_name};
use crate::body::ResponseBody;
use crate::connection::ConnectionState;
use crate::exchange::Exchange;
use crate::headers::X_REQUEST_ID;
use crate::{answer, trace};

/// Sends a plain-HTTP request to the same address on HTTPS; 308 keeps method and body.
pub(crate) fn redirect_to_https(
    state: &Rc<ConnectionState>,
    request: &Request<Incoming>,
) -> Response<ResponseBody> {
    state.io.head_parsed();
    if request.body().is_end_stream() {
        state.expect_head();
    }
    let request_id = trace::request_id(&state.worker);
    let mut exchange = Exchange::new(
        Rc::clone(state),
        Instant::now(),
        request.method().clone(),
        request.uri().clone(),
        request_id.clone(),
    );
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok()).map(host_name);
    // The host goes into a header of the answer: only what a host may hold.
    let valid = |host: &str| {
        !host.is_empty() && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-.:[]_".contains(&b))
    };
    let mut response = match host.filter(|host| valid(host)) {
        Some(host) if *request.method() != Method::CONNECT => {
            let port = exchange.view().https_port;
            let port = if port == 443 { String::new() } else { format!(":{port}") };
            let target = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
            answer::redirect(StatusCode::PERMANENT_REDIRECT, &format!("https://{host}{port}{target}"))
        }
        _ => {
            let problem = bad_host();
            exchange.refuse(&problem);
            answer::problem(&problem, &request_id)
        }
    };
    exchange.set_head(&response);
    response.headers_mut().insert(X_REQUEST_ID, request_id);
    if request.headers().get(CONTENT_LENGTH).is_some() || !request.body().is_end_stream() {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}
