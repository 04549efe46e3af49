//! `GET /telemetry/v1/events`: the fleet overview as server-sent events, once a second.
//!
//! The overview is computed once for all subscribers, and only while there are any. A subscriber that
//! reads slowly misses overviews and never makes them pile up. Streams end with the drain.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use http::HeaderValue;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use quintet_http::Problem;
use tokio::sync::{Semaphore, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use super::{Api, fleet};

const INTERVAL: Duration = Duration::from_secs(1);
const MAX_SUBSCRIBERS: usize = 128;

/// The newest event, and who waits for the next.
pub(crate) struct Hub {
    newest: watch::Sender<Bytes>,
    places: Arc<Semaphore>,
    shutdown: CancellationToken,
}

impl Hub {
    /// What ends every stream.
    pub(super) fn shutdown(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    pub(crate) fn new(shutdown: CancellationToken) -> Self {
        Self {
            newest: watch::Sender::new(Bytes::new()),
            places: Arc::new(Semaphore::new(MAX_SUBSCRIBERS)),
            shutdown,
        }
    }
}

/// Computes the overview each second for whoever listens, until the drain.
pub(crate) async fn publish(api: Arc<Api>) {
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = api.events.shutdown.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if api.events.newest.receiver_count() == 0 {
            continue;
        }
        // A busy second is a second without an event.
        if let Ok(body) = api.run(fleet::snapshot).await {
            api.events.newest.send_replace(event(&body));
        }
    }
}

fn event(json: &str) -> Bytes {
    Bytes::from(format!("event: fleet\ndata: {json}\n\n"))
}

pub(super) async fn stream(State(api): State<Arc<Api>>) -> Result<Response, Problem> {
    let place = Arc::clone(&api.events.places);
    let place = place.try_acquire_owned().map_err(|_| Problem::unavailable(Duration::from_secs(5)))?;
    let first = event(&api.run(fleet::snapshot).await?);
    let receiver = api.events.newest.subscribe();
    let shutdown = api.events.shutdown.clone();
    let state = (Some(first), receiver, shutdown, place);
    let events = futures_util::stream::unfold(state, |(first, mut receiver, shutdown, place)| async move {
        if let Some(first) = first {
            return Some((Ok::<_, Infallible>(first), (None, receiver, shutdown, place)));
        }
        tokio::select! {
            () = shutdown.cancelled() => None,
            changed = receiver.changed() => {
                changed.ok()?;
                let event = receiver.borrow_and_update().clone();
                Some((Ok(event), (None, receiver, shutdown, place)))
            }
        }
    });
    let mut response = Response::new(Body::from_stream(events));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Tells buffering proxies to pass each event on at once.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    Ok(response)
}
