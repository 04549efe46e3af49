//! Where a client connects to: `http://host:port`, `https://host:port` or `unix:/path`.
//!
//! An origin has no path, query or user: those belong to a request.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use thiserror::Error;

use crate::listen::{AddressError, unix_path};

/// A server to send requests to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// Cleartext over TCP.
    Http {
        /// DNS name or IP address; IPv6 without brackets.
        host: String,
        /// TCP port, 80 unless given.
        port: u16,
    },
    /// TLS over TCP.
    Https {
        /// DNS name or IP address, also the name the certificate must carry; IPv6 without brackets.
        host: String,
        /// TCP port, 443 unless given.
        port: u16,
    },
    /// Cleartext over a unix socket.
    Unix(PathBuf),
}

/// The text is not an [`Origin`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OriginError {
    /// Another scheme, no host, a bad port, or more than an origin.
    #[error("`{0}` is not an origin; write http://HOST:PORT, https://HOST:PORT or unix:/PATH")]
    Form(String),
    /// The path after `unix:` cannot be a socket.
    #[error(transparent)]
    Unix(#[from] AddressError),
}

impl Origin {
    /// The value of `Host`: the port is left out where it is the scheme's default.
    pub fn authority(&self) -> String {
        match self {
            Self::Http { host, port } => authority(host, *port, 80),
            Self::Https { host, port } => authority(host, *port, 443),
            Self::Unix(_) => "localhost".to_owned(),
        }
    }
}

fn authority(host: &str, port: u16, default: u16) -> String {
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    if port == default { host } else { format!("{host}:{port}") }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Self::Unix(unix_path(path)?));
        }
        parse_uri(text).ok_or_else(|| OriginError::Form(text.to_owned()))
    }
}

fn parse_uri(text: &str) -> Option<Origin> {
    let uri: Uri = text.parse().ok()?;
    let authority = uri.authority()?;
    let bare = uri.path_and_query().is_none_or(|rest| rest.as_str() == "/");
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    if !bare || host.is_empty() || authority.as_str().contains('@') || text.contains('#') {
        return None;
    }
    // A colon without a valid number after it would otherwise silently become the default port.
    let after_host = authority.as_str().strip_prefix(authority.host())?;
    let port = match after_host.strip_prefix(':') {
        Some(digits) => Some(digits.parse::<u16>().ok().filter(|port| *port > 0)?),
        None => None,
    };
    match uri.scheme_str()? {
        "http" => Some(Origin::Http { host, port: port.unwrap_or(80) }),
        "https" => Some(Origin::Https { host, port: port.unwrap_or(443) }),
        _ => None,
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Http { .. } => write!(f, "http://{}", self.authority()),
            Self::Https { .. } => write!(f, "https://{}", self.authority()),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_survive_their_text_form() {
        for (text, shown) in [
            ("http://localhost:9000", "http://localhost:9000"),
            ("http://localhost", "http://localhost"),
            ("https://example.com/", "https://example.com"),
            ("https://example.com:443", "https://example.com"),
            ("https://[::1]:8443", "https://[::1]:8443"),
            ("unix:/run/quintet/core-api.sock", "unix:/run/quintet/core-api.sock"),
        ] {
            let origin: Origin = text.parse().unwrap();
            assert_eq!(origin.to_string(), shown);
            assert_eq!(shown.parse::<Origin>().unwrap(), origin);
        }
    }

    #[test]
    fn more_or_less_than_an_origin_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:80",
            "ftp://host",
            "http://",
            "http://host/path",
            "http://host?x=1",
            "http://host#x",
            "http://user:secret@host",
            "http://host:0",
            "http://host:99999",
            "http://host:",
            "unix:relative.sock",
            "unix:",
        ] {
            assert!(text.parse::<Origin>().is_err(), "{text:?} was accepted");
        }
    }
}
