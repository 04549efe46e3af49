//! The HTTP API under `/node/v1`: state, journal, sockets, update, roll-back, reboot.
//!
//! It changes nothing itself; see [`crate::requests`].

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use http::StatusCode;
use http::header::CONTENT_TYPE;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_http::extract::{Json, Query};
use quintet_service::Context;
use serde::Deserialize;
use tokio::sync::Semaphore;

use crate::config::Config;
use crate::fetch::Source;
use crate::journal::{self, MOST_LINES, Question};
use crate::paths;
use crate::requests::{self, Request, Rollback, Update};
use crate::sockets::{self, Sockets};

const READ: &str = "node:read";
const WRITE: &str = "node:write";
/// Readers of the journal at the same time: each is a process.
const READERS: usize = 2;
const READ_WITHIN: Duration = Duration::from_secs(20);

#[derive(Clone)]
struct Api {
    readers: Arc<Semaphore>,
    directory: Arc<Path>,
    status: Arc<Path>,
}

pub(crate) fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
    let listener = cx.listener("http", &config.listen.http)?;
    let verifier = Arc::new(Verifier::new(config.auth, cx.clock()));
    let api = Api {
        readers: Arc::new(Semaphore::new(READERS)),
        directory: Path::new(paths::REQUESTS).into(),
        status: Path::new(paths::STATUS).into(),
    };
    cx.serve("http", listener, routes(api).layer(quintet_auth::layer(verifier)), config.limits);
    Ok(())
}

fn routes(api: Api) -> Router {
    Router::new()
        .route("/node/v1/status", get(status))
        .route("/node/v1/journal", get(read_journal))
        .route("/node/v1/sockets", get(listening))
        .route("/node/v1/update", post(update))
        .route("/node/v1/rollback", post(rollback))
        .route("/node/v1/reboot", post(reboot))
        .with_state(api)
}

async fn status(principal: Principal, State(api): State<Api>) -> Result<Response, Problem> {
    principal.require(READ)?;
    let content = tokio::fs::read(&api.status).await.map_err(|error| Problem::internal(&error))?;
    Ok(([(CONTENT_TYPE, "application/json")], content).into_response())
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct JournalQuery {
    boot: i32,
    unit: Option<String>,
    lines: u32,
}

impl Default for JournalQuery {
    fn default() -> Self {
        Self { boot: 0, unit: None, lines: 200 }
    }
}

async fn read_journal(
    principal: Principal,
    State(api): State<Api>,
    Query(query): Query<JournalQuery>,
) -> Result<Response, Problem> {
    principal.require(READ)?;
    if query.lines == 0 || query.lines > MOST_LINES || query.boot > 0 {
        let text = format!("`lines` is 1 to {MOST_LINES}; `boot` is 0 for this boot, -1 for the one before");
        return Err(Problem::bad_request("journal_query", text));
    }
    let Ok(permit) = api.readers.try_acquire_owned() else {
        return Err(Problem::too_many(Duration::from_secs(1)));
    };
    let question = Question { boot: query.boot, unit: query.unit, lines: query.lines };
    let reading = tokio::task::spawn_blocking(move || {
        let text = journal::read(&question);
        drop(permit);
        text
    });
    let late =
        |_| Problem::new(StatusCode::GATEWAY_TIMEOUT, "journal_slow", "reading the journal takes too long");
    let read = tokio::time::timeout(READ_WITHIN, reading).await.map_err(late)?;
    let text = read
        .map_err(|error| Problem::internal(&error))?
        .map_err(|error| Problem::bad_request("journal_query", error.to_string()))?;
    Ok(([(CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response())
}

async fn listening(principal: Principal) -> Result<axum::Json<Sockets>, Problem> {
    principal.require(READ)?;
    Ok(axum::Json(sockets::read()))
}

async fn update(
    principal: Principal,
    State(api): State<Api>,
    Json(request): Json<Update>,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    if let Some(source) = &request.source {
        Source::parse(source).map_err(|error| Problem::unprocessable("source_invalid", error.to_string()))?;
    }
    ask(&api, &request)
}

async fn rollback(
    principal: Principal,
    State(api): State<Api>,
    Json(request): Json<Rollback>,
) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    ask(&api, &request)
}

async fn reboot(principal: Principal, State(api): State<Api>) -> Result<StatusCode, Problem> {
    principal.require(WRITE)?;
    requests::reboot(&api.directory).map_err(|error| Problem::internal(&*error.into_boxed_dyn_error()))?;
    Ok(StatusCode::ACCEPTED)
}

fn ask<R: Request>(api: &Api, request: &R) -> Result<StatusCode, Problem> {
    if requests::waits(&api.directory, R::NAME) {
        return Err(Problem::conflict(
            "request_waits",
            "the same was asked for a moment ago and has not begun",
        ));
    }
    requests::make(&api.directory, request)
        .map_err(|error| Problem::internal(&*error.into_boxed_dyn_error()))?;
    Ok(StatusCode::ACCEPTED)
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use tower::ServiceExt as _;

    use super::*;

    fn api(directory: &Path) -> Router {
        routes(Api {
            readers: Arc::new(Semaphore::new(READERS)),
            directory: directory.into(),
            status: directory.join("status.json").into(),
        })
    }

    /// Without the layer that verifies tokens there is no principal.
    #[tokio::test]
    async fn every_route_refuses_who_has_no_token() {
        let directory = tempfile::tempdir().unwrap();
        for (method, path) in [
            ("GET", "/node/v1/status"),
            ("GET", "/node/v1/journal"),
            ("GET", "/node/v1/sockets"),
            ("POST", "/node/v1/update"),
            ("POST", "/node/v1/rollback"),
            ("POST", "/node/v1/reboot"),
        ] {
            let request = http::Request::builder().method(method).uri(path).body(Body::from("{}")).unwrap();
            let answer = api(directory.path()).oneshot(request).await.unwrap();
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{path}");
        }
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}
