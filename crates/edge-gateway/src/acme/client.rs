//! How the gateway talks to an authority: the project's own HTTP client, one for each origin that the directory names.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{HeaderMap, HeaderValue, RETRY_AFTER, USER_AGENT};
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use instant_acme::{BodyWrapper, BytesResponse, Error, HttpClient};
use quintet_http::{Client, ClientError, Origin};
use quintet_types::SharedClock;
use rustls::ClientConfig;
use rustls::crypto::aws_lc_rs;

use super::AcmeError;
use crate::config::AcmeSection;
use crate::tls::{self, TlsError};

const TIMEOUT: Duration = Duration::from_secs(30);
/// Chains and directories are a few kilobytes.
const MAX_BODY: usize = 1024 * 1024;
const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("quintet-edge-gateway/", env!("CARGO_PKG_VERSION")));

/// A connection to an authority; clones share it.
#[derive(Clone)]
pub(super) struct Http(Arc<Shared>);

struct Shared {
    /// None trusts the public roots.
    tls: Option<ClientConfig>,
    clients: Mutex<HashMap<Origin, Client>>,
    clock: SharedClock,
    /// What the last refusal asked for.
    retry_after: Mutex<Option<Duration>>,
}

impl Http {
    pub(super) fn new(section: &AcmeSection, clock: SharedClock) -> Result<Self, AcmeError> {
        let tls = match &section.ca_file {
            None => None,
            Some(file) => Some(
                ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
                    .with_safe_default_protocol_versions()
                    .map_err(TlsError::Setup)?
                    .with_root_certificates(tls::read_roots(file)?)
                    .with_no_client_auth(),
            ),
        };
        let shared = Shared { tls, clients: Mutex::default(), clock, retry_after: Mutex::default() };
        Ok(Self(Arc::new(shared)))
    }

    /// How long the authority asked to wait when it last refused something; asked once.
    pub(super) fn take_retry_after(&self) -> Option<Duration> {
        lock(&self.0.retry_after).take()
    }

    async fn exchange(&self, request: Request<BodyWrapper<Bytes>>) -> Result<Response<Bytes>, ClientError> {
        let (mut parts, body) = request.into_parts();
        let Ok(body) = body.collect().await;
        parts.headers.insert(USER_AGENT, AGENT);
        let client = self.client(&parts.uri)?;
        let response = client.request(Request::from_parts(parts, body.to_bytes())).await?;
        if response.status().is_client_error() || response.status().is_server_error() {
            let now = self.0.clock.now().as_second();
            *lock(&self.0.retry_after) = retry_after(response.headers(), now);
        }
        Ok(response)
    }

    fn client(&self, uri: &http::Uri) -> Result<Client, ClientError> {
        let refused = |text: String| ClientError::Request(text.into());
        let (Some("https"), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(refused(format!("the authority names {uri}, which is not https")));
        };
        let origin: Origin =
            format!("https://{authority}").parse().map_err(|error| ClientError::Request(Box::new(error)))?;
        let make = |origin: &Origin| match &self.0.tls {
            Some(tls) => Client::with_tls(origin.clone(), tls.clone()),
            None => Client::new(origin.clone()),
        };
        let mut clients = lock(&self.0.clients);
        let client = clients
            .entry(origin)
            .or_insert_with_key(|origin| make(origin).timeout(TIMEOUT).max_body(MAX_BODY));
        Ok(client.clone())
    }
}

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let http = self.clone();
        Box::pin(async move {
            match http.exchange(request).await {
                Ok(response) => Ok(response.map(Full::new).into()),
                Err(error) => Err(Error::Other(Box::new(error))),
            }
        })
    }
}

/// Seconds or a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: i64) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(date.saturating_sub(Duration::from_secs(u64::try_from(now).unwrap_or(0))))
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let asked = |text: &'static str| {
            let headers = HeaderMap::from_iter([(RETRY_AFTER, HeaderValue::from_static(text))]);
            retry_after(&headers, 784_111_777).map(|wait| wait.as_secs())
        };
        assert_eq!(asked("120"), Some(120));
        assert_eq!(asked("Sun, 06 Nov 1994 08:50:37 GMT"), Some(60));
        assert_eq!(asked("Sun, 06 Nov 1994 08:00:00 GMT"), Some(0), "a date that is over");
        assert_eq!(asked("soon"), None);
        assert_eq!(retry_after(&HeaderMap::new(), 0), None);
    }
}
