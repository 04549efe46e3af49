//! The job `email.send`: renders a template and hands the message to a transport.
//!
//! At-least-once, made harmless: a message's `Message-ID` is a function of its `message_key`, so
//! that a second delivery is recognised as the same message by the recipient's server, and the
//! maildir transport files a message once.

mod maildir;
mod templates;
mod transport;

use async_trait::async_trait;
use lettre::Message;
use lettre::message::{Mailbox, MultiPart, SinglePart, header};
use quintet_jobs::{Handler, HandlerError, Job};
use serde::Deserialize;

pub(crate) use maildir::{Delivered, Maildir};
pub(crate) use templates::Templates;
pub(crate) use transport::Transport;

/// The job's arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    /// The recipient's address.
    to: String,
    /// The template's name.
    template: String,
    /// Names the message: the same key is the same message, however often it is sent.
    message_key: String,
    /// What the template shows.
    context: serde_json::Value,
}

/// Sends mail.
pub(crate) struct EmailSend {
    transport: Transport,
    templates: Templates,
    from: Mailbox,
}

impl EmailSend {
    pub(crate) fn new(transport: Transport, templates: Templates, from: Mailbox) -> Self {
        Self { transport, templates, from }
    }

    fn compose(&self, args: &Args) -> Result<Message, HandlerError> {
        let rendered = self.templates.render(&args.template, &args.context).map_err(HandlerError::discard)?;
        let to: Mailbox = Mailbox::new(None, args.to.parse().map_err(HandlerError::discard)?);
        Message::builder()
            .from(self.from.clone())
            .to(to)
            .subject(rendered.subject)
            .message_id(Some(format!(
                "<{}@{}>",
                message_local_part(&args.message_key),
                self.from.email.domain()
            )))
            // RFC 3834: tells other machines not to answer.
            .header(AutoSubmitted)
            .multipart(
                MultiPart::alternative()
                    .singlepart(SinglePart::plain(rendered.text))
                    .singlepart(SinglePart::html(rendered.html)),
            )
            .map_err(HandlerError::discard)
    }
}

/// A key as the left side of a Message-ID (RFC 5322 dot-atom); anything else becomes `-`.
fn message_local_part(key: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    key.chars().take(120).map(|character| if allowed(character) { character } else { '-' }).collect()
}

#[derive(Debug, Clone)]
struct AutoSubmitted;

impl header::Header for AutoSubmitted {
    fn name() -> header::HeaderName {
        header::HeaderName::new_from_ascii_str("Auto-Submitted")
    }

    fn parse(_: &str) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        Ok(Self)
    }

    fn display(&self) -> header::HeaderValue {
        header::HeaderValue::new(Self::name(), "auto-generated".to_owned())
    }
}

#[async_trait]
impl Handler for EmailSend {
    fn kind(&self) -> &'static str {
        "email.send"
    }

    async fn run(&self, job: &Job) -> Result<(), HandlerError> {
        let args: Args = job.args()?;
        let message = self.compose(&args)?;
        self.transport.deliver(&message_local_part(&args.message_key), &message).await?;
        metrics::counter!("quintet_emails_sent_total", "template" => Templates::label(&args.template))
            .increment(1);
        tracing::info!(template = args.template, message_key = args.message_key, "e-mail delivered");
        Ok(())
    }
}

#[cfg(test)]
mod tests;
