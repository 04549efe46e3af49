//! The configuration file's shape, and its way into what the rest works with.
//!
//! The raw structs mirror the TOML; [`Config::lifetimes`], [`Issuer::new`] and
//! [`ClientConfig::build`] parse them once into types that cannot hold a nonsensical value, and
//! `--check-config` runs the same code.

mod client;

use std::time::Duration;

use quintet_http::Limits;
use quintet_service::config::Invalid;
use quintet_service::{ListenSection, SecretFile, ServiceSection};
use serde::Deserialize;
use url::Url;

pub(crate) use self::client::ClientConfig;
use crate::factors;
use crate::mail;
use crate::passwords;
use crate::throttle;
use crate::time::span;

/// Tokens must be gone before the key that signed them is.
const MAX_TOKEN_SECONDS: u64 = 24 * 60 * 60;

/// `identity-provider.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// What every binary has.
    pub(crate) service: ServiceSection,
    /// Logs, traces and metrics.
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    /// Where requests come in.
    pub(crate) listen: ListenSection,
    /// Bounds of the listener.
    #[serde(default)]
    pub(crate) limits: Limits,
    /// The database of the identity provider alone.
    pub(crate) database: quintet_store::Settings,
    /// Who this provider is.
    pub(crate) issuer: IssuerConfig,
    /// The sealing key.
    pub(crate) keys: KeysConfig,
    /// The first administrator.
    pub(crate) bootstrap: Option<Bootstrap>,
    /// Registered clients.
    #[serde(default)]
    pub(crate) clients: Vec<ClientConfig>,
    /// Lifetimes.
    #[serde(default)]
    pub(crate) tokens: Tokens,
    /// The cost of a password hash and how many run.
    #[serde(default)]
    pub(crate) argon2: passwords::Settings,
    /// How guessing is slowed.
    #[serde(default)]
    pub(crate) throttle: throttle::Settings,
    /// Who must have a second factor.
    #[serde(default)]
    pub(crate) factors: factors::Policy,
    /// How letters to people leave.
    pub(crate) mail: Option<mail::Settings>,
}

/// `[issuer]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IssuerConfig {
    /// The URL under which browsers and clients reach this provider, without a trailing slash.
    pub(crate) url: String,
}

/// `[keys]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct KeysConfig {
    /// The 32-byte sealing key in hexadecimal or base64.
    pub(crate) file: SecretFile,
    /// Age at which a signing key is replaced, in days.
    #[serde(default = "default_rotate_days")]
    pub(crate) rotate_days: u32,
}

const fn default_rotate_days() -> u32 {
    90
}

/// `[bootstrap]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "the names of the keys")]
pub(crate) struct Bootstrap {
    /// Address of the administrator who is created if there is no such account.
    pub(crate) admin_email: String,
    /// The administrator's name.
    pub(crate) admin_name: String,
    /// The administrator's first password.
    pub(crate) admin_password_file: SecretFile,
}

/// `[tokens]`
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields, default)]
#[expect(clippy::struct_field_names, reason = "the names of the keys, which end in their unit")]
pub(crate) struct Tokens {
    /// Life of an access token.
    pub(crate) access_seconds: u64,
    /// Life of an ID token.
    pub(crate) id_seconds: u64,
    /// Life of an authorization code.
    pub(crate) code_seconds: u64,
    /// Life of a refresh token that is not used.
    pub(crate) refresh_idle_seconds: u64,
    /// Life of a grant, however often it is refreshed.
    pub(crate) refresh_max_seconds: u64,
    /// How long a used refresh token is still answered, for lost answers and several tabs.
    pub(crate) refresh_grace_seconds: u64,
    /// Life of a sign-in session.
    pub(crate) session_seconds: u64,
    /// Life of a sign-in session that is not used.
    pub(crate) session_idle_seconds: u64,
    /// Time a person has to finish signing in.
    pub(crate) flow_seconds: u64,
}

impl Default for Tokens {
    fn default() -> Self {
        Self {
            access_seconds: 300,
            id_seconds: 300,
            code_seconds: 60,
            refresh_idle_seconds: 14 * 24 * 3600,
            refresh_max_seconds: 90 * 24 * 3600,
            refresh_grace_seconds: 10,
            session_seconds: 12 * 3600,
            session_idle_seconds: 2 * 3600,
            flow_seconds: 3600,
        }
    }
}

/// [`Tokens`] in microseconds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lifetimes {
    pub(crate) access: i64,
    pub(crate) id: i64,
    pub(crate) code: i64,
    pub(crate) refresh_idle: i64,
    pub(crate) refresh_max: i64,
    pub(crate) session: crate::sessions::Lifetimes,
    pub(crate) flow: i64,
}

/// Who this provider is, with the parts of its URL that are needed one by one.
#[derive(Debug, Clone)]
pub(crate) struct Issuer {
    /// The issuer identifier, exactly as configured.
    pub(crate) url: String,
    /// The host alone, which passkeys are bound to.
    pub(crate) host: String,
    /// Scheme, host and port, as browsers write them into `Origin`.
    pub(crate) origin: String,
    /// The path, without a trailing slash; empty for an issuer at the root.
    pub(crate) prefix: String,
}

impl Issuer {
    /// Parses an issuer identifier (OpenID Connect Discovery §3: https, no query, no fragment).
    pub(crate) fn new(text: &str) -> Result<Self, Invalid> {
        let invalid = |message: &str| Invalid::new("issuer.url", message);
        let url =
            Url::parse(text).map_err(|_| invalid("expected a URL such as https://example.com/identity"))?;
        if url.scheme() != "https" {
            return Err(invalid("an issuer is an https URL"));
        }
        if url.query().is_some()
            || url.fragment().is_some()
            || !url.username().is_empty()
            || url.password().is_some()
        {
            return Err(invalid("an issuer has no query, no fragment and no credentials"));
        }
        if text.ends_with('/') {
            return Err(invalid("an issuer has no trailing slash"));
        }
        let prefix = url.path().trim_end_matches('/').to_owned();
        // Anything else would be escaped here and not there, or mean something to the router.
        if !prefix.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"/-._".contains(&byte)) {
            return Err(invalid("the path of an issuer is made of plain segments"));
        }
        let host = url.host_str().unwrap_or_default().to_owned();
        Ok(Self { url: text.to_owned(), host, origin: url.origin().ascii_serialization(), prefix })
    }

    /// The URL of one of this provider's endpoints.
    pub(crate) fn endpoint(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }
}

impl Config {
    /// Checks everything that needs no database and no network.
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        Issuer::new(&self.issuer.url)?;
        self.lifetimes()?;
        passwords::check(&self.argon2).map_err(|message| Invalid::new("argon2", message))?;
        if self.argon2.max_concurrent == Some(0) {
            return Err(Invalid::new(
                "argon2.max_concurrent",
                "at least 1; leave it out for the number of cores",
            ));
        }
        if self.throttle.account_attempts == 0 || self.throttle.prefix_attempts == 0 {
            return Err(Invalid::new("throttle", "account_attempts and prefix_attempts are at least 1"));
        }
        if let Some(mail) = &self.mail {
            mail.validate()?;
            if let Some(file) = &mail.smtp.password_file {
                readable(file, "mail.smtp.password_file")?;
            }
        }
        if !(2..=3650).contains(&self.keys.rotate_days) {
            return Err(Invalid::new("keys.rotate_days", "between 2 and 3650"));
        }
        readable(&self.keys.file, "keys.file")?;
        if let Some(bootstrap) = &self.bootstrap {
            readable(&bootstrap.admin_password_file, "bootstrap.admin_password_file")?;
        }
        let mut ids = std::collections::HashSet::new();
        for (index, client) in self.clients.iter().enumerate() {
            client.build(index, self.tokens.refresh_grace_seconds, None)?;
            if !ids.insert(client.id.as_str()) {
                return Err(Invalid::new(format!("clients.{index}.id"), "this client id is used twice"));
            }
            if let Some(file) = &client.secret_file {
                readable(file, &format!("clients.{index}.secret_file"))?;
            }
        }
        Ok(())
    }

    /// The lifetimes, checked against each other.
    pub(crate) fn lifetimes(&self) -> Result<Lifetimes, Invalid> {
        let tokens = &self.tokens;
        let bounded = |key: &str, seconds: u64, most: u64| {
            if (1..=most).contains(&seconds) {
                Ok(span(Duration::from_secs(seconds)))
            } else {
                Err(Invalid::new(format!("tokens.{key}"), format!("between 1 and {most} seconds")))
            }
        };
        let year = 365 * 24 * 3600;
        bounded("refresh_grace_seconds", tokens.refresh_grace_seconds + 1, 61)?;
        Ok(Lifetimes {
            access: bounded("access_seconds", tokens.access_seconds, MAX_TOKEN_SECONDS)?,
            id: bounded("id_seconds", tokens.id_seconds, MAX_TOKEN_SECONDS)?,
            // RFC 6749 §4.1.2 recommends ten minutes at most.
            code: bounded("code_seconds", tokens.code_seconds, 600)?,
            refresh_idle: bounded("refresh_idle_seconds", tokens.refresh_idle_seconds, year)?,
            refresh_max: bounded("refresh_max_seconds", tokens.refresh_max_seconds, year)?,
            session: crate::sessions::Lifetimes {
                absolute: bounded("session_seconds", tokens.session_seconds, year)?,
                idle: bounded("session_idle_seconds", tokens.session_idle_seconds, year)?,
            },
            flow: bounded("flow_seconds", tokens.flow_seconds, 24 * 3600)?,
        })
    }
}

/// A secret that cannot be read is reported with the place of its key.
fn readable(file: &SecretFile, key: &str) -> Result<(), Invalid> {
    file.read_bytes(key).map(drop).map_err(|error| {
        let text = error.to_string();
        let reason = text.strip_prefix(&format!("key `{key}`: ")).unwrap_or(&text);
        Invalid::new(key, reason)
    })
}

/// An absolute URL without a fragment (RFC 6749 §3.1.2) and of a scheme that runs no code.
fn redirect_target(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|_| format!("{text} is not an absolute URL"))?;
    if url.fragment().is_some() {
        return Err(format!("{text} has a fragment"));
    }
    match url.scheme() {
        "https" => Ok(url),
        "http" => match url.host() {
            Some(url::Host::Domain("localhost")) => Ok(url),
            Some(url::Host::Ipv4(address)) if address.is_loopback() => Ok(url),
            Some(url::Host::Ipv6(address)) if address.is_loopback() => Ok(url),
            _ => Err(format!("{text} is plain http and not on this machine")),
        },
        // RFC 8252 §7.1: an application's own scheme is a reversed domain name.
        scheme if scheme.contains('.') => Ok(url),
        _ => Err(format!("{text} has a scheme that cannot be redirected to")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_is_an_https_url_without_decoration() {
        let issuer = Issuer::new("https://localhost:8443/identity").unwrap();
        assert_eq!((issuer.origin.as_str(), issuer.prefix.as_str()), ("https://localhost:8443", "/identity"));
        assert_eq!(Issuer::new("https://id.example").unwrap().prefix, "");
        for wrong in [
            "http://a/b",
            "https://a/b/",
            "https://a/b?c",
            "https://a/b#c",
            "https://u@a/b",
            "a",
            "https://a/{x}",
        ] {
            assert!(Issuer::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn redirects_that_could_run_code_or_leak_in_clear_are_refused() {
        for (uri, good) in [
            ("https://app.example/cb", true),
            ("http://localhost:3000/cb", true),
            ("http://127.0.0.1/cb", true),
            ("http://[::1]/cb", true),
            ("com.example.app:/cb", true),
            ("http://app.example/cb", false),
            ("https://app.example/cb#x", false),
            ("javascript:alert(1)", false),
            ("data:text/html,x", false),
            ("/cb", false),
        ] {
            assert_eq!(redirect_target(uri).is_ok(), good, "{uri}");
        }
    }
}
