//! Carries notifications: webhooks, Slack's webhooks, e-mail.
//!
//! A failure that may pass (no connection, no answer in time, 429, 5xx, an SMTP server that says later) is tried again with
//! growing pauses within the time that the dispatcher gives; any other is not. Each way of a receiver has places of its own, held
//! for an attempt and not for the pauses, so that one that never answers delays no other. URLs are the operator's own, so that private
//! addresses are as good as others: unlike the worker's webhooks, nobody else chooses them.

use std::fmt;
use std::time::Duration;

use axum::body::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, USER_AGENT};
use http::{HeaderValue, Request, Uri};
use lettre::message::{Mailbox, MultiPart};
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as LettreTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport as _, Tokio1Executor};
use quintet_http::{Client, ClientError, Origin};
use quintet_service::{Invalid, Secret, SecretFile};
use thiserror::Error;
use tokio::sync::Semaphore;

use super::message::Message;
use super::settings::{Receiver, Smtp, Tls};

/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Receivers answer a few words.
const MAX_ANSWER: usize = 64 * 1024;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);
const MAX_RECIPIENTS: usize = 50;
const MAIL_CONNECTIONS: u32 = 2;
/// Attempts under way at once for one way of a receiver; the rest waits.
const PLACES: usize = 4;

/// Why a notification was not delivered.
#[derive(Debug, Error)]
pub(super) enum SendError {
    /// Trying again may help.
    #[error("{0}")]
    Later(String),
    /// It will be refused again.
    #[error("{0}")]
    Never(String),
}

/// One way of a receiver.
pub(super) struct Channel {
    pub(super) send_resolved: bool,
    way: Way,
    places: Semaphore,
}

enum Way {
    Webhook { post: Post, max_alerts: usize },
    Slack { post: Post, channel: Option<String> },
    Email { to: Vec<Mailbox> },
}

/// Where a POST goes.
struct Post {
    client: Client,
    path: Uri,
    authorization: Option<HeaderValue>,
}

fn secret(file: &SecretFile, key: &str) -> Result<Secret, Invalid> {
    file.read(key).map_err(|error| Invalid::new(key, error.to_string()))
}

/// `Authorization: Bearer` with the token of a file.
pub(super) fn bearer(file: Option<&SecretFile>, key: &str) -> Result<Option<HeaderValue>, Invalid> {
    let Some(file) = file else { return Ok(None) };
    let token = secret(file, key)?;
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose()))
        .map_err(|_| Invalid::new(key, "the token has characters that no header can have"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

impl Post {
    /// The URL is never part of an error: it may hold a secret.
    fn new(url: &str, authorization: Option<HeaderValue>, key: &str) -> Result<Self, Invalid> {
        let wrong = || Invalid::new(key, "is no URL of the form https://host/path");
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
            return Err(wrong());
        };
        let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|_| wrong())?;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let path = path.parse().map_err(|_| wrong())?;
        Ok(Self { client: client(origin), path, authorization })
    }

    async fn json(&self, body: &serde_json::Value) -> Result<(), SendError> {
        post(&self.client, &self.path, self.authorization.as_ref(), body).await
    }
}

pub(super) fn client(origin: Origin) -> Client {
    Client::new(origin).timeout(TIMEOUT).cut_body(MAX_ANSWER)
}

/// One POST of JSON.
pub(super) async fn post(
    client: &Client,
    path: &Uri,
    authorization: Option<&HeaderValue>,
    body: &serde_json::Value,
) -> Result<(), SendError> {
    let body = serde_json::to_vec(body).map_err(|error| SendError::Never(error.to_string()))?;
    let mut request = Request::post(path.clone())
        .header(CONTENT_TYPE, "application/json")
        .header(USER_AGENT, concat!("quintet-telemetry-sink/", env!("CARGO_PKG_VERSION")));
    if let Some(value) = authorization {
        request = request.header(AUTHORIZATION, value);
    }
    let request = request.body(Bytes::from(body)).map_err(|error| SendError::Never(error.to_string()))?;
    let response = client.request(request).await.map_err(|error| {
        let text = reason(&error);
        if matches!(error, ClientError::Request(_)) { SendError::Never(text) } else { SendError::Later(text) }
    })?;
    let status = response.status();
    match status.as_u16() {
        200..300 => Ok(()),
        408 | 429 | 500.. => Err(SendError::Later(format!("answered with status {status}"))),
        _ => Err(SendError::Never(format!("answered with status {status}"))),
    }
}

fn reason(error: &ClientError) -> String {
    match std::error::Error::source(error) {
        Some(source) => format!("{error}: {source}"),
        None => error.to_string(),
    }
}

impl Channel {
    fn new(send_resolved: bool, way: Way) -> Self {
        Self { send_resolved, way, places: Semaphore::new(PLACES) }
    }

    /// All ways of a receiver.
    pub(super) fn all(receiver: &Receiver, key: &str) -> Result<Vec<Self>, Invalid> {
        let mut channels = Vec::new();
        for webhook in &receiver.webhook {
            let key = format!("{key}.webhook");
            let url = match (&webhook.url, &webhook.url_file) {
                (Some(url), None) => url.clone(),
                (None, Some(file)) => secret(file, &key)?.expose().to_owned(),
                _ => return Err(Invalid::new(key, "needs one of `url` and `url_file`")),
            };
            let authorization = bearer(webhook.token_file.as_ref(), &key)?;
            let post = Post::new(&url, authorization, &key)?;
            let way = Way::Webhook { post, max_alerts: webhook.max_alerts };
            channels.push(Self::new(webhook.send_resolved, way));
        }
        for slack in &receiver.slack {
            let key = format!("{key}.slack");
            let post = Post::new(secret(&slack.url_file, &key)?.expose(), None, &key)?;
            let way = Way::Slack { post, channel: slack.channel.clone() };
            channels.push(Self::new(slack.send_resolved, way));
        }
        for email in &receiver.email {
            let key = format!("{key}.email.to");
            if email.to.is_empty() || email.to.len() > MAX_RECIPIENTS {
                return Err(Invalid::new(key, format!("needs 1 to {MAX_RECIPIENTS} addresses")));
            }
            let to = email.to.iter().map(|text| mailbox(text, &key)).collect::<Result<Vec<_>, _>>()?;
            channels.push(Self::new(email.send_resolved, Way::Email { to }));
        }
        Ok(channels)
    }

    /// As metrics and the log of notifications name it.
    pub(super) fn kind(&self) -> &'static str {
        match self.way {
            Way::Webhook { .. } => "webhook",
            Way::Slack { .. } => "slack",
            Way::Email { .. } => "email",
        }
    }

    /// Delivers a message, with as many attempts as `patience` has room for.
    pub(super) async fn deliver(
        &self,
        message: &Message,
        mailer: Option<&Mailer>,
        patience: Duration,
    ) -> Result<(), SendError> {
        let end = tokio::time::Instant::now() + patience;
        let mut pause = FIRST_PAUSE;
        loop {
            let Ok(place) = tokio::time::timeout_at(end, self.places.acquire()).await else {
                return Err(SendError::Later("too many others wait for an answer".to_owned()));
            };
            let failure = match self.attempt(message, mailer).await {
                Err(SendError::Later(failure)) => failure,
                done => return done,
            };
            drop(place);
            if tokio::time::Instant::now() + pause >= end {
                return Err(SendError::Later(failure));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    async fn attempt(&self, message: &Message, mailer: Option<&Mailer>) -> Result<(), SendError> {
        match &self.way {
            Way::Webhook { post, max_alerts } => post.json(&message.json(*max_alerts)).await,
            Way::Slack { post, channel } => post.json(&message.slack(channel.as_deref())).await,
            Way::Email { to } => match mailer {
                Some(mailer) => mailer.send(message, to).await,
                None => Err(SendError::Never("there is no [notify.smtp]".to_owned())),
            },
        }
    }
}

fn mailbox(text: &str, key: &str) -> Result<Mailbox, Invalid> {
    text.parse().map_err(|error| Invalid::new(key, format!("{error}; write it as Name <user@example.com>")))
}

/// Hands messages to the mail server.
pub(super) struct Mailer {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
}

impl fmt::Debug for Mailer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mailer").field("from", &self.from).finish_non_exhaustive()
    }
}

impl fmt::Debug for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Channel").field("kind", &self.kind()).finish_non_exhaustive()
    }
}

impl Mailer {
    /// Reads secrets; connects to nothing.
    pub(super) fn new(settings: &Smtp) -> Result<Self, Invalid> {
        let tls = match settings.tls {
            Tls::Implicit => LettreTls::Wrapper(parameters(settings)?),
            Tls::Starttls => LettreTls::Required(parameters(settings)?),
            Tls::None => LettreTls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&settings.host)
            .port(settings.port)
            .tls(tls)
            .timeout(Some(TIMEOUT))
            .pool_config(PoolConfig::new().max_size(MAIL_CONNECTIONS));
        match (&settings.username, &settings.password_file) {
            (Some(_), Some(_)) if settings.tls == Tls::None && settings.host != "localhost" => {
                let message = "a password is not sent without TLS to another machine";
                return Err(Invalid::new("notify.smtp.tls", message));
            }
            (Some(username), Some(file)) => {
                let password = secret(file, "notify.smtp.password_file")?;
                builder =
                    builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
            }
            (None, None) => {}
            _ => {
                return Err(Invalid::new(
                    "notify.smtp",
                    "needs both of `username` and `password_file`, or none",
                ));
            }
        }
        Ok(Self { from: mailbox(&settings.from, "notify.smtp.from")?, transport: builder.build() })
    }

    async fn send(&self, message: &Message, to: &[Mailbox]) -> Result<(), SendError> {
        let mut builder = lettre::Message::builder()
            .from(self.from.clone())
            .subject(message.subject())
            .date(quintet_types::time::from_micros(message.now.saturating_mul(1000)).into())
            .message_id(None);
        for mailbox in to {
            builder = builder.to(mailbox.clone());
        }
        let mail = builder
            .multipart(MultiPart::alternative_plain_html(message.text(), message.html()))
            .map_err(|error| SendError::Never(error.to_string()))?;
        match tokio::time::timeout(TIMEOUT, self.transport.send(mail)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(SendError::Never(error.to_string())),
            Ok(Err(error)) => Err(SendError::Later(error.to_string())),
            Err(_) => Err(SendError::Later("the mail server did not answer in time".to_owned())),
        }
    }
}

fn parameters(settings: &Smtp) -> Result<TlsParameters, Invalid> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let unusable = |error: &dyn fmt::Display| {
            Invalid::new("notify.smtp.ca_file", format!("{}: {error}", path.display()))
        };
        let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
        builder =
            builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| unusable(&error))?);
    }
    builder.build().map_err(|error| Invalid::new("notify.smtp", error.to_string()))
}
