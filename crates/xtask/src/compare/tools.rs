//! The command-line clients of Prometheus and Alertmanager against the sink.
//!
//! Debian's `promtool` cannot send a token: they talk to a [`door`] that adds it.

use std::net::Ipv4Addr;
use std::process::Command;

use anyhow::{Context as _, ensure};
use bytes::Bytes;
use http::header::{AUTHORIZATION, HOST};
use http::{HeaderValue, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use quintet_http::Client;
use tokio::net::TcpListener;
use tokio_util::task::TaskTracker;

use crate::{process, workspace};

const MAX_REQUEST: usize = 1024 * 1024;

/// Passes requests on with a token as long as the runtime lives; its origin.
pub(super) async fn door(inner: Client, token: &str, tasks: &TaskTracker) -> anyhow::Result<String> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.context("bind the door")?;
    let origin = format!("http://{}", listener.local_addr()?);
    let token = HeaderValue::from_str(&format!("Bearer {token}"))?;
    let connections = tasks.clone();
    tasks.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (inner, token) = (inner.clone(), token.clone());
            let service =
                hyper::service::service_fn(move |request| passed_on(inner.clone(), token.clone(), request));
            connections.spawn(async move {
                let http = hyper::server::conn::http1::Builder::new();
                let _ = http.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    Ok(origin)
}

async fn passed_on(
    inner: Client,
    token: HeaderValue,
    request: Request<Incoming>,
) -> anyhow::Result<Response<Full<Bytes>>> {
    let (mut head, body) = request.into_parts();
    head.headers.insert(AUTHORIZATION, token);
    head.headers.remove(HOST);
    let Ok(body) = Limited::new(body, MAX_REQUEST).collect().await else {
        return Ok(Response::builder().status(StatusCode::PAYLOAD_TOO_LARGE).body(Full::default())?);
    };
    Ok(inner.request(Request::from_parts(head, body.to_bytes())).await?.map(Full::new))
}

/// A command, and what its output must have.
type Step<'a> = (&'a str, Vec<&'a str>, &'a str);

/// Runs `promtool` and `amtool` against the sink at this origin; `end` is when the series end, in milliseconds.
pub(super) fn run(origin: &str, end: i64) -> anyhow::Result<usize> {
    let prometheus = format!("{origin}/telemetry/prometheus");
    let at = (end / 1000).to_string();
    let (time, start) = (format!("--time={at}"), format!("--start={}", end / 1000 - 600));
    let finish = format!("--end={at}");
    let steps: Vec<Step<'_>> = vec![
        ("promtool", vec!["query", "instant", &time, &prometheus, "sum(build_info)"], "=> 3 @"),
        (
            "promtool",
            vec!["query", "range", &start, &finish, "--step=1m", &prometheus, "sum(build_info)"],
            "3 @",
        ),
        (
            "promtool",
            vec!["query", "series", "--match=build_info", &start, &finish, &prometheus],
            "version=\"1.2.3\"",
        ),
        ("promtool", vec!["query", "labels", &start, &finish, &prometheus, "sensor"], "outlet"),
    ];
    for (program, arguments, wanted) in &steps {
        said(program, arguments, wanted)?;
    }
    let rules = workspace::root().join("crates/telemetry-sink/src/rules/defaults.yml");
    said("promtool", &["check", "rules", &rules.display().to_string()], "rules found")?;
    Ok(steps.len() + 1 + silences(origin)?)
}

/// An alert from outside, silenced and heard again.
fn silences(origin: &str) -> anyhow::Result<usize> {
    let url = format!("--alertmanager.url={origin}/telemetry/alertmanager");
    let amtool = |arguments: &[&str], wanted: &str| {
        let mut all = vec![url.as_str()];
        all.extend(arguments);
        said("amtool", &all, wanted)
    };
    amtool(&["alert", "add", "DoorOpen", "door=cellar", "--annotation=summary=draughty"], "")?;
    amtool(&["alert", "query", "door=cellar"], "draughty")?;
    let made = amtool(&["silence", "add", "door=cellar", "--comment=airing", "--author=ada"], "")?;
    let id = made.trim();
    amtool(&["silence", "query", "door=cellar"], id)?;
    amtool(&["alert", "query", "--silenced", "door=cellar"], "DoorOpen")?;
    amtool(&["silence", "expire", id], "")?;
    amtool(&["silence", "query", "--expired", "--within=1h"], id)?;
    amtool(&["alert", "query", "door=cellar"], "DoorOpen")?;
    amtool(&["config", "show"], "receiver: nobody")?;
    amtool(&["config", "routes"], "default-route  receiver: nobody")?;
    Ok(10)
}

fn said(program: &str, arguments: &[&str], wanted: &str) -> anyhow::Result<String> {
    let mut command = Command::new(program);
    let output = process::output(command.args(arguments))?;
    ensure!(output.contains(wanted), "{program} {arguments:?} printed no {wanted:?}: {output}");
    Ok(output)
}
