//! Request ids and trace contexts at the edge.
//!
//! Ids are always made here: what a client sends as its own goes on under another name. Whether a new trace is
//! recorded is decided before a span exists, because a span that nobody will see costs more than the rest of
//! a request; such requests carry an unsampled context upstream, so that nobody behind records either. A gateway
//! without an exporter decides nothing: it begins no trace and leaves that to who stands behind.

use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use tracing::field::Empty;
use tracing::{Span, info_span};

use crate::gateway::Snapshot;
use crate::headers::TRACEPARENT;
use crate::router::Route;
use crate::worker::Worker;

/// A UUIDv7: sortable by time, unguessable enough for an identifier that is no secret.
pub(crate) fn request_id(worker: &Worker) -> HeaderValue {
    let millis = u128::try_from(worker.gateway.now_millis()).unwrap_or_default();
    let random = u128::from(worker.random()) << 64 | u128::from(worker.random());
    let id = (millis << 80)
        | 0x7 << 76
        | (random >> 52 & 0xfff) << 64
        | 0b10 << 62
        | (random & 0x3fff_ffff_ffff_ffff);
    let digits = hex(id.to_be_bytes());
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&digits[..8]);
    text[9..13].copy_from_slice(&digits[8..12]);
    text[14..18].copy_from_slice(&digits[12..16]);
    text[19..23].copy_from_slice(&digits[16..20]);
    text[24..].copy_from_slice(&digits[20..]);
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static("none"))
}

/// Lower-case digits. Computed rather than looked up: the compiler turns the loop into a few vector operations.
fn hex(bytes: [u8; 16]) -> [u8; 32] {
    let mut digits = [0u8; 32];
    for (pair, byte) in digits.chunks_exact_mut(2).zip(bytes) {
        pair.copy_from_slice(&[digit(byte >> 4), digit(byte & 0xf)]);
    }
    digits
}

const fn digit(value: u8) -> u8 {
    value + if value < 10 { b'0' } else { b'a' - 10 }
}

/// The SERVER span of a request, or a disabled one where the trace is not recorded.
pub(crate) fn server_span(
    snapshot: &Snapshot,
    parts: &Parts,
    route: &Route,
    request_id: &HeaderValue,
    worker: &Worker,
) -> Span {
    let continued = parts.headers.contains_key(TRACEPARENT);
    if !continued && !snapshot.samples(|| worker.random()) {
        return Span::none();
    }
    let method = method_name(parts);
    let span = info_span!(
        target: "http",
        "request",
        otel.name = format_args!("{method} {}", route.path.text()),
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route.path.text(),
        http.response.status_code = Empty,
        url.path = parts.uri.path(),
        request.id = request_id.to_str().unwrap_or_default(),
    );
    if continued {
        quintet_telemetry::trace::set_parent_from_headers(&span, &parts.headers);
    }
    span
}

/// Clients invent methods; a span's name must not.
fn method_name(parts: &Parts) -> &'static str {
    match parts.method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "OTHER",
    }
}

/// Adds the trace context of `span` to a request's headers, or an unsampled one; the client's own has gone from them, whether
/// it was continued or not.
pub(crate) fn inject(span: &Span, snapshot: &Snapshot, headers: &mut HeaderMap, worker: &Worker) {
    if span.is_disabled() {
        if snapshot.traces() {
            headers.insert(TRACEPARENT, unsampled(worker));
        }
        return;
    }
    span.in_scope(|| quintet_telemetry::trace::inject(headers));
}

/// `00-<trace id>-<span id>-00`.
fn unsampled(worker: &Worker) -> HeaderValue {
    let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
    // Neither id may be zero (W3C Trace Context, sections 3.2.2.3 and 3.2.2.4).
    let trace = u128::from(worker.random() | 1) << 64 | u128::from(worker.random());
    let span = u128::from(worker.random() | 1);
    text[3..35].copy_from_slice(&hex(trace.to_be_bytes()));
    text[36..52].copy_from_slice(&hex(span.to_be_bytes())[16..]);
    HeaderValue::from_bytes(&text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_those_of_the_standard_formatter() {
        let bytes: [u8; 16] = std::array::from_fn(|at| u8::try_from(at * 17).unwrap());
        assert_eq!(&hex(bytes)[..], format!("{:032x}", u128::from_be_bytes(bytes)).as_bytes());
    }
}
