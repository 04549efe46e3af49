//! Answers from what is at hand: files, and stored answers.

use std::rc::Rc;
use std::sync::Arc;

use http::header::HeaderValue;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use quintet_http::problem::Problem;

use super::host::Asked;
use super::{Extra, finish};
use crate::body::ResponseBody;
use crate::connection::ConnectionState;
use crate::content;
use crate::exchange::Exchange;
use crate::files::{self, StaticFiles};
use crate::representation::{LocalBody, Reading};
use crate::router::Route;

/// Looks up the file that a request of `route` is for.
pub(super) async fn find(
    state: &ConnectionState,
    files: &Arc<StaticFiles>,
    route: &Route,
    parts: &Parts,
    asked: &Asked,
    extra: &mut Extra,
) -> Result<Response<Reading>, Problem> {
    if !matches!(parts.method, Method::GET | Method::HEAD) {
        extra.allow = Some(HeaderValue::from_static("GET, HEAD"));
        let detail = "files can only be read, by GET and HEAD";
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail));
    }
    let tail = asked.path.strip_prefix(route.path.text()).unwrap_or(&asked.path);
    files::serve(files, parts, &asked.path, tail, state.worker.random()).await
}

/// Sends what is at hand.
pub(super) fn send(
    state: &Rc<ConnectionState>,
    response: Response<Reading>,
    mut exchange: Exchange,
    mut extra: Extra,
) -> Response<ResponseBody> {
    let (mut head, reading) = response.into_parts();
    let wanted = extra.wanted.take();
    if let Some(wanted) = &wanted {
        content::add_headers(wanted, &exchange, &mut head.headers);
    }
    let mut response = finish(state, Response::from_parts(head, ResponseBody::Empty), &mut exchange, extra);
    let compressor = wanted.and_then(|wanted| content::compress(&wanted, &exchange, &mut response));
    let body = ResponseBody::Local(Box::new(LocalBody::new(reading, exchange)));
    *response.body_mut() = match compressor {
        Some(compressor) => compressor.around(body),
        None => body,
    };
    response
}
