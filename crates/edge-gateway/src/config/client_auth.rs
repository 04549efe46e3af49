//! `[[client_auth]]`: hosts whose clients show a certificate (mutual TLS).

use std::path::{Path, PathBuf};

use quintet_service::Invalid;
use serde::Deserialize;

use super::invalid;
use crate::router::HostRule;

/// Asks clients of some hosts for a certificate.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClientAuthSection {
    /// The hosts, as in routes: `"partners.example"`, or `"*.partners.example"` for all below. The first section that
    /// has a host decides.
    pub(crate) hosts: Vec<String>,
    /// PEM file with the authorities that may have signed the clients' certificates.
    pub(crate) ca_file: PathBuf,
    /// PEM file with revocation lists of these authorities.
    pub(crate) crl_file: Option<PathBuf>,
    /// What becomes of a client that shows none.
    #[serde(default)]
    pub(crate) mode: ClientAuthMode,
}

/// What becomes of a client that shows no certificate. A certificate that is not valid always ends the handshake.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum ClientAuthMode {
    /// Its handshake fails.
    #[default]
    Required,
    /// It is served, but for routes with `client_certificate = true`.
    Optional,
}

impl ClientAuthSection {
    /// The hosts in the form that requests are compared with.
    pub(crate) fn rules(&self) -> Vec<HostRule> {
        self.hosts.iter().filter_map(|host| HostRule::parse(host).ok()).collect()
    }

    /// The files that it names.
    pub(crate) fn files(&self) -> Vec<&Path> {
        [Some(&self.ca_file), self.crl_file.as_ref()].into_iter().flatten().map(PathBuf::as_path).collect()
    }
}

/// The section that decides for a host.
pub(crate) fn of_host<'s>(sections: &'s [ClientAuthSection], host: &str) -> Option<&'s ClientAuthSection> {
    sections.iter().find(|section| section.rules().iter().any(|rule| rule.matches(host)))
}

pub(super) fn check(sections: &[ClientAuthSection]) -> Result<(), Invalid> {
    for (at, section) in sections.iter().enumerate() {
        if section.hosts.is_empty() {
            let message = "needs at least one host, such as \"partners.example\"";
            return invalid(&format!("client_auth.{at}.hosts"), message);
        }
        for (n, host) in section.hosts.iter().enumerate() {
            HostRule::parse(host)
                .or_else(|message| invalid(&format!("client_auth.{at}.hosts.{n}"), &message))?;
        }
    }
    Ok(())
}
