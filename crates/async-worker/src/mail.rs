//! The job `email.send`: renders a template, signs the message and hands it to a transport.
//!
//! At-least-once, made harmless: a message's `Message-ID` is a function of its `message_key`, so
//! that a second delivery is recognised as the same message by the recipient's server, and the
//! maildir transport files a message once.

mod api;
mod compose;
mod dkim;
mod maildir;
mod smtp;
mod suppressions;
mod templates;
mod transport;

use async_trait::async_trait;
use lettre::message::Mailbox;
use quintet_jobs::{Handler, HandlerError, Job};
use quintet_types::SharedClock;

pub(crate) use api::routes;
use compose::Args;
pub(crate) use dkim::Signer;
pub(crate) use maildir::{Delivered, Maildir};
use smtp::Undelivered;
pub(crate) use smtp::tls_parameters;
use suppressions::Reason;
pub(crate) use suppressions::{SCHEMA, Suppressions};
pub(crate) use templates::Templates;
pub(crate) use transport::{Outgoing, Transport};

/// Sends mail.
pub(crate) struct EmailSend {
    pub(crate) transport: Transport,
    pub(crate) templates: Templates,
    pub(crate) from: Mailbox,
    pub(crate) signers: Vec<Signer>,
    pub(crate) suppressions: Suppressions,
    pub(crate) clock: SharedClock,
}

impl EmailSend {
    async fn send(&self, args: &Args) -> Result<(), HandlerError> {
        let message = self.compose(args)?;
        if self.suppressions.contains(&message.to).await? {
            metrics::counter!("quintet_emails_suppressed_total", "template" => self.templates.label(&args.template))
                .increment(1);
            tracing::info!(template = args.template, message_key = args.message_key, "e-mail suppressed");
            return Ok(());
        }
        match self.transport.deliver(&message).await {
            Ok(()) => {}
            Err(error @ Undelivered::Bounced(_)) => {
                self.suppress(&message, &error).await?;
                return Err(HandlerError::discard(error));
            }
            Err(error @ Undelivered::Refused(_)) => return Err(HandlerError::discard(error)),
            Err(error @ Undelivered::Later(_)) => return Err(HandlerError::retry(error)),
        }
        metrics::counter!("quintet_emails_sent_total", "template" => self.templates.label(&args.template))
            .increment(1);
        tracing::info!(template = args.template, message_key = args.message_key, "e-mail delivered");
        Ok(())
    }

    async fn suppress(&self, message: &Outgoing, error: &Undelivered) -> Result<(), HandlerError> {
        let detail = std::error::Error::source(error).map(ToString::to_string).unwrap_or_default();
        self.suppressions.add(&message.to, Reason::Bounce, &detail).await?;
        metrics::counter!("quintet_email_bounces_total").increment(1);
        tracing::warn!(message_key = message.key, "e-mail bounced; its address gets no more mail");
        Ok(())
    }
}

#[async_trait]
impl Handler for EmailSend {
    fn kind(&self) -> &'static str {
        "email.send"
    }

    fn timeout(&self) -> std::time::Duration {
        // Rendering and the database besides.
        self.transport.patience() + std::time::Duration::from_secs(20)
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        self.send(&job.args()?).await
    }
}

#[cfg(test)]
mod tests;
