//! `[upstreams.tls]`: who an upstream must prove to be, and as whom the gateway calls.

use std::path::{Path, PathBuf};

use quintet_http::listen::Address;
use quintet_service::Invalid;
use rustls_pki_types::ServerName;
use serde::Deserialize;

use super::{At, Site, Upstream};
use crate::upstream::Protocol;

const MAX_STREAMS: u64 = 1_000;

/// TLS to an upstream. The certificate is always verified.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsSection {
    /// Name that the upstream's certificate must have, and that is sent as SNI; the name or IP address in
    /// `addresses` where unset.
    pub(crate) server_name: Option<String>,
    /// PEM file with the authorities that may have signed it; the public ones (Mozilla's list) where unset.
    pub(crate) ca_file: Option<PathBuf>,
    /// PEM file with the certificate chain that the gateway shows where it is asked for one.
    pub(crate) cert_file: Option<PathBuf>,
    /// PEM file with its key.
    pub(crate) key_file: Option<PathBuf>,
}

impl TlsSection {
    /// The files that it names.
    pub(crate) fn files(&self) -> Vec<&Path> {
        [&self.ca_file, &self.cert_file, &self.key_file].into_iter().flatten().map(PathBuf::as_path).collect()
    }

    /// The name to verify; none where it goes by the address.
    pub(crate) fn server_name(&self) -> Option<ServerName<'static>> {
        self.server_name.as_ref().and_then(|name| ServerName::try_from(name.clone()).ok())
    }
}

pub(super) fn check(place: At, upstream: &Upstream) -> Result<(), Invalid> {
    place.within("max_streams", u64::from(upstream.max_streams), 1, MAX_STREAMS)?;
    let Some(tls) = &upstream.tls else {
        if upstream.protocol == Protocol::H2 {
            return place.refuse("protocol", "\"h2\" needs `tls`; use \"h2c\" for HTTP/2 without TLS");
        }
        return Ok(());
    };
    if upstream.protocol == Protocol::H2c {
        return place.refuse("protocol", "\"h2c\" is without TLS; use \"h2\" or remove `tls`");
    }
    if tls.server_name.is_some() && tls.server_name().is_none() {
        return place.refuse("tls.server_name", "must be a host name such as \"app.internal\"");
    }
    let unnamed = upstream.addresses.iter().any(|one| matches!(one.address, Site::Address(Address::Unix(_))));
    if tls.server_name.is_none() && unnamed {
        return place.refuse("tls.server_name", "is needed for a unix socket, which has no name to verify");
    }
    let named = upstream.addresses.iter().any(|one| matches!(one.address, Site::Name(_)));
    if tls.server_name.is_none() && named && upstream.only_name().is_none() {
        let message = "is needed where `addresses` have more than one name, or a name beside addresses";
        return place.refuse("tls.server_name", message);
    }
    match (&tls.cert_file, &tls.key_file) {
        (Some(_), None) => place.refuse("tls.key_file", "is needed with `cert_file`"),
        (None, Some(_)) => place.refuse("tls.cert_file", "is needed with `key_file`"),
        _ => Ok(()),
    }
}
