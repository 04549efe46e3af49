//! Which certificate a handshake would be shown: the same choice as [`crate::tls`] makes.

use serde::Serialize;

use crate::config::{self, CertificateSource, ClientAuthMode};
use crate::tls;

/// The certificate for a name.
#[derive(Debug, Serialize)]
pub(super) struct Certificate {
    /// The file, unless none is readable.
    file: Option<String>,
    /// Why this one.
    why: String,
    /// RFC 3339.
    expires: Option<String>,
    /// Certificates that could not be read here.
    unreadable: Vec<String>,
}

pub(super) fn choose(sources: &[CertificateSource], host: &str) -> Certificate {
    let mut unreadable = Vec::new();
    let mut known = Vec::new();
    for source in sources {
        match tls::details(source) {
            Ok(details) => known.push((source, details)),
            Err(error) => unreadable.push(crate::proxy::chain(&error)),
        }
    }
    let parent = host.split_once('.').map(|(_, parent)| format!("*.{parent}"));
    let with = |wanted: &str| known.iter().find(|(_, known)| known.names.iter().any(|name| name == wanted));
    let (found, why) = if let Some(found) = with(host) {
        (Some(found), format!("names {host}"))
    } else if let Some((found, wildcard)) = parent.and_then(|parent| Some((with(&parent)?, parent))) {
        (Some(found), format!("names {wildcard}"))
    } else if sources.iter().any(|source| source.managed.iter().any(|name| name == host)) {
        (None, format!("waits for its certificate by ACME; until then handshakes for {host} fail"))
    } else {
        let why = format!("no certificate names {host}; the first one is shown, and clients will refuse it");
        (known.first(), why)
    };
    Certificate {
        file: found.map(|(source, _)| source.cert.display().to_string()),
        why,
        expires: found.map(|(_, details)| {
            quintet_types::time::from_micros(details.not_after.saturating_mul(1_000_000)).to_string()
        }),
        unreadable,
    }
}

/// What a client of this host has to show.
pub(super) fn of_client(config: &config::Config, host: &str) -> Option<String> {
    let section = config::client_auth_of(&config.client_auth, host)?;
    let authority = section.ca_file.display();
    Some(match section.mode {
        ClientAuthMode::Required => {
            format!("must show a certificate of {authority}; handshakes without fail")
        }
        ClientAuthMode::Optional => format!("may show a certificate of {authority}"),
    })
}

impl std::fmt::Display for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.file, &self.expires) {
            (Some(file), Some(expires)) => writeln!(f, "{file} ({}; expires {expires})", self.why)?,
            _ => writeln!(f, "none that can be read here ({})", self.why)?,
        }
        for error in &self.unreadable {
            writeln!(f, "             not readable: {error}")?;
        }
        Ok(())
    }
}
