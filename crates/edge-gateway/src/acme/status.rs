//! What the gateway says of its certificates: metrics, and `GET /gateway/acme` on the admin listener.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use metrics::{counter, gauge};
use quintet_types::time::from_micros;
use serde::{Serialize, Serializer};

use crate::gateway::Gateway;

/// One managed certificate.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Status {
    pub(super) names: Vec<String>,
    pub(super) state: Condition,
    pub(super) expires: Option<Moment>,
    /// When it is to be renewed.
    pub(super) renewal: Option<Moment>,
    /// When the running certificate was stored.
    pub(super) stored: Option<Moment>,
    /// Failures since the last success.
    pub(super) failures: u32,
    pub(super) error: Option<String>,
    pub(super) next_try: Option<Moment>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Condition {
    /// There is none to show: handshakes for the names fail.
    Awaited,
    /// There is one, but it has expired.
    Expired,
    /// A good one is shown.
    Current,
}

/// Milliseconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Moment(pub(super) i64);

impl std::fmt::Display for Moment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        from_micros(self.0.saturating_mul(1_000)).fmt(f)
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The last look at all of them.
#[derive(Debug, Default)]
pub(super) struct Statuses(Mutex<Vec<Status>>);

impl Statuses {
    pub(super) fn set(&self, all: Vec<Status>) {
        for status in &all {
            status.observe();
        }
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = all;
    }

    pub(super) fn all(&self) -> Vec<Status> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Status {
    /// The name that metrics and logs have for the certificate: its first one.
    fn label(&self) -> String {
        self.names.first().cloned().unwrap_or_default()
    }

    fn observe(&self) {
        let set = |gauge: metrics::Gauge, moment: Option<Moment>| {
            #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit a double exactly")]
            gauge.set(moment.map_or(0.0, |moment| moment.0 as f64 / 1_000.0));
        };
        let label = || self.label();
        set(
            gauge!("quintet_gateway_acme_certificate_expiry_timestamp_seconds", "certificate" => label()),
            self.expires,
        );
        set(gauge!("quintet_gateway_acme_renewal_timestamp_seconds", "certificate" => label()), self.renewal);
        set(
            gauge!("quintet_gateway_acme_last_success_timestamp_seconds", "certificate" => label()),
            self.stored,
        );
        // Made with the certificate, so that its first failure is an increase.
        failures(&label()).increment(0);
    }
}

/// Failed orders of the certificate that begins with `name`.
pub(super) fn failures(name: &str) -> metrics::Counter {
    counter!("quintet_gateway_acme_failures_total", "certificate" => name.to_owned())
}

/// The admin listener's part.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/gateway/acme", get(show)).with_state(gateway)
}

async fn show(State(gateway): State<Arc<Gateway>>) -> Json<Vec<Status>> {
    Json(gateway.acme.statuses())
}
