//! `GET /telemetry/loki/api/v1/tail`: a tail as Loki has it, over WebSocket. Grafana's live view and `logcli query --tail` speak it.
//!
//! First come the newest lines since `start`, then what arrives. A line waits `delay_for` seconds for older ones that come late.
//!
//! Invariants: a line comes once, be it found or followed; one message at a time is on its way, and a client that does not take
//! it within [`SEND_TIMEOUT`], or answers no ping, is left; what it missed meanwhile is in `dropped_entries`. A tail lives no longer
//! than [`MAX_LIFE`], so that a token does not outlive itself by more.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use futures_util::{SinkExt, StreamExt};
use http::{HeaderMap, StatusCode};
use quintet_http::Tunnel;
use quintet_types::SharedClock;
use serde_json::{Value as JsonValue, json};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{Bytes, Message};

use super::handshake::Handshake;
use super::held::Held;
use super::{Dropped, Entry, MAX_BYTES, MAX_TAILS, Tail, Wake};
use crate::api::Api;
use crate::api::loki::{self, Failure};
use crate::api::params::{Params, time_nanos};
use crate::logql::{self, Direction, Range, Search};

/// Loki allows no more.
const MAX_DELAY_SECONDS: i64 = 5;
/// As in Loki.
const MAX_LIFE: Duration = Duration::from_hours(1);
/// How long one message may take.
const SEND_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a client may take to say good-bye.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
/// Clients have nothing to say but pings and good-byes.
const MAX_RECEIVED: usize = 4096;

/// What a request asks for.
struct Asked {
    /// Nanoseconds.
    start: i64,
    limit: usize,
    /// Nanoseconds.
    delay: i64,
}

impl Asked {
    fn of(params: &Params, now: i64) -> Result<Self, Failure> {
        let delay = params.parsed("delay_for", |text| text.parse::<i64>().ok()).map_err(Failure::bad)?;
        let delay = delay.unwrap_or(0);
        if !(0..=MAX_DELAY_SECONDS).contains(&delay) {
            return Err(Failure::bad(format!("delay_for must be 0 to {MAX_DELAY_SECONDS} seconds")));
        }
        let start = params.parsed("start", time_nanos).map_err(Failure::bad)?;
        Ok(Self {
            start: start.unwrap_or_else(|| now.saturating_sub(loki::HOUR_NANOS)),
            limit: loki::limit_of(params, loki::DEFAULT_LIMIT)?,
            delay: delay * 1_000_000_000,
        })
    }
}

pub(in crate::api) async fn tail(
    State(api): State<Arc<Api>>,
    headers: HeaderMap,
    handshake: Handshake,
    params: Params,
) -> Result<Response, Failure> {
    let query = logql::parse_log(params.get("query").unwrap_or(""))?;
    let asked = Asked::of(&params, loki::now_nanos(&api))?;
    // Before the lines are looked for: what comes meanwhile is followed.
    let tail = Tail::open(&api, query, loki::wants_apart(&headers)).ok_or_else(|| {
        let message = format!("max concurrent tail requests limit exceeded, count > limit ({MAX_TAILS})");
        Failure::new(StatusCode::TOO_MANY_REQUESTS, message)
    })?;
    let (history, dropped) = history(&api, &tail, &asked).await?;
    let overlap = tail.batches.len();
    let clock = api.storage.clock().clone();
    let mut held = Held::default();
    held.dropped = dropped;
    let accept = handshake.accept();
    handshake.upgrade.then(move |tunnel| async move {
        let config = WebSocketConfig::default()
            .read_buffer_size(MAX_RECEIVED)
            .write_buffer_size(0)
            .max_message_size(Some(MAX_RECEIVED))
            .max_frame_size(Some(MAX_RECEIVED));
        let socket = WebSocketStream::from_raw_socket(tunnel, Role::Server, Some(config)).await;
        let session =
            Session { socket, tail, held, delay: asked.delay, clock, history, overlap, unanswered: false };
        session.run().await;
    });
    Ok(Handshake::answer(accept))
}

/// The newest lines of the asked time, oldest first, as many as fit into one message.
async fn history(api: &Arc<Api>, tail: &Tail, asked: &Asked) -> Result<(Vec<Entry>, Dropped), Failure> {
    let (wish, start, limit) = (Arc::clone(&tail.wish), asked.start, asked.limit);
    let found = api
        .run(move |api| {
            let range = Range { from: start, to: loki::now_nanos(api).saturating_add(1) };
            let search = Search::new(&api.storage, &wish.query, api.limits().deadline);
            let (found, _) = search.best(range, limit, Direction::Backward)?;
            let mut dropped = Dropped::default();
            let mut entries = Vec::with_capacity(found.len());
            let mut held = 0;
            for passed in &found {
                let line = passed.line();
                if held > MAX_BYTES {
                    dropped.line(line.found.record.time, || line.stream_labels());
                    continue;
                }
                held += line.bytes();
                entries.push(Entry::of(&line, wish.apart));
            }
            entries.reverse();
            Ok::<_, logql::Error>((entries, dropped))
        })
        .await??;
    Ok(found)
}

/// A message in Loki's shape: lines by stream, in the order of each stream's first line.
fn message(entries: &[Entry], dropped: &Dropped, apart: bool, now: i64) -> String {
    let mut streams: Vec<(&Entry, Vec<&JsonValue>)> = Vec::new();
    let mut known = std::collections::BTreeMap::new();
    for entry in entries {
        let number = *known.entry(&entry.labels).or_insert_with(|| {
            streams.push((entry, Vec::new()));
            streams.len() - 1
        });
        if let Some((_, values)) = streams.get_mut(number) {
            values.push(&entry.value);
        }
    }
    let streams: Vec<_> = streams
        .into_iter()
        .map(|(first, values)| json!({ "stream": first.labels, "values": values }))
        .collect();
    let mut body =
        json!({ "streams": streams, "dropped_entries": dropped.entries(now), "dropped": dropped.count });
    if apart && let Some(body) = body.as_object_mut() {
        body.insert("encodingFlags".to_owned(), json!([loki::CATEGORIZE]));
    }
    body.to_string()
}

/// What a session waits for.
enum Next {
    Wake(Wake),
    Heard(Option<Message>),
    Due,
    TooOld,
}

/// The client is gone or does not take what it is sent.
struct Gone;

struct Session {
    socket: WebSocketStream<Tunnel>,
    tail: Tail,
    held: Held,
    /// Nanoseconds.
    delay: i64,
    clock: SharedClock,
    /// Lines that were sent and may come again in the next batches.
    history: Vec<Entry>,
    overlap: usize,
    /// A ping went out and nothing came back yet.
    unanswered: bool,
}

impl Session {
    fn now(&self) -> i64 {
        i64::try_from(self.clock.now().as_nanosecond()).unwrap_or(i64::MAX)
    }

    async fn run(mut self) {
        if let Ok(farewell) = self.follow().await {
            let parting = async {
                self.socket.send(Message::Close(Some(farewell))).await?;
                while self.socket.next().await.transpose()?.is_some() {}
                Ok::<_, tokio_tungstenite::tungstenite::Error>(())
            };
            // A client that says nothing is left as it is.
            let _ = timeout(CLOSE_TIMEOUT, parting).await;
        }
    }

    /// Sends lines until there is a reason to part.
    async fn follow(&mut self) -> Result<CloseFrame, Gone> {
        let end = Instant::now() + MAX_LIFE;
        let first = std::mem::take(&mut self.history);
        self.tell(&first).await?;
        self.history = first;
        loop {
            match self.next(end).await {
                Next::Wake(Wake::End) => return Ok(frame(CloseCode::Away, "the server is going away")),
                Next::TooOld => return Ok(frame(CloseCode::Again, "reached tail max duration limit")),
                Next::Wake(Wake::Heartbeat) => {
                    if std::mem::replace(&mut self.unanswered, true) {
                        return Err(Gone);
                    }
                    self.send(Message::Ping(Bytes::new())).await?;
                }
                Next::Wake(Wake::Batch(tailed)) => {
                    let Ok(selection) = self.tail.selection(tailed).await else {
                        return Ok(frame(CloseCode::Away, "the server is going away"));
                    };
                    let now = self.now();
                    self.held.dropped.add(selection.dropped);
                    for entry in selection.entries {
                        if !self.was_sent(&entry) {
                            self.held.push(entry, now, self.delay);
                        }
                    }
                    self.overlap = self.overlap.saturating_sub(1);
                    if self.overlap == 0 {
                        self.history = Vec::new();
                    }
                    self.send_due().await?;
                }
                Next::Due => self.send_due().await?,
                Next::Heard(Some(Message::Close(_)) | None) => return Err(Gone),
                Next::Heard(Some(_)) => self.unanswered = false,
            }
        }
    }

    async fn next(&mut self, end: Instant) -> Next {
        let wait = self
            .held
            .due()
            .map(|due| Duration::from_nanos(u64::try_from(due.saturating_sub(self.now())).unwrap_or(0)));
        let due = wait.map_or(end, |wait| Instant::now() + wait);
        tokio::select! {
            wake = self.tail.wake() => Next::Wake(wake),
            heard = self.socket.next() => Next::Heard(heard.and_then(Result::ok)),
            () = sleep_until(due), if wait.is_some() => Next::Due,
            () = sleep_until(end) => Next::TooOld,
        }
    }

    /// Whether a line is one of those that were found before.
    fn was_sent(&self, entry: &Entry) -> bool {
        let from = self.history.partition_point(|one| one.time < entry.time);
        let same_time = self.history.iter().skip(from).take_while(|one| one.time == entry.time);
        same_time.into_iter().any(|one| one == entry)
    }

    async fn send_due(&mut self) -> Result<(), Gone> {
        let due = self.held.take(self.now());
        self.tell(&due).await
    }

    /// Sends lines and what was dropped, if there are any.
    async fn tell(&mut self, entries: &[Entry]) -> Result<(), Gone> {
        let dropped = std::mem::take(&mut self.held.dropped);
        if entries.is_empty() && dropped.count == 0 {
            return Ok(());
        }
        let text = message(entries, &dropped, self.tail.wish.apart, self.now());
        self.send(Message::text(text)).await
    }

    async fn send(&mut self, message: Message) -> Result<(), Gone> {
        match timeout(SEND_TIMEOUT, self.socket.send(message)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(Gone),
        }
    }
}

fn frame(code: CloseCode, reason: &'static str) -> CloseFrame {
    CloseFrame { code, reason: reason.into() }
}
