//! The bucket and the requests that are one exchange each.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use quintet_http::{Client, ClientError, Origin};
use quintet_types::{Entropy as _, SystemEntropy};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use rusty_s3::{Credentials, S3Action, UrlStyle};
use thiserror::Error;

use crate::Settings;

/// The most bytes that are sent in one request.
pub const PART: usize = 16 * 1024 * 1024;
/// A signature is made for one request, which is sent at once.
const SIGNED_FOR: Duration = Duration::from_mins(5);
const TRIES: u32 = 4;
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// What an error shows of an answer.
const SHOWN: usize = 300;

/// Why a bucket cannot be opened, or a request failed.
#[derive(Debug, Error)]
pub enum Error {
    /// The endpoint and the bucket's name make no URL that can be asked.
    #[error("cannot use the bucket `{bucket}` at {endpoint}: {reason}")]
    Address {
        /// The bucket's name.
        bucket: String,
        /// The service.
        endpoint: String,
        /// What is wrong, and what to change.
        reason: String,
    },
    /// The certificate authorities cannot be read or used.
    #[error("cannot use the certificates of {path}: {reason}")]
    Certificates {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        reason: String,
    },
    /// A file of a key cannot be read.
    #[error("cannot read the access key: {0}")]
    Key(String),
    /// The service cannot be reached, does not answer in time, or breaks off; it was tried several times.
    #[error("the object storage does not answer")]
    Unreachable(#[source] ClientError),
    /// The service refuses: keys that it does not know, a bucket that is not there, a clock that is wrong.
    #[error("the object storage refused to {what}: {status}{}", shown(text))]
    Refused {
        /// What was asked.
        what: &'static str,
        /// Its status.
        status: StatusCode,
        /// The beginning of what it said.
        text: String,
    },
    /// A file on its way cannot be read.
    #[error("cannot read {path}")]
    File {
        /// The file.
        path: std::path::PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// An answer that cannot be understood.
    #[error("the object storage answered {what} with something else: {reason}")]
    Answer {
        /// What was asked.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

fn shown(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// A bucket; cheap to clone.
#[derive(Debug, Clone)]
pub struct Bucket(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    client: Client,
    bucket: rusty_s3::Bucket,
    credentials: Credentials,
    prefix: String,
}

impl Bucket {
    /// Reads the keys and prepares the client. Nothing is asked of the service; [`check`](Self::check) does that.
    pub fn open(settings: &Settings, section: &str) -> Result<Self, Error> {
        let address = |reason: &dyn ToString| Error::Address {
            bucket: settings.bucket.clone(),
            endpoint: settings.endpoint.to_string(),
            reason: reason.to_string(),
        };
        let style = if settings.path_style { UrlStyle::Path } else { UrlStyle::VirtualHost };
        let bucket = rusty_s3::Bucket::new(
            settings.endpoint.clone(),
            style,
            settings.bucket.clone(),
            settings.region.clone(),
        )
        .map_err(|error| address(&error))?;
        let authority = bucket.base_url().authority();
        let origin: Origin = format!("{}://{authority}", bucket.base_url().scheme())
            .parse()
            .map_err(|error| address(&error))?;
        let secret = |file: &quintet_service::SecretFile, key: &str| {
            file.read(&format!("{section}.{key}")).map_err(|error| Error::Key(error.to_string()))
        };
        let id = secret(&settings.access_key_id_file, "access_key_id_file")?;
        let key = secret(&settings.secret_access_key_file, "secret_access_key_file")?;
        let client = Client::with_tls(origin, trust(settings.ca_file.as_deref())?)
            .timeout(Duration::from_millis(settings.timeout_ms));
        Ok(Self(Arc::new(Inner {
            client,
            bucket,
            credentials: Credentials::new(id.expose(), key.expose()),
            prefix: settings.prefix.clone(),
        })))
    }

    /// Asks whether the bucket is there and these keys may use it.
    pub async fn check(&self) -> Result<(), Error> {
        let answer = self.send(self.0.bucket.head_bucket(Some(self.credentials())), Bytes::new()).await?;
        accepted("open the bucket", answer).map(|_| ())
    }

    /// Writes an object of at most [`PART`] bytes, replacing what has its name. The service compares what it got with
    /// `sha256` where it knows how to.
    pub async fn put(&self, key: &str, bytes: Bytes, sha256: &[u8; 32]) -> Result<(), Error> {
        let name = self.name(key);
        let mut action = self.0.bucket.put_object(Some(self.credentials()), &name);
        action.headers_mut().insert("x-amz-checksum-sha256", BASE64_STANDARD.encode(sha256));
        accepted("write an object", self.send(action, bytes).await?).map(|_| ())
    }

    /// How long an object is, or nothing when there is none.
    pub async fn size(&self, key: &str) -> Result<Option<u64>, Error> {
        let name = self.name(key);
        let answer =
            self.send(self.0.bucket.head_object(Some(self.credentials()), &name), Bytes::new()).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let answer = accepted("look at an object", answer)?;
        let length = answer.headers().get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        let missing = || Error::Answer { what: "how long an object is", reason: "no length".to_owned() };
        length.map(Some).ok_or_else(missing)
    }

    /// Bytes of an object, or nothing when there is none. The answer is as long as `range` unless the object ends before.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Option<Bytes>, Error> {
        if range.is_empty() {
            return Ok(Some(Bytes::new()));
        }
        let name = self.name(key);
        let action = self.0.bucket.get_object(Some(self.credentials()), &name);
        let bytes = format!("bytes={}-{}", range.start, range.end - 1);
        let value = HeaderValue::try_from(bytes).map_err(|error| unusable(error.into()))?;
        let answer = self.send_with(action, Bytes::new(), Some(value)).await?;
        match answer.status() {
            StatusCode::NOT_FOUND => Ok(None),
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(Some(Bytes::new())),
            // A service that ignores ranges would give the beginning again and again.
            StatusCode::OK if range.start > 0 => Err(Error::Answer {
                what: "a range of an object",
                reason: "it gave the whole object; it must know ranges".to_owned(),
            }),
            _ => accepted("read an object", answer).map(|answer| Some(answer.into_body())),
        }
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, key: &str) -> Result<(), Error> {
        let name = self.name(key);
        let action = self.0.bucket.delete_object(Some(self.credentials()), &name);
        let answer = self.send(action, Bytes::new()).await?;
        if answer.status() == StatusCode::NOT_FOUND {
            return Ok(());
        }
        accepted("remove an object", answer).map(|_| ())
    }

    pub(crate) fn name(&self, key: &str) -> String {
        format!("{}{key}", self.0.prefix)
    }

    pub(crate) fn inner(&self) -> &rusty_s3::Bucket {
        &self.0.bucket
    }

    pub(crate) fn credentials(&self) -> &Credentials {
        &self.0.credentials
    }

    pub(crate) async fn send<'a>(
        &self,
        action: impl S3Action<'a>,
        body: Bytes,
    ) -> Result<Response<Bytes>, Error> {
        self.send_with(action, body, None).await
    }

    /// Sends until there is an answer that another try would not change.
    async fn send_with<'a>(
        &self,
        mut action: impl S3Action<'a>,
        body: Bytes,
        range: Option<HeaderValue>,
    ) -> Result<Response<Bytes>, Error> {
        let mut tried = 0;
        loop {
            tried += 1;
            let request = request(&mut action, &body, range.as_ref())?;
            let answer = self.0.client.request(request).await;
            let again = match &answer {
                Ok(answer) => {
                    answer.status().is_server_error() || answer.status() == StatusCode::TOO_MANY_REQUESTS
                }
                Err(error) => !matches!(error, ClientError::Request(_) | ClientError::TooLarge { .. }),
            };
            if !again || tried == TRIES {
                return answer.map_err(Error::Unreachable);
            }
            tokio::time::sleep(pause(tried)).await;
        }
    }
}

/// Full jitter, so that many who failed together do not come back together.
fn pause(tried: u32) -> Duration {
    let most = FIRST_PAUSE * 2_u32.saturating_pow(tried);
    let mut random = [0; 4];
    SystemEntropy.fill(&mut random);
    most.mul_f64(f64::from(u32::from_le_bytes(random)) / f64::from(u32::MAX))
}

fn request<'a>(
    action: &mut impl S3Action<'a>,
    body: &Bytes,
    range: Option<&HeaderValue>,
) -> Result<Request<Bytes>, Error> {
    let url = action.sign(SIGNED_FOR);
    let target = url.query().map_or_else(|| url.path().to_owned(), |query| format!("{}?{query}", url.path()));
    let mut request = Request::builder().method(method(action)?).uri(target);
    for (name, value) in action.headers_mut().iter() {
        request = request.header(name, value);
    }
    if let Some(range) = range {
        request = request.header(RANGE, range);
    }
    request.body(body.clone()).map_err(|error| unusable(error.into()))
}

fn method<'a, A: S3Action<'a>>(_: &A) -> Result<Method, Error> {
    Method::from_bytes(A::METHOD.to_str().as_bytes()).map_err(|error| unusable(error.into()))
}

fn unusable(error: Box<dyn std::error::Error + Send + Sync>) -> Error {
    Error::Unreachable(ClientError::Request(error))
}

pub(crate) fn accepted(what: &'static str, answer: Response<Bytes>) -> Result<Response<Bytes>, Error> {
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    let text = String::from_utf8_lossy(answer.body()).chars().take(SHOWN).collect();
    Err(Error::Refused { what, status, text })
}

fn trust(ca_file: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    if let Some(path) = ca_file {
        let failed =
            |reason: &dyn ToString| Error::Certificates { path: path.to_owned(), reason: reason.to_string() };
        for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
            let certificate = certificate.map_err(|error| failed(&error))?;
            roots.add(certificate).map_err(|error| failed(&error))?;
        }
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let versions = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = versions.map_err(|error| Error::Key(error.to_string()))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}
