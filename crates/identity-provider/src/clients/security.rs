//! What a client is held to beyond RFC 6749.

use quintet_auth::Algorithm;

use crate::client_auth::{AuthMethod, KeySource};
use crate::outbound::Outbound;

/// Which document a client is held to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Profile {
    /// RFC 9700, with what OpenID Connect Core asks of everybody.
    #[default]
    Basic,
    /// FAPI 2.0 Security Profile.
    Fapi2,
}

impl Profile {
    /// Whether a client may sign with `algorithm`. FAPI 2.0 §5.4.1 leaves PKCS #1 v1.5 out.
    pub(crate) fn accepts(self, algorithm: Algorithm) -> bool {
        self == Self::Basic || algorithm != Algorithm::Rs256
    }
}

/// The rules for one client.
#[derive(Debug)]
pub(crate) struct Security {
    pub(crate) profile: Profile,
    pub(crate) authentication: AuthMethod,
    pub(crate) keys: KeySource,
    /// Of whom its certificate is: one of both, where it authenticates by it.
    pub(crate) certificate_dns: Option<String>,
    pub(crate) certificate_uri: Option<String>,
    /// Whether its tokens are bound to its certificate (RFC 8705 §3).
    pub(crate) binds_certificate: bool,
    /// Whether it gets no token without a DPoP proof (RFC 9449 §5.2).
    pub(crate) requires_dpop: bool,
    /// Whether it must push its authorization requests (RFC 9126 §6).
    pub(crate) requires_pushed_requests: bool,
    /// Whether it must sign them (RFC 9101 §10.5).
    pub(crate) requires_signed_requests: bool,
    /// Whether it must use PKCE (RFC 9700 §2.1.1).
    pub(crate) requires_pkce: bool,
    /// What it may name as `resource` (RFC 8707).
    pub(crate) resources: Vec<String>,
    /// The clients whose tokens it may exchange (RFC 8693).
    pub(crate) exchanges_of: Vec<String>,
    /// Where it hears that a session has ended.
    pub(crate) backchannel_logout: Option<Outbound>,
}

impl Default for Security {
    fn default() -> Self {
        Self {
            profile: Profile::Basic,
            authentication: AuthMethod::None,
            keys: KeySource::None,
            certificate_dns: None,
            certificate_uri: None,
            binds_certificate: false,
            requires_dpop: false,
            requires_pushed_requests: false,
            requires_signed_requests: false,
            requires_pkce: true,
            resources: Vec::new(),
            exchanges_of: Vec::new(),
            backchannel_logout: None,
        }
    }
}
