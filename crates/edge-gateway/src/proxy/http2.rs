//! A request's head in the form of HTTP/2 (RFC 9113 section 8.3).

use http::header::{CONTENT_TYPE, HOST, HeaderValue, TE};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{Request, Uri, Version};

use super::Failure;
use crate::body::RequestBody;

/// Moves `Host` to `:authority`. gRPC servers want to be told that trailers arrive (`TE`), which ended with the
/// client's connection.
pub(super) fn request(
    mut request: Box<Request<RequestBody>>,
    secure: bool,
) -> Result<Box<Request<RequestBody>>, Failure> {
    let host = request.headers_mut().remove(HOST);
    let authority = host.and_then(|host| Authority::try_from(host.as_bytes()).ok());
    let mut uri = http::uri::Parts::default();
    uri.scheme = Some(if secure { Scheme::HTTPS } else { Scheme::HTTP });
    uri.path_and_query =
        Some(request.uri().path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/")));
    uri.authority = authority;
    *request.uri_mut() = Uri::from_parts(uri).map_err(|_| Failure::host())?;
    *request.version_mut() = Version::HTTP_2;
    let grpc = |value: &HeaderValue| value.as_bytes().starts_with(b"application/grpc");
    if request.headers().get(CONTENT_TYPE).is_some_and(grpc) {
        request.headers_mut().insert(TE, HeaderValue::from_static("trailers"));
    }
    Ok(request)
}
