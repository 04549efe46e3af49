//! What a route does to the content of its answers, whoever made them.
//!
//! A route without such a policy has `None` for it and pays one branch. What the policy needs to know of
//! the request is kept in [`Wanted`], because the request itself has gone upstream when the answer comes.

mod accept;
mod compression;
mod cors;
mod encoded;
mod encoder;
mod security;

use http::header::{HeaderMap, HeaderValue, VARY};
use http::request::Parts;
use http::{Method, Response};

pub(crate) use self::accept::{Encoding, choose as choose_encoding};
pub(crate) use self::compression::{Compression, TypePattern};
pub(crate) use self::cors::{Cors, CorsHeaders, OriginRule, preflight_method};
pub(crate) use self::encoded::Encoded;
use self::encoder::Encoder;
pub(crate) use self::encoder::Levels;
pub(crate) use self::security::{Framing, SecurityHeaders};
use crate::body::ResponseBody;
use crate::exchange::Exchange;
use crate::worker::EncoderPlace;

/// The policy of a route.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) compression: Option<Compression>,
    pub(crate) security: Option<SecurityHeaders>,
    pub(crate) cors: Option<Cors>,
}

impl Content {
    pub(crate) fn is_empty(&self) -> bool {
        self.compression.is_none() && self.security.is_none() && self.cors.is_none()
    }

    /// What the policy has to know of a request when its answer comes.
    pub(crate) fn wanted(&self, request: &Parts) -> Wanted {
        let taken = self.compression.as_ref();
        Wanted {
            encoding: taken.and_then(|compression| accept::choose(&request.headers, &compression.encodings)),
            head: request.method == Method::HEAD,
            origin: self.cors.as_ref().and_then(|_| cors::origin(request)),
        }
    }
}

/// What a request asked of the content of its answer.
#[derive(Debug)]
pub(crate) struct Wanted {
    /// The encoding that the client likes best.
    encoding: Option<Encoding>,
    head: bool,
    /// Whose script asked.
    origin: Option<HeaderValue>,
}

/// Adds what the route says to browsers, before its own edits of headers.
pub(crate) fn add_headers(wanted: &Wanted, exchange: &Exchange, headers: &mut HeaderMap) {
    let Some(content) = exchange.content() else { return };
    if let Some(security) = &content.security {
        security.apply(headers);
    }
    if let Some(cors) = &content.cors {
        cors.apply(wanted.origin.as_ref(), headers);
    }
}

/// Turns a streamed answer's head into that of a compressed one where that is right, and returns what its
/// body is to pass through.
pub(crate) fn compress<B>(
    wanted: &Wanted,
    exchange: &Exchange,
    response: &mut Response<B>,
) -> Option<Compressor> {
    let compression = exchange.content()?.compression.as_ref()?;
    let length = compression::content_length(response.headers());
    let encoding = compression.negotiate(wanted.encoding, length, response)?;
    if wanted.head {
        compression::rewrite_head(encoding, response.headers_mut());
        return None;
    }
    let limit = exchange.view().config.content.compressed_streams;
    let place = EncoderPlace::take(&exchange.connection().worker, limit)?;
    let encoder = Encoder::new(encoding, compression.levels, length).ok()?;
    compression::rewrite_head(encoding, response.headers_mut());
    Some(Compressor { encoder, place })
}

/// Compresses an answer that is in memory, where that is right and makes it smaller.
pub(crate) fn compress_whole(
    wanted: &Wanted,
    exchange: &Exchange,
    mut response: Response<ResponseBody>,
) -> Response<ResponseBody> {
    let Some(compression) = exchange.content().and_then(|content| content.compression.as_ref()) else {
        return response;
    };
    let ResponseBody::Full(bytes) = response.body() else { return response };
    let bytes = bytes.clone();
    let length = Some(bytes.len() as u64);
    if let Some(encoding) = compression.negotiate(wanted.encoding, length, &mut response)
        && let Ok(smaller) = encoder::encode(encoding, compression.levels, &bytes)
        && smaller.len() < bytes.len()
    {
        compression::rewrite_head(encoding, response.headers_mut());
        *response.body_mut() = ResponseBody::Full(smaller);
    }
    response
}

/// What the body of an answer passes through.
pub(crate) struct Compressor {
    encoder: Encoder,
    place: EncoderPlace,
}

impl Compressor {
    pub(crate) fn around(self, body: ResponseBody) -> ResponseBody {
        ResponseBody::Encoded(Box::new(Encoded::new(body, self.encoder, self.place)))
    }
}

/// Adds a name to `Vary` unless it is there.
fn vary(headers: &mut HeaderMap, name: &HeaderValue) {
    let there = headers.get_all(VARY).iter().filter_map(|value| value.to_str().ok()).any(|list| {
        list.split(',')
            .map(str::trim)
            .any(|one| one == "*" || one.as_bytes().eq_ignore_ascii_case(name.as_bytes()))
    });
    if !there {
        headers.append(VARY, name.clone());
    }
}
