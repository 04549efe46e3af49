//! Content types, content encodings and decompression with a cap.

use std::borrow::Cow;
use std::io::Read;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::response::Refusal;

/// OTLP/HTTP's two encodings; the answer uses the request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        match value.split(';').next().unwrap_or("").trim().to_ascii_lowercase().as_str() {
            "application/x-protobuf" => Ok(Self::Protobuf),
            "application/json" => Ok(Self::Json),
            _ => Err(Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-type must be application/x-protobuf or application/json",
            )),
        }
    }

    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Protobuf => "application/x-protobuf",
            Self::Json => "application/json",
        }
    }
}

/// The body without its content encoding, at most `cap` bytes long: a small body that unpacks to
/// gigabytes is refused before they exist.
pub(super) fn plain<'a>(headers: &HeaderMap, body: &'a [u8], cap: usize) -> Result<Cow<'a, [u8]>, Refusal> {
    let encoding = headers.get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or("identity");
    match encoding.trim().to_ascii_lowercase().as_str() {
        "" | "identity" => Ok(Cow::Borrowed(body)),
        "gzip" => capped(flate2::read::MultiGzDecoder::new(body), cap).map(Cow::Owned),
        "zstd" => {
            let decoder = zstd::stream::read::Decoder::new(body).map_err(Refusal::malformed)?;
            capped(decoder, cap).map(Cow::Owned)
        }
        _ => Err(Refusal::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content-encoding must be gzip, zstd or identity",
        )),
    }
}

fn capped(decoder: impl Read, cap: usize) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::new();
    let limit = u64::try_from(cap).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut plain).map_err(Refusal::malformed)?;
    if plain.len() > cap {
        return Err(Refusal::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {cap} bytes when unpacked"),
        ));
    }
    Ok(plain)
}
