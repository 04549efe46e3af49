//! How a message leaves: by SMTP, or into a maildir.

use std::time::Duration;

use lettre::transport::smtp::PoolConfig;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls as SmtpTls, TlsParameters};
use lettre::{AsyncSmtpTransport, AsyncTransport, Message, Tokio1Executor};
use quintet_jobs::HandlerError;
use quintet_service::{Code, OrExit as _};

use super::maildir::Maildir;
use crate::config::{Mail, Smtp, Tls};

/// Connections kept to the mail server.
const CONNECTIONS: u32 = 4;

/// A way out for messages; cheap to clone.
#[derive(Clone)]
pub(crate) enum Transport {
    Smtp(AsyncSmtpTransport<Tokio1Executor>),
    Maildir(Maildir),
}

impl Transport {
    pub(crate) async fn open(mail: &Mail) -> anyhow::Result<Self> {
        match (&mail.smtp, &mail.maildir) {
            (Some(smtp), None) => Ok(Self::Smtp(connect(smtp)?)),
            (None, Some(maildir)) => {
                Ok(Self::Maildir(Maildir::open(&maildir.dir).await.or_exit(Code::CannotCreate)?))
            }
            // Config::validate admits exactly one.
            _ => anyhow::bail!("mail needs exactly one of mail.smtp and mail.maildir"),
        }
    }

    pub(crate) fn maildir(&self) -> Option<&Maildir> {
        match self {
            Self::Maildir(maildir) => Some(maildir),
            Self::Smtp(_) => None,
        }
    }

    /// Hands over a message; `key` names it.
    pub(crate) async fn deliver(&self, key: &str, message: &Message) -> Result<(), HandlerError> {
        match self {
            Self::Smtp(smtp) => match smtp.send(message.clone()).await {
                Ok(_) => Ok(()),
                // 5xx (RFC 5321 §4.2.1): the server will refuse this message again.
                Err(error) if error.is_permanent() => Err(HandlerError::discard(error)),
                Err(error) => Err(HandlerError::retry(error)),
            },
            Self::Maildir(maildir) => {
                maildir.deliver(key, &message.formatted()).await.map_err(HandlerError::retry)
            }
        }
    }
}

fn connect(smtp: &Smtp) -> anyhow::Result<AsyncSmtpTransport<Tokio1Executor>> {
    let tls = match smtp.tls {
        Tls::None => SmtpTls::None,
        Tls::Starttls => SmtpTls::Required(TlsParameters::new(smtp.host.clone())?),
        Tls::Implicit => SmtpTls::Wrapper(TlsParameters::new(smtp.host.clone())?),
    };
    let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&smtp.host)
        .port(smtp.port)
        .tls(tls)
        .timeout(Some(Duration::from_millis(smtp.timeout_ms)))
        .pool_config(PoolConfig::new().max_size(CONNECTIONS));
    if let (Some(username), Some(file)) = (&smtp.username, &smtp.password_file) {
        let password = file.read("mail.smtp.password_file")?;
        builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
    }
    Ok(builder.build())
}
