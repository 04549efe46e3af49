//! Where a request comes from, for the throttle and the audit log.
//!
//! The listener is reachable by the gateway alone (a unix socket or loopback), and the gateway
//! writes `X-Forwarded-For` itself; of a longer list only the last entry, the gateway's own, counts.

use std::convert::Infallible;
use std::net::IpAddr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use quintet_http::RequestId;

/// The origin of a request.
#[derive(Debug, Clone, Default)]
pub(crate) struct Caller {
    /// The client's address as the gateway saw it.
    pub(crate) address: Option<IpAddr>,
    /// What the browser calls itself; empty for what the provider does on its own.
    pub(crate) agent: String,
    /// The request id; empty for what the provider does on its own.
    pub(crate) request_id: String,
}

impl Caller {
    /// The address as text; empty when there is none.
    pub(crate) fn shown_address(&self) -> String {
        self.address.map(|address| address.to_string()).unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let forwarded = parts.headers.get_all("x-forwarded-for").iter().next_back();
        let address = forwarded
            .and_then(|value| value.to_str().ok())
            .and_then(|list| list.rsplit(',').next())
            .and_then(|last| last.trim().parse().ok());
        let request_id = parts.extensions.get::<RequestId>().map(ToString::to_string).unwrap_or_default();
        let agent = parts.headers.get("user-agent").and_then(|value| value.to_str().ok());
        Ok(Self { address, agent: agent.unwrap_or_default().to_owned(), request_id })
    }
}
