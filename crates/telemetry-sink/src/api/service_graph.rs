//! Who calls whom: `GET /telemetry/v1/service-graph` and Jaeger's dependencies.
//!
//! A call is a span whose parent belongs to another service. A client's span that has no such child and names its peer
//! (`peer.service`, `db.system`) is a call of what sends no spans itself. Calls are found among the newest [`MAX_SPANS`]
//! spans of the asked time; an answer that left some out says so.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use axum::Json;
use axum::extract::State;
use quintet_http::Problem;
use serde::Serialize;

use super::Api;
use super::params::{Params, time_nanos};
use crate::head::Found;
use crate::model::{Resource, Span, SpanKind, SpanStatus, Value, attribute};
use crate::peers::questions::CallsAsked;
use crate::storage::Storage;

const MAX_SPANS: usize = 300_000;
/// Attributes with which a client's span names whom it calls, the best first.
const PEER_NAMES: [&str; 4] = ["peer.service", "db.system", "db.system.name", "messaging.system"];
const HOUR_NANOS: i64 = 3_600_000_000_000;

/// Counts and times of calls or of a service's requests.
#[derive(Debug, Default)]
struct Times {
    durations: Vec<i64>,
    errors: usize,
}

impl Times {
    fn add(&mut self, row: &Row) {
        self.durations.push(row.duration);
        self.errors += usize::from(row.failed);
    }

    /// Milliseconds that a share of the calls took at most.
    #[expect(clippy::cast_precision_loss, reason = "a time for people")]
    fn quantile(&mut self, percent: usize) -> Option<f64> {
        let last = self.durations.len().checked_sub(1)?;
        let (_, value, _) = self.durations.select_nth_unstable((last * percent).div_ceil(100));
        Some(*value as f64 / 1e6)
    }
}

#[derive(Debug, Serialize)]
struct Node {
    service: String,
    requests: usize,
    errors: usize,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Edge {
    pub(super) client: String,
    pub(super) server: String,
    pub(super) calls: usize,
    errors: usize,
    p50_ms: Option<f64>,
    p95_ms: Option<f64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Graph {
    nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
    /// Whether spans of the asked time were left out.
    truncated: bool,
}

/// As much of a span as is needed, so that many fit in memory.
struct Row {
    /// Trace and span together.
    id: u64,
    parent: Option<u64>,
    service: u32,
    /// The peer that a client names.
    peer: Option<u32>,
    duration: i64,
    failed: bool,
    serves: bool,
}

/// Numbers for services.
#[derive(Default)]
struct Names {
    numbers: HashMap<String, u32>,
    names: Vec<String>,
}

impl Names {
    fn number(&mut self, name: &str) -> u32 {
        if let Some(number) = self.numbers.get(name) {
            return *number;
        }
        let number = u32::try_from(self.names.len()).unwrap_or(u32::MAX);
        self.names.push(name.to_owned());
        self.numbers.insert(name.to_owned(), number);
        number
    }

    fn name(&self, number: u32) -> String {
        usize::try_from(number).ok().and_then(|place| self.names.get(place)).cloned().unwrap_or_default()
    }
}

pub(super) fn graph(api: &Api, from: i64, to: i64) -> Graph {
    let deadline = api.limits().deadline;
    let hasher = RandomState::new();
    let (mut names, mut rows) = (Names::default(), Vec::new());
    // What all sinks give together is bounded.
    let asked = CallsAsked { from, to, most: MAX_SPANS / (1 + api.peers.count()) };
    let mut truncated =
        own(&api.storage, &asked, deadline, |span| rows.push(row(&span, &hasher, &mut names)));
    for theirs in api.peers.calls(&asked, deadline) {
        truncated |= theirs.len() >= asked.most;
        rows.extend(theirs.iter().take(asked.most).map(|span| row(span, &hasher, &mut names)));
    }
    let services: HashMap<u64, u32> = rows.iter().map(|row| (row.id, row.service)).collect();
    let mut edges: BTreeMap<(String, String), Times> = BTreeMap::new();
    let mut nodes: BTreeMap<String, Times> = BTreeMap::new();
    let mut answered = HashSet::new();
    // A batch that was sent again stores its spans again.
    let mut seen = HashSet::new();
    rows.retain(|row| seen.insert(row.id));
    for row in &rows {
        let client = row.parent.and_then(|parent| services.get(&parent)).copied();
        let is_called = client.is_some_and(|client| client != row.service);
        if let (Some(client), true) = (client, is_called) {
            answered.extend(row.parent);
            edges.entry((names.name(client), names.name(row.service))).or_default().add(row);
        }
        let of_service = nodes.entry(names.name(row.service)).or_default();
        if is_called || row.serves || row.parent.is_none() {
            of_service.add(row);
        }
    }
    for row in rows.iter().filter(|row| !answered.contains(&row.id)) {
        if let Some(peer) = row.peer.filter(|peer| *peer != row.service) {
            edges.entry((names.name(row.service), names.name(peer))).or_default().add(row);
            nodes.entry(names.name(peer)).or_default().add(row);
        }
    }
    Graph {
        nodes: nodes.into_iter().map(node).collect(),
        edges: edges.into_iter().map(edge).collect(),
        truncated,
    }
}

/// Visits this sink's newest spans; answers whether some were left out.
pub(crate) fn own(
    storage: &Storage,
    asked: &CallsAsked,
    deadline: Instant,
    mut visit: impl FnMut(Found<Span>),
) -> bool {
    let (mut left, mut truncated) = (asked.most.min(MAX_SPANS), false);
    storage.spans().scan(
        asked.from,
        asked.to,
        |_: &Resource, _| true,
        |span: Found<Span>| {
            truncated = left == 0 || Instant::now() > deadline;
            if truncated {
                return ControlFlow::Break(());
            }
            left -= 1;
            visit(span);
            ControlFlow::Continue(())
        },
    );
    truncated
}

/// A span with nothing but what a call needs.
pub(crate) fn trimmed(Found { resource, record }: Found<Span>) -> Found<Span> {
    let mut attributes = record.attributes;
    attributes.retain(|(name, _)| PEER_NAMES.contains(&name.as_str()));
    let record = Span {
        attributes,
        name: String::new(),
        status_message: String::new(),
        scope: String::new(),
        events: Vec::new(),
        links: Vec::new(),
        ..record
    };
    Found { resource, record }
}

fn row(Found { resource, record }: &Found<Span>, hasher: &RandomState, names: &mut Names) -> Row {
    let peer = || {
        PEER_NAMES.iter().find_map(|name| match attribute(&record.attributes, name)? {
            Value::Text(peer) if !peer.is_empty() => Some(peer),
            _ => None,
        })
    };
    let calls = matches!(record.kind, SpanKind::Client | SpanKind::Producer);
    Row {
        id: hasher.hash_one((record.trace_id, record.span_id)),
        parent: record.parent.map(|parent| hasher.hash_one((record.trace_id, parent))),
        service: names.number(&resource.service),
        peer: if calls { peer().map(|peer| names.number(peer)) } else { None },
        duration: record.duration_nanos(),
        failed: record.status == SpanStatus::Error,
        serves: matches!(record.kind, SpanKind::Server | SpanKind::Consumer),
    }
}

fn node((service, mut times): (String, Times)) -> Node {
    Node {
        service,
        requests: times.durations.len(),
        errors: times.errors,
        p50_ms: times.quantile(50),
        p95_ms: times.quantile(95),
    }
}

fn edge(((client, server), mut times): ((String, String), Times)) -> Edge {
    Edge {
        client,
        server,
        calls: times.durations.len(),
        errors: times.errors,
        p50_ms: times.quantile(50),
        p95_ms: times.quantile(95),
    }
}

pub(super) async fn show(State(api): State<Arc<Api>>, params: Params) -> Result<Json<Graph>, Problem> {
    let bad = |message: String| Problem::new(http::StatusCode::BAD_REQUEST, "parameter_invalid", message);
    let now = api.now_millis().saturating_add(1).saturating_mul(1_000_000);
    let to = params.parsed("end", time_nanos).map_err(bad)?.unwrap_or(now);
    let from =
        params.parsed("start", time_nanos).map_err(bad)?.unwrap_or_else(|| to.saturating_sub(HOUR_NANOS));
    let graph = api.run(move |api| graph(api, from, to)).await?;
    Ok(Json(graph))
}
