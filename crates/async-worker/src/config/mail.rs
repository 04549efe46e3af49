//! `[mail]`: who writes, what is signed, and how messages leave.

use std::path::PathBuf;

use quintet_service::{Invalid, SecretFile};
use serde::Deserialize;

use crate::mail::{Signer, Templates, tls_parameters};

/// How mail leaves: exactly one of `smtp` and `maildir`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Mail {
    /// The sender, such as `Shop <shop@example.com>`.
    pub(crate) from: String,
    /// A directory of templates that replace those that ship, or add to them, file by file.
    pub(crate) templates: Option<PathBuf>,
    pub(crate) smtp: Option<Smtp>,
    pub(crate) maildir: Option<Maildir>,
    /// A key that messages are signed with; two (Ed25519 and RSA) make two signatures.
    #[serde(default)]
    pub(crate) dkim: Vec<Dkim>,
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
    /// How long one message may take, from connecting to the server's answer, in milliseconds. 1000 to 120000.
    #[serde(default = "default_smtp_timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// Connections open at once; messages beyond them wait. 1 to 100.
    #[serde(default = "default_connections")]
    pub(crate) connections: u16,
}

fn default_smtp_timeout_ms() -> u64 {
    20_000
}

fn default_connections() -> u16 {
    4
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

/// A directory that takes the messages instead of a mail server: for development.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Maildir {
    pub(crate) dir: PathBuf,
}

/// A signature of RFC 6376.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dkim {
    /// The domain that vouches: that of `from` or one above it.
    pub(crate) domain: String,
    /// Names the key: the DNS record is `SELECTOR._domainkey.DOMAIN`.
    pub(crate) selector: String,
    /// The private key in PEM: Ed25519, or RSA with at least 2048 bits.
    pub(crate) key_file: SecretFile,
}

impl Mail {
    pub(super) fn validate(&self) -> Result<(), Invalid> {
        let from = self.from.parse::<lettre::message::Mailbox>().map_err(|error| {
            Invalid::new("mail.from", format!("{error}; write it as Name <user@example.com>"))
        })?;
        match (&self.smtp, &self.maildir) {
            (Some(smtp), None) => smtp.validate()?,
            (None, Some(_)) => {}
            (Some(_), Some(_)) => {
                return Err(Invalid::new(
                    "mail.maildir",
                    "mail.smtp and mail.maildir are both set; keep one",
                ));
            }
            (None, None) => {
                return Err(Invalid::new("mail", "add [mail.smtp] (or [mail.maildir] for development)"));
            }
        }
        for (position, dkim) in self.dkim.iter().enumerate() {
            dkim.validate(position, from.email.domain())?;
        }
        Templates::load(self.templates.as_deref())
            .map(|_| ())
            .map_err(|error| Invalid::new("mail.templates", chain(&error)))
    }
}

impl Dkim {
    /// The key that errors name.
    pub(crate) fn key(position: usize) -> String {
        format!("mail.dkim[{position}].key_file")
    }

    fn validate(&self, position: usize, sender: &str) -> Result<(), Invalid> {
        let (sender, domain) = (sender.to_ascii_lowercase(), self.domain.to_ascii_lowercase());
        // A signature of another domain verifies and yet does not count for the sender (DMARC, RFC 7489 §3.1.1).
        if sender != domain && !sender.ends_with(&format!(".{domain}")) {
            let detail = format!("the sender is of {sender}; sign with that domain or one above it");
            return Err(Invalid::new(format!("mail.dkim[{position}].domain"), detail));
        }
        if !self.selector.split('.').all(is_dns_label) {
            let detail = "a selector is made of letters, digits and hyphens, such as s2026";
            return Err(Invalid::new(format!("mail.dkim[{position}].selector"), detail));
        }
        let key = Self::key(position);
        Signer::open(self, position).map(|_| ()).map_err(|error| Invalid::new(key, chain(error.as_ref())))
    }
}

fn is_dns_label(label: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    (1..=63).contains(&label.len()) && label.bytes().all(allowed)
}

impl Smtp {
    fn validate(&self) -> Result<(), Invalid> {
        if !(1..=100).contains(&self.connections) {
            return Err(Invalid::new("mail.smtp.connections", "from 1 to 100"));
        }
        if !(1_000..=120_000).contains(&self.timeout_ms) {
            return Err(Invalid::new("mail.smtp.timeout_ms", "from 1000 to 120000"));
        }
        tls_parameters(self).map_err(|error| Invalid::new("mail.smtp.ca_file", chain(error.as_ref())))?;
        match (&self.username, &self.password_file) {
            (Some(_), Some(file)) => {
                // A wrong secret is found before the binary is deployed, not at the first mail.
                file.read("mail.smtp.password_file")
                    .map(|_| ())
                    .map_err(|error| Invalid::new("mail.smtp.password_file", error.to_string()))
            }
            (None, None) => Ok(()),
            _ => {
                Err(Invalid::new("mail.smtp.username", "set username and password_file together, or neither"))
            }
        }
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
