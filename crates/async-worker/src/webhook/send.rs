//! One POST to an endpoint, bounded in time and in what is read of the answer. Redirects are not followed: they would lead
//! past what the endpoint's owner was asked about.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{Request, Uri};
use quintet_http::client::AddressFilter;
use quintet_http::{Client, ClientError, Origin};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;

use super::addresses::{self, Network};
use crate::config::Webhooks as Settings;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What is kept of an answer.
const ANSWER_BYTES: usize = 1024;
/// The longest that an endpoint may put a retry off.
const MAX_RETRY_AFTER: Duration = Duration::from_hours(24);
const MAX_URL: usize = 2000;

/// What came of an attempt.
#[derive(Debug)]
pub(super) struct Attempted {
    pub(super) status: Option<u16>,
    /// Why it counts as failed.
    pub(super) failure: Option<String>,
    pub(super) latency: Duration,
    pub(super) answer: String,
    /// When the endpoint wants to be asked again.
    pub(super) retry_after: Option<Duration>,
}

/// Where an endpoint is.
pub(crate) struct Target {
    origin: Origin,
    path: Uri,
}

/// Posts to endpoints.
pub(crate) struct Sender {
    tls: ClientConfig,
    filter: AddressFilter,
    own: Vec<Network>,
    allow_http: bool,
    timeout: Duration,
}

impl Sender {
    pub(crate) fn new(settings: &Settings) -> Result<Self, BoxError> {
        let own = settings
            .allowed_networks
            .iter()
            .map(|text| text.parse())
            .collect::<Result<Vec<Network>, String>>()?;
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        if let Some(path) = &settings.ca_file {
            for certificate in CertificateDer::pem_file_iter(path)? {
                roots.add(certificate?)?;
            }
        }
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let networks = own.clone();
        Ok(Self {
            tls,
            filter: Arc::new(move |address| addresses::admits(&networks, address)),
            own,
            allow_http: settings.allow_http,
            timeout: Duration::from_millis(settings.timeout_ms),
        })
    }

    /// The URL as something that can be posted to; the error is for whoever gave it.
    pub(crate) fn target(&self, url: &str) -> Result<Target, String> {
        let uri: Uri = url.parse().map_err(|_| "this is no URL".to_owned())?;
        let scheme = match uri.scheme_str() {
            Some("https") => "https",
            Some("http") if self.allow_http => "http",
            _ => return Err("an endpoint's URL begins with https://".to_owned()),
        };
        if url.len() > MAX_URL {
            return Err(format!("an endpoint's URL has at most {MAX_URL} bytes"));
        }
        let authority = uri.authority().map(http::uri::Authority::as_str).unwrap_or_default();
        let origin: Origin = format!("{scheme}://{authority}")
            .parse()
            .map_err(|_| "an endpoint's URL has a host and no user or password".to_owned())?;
        let host = match &origin {
            Origin::Http { host, .. } | Origin::Https { host, .. } => host.as_str(),
            Origin::Unix(_) => "",
        };
        // Only a courtesy: what counts is the address at the time of connecting.
        if host.parse().is_ok_and(|address| !addresses::admits(&self.own, address)) {
            return Err("webhooks do not go to this address (webhooks.allowed_networks)".to_owned());
        }
        Ok(Target { origin, path: uri })
    }

    pub(super) async fn post(
        &self,
        target: Target,
        headers: [(&'static str, String); 3],
        body: &str,
    ) -> Attempted {
        let started = Instant::now();
        let mut request = Request::post(target.path)
            .header(CONTENT_TYPE, "application/json")
            .header(USER_AGENT, concat!("quintet-webhooks/", env!("CARGO_PKG_VERSION")));
        for (name, value) in headers {
            request = request.header(name, value);
        }
        // A connection of its own for each attempt: none is kept open towards strangers.
        let client = Client::guarded(target.origin, self.tls.clone(), self.filter.clone())
            .timeout(self.timeout)
            .cut_body(ANSWER_BYTES);
        let answer = match request.body(Bytes::from(body.to_owned())) {
            Ok(request) => client.request(request).await,
            Err(error) => Err(ClientError::Request(error.into())),
        };
        attempted(answer, started.elapsed())
    }
}

fn attempted(answer: Result<http::Response<Bytes>, ClientError>, latency: Duration) -> Attempted {
    let response = match answer {
        Ok(response) => response,
        Err(error) => {
            let failure = Some(chain(&error));
            return Attempted { status: None, failure, latency, answer: String::new(), retry_after: None };
        }
    };
    let status = response.status();
    let failure = match status.as_u16() {
        200..=299 => None,
        300..=399 => Some(format!("answered {status}; redirects are not followed")),
        _ => Some(format!("answered {status}")),
    };
    let seconds = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
    Attempted {
        status: Some(status.as_u16()),
        failure,
        latency,
        // PostgreSQL's text takes no NUL.
        answer: String::from_utf8_lossy(response.body()).replace('\0', "\u{fffd}"),
        retry_after: seconds.map(|seconds| Duration::from_secs(seconds).min(MAX_RETRY_AFTER)),
    }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text.replace('\0', "\u{fffd}")
}
