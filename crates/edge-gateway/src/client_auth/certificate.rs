//! A client's certificate as upstreams are told of it.

use aws_lc_rs::digest;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};
use rustls_pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use crate::headers::CLIENT_CERT;

const CLIENT_SUBJECT: HeaderName = HeaderName::from_static("x-quintet-client-subject");
const CLIENT_NAMES: HeaderName = HeaderName::from_static("x-quintet-client-names");

/// What would end a header, or be taken for an encoding.
const NOT_LITERAL: &AsciiSet = &CONTROLS.add(b'%');
/// And what would make one name look like two.
const NOT_IN_A_NAME: &AsciiSet = &NOT_LITERAL.add(b',');

/// A certificate that was verified, in the form of headers.
#[derive(Debug)]
pub(crate) struct ClientCertificate {
    headers: Vec<(HeaderName, HeaderValue)>,
    thumbprint: String,
}

impl ClientCertificate {
    pub(crate) fn read(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let names = parsed.subject_alternative_name().ok().flatten().map_or_else(Vec::new, |extension| {
            extension.value.general_names.iter().filter_map(name).collect::<Vec<_>>()
        });
        let texts = [
            (CLIENT_CERT, format!(":{}:", STANDARD.encode(certificate))),
            (CLIENT_SUBJECT, utf8_percent_encode(&parsed.subject().to_string(), NOT_LITERAL).to_string()),
            (CLIENT_NAMES, names.join(", ")),
        ];
        let headers = texts.into_iter().filter(|(_, text)| !text.is_empty());
        let headers = headers.filter_map(|(name, text)| Some((name, HeaderValue::try_from(text).ok()?)));
        let thumbprint = URL_SAFE_NO_PAD.encode(digest::digest(&digest::SHA256, certificate));
        Some(Self { headers: headers.collect(), thumbprint })
    }

    /// The SHA-256 thumbprint by which tokens are bound to it (RFC 8705 §3.1).
    pub(crate) fn thumbprint(&self) -> &str {
        &self.thumbprint
    }

    /// Tells an upstream.
    pub(crate) fn write(&self, headers: &mut HeaderMap) {
        for (name, value) in &self.headers {
            headers.insert(name, value.clone());
        }
    }
}

/// Such as `DNS:a.example` or `URI:spiffe://a.example/b`.
fn name(name: &GeneralName<'_>) -> Option<String> {
    let (kind, text) = match name {
        GeneralName::DNSName(text) => ("DNS", *text),
        GeneralName::URI(text) => ("URI", *text),
        GeneralName::RFC822Name(text) => ("email", *text),
        _ => return None,
    };
    Some(format!("{kind}:{}", utf8_percent_encode(text, NOT_IN_A_NAME)))
}
