//! What the sink needs to ask another server: its origin, whom it trusts, and secrets that come from files.
//!
//! Secrets are read for each request, so that a new one counts at once, and are never sent without TLS to another machine.
//! Redirects are not followed: an answer that is one is an answer like any other.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};
use quintet_http::{Client, Origin};
use quintet_service::Invalid;
use serde::Deserialize;

use crate::scrape::request::{secret, trusting};

/// Who the sink says it is, and whom it trusts.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Access {
    /// A file with the token that is sent as `Authorization: Bearer`.
    pub(crate) bearer_token_file: Option<PathBuf>,
    /// The name for `Authorization: Basic`, with `password_file`.
    pub(crate) username: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// The authorities that an `https` server's certificate must come from, PEM; the public ones unless set.
    pub(crate) ca_file: Option<PathBuf>,
    /// Further headers.
    pub(crate) headers: BTreeMap<String, String>,
    /// Further headers whose values stand in files.
    pub(crate) header_files: BTreeMap<String, PathBuf>,
}

const TAKEN: [HeaderName; 5] = [AUTHORIZATION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HOST];

impl Access {
    pub(crate) fn validate(&self, url: &str, key: &str) -> Result<(), Invalid> {
        let (origin, _) = parse_url(url, &format!("{key}.url"))?;
        if self.username.is_some() != self.password_file.is_some() {
            return Err(Invalid::new(
                format!("{key}.access.password_file"),
                format!("goes with {key}.access.username, and that with it"),
            ));
        }
        if self.bearer_token_file.is_some() && self.username.is_some() {
            return Err(Invalid::new(
                format!("{key}.access.bearer_token_file"),
                format!("cannot be used with {key}.access.username"),
            ));
        }
        let has_secret =
            self.bearer_token_file.is_some() || self.password_file.is_some() || !self.header_files.is_empty();
        if has_secret && !is_private(&origin) {
            return Err(Invalid::new(
                format!("{key}.url"),
                "secrets are not sent without TLS to another machine; use https",
            ));
        }
        for (name, key) in self
            .headers
            .keys()
            .map(|name| (name, format!("{key}.access.headers")))
            .chain(self.header_files.keys().map(|name| (name, format!("{key}.access.header_files"))))
        {
            let header: HeaderName =
                name.parse().map_err(|_| Invalid::new(&key, format!("`{name}` is no header's name")))?;
            if TAKEN.contains(&header) {
                return Err(Invalid::new(
                    key,
                    format!("`{name}` is set by the sink; secrets have keys of their own"),
                ));
            }
        }
        for (name, value) in &self.headers {
            if HeaderValue::from_str(value).is_err() {
                return Err(Invalid::new(
                    format!("{key}.access.headers"),
                    format!("the value of `{name}` has characters that no header can have"),
                ));
            }
        }
        Ok(())
    }

    /// A client for a server, with its own certificate authority where one is configured.
    pub(crate) fn client(&self, origin: Origin, timeout: Duration, key: &str) -> Result<Client, Invalid> {
        let client = match &self.ca_file {
            None => Client::new(origin),
            Some(path) => {
                let tls =
                    trusting(path).map_err(|error| Invalid::new(format!("{key}.access.ca_file"), error))?;
                Client::with_tls(origin, tls)
            }
        };
        Ok(client.timeout(timeout))
    }

    /// Adds what says who asks.
    pub(crate) fn apply(&self, headers: &mut HeaderMap) -> Result<(), String> {
        let unusable = |_| "the secret is no header's value".to_owned();
        for (name, value) in &self.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_str(value)) {
                headers.insert(name, value);
            }
        }
        for (name, path) in &self.header_files {
            let mut value = HeaderValue::from_str(&secret(path)?).map_err(unusable)?;
            value.set_sensitive(true);
            if let Ok(name) = name.parse::<HeaderName>() {
                headers.insert(name, value);
            }
        }
        let text = if let Some(path) = &self.bearer_token_file {
            format!("Bearer {}", secret(path)?)
        } else if let (Some(name), Some(path)) = (&self.username, &self.password_file) {
            format!("Basic {}", STANDARD.encode(format!("{name}:{}", secret(path)?)))
        } else {
            return Ok(());
        };
        let mut value = HeaderValue::from_str(&text).map_err(unusable)?;
        value.set_sensitive(true);
        headers.insert(AUTHORIZATION, value);
        Ok(())
    }
}

/// An origin and the path below it. The URL is never part of an error: it may hold a secret.
pub(crate) fn parse_url(url: &str, key: &str) -> Result<(Origin, String), Invalid> {
    let wrong = || Invalid::new(key, "is no URL of the form https://host/path or unix:/socket");
    if url.starts_with("unix:") {
        return Ok((url.parse().map_err(|_| wrong())?, String::new()));
    }
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong());
    };
    let origin: Origin = format!("{scheme}://{authority}").parse().map_err(|_| wrong())?;
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Ok((origin, path.to_owned()))
}

/// Whether nobody between here and there can read along.
fn is_private(origin: &Origin) -> bool {
    match origin {
        Origin::Https { .. } | Origin::Unix(_) => true,
        Origin::Http { host, .. } => {
            host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_need_tls_unless_they_stay_on_the_machine() {
        let access = Access { bearer_token_file: Some("/token".into()), ..Access::default() };
        for url in ["https://h/x", "http://127.0.0.1:1/x", "http://[::1]:1", "http://localhost:1", "unix:/s"]
        {
            assert!(access.validate(url, "k").is_ok(), "{url}");
        }
        let invalid = access.validate("http://h:1/x", "k").unwrap_err();
        assert_eq!(invalid.key, "k.url");
        assert!(Access::default().validate("http://h:1/x", "k").is_ok());
        assert!(Access::default().validate("h:1", "k").is_err());
    }

    #[test]
    fn headers_that_the_sink_sets_are_refused() {
        for name in ["Authorization", "content-type", "a b"] {
            let access = Access { headers: [(name.to_owned(), "x".to_owned())].into(), ..Access::default() };
            assert_eq!(access.validate("https://h", "k").unwrap_err().key, "k.access.headers", "{name}");
        }
    }

    #[test]
    fn secrets_are_read_from_their_files_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "one\n").unwrap();
        let access = Access {
            username: Some("ada".into()),
            password_file: Some(file.clone()),
            header_files: [("x-key".to_owned(), file.clone())].into(),
            ..Access::default()
        };
        let mut headers = HeaderMap::new();
        access.apply(&mut headers).unwrap();
        assert_eq!(headers["authorization"], "Basic YWRhOm9uZQ==");
        std::fs::write(&file, "two").unwrap();
        access.apply(&mut headers).unwrap();
        assert_eq!(headers["x-key"], "two");
        std::fs::remove_file(&file).unwrap();
        assert!(access.apply(&mut headers).unwrap_err().contains("cannot read"));
    }
}
