//! Answers to requests of HTTP/1.1 whose head is refused before it is one.

use std::rc::Rc;
use std::time::Instant;

use http::{Response, StatusCode};
use quintet_http::problem::Problem;

use super::{Extra, finish};
use crate::body::ResponseBody;
use crate::connection::{ConnectionState, Refusal, Refused};
use crate::exchange::Exchange;
use crate::{answer, trace};

/// Answers a request of HTTP/1.1 whose head is refused, on a connection that ends with it.
pub(crate) fn refuse(state: &Rc<ConnectionState>, refused: Refused) -> Response<ResponseBody> {
    let request_id = trace::request_id(&state.worker);
    let Refused { refusal, method, uri } = refused;
    let mut exchange = Exchange::new(Rc::clone(state), Instant::now(), method, uri, request_id.clone());
    let problem = problem(refusal);
    exchange.refuse(&problem);
    let response = answer::problem(&problem, &request_id);
    let extra = Extra { close: true, ..Extra::default() };
    let response = finish(state, response, &mut exchange, extra);
    if let ResponseBody::Full(bytes) = response.body() {
        exchange.add_bytes(bytes.len() as u64);
    }
    response
}

/// The answer to a head that is refused for this reason.
#[cold]
fn problem(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::Malformed(what) => {
            Problem::bad_request("head_malformed", format!("the request's head is malformed: {what}"))
        }
        Refusal::TwoFramings => Problem::bad_request(
            "length_conflict",
            "the request has both Content-Length and Transfer-Encoding",
        ),
        Refusal::BareLineFeed => Problem::bad_request(
            "line_end_invalid",
            "a line of the request's head ends without a carriage return",
        ),
        Refusal::Encoded => Problem::new(
            StatusCode::NOT_IMPLEMENTED,
            "transfer_encoding_unsupported",
            "the only Transfer-Encoding of a request may be `chunked`, once",
        ),
        Refusal::TargetTooLong => Problem::new(
            StatusCode::URI_TOO_LONG,
            "target_too_long",
            "the request's line is longer than this gateway takes",
        ),
        Refusal::TooLarge => Problem::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "head_too_large",
            "the request's head is larger than this gateway takes, or has too many headers",
        ),
    }
}
