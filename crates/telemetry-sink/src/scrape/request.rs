//! How a target is asked: who the scraper says it is, whom it trusts, and what form it takes the answer in.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE};
use http::{HeaderValue, Request, Response};
use quintet_http::Client;
use rustls::crypto::aws_lc_rs;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use super::{MAX_BODY, Target, reason};
use crate::config::Scrape;
use crate::ingest::exposition::Format;

/// Secrets are short; a file that is not is the wrong one.
const MAX_SECRET: u64 = 16 * 1024;
/// OpenMetrics first: exemplars are in no other text.
const FORMATS: HeaderValue = HeaderValue::from_static(
    "application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
);

/// A client for a target, with its own certificate authority where one is configured.
pub(super) fn client(target: &Target, timeout: Duration) -> Result<Client, String> {
    let client = match &target.settings.ca_file {
        None => Client::new(target.origin.clone()),
        Some(path) => Client::with_tls(target.origin.clone(), trusting(path)?),
    };
    Ok(client.timeout(timeout).max_body(MAX_BODY))
}

pub(crate) fn trusting(path: &Path) -> Result<rustls::ClientConfig, String> {
    let failed = |error: &dyn std::fmt::Display| format!("ca_file {}: {error}", path.display());
    let mut roots = rustls::RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| failed(&error))? {
        let certificate = certificate.map_err(|error| failed(&error))?;
        roots.add(certificate).map_err(|error| failed(&error))?;
    }
    if roots.is_empty() {
        return Err(failed(&"it has no certificate"));
    }
    let builder = rustls::ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| failed(&error))?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Asks for the metrics. Secrets are read for each scrape, so that a new one counts at once.
pub(super) async fn metrics(client: &Client, target: &Target) -> Result<(Bytes, Format), String> {
    let mut request = Request::get(target.path.as_str())
        .header(ACCEPT, FORMATS)
        .header(ACCEPT_ENCODING, "gzip")
        .body(Bytes::new())
        .map_err(|error| error.to_string())?;
    if let Some(value) = authorization(&target.settings)? {
        request.headers_mut().insert(AUTHORIZATION, value);
    }
    let response = client.request(request).await.map_err(|error| reason(&error))?;
    if !response.status().is_success() {
        return Err(format!("answered with status {}", response.status()));
    }
    let content_type = response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let format = content_type.map(Format::of).unwrap_or_default();
    Ok((unpacked(response)?, format))
}

fn authorization(settings: &Scrape) -> Result<Option<HeaderValue>, String> {
    let text = if let Some(path) = &settings.bearer_token_file {
        format!("Bearer {}", secret(path)?)
    } else if let (Some(name), Some(path)) = (&settings.username, &settings.password_file) {
        format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret(path)?)))
    } else {
        return Ok(None);
    };
    let mut value = HeaderValue::from_str(&text).map_err(|_| "the secret is no header's value".to_owned())?;
    value.set_sensitive(true);
    Ok(Some(value))
}

pub(crate) fn secret(path: &Path) -> Result<String, String> {
    let failed = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MAX_SECRET).read_to_string(&mut text).map_err(failed)?;
    Ok(text.trim().to_owned())
}

fn unpacked(response: Response<Bytes>) -> Result<Bytes, String> {
    let encoding = response.headers().get(CONTENT_ENCODING).map(|value| value.as_bytes().to_vec());
    let body = response.into_body();
    match encoding.as_deref() {
        None | Some(b"identity" | b"") => Ok(body),
        Some(b"gzip") => {
            let limit = u64::try_from(MAX_BODY).unwrap_or(u64::MAX);
            let mut plain = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(body.as_ref()).take(limit.saturating_add(1));
            decoder
                .read_to_end(&mut plain)
                .map_err(|error| format!("the answer cannot be unpacked: {error}"))?;
            if plain.len() > MAX_BODY {
                return Err(format!("the answer is larger than {MAX_BODY} bytes when unpacked"));
            }
            Ok(plain.into())
        }
        Some(_) => Err("the answer is packed in a way that was not asked for".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::config::Scrape;

    fn settings(directory: &Path) -> Scrape {
        let file = directory.join("secret");
        std::fs::write(&file, "s3cret\n").unwrap();
        toml::from_str(&format!(
            "name = \"a\"\ntarget = \"https://h:1\"\nbearer_token_file = \"{0}\"\nca_file = \"{0}\"\n",
            file.display()
        ))
        .unwrap()
    }

    #[test]
    fn secrets_come_from_files_and_are_read_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let mut settings = settings(directory.path());
        assert_eq!(authorization(&settings).unwrap().unwrap(), "Bearer s3cret");
        settings.password_file = settings.bearer_token_file.take();
        settings.username = Some("ada".into());
        assert_eq!(authorization(&settings).unwrap().unwrap(), "Basic YWRhOnMzY3JldA==");
        std::fs::write(directory.path().join("secret"), "new").unwrap();
        assert_eq!(authorization(&settings).unwrap().unwrap(), "Basic YWRhOm5ldw==");
        std::fs::remove_file(directory.path().join("secret")).unwrap();
        assert!(authorization(&settings).unwrap_err().contains("cannot read"));
    }

    #[test]
    fn an_authority_that_is_none_is_said() {
        let directory = tempfile::tempdir().unwrap();
        let target = Target::fixed(settings(directory.path())).unwrap().unwrap();
        let failed = client(&target, Duration::from_secs(1)).unwrap_err();
        assert!(failed.contains("ca_file") && failed.contains("no certificate"), "{failed}");
    }

    #[test]
    fn packed_answers_are_unpacked_and_bounded() {
        let answer = |plain: &[u8], encoding: &str| {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(plain).unwrap();
            let body = Bytes::from(encoder.finish().unwrap());
            unpacked(Response::builder().header(CONTENT_ENCODING, encoding).body(body).unwrap())
        };
        assert_eq!(answer(b"up 1\n", "gzip").unwrap(), "up 1\n");
        assert!(answer(&vec![b' '; MAX_BODY + 1], "gzip").unwrap_err().contains("larger"));
        assert!(answer(b"up 1\n", "br").is_err());
    }
}
