//! What the admin listener tells of this moment: the routes and upstreams of the running configuration.
//!
//! Rates come from `/metrics`; this says which of its series belong to the running configuration, and what no
//! counter can say. It is as long as the configuration and changes nothing.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use serde::{Deserialize, Serialize};

use crate::gateway::Gateway;
use crate::router::Route;
use crate::upstream::UpstreamStatus;

/// Where the admin listener answers.
pub(super) const PATH: &str = "/gateway/status";

/// The gateway at one moment.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Status {
    pub(super) version: String,
    /// RFC 3339.
    pub(super) at: String,
    /// Configurations installed since the start.
    pub(super) generation: u64,
    pub(super) connections_open: usize,
    pub(super) connections_limit: usize,
    /// Idle ones without buffers.
    pub(super) connections_parked: usize,
    /// Labels of routes as metrics have them, in the order of the configuration.
    pub(super) routes: Vec<String>,
    pub(super) upstreams: Vec<UpstreamStatus>,
}

/// The admin listener's part of `top`.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new().route(PATH, get(answer)).with_state(gateway)
}

async fn answer(State(gateway): State<Arc<Gateway>>) -> Json<Status> {
    Json(Status::of(&gateway, Instant::now()))
}

impl Status {
    fn of(gateway: &Gateway, now: Instant) -> Self {
        let snapshot = gateway.snapshot();
        let micros = gateway.now_millis().saturating_mul(1_000);
        let mut routes: Vec<String> = Vec::new();
        for label in snapshot.router.routes().iter().map(Route::label) {
            // Routes of one label share their metrics.
            if !routes.contains(&label) {
                routes.push(label);
            }
        }
        Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            at: quintet_types::time::from_micros(micros).to_string(),
            generation: gateway.generation(),
            connections_open: gateway.connections.count(),
            connections_limit: snapshot.limits().connections,
            connections_parked: gateway.parked.load(Ordering::Relaxed),
            routes,
            upstreams: snapshot.upstreams.iter().map(|upstream| upstream.status(now)).collect(),
        }
    }
}
