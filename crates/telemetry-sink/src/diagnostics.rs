//! A look at the machine for somebody who has no shell: read only, over the API and as `telemetry-sink diagnose`.
//!
//! Routes need the scope `node:read`, because what they show is not telemetry, and each look is logged with who
//! took it. What a process was started with is not shown: arguments and environments hold secrets.
//!
//! Invariants: nothing is changed and nothing is started; every list and file is bounded; at most
//! [`AT_ONCE`] looks run, off the runtime's threads.

mod kernel;
mod machine;
mod processes;
mod sockets;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use axum::extract::{Path as Route, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use http::StatusCode;
use quintet_auth::{Principal, Verifier};
use quintet_http::Problem;
use quintet_service::Code;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::host::HostSection;

/// The scope without which the machine is not shown.
const SCOPE: &str = "node:read";
const AT_ONCE: usize = 2;
const COMMAND: &str = "diagnose";
/// Where node-agent publishes what it knows of generations, below the state directory of the system.
const GENERATIONS: &str = "quintet-node/status.json";

/// Where a look reads.
#[derive(Debug, Clone)]
pub(crate) struct Roots {
    proc: PathBuf,
    sys: PathBuf,
    run: PathBuf,
    kernel_messages: PathBuf,
}

impl Roots {
    pub(crate) fn new(host: &HostSection) -> Self {
        Self {
            proc: host.proc.clone(),
            sys: host.sys.clone(),
            run: host.run.clone(),
            kernel_messages: "/dev/kmsg".into(),
        }
    }
}

type Look = fn(&Roots) -> Value;

/// What can be looked at.
const LOOKS: [(&str, &str, Look); 8] = [
    ("units", "services of systemd with what they use", processes::units),
    ("processes", "processes, largest first", processes::list),
    ("sockets", "open TCP and UDP sockets", sockets::list),
    ("disks", "block devices", machine::disks),
    ("mounts", "mounted file systems and their room", machine::mounts),
    ("network", "interfaces and the machine's addresses", machine::network),
    ("kernel", "the kernel's last messages", kernel::messages),
    ("generations", "generations, boots and updates of a system image", generations),
];

fn look(name: &str) -> Option<Look> {
    LOOKS.iter().find(|(known, ..)| *known == name).map(|(.., look)| *look)
}

/// The routes, behind their own scope.
pub(crate) fn router(roots: Roots, verifier: Arc<Verifier>) -> Router {
    let state = Arc::new(Diagnostics { roots, turns: Semaphore::new(AT_ONCE) });
    Router::new()
        .route("/telemetry/v1/diagnostics", get(index))
        .route("/telemetry/v1/diagnostics/{what}", get(show))
        .layer(quintet_auth::layer(verifier))
        .with_state(state)
}

struct Diagnostics {
    roots: Roots,
    turns: Semaphore,
}

async fn index(principal: Principal) -> Result<Json<Value>, Problem> {
    principal.require(SCOPE)?;
    let looks: Vec<_> =
        LOOKS.iter().map(|(name, about, _)| json!({ "name": name, "about": about })).collect();
    Ok(Json(json!({ "diagnostics": looks })))
}

async fn show(
    State(state): State<Arc<Diagnostics>>,
    principal: Principal,
    Route(what): Route<String>,
) -> Result<Response, Problem> {
    principal.require(SCOPE)?;
    let look = look(&what).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "route_not_found",
            "there is no such look; see /telemetry/v1/diagnostics",
        )
    })?;
    tracing::info!(subject = principal.subject(), what, "the machine was looked at");
    metrics::counter!("quintet_sink_diagnostics_total", "what" => what).increment(1);
    let failed =
        || Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the machine could not be read");
    let _turn = state.turns.acquire().await.map_err(|_| failed())?;
    let roots = state.roots.clone();
    let found = tokio::task::spawn_blocking(move || look(&roots)).await.map_err(|_| failed())?;
    Ok(Json(found).into_response())
}

/// Adds `diagnose WHAT` to the command line.
pub(crate) fn command(command: clap::Command) -> clap::Command {
    let names = LOOKS.map(|(name, about, _)| clap::builder::PossibleValue::new(name).help(about));
    let what = clap::Arg::new("what").required(true).value_parser(names.to_vec());
    let about = "Look at this machine: print what the API shows, as JSON";
    command.subcommand(clap::Command::new(COMMAND).about(about).arg(what))
}

/// Runs `diagnose`, which needs no configuration; none for any other command.
pub(crate) fn run_alone(matches: &clap::ArgMatches, output: &mut dyn Write) -> Option<anyhow::Result<Code>> {
    let (COMMAND, matches) = matches.subcommand()? else { return None };
    let look = look(matches.get_one::<String>("what")?)?;
    let found = look(&Roots::new(&HostSection::default()));
    let written = serde_json::to_writer_pretty(&mut *output, &found)
        .map_err(anyhow::Error::from)
        .and_then(|()| Ok(writeln!(output)?));
    Some(written.map(|()| Code::Ok))
}

/// What node-agent says; null where no image runs.
fn generations(roots: &Roots) -> Value {
    let text = crate::host::read(&roots.run.join(GENERATIONS)).unwrap_or_default();
    let status: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
    json!({ "generations": status, "boot_id": boot_id(&roots.proc) })
}

fn boot_id(proc: &Path) -> Option<String> {
    crate::host::read(&proc.join("sys/kernel/random/boot_id")).map(|id| id.trim().to_owned())
}

#[cfg(test)]
mod tests;
