//! From a job's arguments to the bytes of a message.

use lettre::Message;
use lettre::message::header::{self, HeaderName, HeaderValue};
use lettre::message::{Mailbox, MultiPart, SinglePart};
use quintet_jobs::HandlerError;
use serde::Deserialize;

use super::{EmailSend, Outgoing};

/// The job's arguments.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Args {
    /// The recipient's address.
    pub(super) to: String,
    /// The template's name.
    pub(super) template: String,
    /// Names the message: the same key is the same message, however often it is sent.
    pub(super) message_key: String,
    /// What the template shows.
    pub(super) context: serde_json::Value,
    /// Where a mail program's button unsubscribes, for what is sent to many.
    pub(super) unsubscribe: Option<Unsubscribe>,
}

/// The headers of RFC 2369 and RFC 8058.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Unsubscribe {
    /// An `https` address that unsubscribes on POST, without asking further.
    url: String,
    /// An e-mail address that does it too.
    mailto: Option<String>,
}

impl EmailSend {
    /// The message, signed; an error is the arguments' fault and final.
    pub(super) fn compose(&self, args: &Args) -> Result<Outgoing, HandlerError> {
        let rendered = self.templates.render(&args.template, &args.context).map_err(HandlerError::discard)?;
        let to: lettre::Address = args.to.parse().map_err(HandlerError::discard)?;
        let key = message_local_part(&args.message_key);
        let mut builder = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to.clone()))
            .date(self.clock.now().into())
            .subject(rendered.subject)
            .message_id(Some(format!("<{key}@{}>", self.from.email.domain())))
            // RFC 3834: tells other machines not to answer.
            .raw_header(raw("Auto-Submitted", "auto-generated"));
        if let Some(unsubscribe) = &args.unsubscribe {
            builder = builder
                .raw_header(raw("List-Unsubscribe", &unsubscribe.targets()?))
                .raw_header(raw("List-Unsubscribe-Post", "List-Unsubscribe=One-Click"));
        }
        let parts = MultiPart::alternative()
            .singlepart(SinglePart::plain(rendered.text))
            .singlepart(SinglePart::html(rendered.html));
        let message = builder.multipart(parts).map_err(HandlerError::discard)?;
        let bytes = self.sign(message.formatted())?;
        Ok(Outgoing { key, from: self.from.email.clone(), to, bytes })
    }

    fn sign(&self, message: Vec<u8>) -> Result<Vec<u8>, HandlerError> {
        let mut signed = Vec::new();
        for signer in &self.signers {
            signed.extend(signer.sign(&message, self.clock.now()).map_err(HandlerError::retry)?);
        }
        signed.extend(message);
        Ok(signed)
    }
}

impl Unsubscribe {
    fn targets(&self) -> Result<String, HandlerError> {
        let url: http::Uri = self.url.parse().map_err(HandlerError::discard)?;
        // RFC 8058 §3.1. A URI has no blanks and no angle brackets, so nothing can follow it.
        if url.scheme_str() != Some("https") || self.url.contains(['<', '>']) {
            return Err(HandlerError::discard("unsubscribe.url is no https address"));
        }
        let Some(mailto) = &self.mailto else { return Ok(format!("<{}>", self.url)) };
        let mailto: lettre::Address = mailto.parse().map_err(HandlerError::discard)?;
        Ok(format!("<{}>, <mailto:{mailto}>", self.url))
    }
}

fn raw(name: &'static str, value: &str) -> HeaderValue {
    header::HeaderValue::new(HeaderName::new_from_ascii_str(name), value.to_owned())
}

/// A key as the left side of a Message-ID (RFC 5322 dot-atom); anything else becomes `-`.
pub(super) fn message_local_part(key: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || matches!(character, '_' | '-' | '.');
    key.chars().take(120).map(|character| if allowed(character) { character } else { '-' }).collect()
}
