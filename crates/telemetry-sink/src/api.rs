//! The query side: the product's own endpoints and the query APIs of Prometheus, Loki, Jaeger and Tempo.
//!
//! Every route here needs a token with the scope `telemetry:read`; the console's files are the only
//! thing the query listener gives without one.
//!
//! Invariants: a query runs off the runtime's threads, at most `concurrency` at once, each with a
//! deadline and a sample limit; the foreign APIs answer with their own shapes, errors included.

mod alertmanager;
pub(crate) mod catalog;
mod configured;
pub(crate) mod dashboards;
pub(crate) mod events;
mod exemplars;
mod expressions;
pub(crate) mod fleet;
pub(crate) mod jaeger;
pub(crate) mod loki;
pub(crate) mod params;
mod prometheus;
mod query_stats;
mod rules;
mod server;
pub(crate) mod service_graph;
mod storage;
mod tail;
mod tempo;
mod traces;
mod tsdb;

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::QuerySection;
use crate::notify::engine::Notifier;
use crate::offload::missed;
use crate::peers::{self, Peers};
use crate::promql;
use crate::rules::engine::Views;
use crate::scrape::Targets;
use crate::storage::Storage;

/// The scope without which no telemetry is shown.
pub(crate) const SCOPE: &str = "telemetry:read";
/// How long a query waits for its turn.
const QUEUE_TIMEOUT: Duration = Duration::from_secs(5);

/// What every handler needs.
pub(crate) struct Api {
    pub(crate) storage: Arc<Storage>,
    pub(crate) targets: Arc<Targets>,
    pub(crate) events: events::Hub,
    pub(crate) rules: Arc<Views>,
    pub(crate) notifier: Arc<Notifier>,
    started_at: i64,
    tails: tail::Places,
    pub(crate) peers: Arc<Peers>,
    settings: QuerySection,
    turns: Semaphore,
    /// Questions of other sinks have turns of their own: two that ask each other would wait for each other.
    peer_turns: Semaphore,
}

/// A query that did not get its turn or did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NotRun {
    Busy,
    Failed,
}

impl Api {
    pub(crate) fn new(
        storage: Arc<Storage>,
        targets: Arc<Targets>,
        rules: Arc<Views>,
        notifier: Arc<Notifier>,
        peers: Arc<Peers>,
        settings: QuerySection,
        shutdown: CancellationToken,
    ) -> Self {
        Self {
            started_at: storage.clock().now().as_millisecond(),
            storage,
            targets,
            events: events::Hub::new(shutdown),
            rules,
            notifier,
            tails: tail::Places::default(),
            turns: Semaphore::new(settings.concurrency),
            peer_turns: Semaphore::new(settings.concurrency),
            peers,
            settings,
        }
    }

    pub(crate) fn limits(&self) -> promql::Limits {
        let timeout = Duration::from_millis(self.settings.timeout_ms);
        promql::Limits { max_samples: self.settings.max_samples, deadline: Instant::now() + timeout }
    }

    /// Runs a query on a blocking thread when it is its turn.
    pub(crate) async fn run<T, F>(self: &Arc<Self>, query: F) -> Result<T, NotRun>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        self.run_in(&self.turns, query).await
    }

    /// The same for another sink that asks.
    pub(crate) async fn run_for_peer<T, F>(self: &Arc<Self>, query: F) -> Result<T, NotRun>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        self.run_in(&self.peer_turns, query).await
    }

    async fn run_in<T, F>(self: &Arc<Self>, turns: &Semaphore, query: F) -> Result<T, NotRun>
    where
        T: Send + 'static,
        F: FnOnce(&Self) -> T + Send + 'static,
    {
        let turn = tokio::time::timeout(QUEUE_TIMEOUT, turns.acquire());
        let _turn = turn.await.map_err(|_| NotRun::Busy)?.map_err(|_| NotRun::Failed)?;
        let api = Arc::clone(self);
        let run = tokio::task::spawn_blocking(move || missed::watch(|| query(&api)));
        let (answer, missed) = run.await.map_err(|error| {
            tracing::error!(%error, "a query stopped");
            NotRun::Failed
        })?;
        missed::tell(missed);
        Ok(answer)
    }

    pub(crate) fn now_millis(&self) -> i64 {
        self.storage.clock().now().as_millisecond()
    }
}

impl From<NotRun> for Problem {
    fn from(not_run: NotRun) -> Self {
        match not_run {
            NotRun::Busy => Self::unavailable(Duration::from_secs(1)),
            NotRun::Failed => {
                Self::new(http::StatusCode::INTERNAL_SERVER_ERROR, "internal", "the query could not be run")
            }
        }
    }
}

/// Every query route behind token and scope.
pub(crate) fn router(api: Arc<Api>, verifier: Arc<Verifier>) -> Router {
    Router::new()
        .route("/telemetry/v1/fleet", get(fleet::show))
        .route("/telemetry/v1/events", get(events::stream))
        .route("/telemetry/v1/traces/{id}", get(traces::show))
        .route("/telemetry/v1/storage", get(storage::show))
        .route("/telemetry/v1/service-graph", get(service_graph::show))
        .route("/telemetry/v1/logs/tail", get(tail::events::stream))
        .nest(
            "/telemetry/prometheus/api/v1",
            prometheus::router().merge(tsdb::router()).merge(exemplars::router()),
        )
        .route("/telemetry/prometheus/-/healthy", get(server::healthy))
        .route("/telemetry/prometheus/-/ready", get(server::ready))
        .nest("/telemetry/v1/read", peers::reading::router())
        .nest("/telemetry/alertmanager", alertmanager::router())
        .nest("/telemetry/loki/api/v1", loki::router())
        // What clients make of the address `…/telemetry/loki`.
        .nest("/telemetry/loki/loki/api/v1", loki::router())
        .route("/telemetry/loki/ready", get(loki::ready))
        .nest("/telemetry/jaeger/api", jaeger::router())
        .nest("/telemetry/tempo/api", tempo::router())
        .route("/telemetry", get(unknown))
        .route("/telemetry/{*rest}", get(unknown).post(unknown).delete(unknown))
        .layer(from_fn(missed::layer))
        .layer(from_fn(scoped))
        .layer(quintet_auth::layer(verifier))
        .with_state(api)
}

/// Keeps unknown API paths from falling through to the console's page.
async fn unknown() -> Problem {
    Problem::new(http::StatusCode::NOT_FOUND, "route_not_found", "there is no such route")
}

async fn scoped(principal: Principal, request: Request, next: Next) -> Response {
    match principal.require(SCOPE) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}
