//! A client of a running fleet that uses nothing but the gateway's TLS port, trusting only the fleet's own
//! certificate authority.
//!
//! It adds a token and sends what it is given; it does not retry, because its users want to see each answer.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, Method, Request, StatusCode};
use quintet_http::{Client, ClientError, Origin};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde_json::Value;

/// Every scope a service client may be given, as `up` registers its demo client.
pub const SCOPES: &str = "users:read users:write billing:read billing:write inventory:read inventory:write \
                          orders:read orders:write exports:read exports:write jobs:read jobs:write jobs:enqueue jobs:work \
                          telemetry:read telemetry:write";

/// An answer with its body read.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The status.
    pub status: StatusCode,
    /// The headers.
    pub headers: HeaderMap,
    /// The whole body.
    pub body: Bytes,
}

impl Answer {
    /// The body as JSON; `Null` where it is none.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// A header's text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The answer itself if its status says success, else an error with the body.
    pub fn success(self) -> anyhow::Result<Self> {
        if self.status.is_success() {
            return Ok(self);
        }
        bail!("answered {}: {}", self.status, String::from_utf8_lossy(&self.body));
    }
}

/// A connection pool to one fleet, with or without a token.
#[derive(Debug, Clone)]
pub struct Gateway {
    client: Client,
    token: Option<String>,
}

impl Gateway {
    /// A client without a token.
    pub fn new(https_port: u16, authority: &Path) -> anyhow::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(authority)
            .with_context(|| format!("read the certificate authority {}", authority.display()))?;
        roots.add(certificate).context("trust the certificate authority")?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .context("choose TLS versions")?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let origin = Origin::Https { host: "localhost".to_owned(), port: https_port };
        Ok(Self { client: Client::with_tls(origin, tls).timeout(Duration::from_secs(30)), token: None })
    }

    /// The same client, sending this token.
    #[must_use]
    pub fn with_token(&self, token: impl Into<String>) -> Self {
        Self { client: self.client.clone(), token: Some(token.into()) }
    }

    /// The same client, signed in by the client credentials grant.
    pub async fn sign_in(&self, client_id: &str, secret: &str) -> anyhow::Result<Self> {
        self.sign_in_for(client_id, secret, SCOPES).await
    }

    /// The same with scopes of its own.
    pub async fn sign_in_for(&self, client_id: &str, secret: &str, scopes: &str) -> anyhow::Result<Self> {
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", client_id),
            ("client_secret", secret),
            ("scope", scopes),
        ];
        let response = self.client.post_form("/identity/token", &form).await.map_err(explained)?;
        let token: Value = serde_json::from_slice(response.body()).context("the token answer is not JSON")?;
        let access =
            token.get("access_token").and_then(Value::as_str).context("the answer holds no access_token")?;
        Ok(self.with_token(access))
    }

    /// Sends one request. A transport failure is an error; any status is an answer.
    pub async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Result<Answer, ClientError> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).map_err(|error| ClientError::Request(Box::new(error)))?;
        let response = self.client.request(request).await?;
        let (head, body) = response.into_parts();
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Result<Answer, ClientError> {
        self.send(Method::GET, path, &[], Bytes::new()).await
    }

    /// POST of JSON with an idempotency key.
    pub async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, ClientError> {
        self.json(Method::POST, path, key, body).await
    }

    /// PUT of JSON with an idempotency key.
    pub async fn put(&self, path: &str, key: &str, body: &Value) -> Result<Answer, ClientError> {
        self.json(Method::PUT, path, key, body).await
    }

    async fn json(&self, method: Method, path: &str, key: &str, body: &Value) -> Result<Answer, ClientError> {
        let headers = [(CONTENT_TYPE.as_str(), "application/json"), ("idempotency-key", key)];
        self.send(method, path, &headers, body.to_string()).await
    }
}

fn explained(error: ClientError) -> anyhow::Error {
    match error {
        ClientError::Status { status, body } => {
            anyhow::anyhow!("answered {status}: {}", String::from_utf8_lossy(&body))
        }
        other => other.into(),
    }
}
