//! A small HTTP/1.1 client for one origin, over TCP, TLS or a unix socket.
//!
//! Connections are kept and reused last in, first out, so that the surplus goes idle and is
//! dropped. One deadline covers the whole exchange: connecting, sending, waiting and reading.
//! Response bodies are read whole, up to a limit.
//!
//! A request is sent again only when a reused connection turned out to be closed and hyper hands
//! the request back, which proves that no byte of it was written; anything else is the caller's
//! decision. Redirects are not followed and no header is added but `Host`.

mod connect;
mod pool;

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::header::{ACCEPT, CONTENT_TYPE, HOST};
use http::uri::PathAndQuery;
use http::{HeaderValue, Method, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

pub use self::connect::AddressFilter;
use self::pool::{Lease, Pool};
use crate::origin::Origin;

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
const DEFAULT_MAX_BODY: usize = 8 * 1024 * 1024;

/// Why a request got no usable answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// No connection; nothing was sent, so trying again is safe.
    #[error("cannot connect to {origin}")]
    Connect {
        /// Where to.
        origin: Origin,
        /// The system's or TLS's reason.
        #[source]
        source: std::io::Error,
    },
    /// The exchange did not end before its deadline; the request may have been acted on.
    #[error("no answer from {0} in time")]
    Timeout(Origin),
    /// The response body is larger than the client allows.
    #[error("the answer is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// The connection broke or the answer is no HTTP; the request may have been acted on.
    #[error("broken exchange with {origin}")]
    Protocol {
        /// Who with.
        origin: Origin,
        /// What broke.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The request cannot be sent as it is, such as a path that is no URI path.
    #[error("the request is not valid")]
    Request(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// An answer outside 200..=299, from the helpers that expect success.
    #[error("answered with status {status}")]
    Status {
        /// The status.
        status: StatusCode,
        /// The body, often problem+json.
        body: Bytes,
    },
    /// A successful answer that is not the JSON expected.
    #[error("the answer is not the JSON expected")]
    Decode(#[source] serde_json::Error),
}

impl ClientError {
    /// Whether the request provably never reached the server.
    pub fn is_unsent(&self) -> bool {
        matches!(self, Self::Connect { .. } | Self::Request(_))
    }
}

/// A pooled client for one origin; clones share the pool.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    timeout: Duration,
    max_body: usize,
    cut_body: bool,
}

impl Client {
    /// A client that trusts the public certificate authorities (webpki-roots) for `https`.
    pub fn new(origin: Origin) -> Self {
        Self::from_pool(Pool::new(origin, None, None))
    }

    /// A client with its own TLS configuration, for a private certificate authority or mutual TLS.
    pub fn with_tls(origin: Origin, tls: rustls::ClientConfig) -> Self {
        Self::from_pool(Pool::new(origin, Some(Arc::new(tls)), None))
    }

    /// The same for an origin that a stranger chose: only addresses that `filter` admits are connected to. The
    /// address that was asked about is the one connected to, so that a name that resolves differently the next
    /// moment gets nobody past the filter.
    pub fn guarded(origin: Origin, tls: rustls::ClientConfig, filter: AddressFilter) -> Self {
        Self::from_pool(Pool::new(origin, Some(Arc::new(tls)), Some(filter)))
    }

    fn from_pool(pool: Pool) -> Self {
        Self { pool: Arc::new(pool), timeout: DEFAULT_TIMEOUT, max_body: DEFAULT_MAX_BODY, cut_body: false }
    }

    /// The same client with another deadline for each exchange (10 s unless set).
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// The same client with another limit on response bodies in bytes (8 MiB unless set).
    #[must_use]
    pub fn max_body(mut self, max_body: usize) -> Self {
        self.max_body = max_body;
        self
    }

    /// The same client reading no more than `bytes` of an answer, whose rest is dropped with its connection.
    #[must_use]
    pub fn cut_body(mut self, bytes: usize) -> Self {
        self.max_body = bytes;
        self.cut_body = true;
        self
    }

    /// Where the client sends to.
    pub fn origin(&self) -> &Origin {
        &self.pool.origin
    }

    /// Sends `request` and reads the whole answer, whatever its status. Only the path and query
    /// of its URI count; `Host` is set unless present.
    pub async fn request(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ClientError> {
        let request = self.prepare(request)?;
        tokio::time::timeout(self.timeout, self.exchange(request))
            .await
            .map_err(|_| ClientError::Timeout(self.origin().clone()))?
    }

    /// `GET path`; an error unless the status is a success.
    pub async fn get(&self, path: &str) -> Result<Response<Bytes>, ClientError> {
        self.request(build(Method::GET, path, None, Bytes::new())?).await.and_then(successful)
    }

    /// `GET path` and parse the JSON answer.
    pub async fn get_json<T: DeserializeOwned>(&self, path: &str) -> Result<T, ClientError> {
        let mut request = build(Method::GET, path, None, Bytes::new())?;
        request.headers_mut().insert(ACCEPT, HeaderValue::from_static("application/json"));
        let response = self.request(request).await.and_then(successful)?;
        serde_json::from_slice(response.body()).map_err(ClientError::Decode)
    }

    /// `POST path` with a JSON body; an error unless the status is a success.
    pub async fn post_json<T: Serialize + ?Sized>(
        &self,
        path: &str,
        body: &T,
    ) -> Result<Response<Bytes>, ClientError> {
        let body = serde_json::to_vec(body).map_err(|error| ClientError::Request(error.into()))?;
        self.request(build(Method::POST, path, Some("application/json"), body.into())?)
            .await
            .and_then(successful)
    }

    /// `POST path` with a form body; an error unless the status is a success.
    pub async fn post_form(
        &self,
        path: &str,
        fields: &[(&str, &str)],
    ) -> Result<Response<Bytes>, ClientError> {
        let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let media_type = "application/x-www-form-urlencoded";
        self.request(build(Method::POST, path, Some(media_type), body.into())?).await.and_then(successful)
    }

    fn prepare(&self, request: Request<Bytes>) -> Result<Request<Full<Bytes>>, ClientError> {
        let (mut parts, body) = request.into_parts();
        let target = parts.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
        parts.uri = Uri::from(target);
        if !parts.headers.contains_key(HOST) {
            parts.headers.insert(HOST, self.pool.host.clone());
        }
        if parts.method == Method::CONNECT {
            return Err(ClientError::Request("CONNECT is not supported".into()));
        }
        parts.version = http::Version::HTTP_11;
        Ok(Request::from_parts(parts, Full::new(body)))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Response<Bytes>, ClientError> {
        let mut unsent = request;
        if let Some(mut lease) = self.pool.reuse().await {
            match lease.sender.try_send_request(unsent).await {
                Ok(response) => return self.collect(lease, response).await,
                Err(mut error) => match error.take_message() {
                    Some(request) => unsent = request,
                    None => return Err(self.protocol(error.into_error())),
                },
            }
        }
        let mut lease = self.pool.dial().await?;
        let response = lease.sender.send_request(unsent).await.map_err(|error| self.protocol(error))?;
        self.collect(lease, response).await
    }

    async fn collect(
        &self,
        lease: Lease,
        response: Response<Incoming>,
    ) -> Result<Response<Bytes>, ClientError> {
        let (parts, body) = response.into_parts();
        if self.cut_body {
            let (body, whole) = self.beginning(body).await?;
            if whole {
                self.pool.keep(lease);
            }
            return Ok(Response::from_parts(parts, body));
        }
        let body = Limited::new(body, self.max_body).collect().await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                ClientError::TooLarge { limit: self.max_body }
            } else {
                self.protocol(error)
            }
        })?;
        self.pool.keep(lease);
        Ok(Response::from_parts(parts, body.to_bytes()))
    }

    /// The first bytes of a body, and whether they are all of it.
    async fn beginning(&self, mut body: Incoming) -> Result<(Bytes, bool), ClientError> {
        let mut kept = BytesMut::new();
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| self.protocol(error))?;
            let Ok(chunk) = frame.into_data() else { continue };
            let room = self.max_body.saturating_sub(kept.len());
            kept.extend_from_slice(chunk.get(..room.min(chunk.len())).unwrap_or_default());
            if chunk.len() > room {
                return Ok((kept.freeze(), false));
            }
        }
        Ok((kept.freeze(), true))
    }

    fn protocol(&self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> ClientError {
        ClientError::Protocol { origin: self.origin().clone(), source: source.into() }
    }
}

fn build(
    method: Method,
    path: &str,
    media_type: Option<&'static str>,
    body: Bytes,
) -> Result<Request<Bytes>, ClientError> {
    let mut request = Request::builder().method(method).uri(path);
    if let Some(media_type) = media_type {
        request = request.header(CONTENT_TYPE, media_type);
    }
    request.body(body).map_err(|error| ClientError::Request(error.into()))
}

fn successful(response: Response<Bytes>) -> Result<Response<Bytes>, ClientError> {
    if response.status().is_success() {
        return Ok(response);
    }
    Err(ClientError::Status { status: response.status(), body: response.into_body() })
}
