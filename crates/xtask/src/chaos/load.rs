//! The load: clients that enqueue over HTTP, and workers elsewhere that run jobs over HTTP, some of them badly.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use bytes::Bytes;
use http::{Method, Request, StatusCode};
use quintet_types::{Clock as _, SystemClock};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ledger::{Entry, Ledger};
use super::lots::Lots;
use super::node::{NODES, Nodes};

pub(super) const TICK: &str = "chaos.tick";
/// Whoever runs a job of this kind dies of it.
pub(super) const POISON: &str = "chaos.poison";
const LIMITED: &str = "chaos.limited";
const RETRIED: &str = "chaos.retried";
pub(super) const PLAIN: &str = "chaos.plain";
const LATER: &str = "chaos.later";
const UNIQUE: &str = "chaos.unique";
/// What clients may enqueue and workers elsewhere run.
pub(super) const KINDS: [&str; 6] = [PLAIN, LATER, UNIQUE, LIMITED, RETRIED, POISON];

/// The shortest that the API knows.
const HOLD: Duration = Duration::from_secs(5);
/// Longer than the hold and what a rescuer needs to see it.
const STALL: Duration = Duration::from_secs(9);
const AGAIN: Duration = Duration::from_millis(200);
/// The answers to an acknowledgement that are waited for; after that the lease runs out.
const TRIES: usize = 20;

pub(super) struct Load {
    pub(super) nodes: Arc<Nodes>,
    pub(super) ledger: Arc<Ledger>,
    pub(super) token: String,
    /// Ends the clients; workers go on and are good from then on.
    pub(super) settle: CancellationToken,
}

impl Load {
    pub(super) async fn post(
        &self,
        node: usize,
        path: &str,
        key: &str,
        body: &Value,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request = Request::builder().method(Method::POST).uri(path).header("idempotency-key", key);
        self.send(node, request.header("content-type", "application/json"), body.to_string()).await
    }

    pub(super) async fn get(&self, node: usize, path: &str) -> anyhow::Result<(StatusCode, Value)> {
        self.send(node, Request::builder().uri(path), String::new()).await
    }

    async fn send(
        &self,
        node: usize,
        request: http::request::Builder,
        body: String,
    ) -> anyhow::Result<(StatusCode, Value)> {
        let request =
            request.header("authorization", format!("Bearer {}", self.token)).body(Bytes::from(body))?;
        let client = self.nodes.client(node).context("no node")?;
        let response = client.request(request).await?;
        Ok((response.status(), serde_json::from_slice(response.body()).unwrap_or_default()))
    }

    /// Enqueues these jobs, with the same key until there is an answer; their ids. None if the run ended first.
    pub(super) async fn enqueue(
        &self,
        lots: &mut Lots,
        key: &str,
        jobs: &[(Value, Option<u64>)],
    ) -> anyhow::Result<Vec<String>> {
        let body = json!({ "jobs": jobs.iter().map(|(job, _)| job).collect::<Vec<_>>() });
        while !self.settle.is_cancelled() {
            let answer = self.post(lots.below(NODES), "/jobs/v1/jobs/bulk", key, &body).await;
            match answer {
                Ok((StatusCode::CREATED, answer)) => return Ok(self.promised(&answer, jobs)),
                // What a client does who was told to come back, or nothing at all.
                Ok((status, _))
                    if status.is_server_error()
                        || status == StatusCode::TOO_MANY_REQUESTS
                        || status == StatusCode::CONFLICT => {}
                Ok((status, answer)) => bail!("enqueuing is answered {status}: {answer}"),
                Err(_) => {}
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(Vec::new())
    }

    fn promised(&self, answer: &Value, jobs: &[(Value, Option<u64>)]) -> Vec<String> {
        let answers = answer.get("data").and_then(Value::as_array).into_iter().flatten();
        let ids = answers.zip(jobs).filter_map(|(answer, (job, event))| {
            let id = answer.get("id")?.as_str()?.to_owned();
            let kind = job.get("kind")?.as_str()?.to_owned();
            self.ledger.add(Entry::Enqueued { job: id.clone(), kind, event: *event });
            Some(id)
        });
        ids.collect()
    }

    /// A client that enqueues a few jobs of all sorts every now and then.
    pub(super) async fn client(&self, number: u64, seed: u64) -> anyhow::Result<()> {
        let mut lots = Lots::new(seed, 100 + number);
        let mut turn = number << 32;
        while !self.settle.is_cancelled() {
            let mut jobs = Vec::new();
            for _ in 0..=lots.below(4) {
                turn += 1;
                jobs.push(job(&mut lots, turn));
            }
            let key = format!("{seed}-{turn}");
            self.enqueue(&mut lots, &key, &jobs).await?;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// A worker elsewhere, until `stop`.
    pub(super) async fn worker(&self, number: u64, seed: u64, stop: CancellationToken) -> anyhow::Result<()> {
        let mut lots = Lots::new(seed, 200 + number);
        let kinds: Vec<&str> = KINDS.into_iter().chain([TICK]).collect();
        let hold_ms = u64::try_from(HOLD.as_millis())?;
        let wanted = json!({ "kinds": kinds, "limit": 5, "wait_ms": 500, "hold_ms": hold_ms });
        while !stop.is_cancelled() {
            let node = lots.below(NODES);
            let Ok((StatusCode::OK, given)) = self.post(node, "/jobs/v1/work/claim", "", &wanted).await
            else {
                tokio::time::sleep(AGAIN).await;
                continue;
            };
            self.work(&mut lots, &given).await?;
        }
        Ok(())
    }

    async fn work(&self, lots: &mut Lots, given: &Value) -> anyhow::Result<()> {
        let Some(lease) = given.get("lease").and_then(Value::as_str) else { return Ok(()) };
        let jobs = given.get("jobs").and_then(Value::as_array).context("a lease without jobs")?;
        for job in jobs {
            self.ledger.add(claimed(job, lease).context("a claimed job without id, kind or attempt")?);
        }
        let poisoned = jobs.iter().any(|job| job.get("kind").is_some_and(|kind| kind == POISON));
        let good = self.settle.is_cancelled();
        if poisoned || (!good && lots.in_hundred(3)) {
            return Ok(());
        }
        if !good && lots.in_hundred(3) {
            tokio::time::sleep(STALL).await;
        } else if !good && lots.in_hundred(10) {
            tokio::time::sleep(HOLD / 2).await;
            let _ =
                self.post(lots.below(NODES), "/jobs/v1/work/extend", "", &json!({ "lease": lease })).await;
            tokio::time::sleep(HOLD / 2).await;
        }
        self.acknowledge(lots, lease, jobs).await
    }

    async fn acknowledge(&self, lots: &mut Lots, lease: &str, jobs: &[Value]) -> anyhow::Result<()> {
        let ends: Vec<Value> = jobs.iter().map(end).collect();
        let body = json!({ "lease": lease, "jobs": ends });
        for _ in 0..TRIES {
            let text = |job: &Value| job.get("id").and_then(Value::as_str).unwrap_or_default().to_owned();
            let stale: Vec<bool> = jobs.iter().map(|job| self.ledger.is_stale(&text(job), lease)).collect();
            let answer = self.post(lots.below(NODES), "/jobs/v1/work/acknowledge", "", &body).await;
            let answer = match answer {
                Ok((StatusCode::OK, answer)) => Some(answer),
                Ok((status, answer))
                    if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS =>
                {
                    bail!("an acknowledgement is answered {status}: {answer}")
                }
                _ => None,
            };
            let refused = answer.as_ref().and_then(|answer| answer.get("refused")).and_then(Value::as_array);
            for ((job, end), stale) in jobs.iter().zip(&ends).zip(stale) {
                let (job, lease) = (text(job), lease.to_owned());
                let completed = end.get("outcome").is_some_and(|outcome| outcome == "completed");
                let accepted = refused.map(|refused| !refused.iter().any(|id| *id == *job));
                self.ledger.add(Entry::Acknowledged { job, lease, completed, stale, accepted });
            }
            if answer.is_some() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        Ok(())
    }
}

fn claimed(job: &Value, lease: &str) -> Option<Entry> {
    Some(Entry::Claimed {
        job: job.get("id")?.as_str()?.to_owned(),
        kind: job.get("kind")?.as_str()?.to_owned(),
        lease: lease.to_owned(),
        attempt: job.get("attempt")?.as_i64()?,
        schedule: job.pointer("/args/schedule").and_then(Value::as_u64),
    })
}

/// How a run of this job ends: a retried one fails at first.
fn end(job: &Value) -> Value {
    let id = job.get("id").cloned().unwrap_or_default();
    let first = job.get("attempt").and_then(Value::as_i64) == Some(1);
    if first && job.get("kind").is_some_and(|kind| kind == RETRIED) {
        return json!({ "id": id, "outcome": "failed", "error": "the first time it fails", "retry_after_ms": 200 });
    }
    json!({ "id": id, "outcome": "completed" })
}

/// The job of this number, and the event that it is to tell.
fn job(lots: &mut Lots, number: u64) -> (Value, Option<u64>) {
    let args = json!({ "number": number });
    let of = |kind: &str| json!({ "kind": kind, "args": args });
    match lots.below(20) {
        0..=7 => (webhook(number, false), Some(number)),
        8..=9 => {
            let later = SystemClock.now().checked_add(Duration::from_secs(1)).unwrap_or_default();
            (json!({ "kind": LATER, "args": args, "run_at": later.to_string() }), None)
        }
        10..=11 => {
            (json!({ "kind": UNIQUE, "args": args, "unique_key": format!("key-{}", number % 7) }), None)
        }
        12..=13 => (of(LIMITED), None),
        14..=15 => (of(RETRIED), None),
        _ => (of(PLAIN), None),
    }
}

/// A job that tells an event; a poisonous one brings the worker down that delivers it.
pub(super) fn webhook(event: u64, poison: bool) -> Value {
    let data = json!({ "event": event, "poison": poison });
    json!({ "kind": "webhook.publish", "args": { "event_type": "chaos.happened", "data": data } })
}
