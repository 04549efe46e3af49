//! How a message leaves: by SMTP, or into a maildir.

use std::sync::Arc;
use std::time::Duration;

use lettre::Address;
use quintet_service::{Code, OrExit as _};

use super::maildir::Maildir;
use super::smtp::{Smtp, Undelivered};
use crate::config::Mail;

/// A way out for messages; cheap to clone.
#[derive(Clone)]
pub(crate) enum Transport {
    Smtp(Arc<Smtp>),
    Maildir(Maildir),
}

/// A message as it is sent, and what it is known by on the way.
pub(crate) struct Outgoing {
    /// Names it: its file in a maildir.
    pub(crate) key: String,
    pub(crate) from: Address,
    pub(crate) to: Address,
    pub(crate) bytes: Vec<u8>,
}

impl Transport {
    pub(crate) async fn open(mail: &Mail) -> anyhow::Result<Self> {
        match (&mail.smtp, &mail.maildir) {
            (Some(smtp), None) => Ok(Self::Smtp(Arc::new(Smtp::open(smtp)?))),
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

    /// Hands over a message.
    pub(crate) async fn deliver(&self, message: &Outgoing) -> Result<(), Undelivered> {
        match self {
            Self::Smtp(smtp) => smtp.deliver(&message.from, &message.to, &message.bytes).await,
            Self::Maildir(maildir) => maildir
                .deliver(&message.key, &message.bytes)
                .await
                .map_err(|error| Undelivered::Later(error.into())),
        }
    }

    /// How long [`Self::deliver`] may take.
    pub(crate) fn patience(&self) -> Duration {
        match self {
            Self::Smtp(smtp) => smtp.patience(),
            Self::Maildir(_) => Duration::from_secs(20),
        }
    }
}
