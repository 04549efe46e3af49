//! Why an upstream gave no answer, and what the client is told.

use std::time::Duration;

use http::StatusCode;
use quintet_http::problem::Problem;

use crate::body::UploadPhase;
use crate::wire::ConnectError;

/// What clients are told to wait when an upstream is down.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Why an upstream gave no answer; a word for the access log, and the answer for the client.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) reason: &'static str,
    pub(crate) problem: Box<Problem>,
    /// The client was still sending: its connection must close.
    pub(crate) unread: bool,
}

impl Failure {
    fn new(reason: &'static str, problem: Problem) -> Self {
        Self { reason, problem: Box::new(problem), unread: false }
    }

    pub(super) fn unavailable(reason: &'static str, detail: &str) -> Self {
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "upstream_unavailable", detail);
        Self::new(reason, problem.with_retry_after(RETRY_AFTER))
    }

    /// No address of the upstream can be reached.
    pub(crate) fn down() -> Self {
        Self::unavailable("upstream_down", "the service behind this address is not available")
    }

    /// The upstream is known by names alone, and they have had no address since the gateway knows them.
    pub(crate) fn unresolved() -> Self {
        Self::unavailable("upstream_unresolved", "the service behind this address is not available")
    }

    /// No connection for this reason.
    pub(crate) fn of_connect(error: &ConnectError) -> Self {
        if !error.is_distrust() {
            return Self::down();
        }
        let detail = "the service behind this address did not prove who it is";
        let problem = Problem::new(StatusCode::BAD_GATEWAY, "upstream_unavailable", detail);
        Self::new("upstream_tls", problem)
    }

    /// HTTP/2 has no room for this host.
    pub(super) fn host() -> Self {
        let detail = "the request must name exactly one host";
        Self::new("host_invalid", Problem::bad_request("host_invalid", detail))
    }

    pub(crate) fn bad_gateway() -> Self {
        let problem = Problem::new(
            StatusCode::BAD_GATEWAY,
            "upstream_unavailable",
            "the service behind this address broke off without an answer",
        );
        Self::new("upstream_broke_off", problem.with_retry_after(RETRY_AFTER))
    }

    /// The upstream's answer could be read in two ways.
    pub(crate) fn ambiguous() -> Self {
        let detail = "the service behind this address sent an answer whose length is ambiguous";
        Self::new("upstream_framing", Problem::new(StatusCode::BAD_GATEWAY, "upstream_framing", detail))
    }

    pub(crate) fn timeout() -> Self {
        let detail = "the service behind this address did not answer in time";
        Self::new("upstream_timeout", Problem::new(StatusCode::GATEWAY_TIMEOUT, "upstream_timeout", detail))
    }

    /// The client's own upload failed, whatever the upstream made of it.
    pub(super) fn of_upload(phase: UploadPhase) -> Option<Self> {
        let (reason, problem) = match phase {
            UploadPhase::TooLarge => ("body_too_large", too_large()),
            UploadPhase::TooSlow => return Some(Self::slow_body()),
            UploadPhase::Failed => (
                "client_body",
                Problem::bad_request("body_broken", "the request body broke off or is malformed"),
            ),
            UploadPhase::Running | UploadPhase::Complete => return None,
        };
        Some(Self { reason, problem: Box::new(problem), unread: true })
    }

    /// Below the least rate.
    fn slow_body() -> Self {
        let detail = "the request body came more slowly than this address takes it";
        let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "body_too_slow", detail);
        Self { reason: "body_too_slow", problem: Box::new(problem), unread: true }
    }

    pub(super) fn slow_upload() -> Self {
        let problem =
            Problem::new(StatusCode::REQUEST_TIMEOUT, "body_timeout", "the request body came too slowly");
        Self { reason: "body_timeout", problem: Box::new(problem), unread: true }
    }
}

/// 413 for a body beyond the route's limit.
pub(crate) fn too_large() -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "body_too_large",
        "the request body is larger than this address takes",
    )
}
