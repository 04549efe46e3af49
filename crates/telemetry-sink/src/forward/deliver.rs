//! One request to a target, and what its answer means.
//!
//! What says that this very request can never be taken (400, 413, 415, 422 and their like) drops it. What says that it cannot
//! be taken now, or that the target does not know the sink or is not where it was looked for (401, 403, 404, a redirect), is
//! tried again: a token that ran out must not cost what came meanwhile.

use std::io::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response};
use quintet_http::{Client, ClientError};

use super::settings::Compression;
use crate::ingest::otlp_proto::rejected;
use crate::otlp;
use crate::outbound::Access;

/// Targets answer a few words.
pub(super) const MAX_ANSWER: usize = 64 * 1024;
/// The longest that a target may put a retry off.
const MAX_RETRY_AFTER: Duration = Duration::from_mins(5);
const VERSION: HeaderName = HeaderName::from_static("x-prometheus-remote-write-version");

/// How requests are written on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Otlp(Compression),
    RemoteWrite { version: u8 },
}

/// Where one signal of a target goes.
pub(super) struct Door {
    pub(super) client: Client,
    pub(super) path: String,
    pub(super) access: Access,
    pub(super) protocol: Protocol,
}

/// What became of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Taken, but for so many items.
    Sent {
        rejected: usize,
    },
    /// It will be refused again.
    Refused(String),
    Later {
        reason: String,
        after: Option<Duration>,
    },
}

fn later(reason: impl Into<String>) -> Outcome {
    Outcome::Later { reason: reason.into(), after: None }
}

impl Door {
    pub(super) async fn send(&self, request: &otlp::Request) -> Outcome {
        let packed = match self.protocol.pack(&request.body) {
            Ok(packed) => packed,
            Err(error) => return Outcome::Refused(format!("cannot be packed: {error}")),
        };
        let mut prepared = match Request::post(&self.path).body(Bytes::from(packed)) {
            Ok(prepared) => prepared,
            Err(error) => return later(error.to_string()),
        };
        self.protocol.describe(prepared.headers_mut());
        if let Err(error) = self.access.apply(prepared.headers_mut()) {
            return later(error);
        }
        match self.client.request(prepared).await {
            Ok(response) => self.judge(&response, request.items),
            Err(error) => later(reason(&error)),
        }
    }

    fn judge(&self, response: &Response<Bytes>, items: usize) -> Outcome {
        let status = response.status();
        match status.as_u16() {
            200..300 => Outcome::Sent {
                rejected: match self.protocol {
                    Protocol::Otlp(_) => rejected(response.body()).min(items),
                    Protocol::RemoteWrite { .. } => 0,
                },
            },
            300..=399 | 401 | 403..=405 | 407 | 408 | 421 | 425 | 429 | 500.. => Outcome::Later {
                reason: format!("answered with status {status}"),
                after: retry_after(response),
            },
            _ => {
                let text = String::from_utf8_lossy(response.body());
                let text: String = text.chars().filter(|letter| !letter.is_control()).take(200).collect();
                Outcome::Refused(format!("answered with status {status}: {text}"))
            }
        }
    }
}

fn retry_after(response: &Response<Bytes>) -> Option<Duration> {
    let seconds = response.headers().get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(MAX_RETRY_AFTER))
}

fn reason(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Protocol {
    fn pack(self, body: &[u8]) -> std::io::Result<Vec<u8>> {
        match self {
            Self::Otlp(Compression::None) => Ok(body.to_vec()),
            Self::Otlp(Compression::Gzip) => {
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                encoder.write_all(body)?;
                encoder.finish()
            }
            Self::Otlp(Compression::Zstd) => zstd::bulk::compress(body, 1),
            Self::RemoteWrite { .. } => {
                snap::raw::Encoder::new().compress_vec(body).map_err(std::io::Error::other)
            }
        }
    }

    fn describe(self, headers: &mut http::HeaderMap) {
        let (kind, encoding) = match self {
            Self::Otlp(Compression::None) => ("application/x-protobuf", None),
            Self::Otlp(Compression::Gzip) => ("application/x-protobuf", Some("gzip")),
            Self::Otlp(Compression::Zstd) => ("application/x-protobuf", Some("zstd")),
            Self::RemoteWrite { version: 2 } => {
                ("application/x-protobuf;proto=io.prometheus.write.v2.Request", Some("snappy"))
            }
            Self::RemoteWrite { .. } => ("application/x-protobuf", Some("snappy")),
        };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(encoding) = encoding {
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        if let Self::RemoteWrite { version } = self {
            let value = if version == 2 { "2.0.0" } else { "0.1.0" };
            headers.insert(VERSION, HeaderValue::from_static(value));
        }
        let agent = concat!("quintet-telemetry-sink/", env!("CARGO_PKG_VERSION"));
        headers.insert(USER_AGENT, HeaderValue::from_static(agent));
    }
}
