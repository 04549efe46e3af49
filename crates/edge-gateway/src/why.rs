//! `edge-gateway why REQUEST_ID`: why the running gateway refused a request or failed it.
//!
//! Each worker remembers its last errors in bounded memory ([`recent`]); the admin listener finds one by
//! request id and adds what it means and what to change ([`advice`]).

mod advice;
mod recent;

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use clap::Args;
use http::StatusCode;
use quintet_http::problem::Problem;
use quintet_http::{Address, Client, ClientError, Origin, RequestId};
use quintet_service::{Code, StartError};
use serde::{Deserialize, Serialize};

pub(crate) use self::recent::{Incident, Recent, Ring};
use crate::config::Config;
use crate::gateway::Gateway;

/// Where the admin listener answers.
const PATH: &str = "/gateway/why/";
const TIMEOUT: Duration = Duration::from_secs(5);

/// A question about one request.
#[derive(Debug, Args)]
pub(crate) struct Why {
    /// The id in the answer's X-Request-Id header and in the problem's `request_id`
    request_id: String,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What happened, and what it means.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    #[serde(flatten)]
    incident: Incident,
    why: String,
    change: String,
}

/// The admin listener's part of the command.
pub(crate) fn routes(gateway: Arc<Gateway>) -> Router {
    Router::new().route("/gateway/why/{request_id}", get(answer)).with_state(gateway)
}

async fn answer(State(gateway): State<Arc<Gateway>>, Path(request_id): Path<String>) -> Response {
    let Some(incident) = gateway.recent.find(&request_id) else {
        return Problem::not_found("refused or failed request in recent memory").into_response();
    };
    let advice = advice::of(&incident.reason, &incident.code);
    let (why, change) = (advice.why.to_owned(), advice.change.to_owned());
    axum::Json(Answer { incident, why, change }).into_response()
}

/// Asks the running gateway; 69 where it does not run or does not know the request.
pub(crate) fn run(config: &Config, question: &Why, output: &mut dyn Write) -> anyhow::Result<Code> {
    if RequestId::parse(&question.request_id).is_none() {
        let message = "REQUEST_ID must be the value of an X-Request-Id header".to_owned();
        return Err(StartError::message(Code::Usage, message).into());
    }
    let origin = match &config.service.admin {
        Address::Unix(path) => Origin::Unix(path.clone()),
        Address::Tcp(address) => Origin::Http { host: address.ip().to_string(), port: address.port() },
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let path = format!("{PATH}{}", question.request_id);
    let answer =
        runtime.block_on(async { Client::new(origin).timeout(TIMEOUT).get_json::<Answer>(&path).await });
    match answer {
        Ok(answer) if question.json => {
            serde_json::to_writer_pretty(&mut *output, &answer)?;
            writeln!(output)?;
        }
        Ok(answer) => write!(output, "{answer}")?,
        Err(ClientError::Status { status: StatusCode::NOT_FOUND, .. }) => {
            writeln!(
                output,
                "{}: nothing is known. The gateway remembers what it refused or failed itself, the last {} of each \
                 worker; a request that an upstream answered is in the access log and in the traces.",
                question.request_id,
                recent::CAPACITY,
            )?;
            return Ok(Code::Unavailable);
        }
        Err(error) => {
            let message =
                format!("the gateway does not answer on its admin listener {}", config.service.admin);
            return Err(StartError::new(Code::Unavailable, anyhow::Error::new(error).context(message)).into());
        }
    }
    Ok(Code::Ok)
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let incident = &self.incident;
        writeln!(f, "request   {} {} from {}", incident.method, incident.path, incident.client)?;
        writeln!(f, "at        {}, after {} ms", incident.at, incident.duration_ms)?;
        match incident.status {
            Some(status) => writeln!(f, "answer    {status} {} ({})", incident.code, incident.reason)?,
            None => writeln!(f, "answer    broken off ({})", incident.reason)?,
        }
        if !incident.detail.is_empty() {
            writeln!(f, "          {}", incident.detail)?;
        }
        if let Some(route) = &incident.route {
            writeln!(f, "route     {route}")?;
        }
        if let Some(upstream) = &incident.upstream {
            writeln!(f, "upstream  {upstream}")?;
        }
        writeln!(f, "why       {}", self.why)?;
        writeln!(f, "change    {}", self.change)
    }
}

#[cfg(test)]
mod tests;
