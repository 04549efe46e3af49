//! Mail to people: the links by which they show that an address is theirs, and notices.
//!
//! The provider hands its letters to the mail server itself, from an outbox in its own database
//! ([`outbox`]), and not through the queue of `async-worker`: a letter is written in the transaction that
//! makes it true, signing in again after a lost password must not wait for a queue full of receipts, and
//! a link that opens an account has no place in a database that others read.

pub(crate) mod outbox;
pub(crate) mod tokens;

use std::path::PathBuf;
use std::time::Duration;

use lettre::message::Mailbox;
use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, Tls as LettreTls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};
use minijinja::{Environment, Value};
use quintet_service::{Invalid, SecretFile};
use serde::{Deserialize, Serialize};
use thiserror::Error;
use tokio::sync::Notify;

use crate::fault::Fault;

/// Connections to the mail server that are kept and used at once.
const CONNECTIONS: u32 = 2;

const TEMPLATES: [(&str, &str); 3] = [
    ("reset", include_str!("mail/reset.txt")),
    ("verify", include_str!("mail/verify.txt")),
    ("password_changed", include_str!("mail/password_changed.txt")),
];

/// The `[mail]` section. Without it nobody can reset a password or verify an address.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The sender, such as `Accounts <accounts@example.com>`.
    pub(crate) from: String,
    /// The mail server.
    pub(crate) smtp: Smtp,
}

/// A mail server to hand messages to.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Smtp {
    /// Its name, also the one that its certificate must carry.
    pub(crate) host: String,
    /// Its port: usually 587 with `tls = "starttls"`, 465 with `"implicit"`.
    pub(crate) port: u16,
    /// How the connection is protected: `"none"` is for a relay on the same machine.
    pub(crate) tls: Tls,
    /// PEM file with the roots to trust besides the public ones.
    pub(crate) ca_file: Option<PathBuf>,
    /// Who signs in (AUTH PLAIN or LOGIN).
    pub(crate) username: Option<String>,
    /// The file with the password.
    pub(crate) password_file: Option<SecretFile>,
    /// How long one message may take, in milliseconds. 1000 to 60000.
    #[serde(default = "default_timeout_ms")]
    pub(crate) timeout_ms: u64,
}

const fn default_timeout_ms() -> u64 {
    20_000
}

/// How the connection to the mail server is protected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Tls {
    /// TLS from the first byte (port 465).
    Implicit,
    /// STARTTLS, required (port 587).
    Starttls,
    /// None: for a relay on the same machine.
    None,
}

impl Settings {
    /// Checks what needs no network.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        let from = self.from.parse::<Mailbox>();
        from.map_err(|error| {
            Invalid::new("mail.from", format!("{error}; write it as Name <user@example.com>"))
        })?;
        if !(1_000..=60_000).contains(&self.smtp.timeout_ms) {
            return Err(Invalid::new("mail.smtp.timeout_ms", "between 1000 and 60000"));
        }
        match (&self.smtp.username, &self.smtp.password_file) {
            (Some(_), Some(_)) | (None, None) => {}
            (Some(_), None) => {
                return Err(Invalid::new("mail.smtp.password_file", "a username needs a password"));
            }
            (None, Some(_)) => return Err(Invalid::new("mail.smtp.username", "a password needs a username")),
        }
        if self.smtp.username.is_some() && self.smtp.tls == Tls::None && self.smtp.host != "localhost" {
            return Err(Invalid::new(
                "mail.smtp.tls",
                "a password is not sent without TLS to another machine",
            ));
        }
        self.smtp.parameters().map(drop)
    }
}

impl Smtp {
    fn parameters(&self) -> Result<TlsParameters, Invalid> {
        let mut builder = TlsParameters::builder(self.host.clone());
        if let Some(path) = &self.ca_file {
            let unusable = |error: &dyn std::fmt::Display| {
                Invalid::new("mail.smtp.ca_file", format!("{}: {error}", path.display()))
            };
            let pem = std::fs::read(path).map_err(|error| unusable(&error))?;
            builder =
                builder.add_root_certificate(Certificate::from_pem(&pem).map_err(|error| unusable(&error))?);
        }
        builder.build().map_err(|error| Invalid::new("mail.smtp", error.to_string()))
    }

    fn open(&self) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
        let tls = match self.tls {
            Tls::Implicit => LettreTls::Wrapper(self.parameters()?),
            Tls::Starttls => LettreTls::Required(self.parameters()?),
            Tls::None => LettreTls::None,
        };
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&self.host)
            .port(self.port)
            .tls(tls)
            .timeout(Some(Duration::from_millis(self.timeout_ms)))
            .pool_config(PoolConfig::new().max_size(CONNECTIONS));
        if let (Some(username), Some(file)) = (&self.username, &self.password_file) {
            let password = file.read("mail.smtp.password_file")?;
            builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
        }
        Ok(builder.build())
    }
}

/// A letter before it is a message. Without a recipient it is work for the sake of its duration.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Letter {
    to: Option<String>,
    subject: String,
    text: String,
}

/// Why a letter was not taken.
#[derive(Debug, Error)]
pub(crate) enum Undelivered {
    /// It will be refused again.
    #[error("the mail server refuses the message for good")]
    Refused(#[source] lettre::transport::smtp::Error),
    /// The server is out of reach or busy.
    #[error("the message cannot be handed over now")]
    Later(#[source] lettre::transport::smtp::Error),
    /// The server did not answer.
    #[error("the mail server did not answer in time")]
    Timeout,
    /// An address that is none, or a header that cannot be written.
    #[error("the message cannot be composed")]
    Malformed,
}

/// How mail leaves.
pub(crate) struct Mail {
    from: Mailbox,
    transport: AsyncSmtpTransport<Tokio1Executor>,
    timeout: Duration,
    templates: Environment<'static>,
    /// Wakes the delivery: a letter was written by this process.
    pub(crate) written: Notify,
}

impl Mail {
    /// Reads secrets and templates; connects to nothing.
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let mut templates = Environment::new();
        templates.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        for (name, source) in TEMPLATES {
            templates.add_template(name, source)?;
        }
        Ok(Self {
            from: settings.from.parse()?,
            transport: settings.smtp.open()?,
            timeout: Duration::from_millis(settings.smtp.timeout_ms),
            templates,
            written: Notify::new(),
        })
    }

    /// A letter from a template, whose first line is the subject.
    pub(crate) fn letter(&self, to: Option<&str>, template: &str, values: Value) -> Result<Letter, Fault> {
        let whole = self.templates.get_template(template)?.render(values)?;
        let (subject, text) = whole.split_once('\n').unwrap_or((&whole, ""));
        Ok(Letter {
            to: to.map(str::to_owned),
            subject: subject.to_owned(),
            text: text.trim_start().to_owned(),
        })
    }

    /// Hands a letter over; `key` names it, so that a second delivery is recognised as one.
    async fn send(&self, key: &str, letter: &Letter, now: i64) -> Result<(), Undelivered> {
        let Some(to) = &letter.to else { return Ok(()) };
        let to: Address = to.parse().map_err(|_| Undelivered::Malformed)?;
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .date(quintet_types::time::from_micros(now).into())
            .subject(letter.subject.clone())
            .message_id(Some(format!("<{key}@{}>", self.from.email.domain())))
            // Plain text alone: a link in it is the address that it shows.
            .header(lettre::message::header::ContentType::TEXT_PLAIN)
            .body(letter.text.clone())
            .map_err(|_| Undelivered::Malformed)?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) if error.is_permanent() => Err(Undelivered::Refused(error)),
            Ok(Err(error)) => Err(Undelivered::Later(error)),
            Err(_) => Err(Undelivered::Timeout),
        }
    }
}
