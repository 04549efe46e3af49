//! DKIM signatures (RFC 6376, Ed25519 by RFC 8463), with both canonicalizations `relaxed`.
//!
//! Not by a crate: what there is for it brings a second implementation of RSA, and signing one's own
//! messages is two canonicalizations and a hash. Checked in the tests by a verifier that is not ours.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use quintet_service::Secret;
use quintet_types::Timestamp;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use thiserror::Error;

use crate::config::Dkim;

/// What is signed. Each name is listed once more than the message has it, which also signs that there
/// is no other of that name: nobody can put a second `From` on top (RFC 6376 §8.15).
const SIGNED: [&str; 12] = [
    "From",
    "To",
    "Cc",
    "Reply-To",
    "Subject",
    "Date",
    "Message-ID",
    "MIME-Version",
    "Content-Type",
    "Auto-Submitted",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
];
/// Characters of the signature on one line.
const LINE: usize = 72;

/// A key cannot be used, or did not sign.
#[derive(Debug, Error)]
pub(crate) enum DkimError {
    #[error("it is no private key in PEM")]
    Pem,
    #[error("it is neither an Ed25519 key nor an RSA key of 2048 to 8192 bits")]
    Key,
    #[error("the DKIM key did not sign")]
    Sign,
}

/// A key with its place in the DNS.
pub(crate) struct Signer {
    domain: String,
    selector: String,
    key: Key,
}

enum Key {
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Signer {
    /// Reads the key that `settings` name, the one at `position` of the configuration.
    pub(crate) fn open(
        settings: &Dkim,
        position: usize,
    ) -> Result<Self, Box<dyn std::error::Error + Send + Sync>> {
        let pem = settings.key_file.read(&Dkim::key(position))?;
        Ok(Self::new(&settings.domain, &settings.selector, &pem)?)
    }

    pub(super) fn new(domain: &str, selector: &str, pem: &Secret) -> Result<Self, DkimError> {
        let der = PrivateKeyDer::from_pem_slice(pem.expose().as_bytes()).map_err(|_| DkimError::Pem)?;
        let (domain, selector) = (domain.to_ascii_lowercase(), selector.to_owned());
        Ok(Self { domain, selector, key: Key::read(&der)? })
    }

    /// The DNS record to publish: its name and its text.
    pub(crate) fn record(&self) -> (String, String) {
        let (kind, public) = match &self.key {
            Key::Ed25519(key) => ("ed25519", BASE64.encode(key.public_key())),
            Key::Rsa(key) => {
                // Of a key that was read, this cannot fail.
                let der: Option<PublicKeyX509Der<'_>> = key.public_key().as_der().ok();
                ("rsa", der.map(|der| BASE64.encode(der.as_ref())).unwrap_or_default())
            }
        };
        let name = format!("{}._domainkey.{}", self.selector, self.domain);
        (name, format!("v=DKIM1; k={kind}; p={public}"))
    }

    /// The header to put on top of `message`, with its line break.
    pub(crate) fn sign(&self, message: &[u8], now: Timestamp) -> Result<Vec<u8>, DkimError> {
        let (head, body) = split(message);
        let headers = unfolded(head);
        let (names, mut signed) = select(&headers);
        let fields = format!(
            "v=1; a={}; c=relaxed/relaxed; d={}; s={}; t={}; h={names}; bh={}; b=",
            self.key.algorithm(),
            self.domain,
            self.selector,
            now.as_second(),
            BASE64.encode(digest(&SHA256, &relaxed_body(body))),
        );
        signed.extend_from_slice(b"dkim-signature:");
        signed.extend_from_slice(fields.as_bytes());
        let signature = BASE64.encode(self.key.sign(&signed)?);
        // Where lines are folded is not signed: `relaxed` makes one blank of it.
        let mut header = format!("DKIM-Signature: {}", fields.replace("; ", ";\r\n "));
        for line in signature.as_bytes().chunks(LINE) {
            header.push_str("\r\n ");
            header.extend(line.iter().copied().map(char::from));
        }
        header.push_str("\r\n");
        Ok(header.into_bytes())
    }
}

impl Key {
    fn read(der: &PrivateKeyDer<'_>) -> Result<Self, DkimError> {
        let bytes = der.secret_der();
        match der {
            PrivateKeyDer::Pkcs1(_) => RsaKeyPair::from_der(bytes).map(Self::Rsa).map_err(|_| DkimError::Key),
            PrivateKeyDer::Pkcs8(_) => Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes)
                .map(Self::Ed25519)
                .or_else(|_| RsaKeyPair::from_pkcs8(bytes).map(Self::Rsa))
                .map_err(|_| DkimError::Key),
            _ => Err(DkimError::Key),
        }
    }

    fn algorithm(&self) -> &'static str {
        match self {
            Self::Ed25519(_) => "ed25519-sha256",
            Self::Rsa(_) => "rsa-sha256",
        }
    }

    fn sign(&self, signed: &[u8]) -> Result<Vec<u8>, DkimError> {
        match self {
            // RFC 8463 §3: the hash is signed, not the text.
            Self::Ed25519(key) => Ok(key.sign(digest(&SHA256, signed).as_ref()).as_ref().to_vec()),
            Self::Rsa(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed, &mut signature)
                    .map_err(|_| DkimError::Sign)?;
                Ok(signature)
            }
        }
    }
}

/// A message's head, with its last line break, and its body.
fn split(message: &[u8]) -> (&[u8], &[u8]) {
    let end = message.windows(4).position(|window| window == b"\r\n\r\n");
    end.and_then(|end| Some((message.get(..end + 2)?, message.get(end + 4..)?))).unwrap_or((message, b""))
}

/// The headers, each as name and value on one line.
fn unfolded(head: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(head).replace("\r\n ", " ").replace("\r\n\t", " ");
    let pair = |line: &str| line.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned()));
    text.split("\r\n").filter_map(pair).collect()
}

/// The list for `h=`, and the headers it names in the form that is hashed.
fn select(headers: &[(String, String)]) -> (String, Vec<u8>) {
    let (mut names, mut signed) = (Vec::new(), Vec::new());
    for name in SIGNED {
        // Of several the last is signed first (RFC 6376 §5.4.2).
        let present = headers.iter().rev().filter(|(found, _)| found.trim().eq_ignore_ascii_case(name));
        for (_, value) in present {
            names.push(name);
            let value = value.split_ascii_whitespace().collect::<Vec<_>>().join(" ");
            signed.extend_from_slice(format!("{}:{value}\r\n", name.to_ascii_lowercase()).as_bytes());
        }
        names.push(name);
    }
    (names.join(":"), signed)
}

/// RFC 6376 §3.4.4: runs of blanks become one, those at line ends and empty lines at the end go.
fn relaxed_body(body: &[u8]) -> Vec<u8> {
    let mut canonical = Vec::with_capacity(body.len() + 2);
    let mut empty_lines = 0;
    for line in body.split(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = line.trim_ascii_end();
        if line.is_empty() {
            empty_lines += 1;
            continue;
        }
        canonical.extend(std::iter::repeat_n(b"\r\n", empty_lines).flatten());
        empty_lines = 0;
        let mut blank = false;
        for byte in line {
            let is_blank = matches!(byte, b' ' | b'\t');
            if is_blank && !blank {
                canonical.push(b' ');
            } else if !is_blank {
                canonical.push(*byte);
            }
            blank = is_blank;
        }
        canonical.extend_from_slice(b"\r\n");
    }
    canonical
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_body_of_the_standards_example_is_canonical() {
        // RFC 6376 §3.4.5.
        assert_eq!(relaxed_body(b" C \r\nD \t E\r\n\r\n\r\n"), b" C\r\nD E\r\n");
        assert_eq!(relaxed_body(b""), b"");
        assert_eq!(relaxed_body(b"\r\n\r\n"), b"");
        assert_eq!(relaxed_body(b"a\r\n\r\nb"), b"a\r\n\r\nb\r\n");
    }

    #[test]
    fn a_header_is_listed_once_more_than_it_is_there() {
        let (names, signed) = select(&unfolded(b"From: a@example.com\r\nSubject:  A\r\n  B \r\n"));
        assert!(names.starts_with("From:From:To:Cc:Reply-To:Subject:Subject:Date"), "{names}");
        assert_eq!(signed, b"from:a@example.com\r\nsubject:A B\r\n");
    }
}
