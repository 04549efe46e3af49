//! What the gateway does to the content of answers.

mod compression;
mod cors;
mod security;

use bytes::Bytes;
use http::Request;

pub(super) fn asking(path: &str, headers: &[(&str, &str)]) -> Request<Bytes> {
    let mut request = Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(Bytes::new()).unwrap()
}
