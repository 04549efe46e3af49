//! `[fleet]`: the other sinks whose telemetry joins the answers of this one.

use std::collections::{BTreeMap, BTreeSet};

use quintet_service::Invalid;
use serde::Deserialize;

use crate::ingest::naming::label_name;
use crate::model::METRIC_NAME;
use crate::outbound::{Access, parse_url};

const MAX_PEERS: usize = 16;

/// Several sinks that answer as one.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct FleetSection {
    /// Labels that tell this sink's series from those of others in joined answers, such as `node = "a"`. Series that have a label of
    /// the name keep theirs.
    pub(crate) labels: BTreeMap<String, String>,
    /// The other sinks.
    pub(crate) peers: Vec<PeerSection>,
}

/// Another sink.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PeerSection {
    /// Names the peer in log lines and metrics.
    pub(crate) name: String,
    /// What `/telemetry/v1/read/` stands below: the origin of its query listener, or of the gateway before it.
    pub(crate) url: String,
    /// How long a peer may take to answer before the answer goes without it.
    #[serde(default = "timeout_ms")]
    pub(crate) timeout_ms: u64,
    /// A token with the scope `telemetry:read`, or what the gateway before the peer asks for, and whom to trust.
    #[serde(default)]
    pub(crate) access: Access,
    /// Where tokens are fetched instead, as they are needed.
    #[serde(default)]
    pub(crate) token: Option<TokenSection>,
}

/// The identity provider's token endpoint, asked for client credentials (RFC 6749, section 4.4).
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TokenSection {
    /// The token endpoint.
    pub(crate) url: String,
    #[serde(default = "scope")]
    pub(crate) scope: String,
    /// The client's id as `username`, the file of its secret as `password_file`, and whom to trust.
    pub(crate) access: Access,
}

fn timeout_ms() -> u64 {
    5000
}

fn scope() -> String {
    "telemetry:read".to_owned()
}

impl FleetSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        for (name, value) in &self.labels {
            if label_name(name) != *name || name == METRIC_NAME || value.is_empty() {
                return Err(Invalid::new(
                    "fleet.labels",
                    format!("`{name}` needs a label's name and a value"),
                ));
            }
        }
        if self.peers.len() > MAX_PEERS {
            return Err(Invalid::new("fleet.peers", format!("there may be {MAX_PEERS} peers")));
        }
        let mut names = BTreeSet::new();
        for peer in &self.peers {
            if peer.name.is_empty() || !names.insert(&peer.name) {
                return Err(Invalid::new("fleet.peers.name", "each peer needs a name of its own"));
            }
            if !(100..=60_000).contains(&peer.timeout_ms) {
                return Err(Invalid::new("fleet.peers.timeout_ms", "must be between 100 and 60000"));
            }
            peer.access.validate(&peer.url, "fleet.peers")?;
            if let Some(token) = &peer.token {
                token.access.validate(&token.url, "fleet.peers.token")?;
                if peer.access.username.is_some() || peer.access.bearer_token_file.is_some() {
                    return Err(Invalid::new(
                        "fleet.peers.token",
                        "cannot be used with secrets of fleet.peers.access",
                    ));
                }
                if token.access.username.is_none() {
                    return Err(Invalid::new(
                        "fleet.peers.token.access.username",
                        "is missing: the client's id",
                    ));
                }
                // A token is a secret as any other.
                let secret = Access { bearer_token_file: Some("token".into()), ..Access::default() };
                secret.validate(&peer.url, "fleet.peers")?;
                parse_url(&token.url, "fleet.peers.token.url")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn invalid(text: &str) -> String {
        toml::from_str::<FleetSection>(text).unwrap().validate().unwrap_err().key
    }

    #[test]
    fn what_cannot_work_is_refused_with_its_key() {
        let peer = |more: &str| format!("[[peers]]\nname = \"b\"\nurl = \"https://b\"\n{more}");
        assert_eq!(invalid("labels = { __name__ = \"x\" }"), "fleet.labels");
        assert_eq!(invalid(&(peer("") + &peer(""))), "fleet.peers.name");
        assert_eq!(invalid(&peer("timeout_ms = 1")), "fleet.peers.timeout_ms");
        let token =
            "token = { url = \"https://id/token\", access = { username = \"c\", password_file = \"/s\" } }\n";
        assert!(toml::from_str::<FleetSection>(&peer(token)).unwrap().validate().is_ok());
        let both = peer(&format!("access = {{ bearer_token_file = \"/t\" }}\n{token}"));
        assert_eq!(invalid(&both), "fleet.peers.token");
        let open = format!("[[peers]]\nname = \"b\"\nurl = \"http://b\"\n{token}");
        assert_eq!(invalid(&open), "fleet.peers.url", "a token goes over TLS alone");
    }
}
