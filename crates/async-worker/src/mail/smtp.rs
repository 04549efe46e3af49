//! Handing messages to a mail server over a bounded number of connections.
//!
//! Not lettre's own transport: its pool bounds the connections it keeps, not those it opens, and its
//! errors do not tell which command was refused. That decides here: what is refused before a recipient
//! is named (a sign-in, a sender) is the operator's to mend and is tried again, and only a refused
//! recipient says something about an address.

use std::error::Error as _;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lettre::Address;
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt, Rset};
use lettre::transport::smtp::extension::{ClientId, Extension, MailBodyParameter, MailParameter};
use thiserror::Error;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::config::{Smtp as Settings, Tls};

/// A connection idle for longer is not used again: servers close theirs after some minutes (RFC 5321 §4.5.3.2).
const MAX_IDLE: Duration = Duration::from_secs(30);
/// Messages over one connection; some servers count.
const MAX_MESSAGES: u32 = 100;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Why a message was not taken.
#[derive(Debug, Error)]
pub(crate) enum Undelivered {
    /// The address does not exist or takes no mail.
    #[error("the mail server says that the address takes no mail")]
    Bounced(#[source] SmtpError),
    /// This message will be refused again.
    #[error("the mail server refuses the message for good")]
    Refused(#[source] SmtpError),
    /// The server is out of reach or busy, or something before the message is wrong.
    #[error("the message cannot be handed over now")]
    Later(#[source] BoxError),
}

/// A mail server.
pub(crate) struct Smtp {
    host: String,
    port: u16,
    tls: Tls,
    parameters: TlsParameters,
    credentials: Option<Credentials>,
    timeout: Duration,
    slots: Semaphore,
    /// At most as many as there are slots. The lock is never held across an await.
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    connection: AsyncSmtpConnection,
    since: Instant,
    messages: u32,
}

/// How the server's certificate is checked: by the public authorities and those of `ca_file`.
pub(crate) fn tls_parameters(settings: &Settings) -> Result<TlsParameters, BoxError> {
    let mut builder = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.ca_file {
        let pem = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        builder = builder.add_root_certificate(Certificate::from_pem(&pem)?);
    }
    Ok(builder.build()?)
}

impl Smtp {
    pub(crate) fn open(settings: &Settings) -> anyhow::Result<Self> {
        let credentials = match (&settings.username, &settings.password_file) {
            (Some(username), Some(file)) => {
                let password = file.read("mail.smtp.password_file")?;
                Some(Credentials::new(username.clone(), password.expose().to_owned()))
            }
            _ => None,
        };
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port,
            tls: settings.tls,
            parameters: tls_parameters(settings).map_err(anyhow::Error::from_boxed)?,
            credentials,
            timeout: Duration::from_millis(settings.timeout_ms),
            slots: Semaphore::new(usize::from(settings.connections)),
            idle: Mutex::default(),
        })
    }

    /// How long [`Self::deliver`] may take: the wait for a connection, then the exchange.
    pub(crate) fn patience(&self) -> Duration {
        self.timeout * 2
    }

    /// Hands over one message; the whole of it, also the wait for a connection, has a deadline.
    pub(crate) async fn deliver(
        &self,
        from: &Address,
        to: &Address,
        message: &[u8],
    ) -> Result<(), Undelivered> {
        let slot = tokio::time::timeout(self.timeout, self.slots.acquire());
        let Ok(Ok(_slot)) = slot.await else { return Err(later("every connection is busy")) };
        let exchange = self.exchange(from, to, message);
        tokio::time::timeout(self.timeout, exchange)
            .await
            .unwrap_or_else(|_| Err(later("the mail server did not answer in time")))
    }

    async fn exchange(&self, from: &Address, to: &Address, message: &[u8]) -> Result<(), Undelivered> {
        let mut idle = match self.reuse().await {
            Some(idle) => idle,
            None => {
                Idle { connection: self.connect().await.map_err(later)?, since: Instant::now(), messages: 0 }
            }
        };
        let sent = send(&mut idle.connection, from, to, message).await;
        idle.messages += 1;
        let usable = match &sent {
            Ok(()) => true,
            Err(Undelivered::Later(_)) => false,
            Err(_) => idle.connection.command(Rset).await.is_ok(),
        };
        if usable && idle.messages < MAX_MESSAGES {
            idle.since = Instant::now();
            self.idle.lock().unwrap_or_else(PoisonError::into_inner).push(idle);
        } else {
            idle.connection.abort().await;
        }
        sent
    }

    /// The connection used last that still answers, if any.
    async fn reuse(&self) -> Option<Idle> {
        loop {
            let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
            if idle.since.elapsed() < MAX_IDLE && idle.connection.test_connected().await {
                return Some(idle);
            }
        }
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, SmtpError> {
        let server = (self.host.as_str(), self.port);
        let hello = ClientId::default();
        let implicit = (self.tls == Tls::Implicit).then(|| self.parameters.clone());
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(self.timeout), &hello, implicit, None).await?;
        if self.tls == Tls::Starttls {
            // Fails where the server does not offer it: no mail and no password goes in the clear.
            connection.starttls(self.parameters.clone(), &hello).await?;
        }
        if let Some(credentials) = &self.credentials {
            connection.auth(&[Mechanism::Plain, Mechanism::Login], credentials).await?;
        }
        Ok(connection)
    }
}

async fn send(
    connection: &mut AsyncSmtpConnection,
    from: &Address,
    to: &Address,
    message: &[u8],
) -> Result<(), Undelivered> {
    let mut parameters = Vec::new();
    let (sender, recipient): (&str, &str) = (from.as_ref(), to.as_ref());
    if !sender.is_ascii() || !recipient.is_ascii() {
        if !connection.server_info().supports_feature(Extension::SmtpUtfEight) {
            return Err(later("the mail server takes no addresses beyond ASCII (SMTPUTF8)"));
        }
        parameters.push(MailParameter::SmtpUtfEight);
        parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
    }
    connection.command(Mail::new(Some(from.clone()), parameters)).await.map_err(later)?;
    let named = connection.command(Rcpt::new(to.clone(), Vec::new())).await;
    named.map_err(|error| if is_bounce(&error) { Undelivered::Bounced(error) } else { refused(error) })?;
    connection.command(Data).await.map_err(refused)?;
    // The end mark begins with a line break of its own.
    let message = message.strip_suffix(b"\r\n").unwrap_or(message);
    connection.message(message).await.map_err(refused)?;
    Ok(())
}

/// RFC 5321 §4.2.1: 5yz will be refused again, 4yz may be taken later.
fn refused(error: SmtpError) -> Undelivered {
    if error.is_permanent() { Undelivered::Refused(error) } else { later(error) }
}

fn later(error: impl Into<BoxError>) -> Undelivered {
    Undelivered::Later(error.into())
}

/// Whether a refused recipient says something about the address, by the enhanced status code (RFC 3463) where
/// there is one: 5.1.x is the address (but for 5.1.7 and 5.1.8, the sender's), 5.2.1 a mailbox that is
/// closed. Policy (5.7.x) and a full mailbox (5.2.2) say nothing about it.
fn is_bounce(error: &SmtpError) -> bool {
    if !error.is_permanent() {
        return false;
    }
    let text = error.source().map(ToString::to_string).unwrap_or_default();
    match enhanced(&text) {
        Some((5, 1, detail)) => !matches!(detail, 7 | 8),
        Some((5, 2, 1)) => true,
        Some(_) => false,
        None => {
            let code = error.status().map(u16::from).unwrap_or_default();
            matches!(code, 550 | 551 | 553)
        }
    }
}

/// The first word as an enhanced status code.
fn enhanced(text: &str) -> Option<(u16, u16, u16)> {
    let mut parts = text.split_ascii_whitespace().next()?.splitn(3, '.').map(str::parse);
    match (parts.next()?, parts.next()?, parts.next()?) {
        (Ok(class), Ok(subject), Ok(detail)) => Some((class, subject, detail)),
        _ => None,
    }
}
