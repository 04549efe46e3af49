//! Content types, content encodings and decompression with a cap.

use std::borrow::Cow;
use std::io::Read;

use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderMap, StatusCode};

use super::budget::Charge;
use super::response::Refusal;

const CHUNK: usize = 64 * 1024;

/// OTLP/HTTP's two encodings; the answer uses the request's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        match media_type(headers).as_str() {
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

/// The content type without its parameters, in lower case.
pub(super) fn media_type(headers: &HeaderMap) -> String {
    let value = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    value.split(';').next().unwrap_or("").trim().to_ascii_lowercase()
}

/// How a body is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Plain,
    Gzip,
    Zstd,
    /// Snappy's block format, which Prometheus and Loki send.
    Snappy,
}

impl Packing {
    /// The packing that a header of HTTP or gRPC names.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" => Some(Self::Plain),
            "gzip" => Some(Self::Gzip),
            "zstd" => Some(Self::Zstd),
            "snappy" => Some(Self::Snappy),
            _ => None,
        }
    }

    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Refusal> {
        let named = headers.get(CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?"));
        Self::named(named.unwrap_or("")).ok_or_else(|| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "content-encoding must be gzip, zstd, snappy or identity",
            )
        })
    }
}

/// The body without its packing, at most `cap` bytes long and charged for: a small body that unpacks to
/// gigabytes is refused before they exist.
pub(super) fn unpack<'a>(
    packing: Packing,
    body: &'a [u8],
    cap: usize,
    charge: &mut Charge<'_>,
) -> Result<Cow<'a, [u8]>, Refusal> {
    match packing {
        Packing::Plain => {
            charge.add(body.len())?;
            Ok(Cow::Borrowed(body))
        }
        Packing::Gzip => capped(flate2::read::MultiGzDecoder::new(body), cap, charge).map(Cow::Owned),
        Packing::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(body).map_err(Refusal::malformed)?;
            capped(decoder, cap, charge).map(Cow::Owned)
        }
        Packing::Snappy => {
            let length = snap::raw::decompress_len(body).map_err(Refusal::malformed)?;
            if length > cap {
                return Err(too_large(cap));
            }
            charge.add(length)?;
            snap::raw::Decoder::new().decompress_vec(body).map(Cow::Owned).map_err(Refusal::malformed)
        }
    }
}

fn capped(mut decoder: impl Read, cap: usize, charge: &mut Charge<'_>) -> Result<Vec<u8>, Refusal> {
    let mut plain = Vec::new();
    let chunk = u64::try_from(CHUNK).unwrap_or(u64::MAX);
    loop {
        let read = decoder.by_ref().take(chunk).read_to_end(&mut plain).map_err(Refusal::malformed)?;
        if read == 0 {
            return Ok(plain);
        }
        if plain.len() > cap {
            return Err(too_large(cap));
        }
        charge.add(read)?;
    }
}

fn too_large(cap: usize) -> Refusal {
    Refusal::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        format!("the body is larger than {cap} bytes when unpacked; send smaller batches"),
    )
}
