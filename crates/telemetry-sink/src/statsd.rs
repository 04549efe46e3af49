//! StatsD over UDP, with DogStatsD's tags: counters, gauges, timers, histograms, distributions and sets.
//!
//! Values are added up here and become samples at each interval, under the job `statsd`: a counter is its total
//! since the start, a timer or histogram has `_bucket`, `_sum` and `_count`, a set the number of different members
//! in the interval. A key that was not heard of for `FORGET` intervals ends with a staleness marker.
//!
//! Invariants: at most `max_keys` keys are held and at most `MAX_MEMBERS` members of a set; what would go beyond is
//! dropped and counted, never what is there.

mod aggregate;
mod line;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use quintet_service::{Code, Context, Invalid, OrExit};
use serde::Deserialize;
use tokio::net::UdpSocket;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

pub(crate) use self::aggregate::Aggregate;
use crate::storage::Storage;

const MAX_DATAGRAM: usize = 64 * 1024;
const DATAGRAM_BUFFER: usize = 4 * 1024 * 1024;

/// Where StatsD is taken in. Without any address it is not.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct StatsdSection {
    /// Addresses for datagrams, such as `127.0.0.1:8125`.
    pub(crate) udp: Vec<SocketAddr>,
    /// How often the values become samples.
    pub(crate) interval_ms: u64,
    /// Names with their tags that are held at once.
    pub(crate) max_keys: usize,
    /// Upper bounds of the buckets of timers and histograms. A timer's are seconds.
    pub(crate) buckets: Vec<f64>,
}

impl Default for StatsdSection {
    fn default() -> Self {
        Self {
            udp: Vec::new(),
            interval_ms: 10_000,
            max_keys: 10_000,
            buckets: vec![0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0],
        }
    }
}

impl StatsdSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.interval_ms < 1000 {
            return Err(Invalid::new("statsd.interval_ms", "must be at least 1000"));
        }
        if self.max_keys == 0 {
            return Err(Invalid::new("statsd.max_keys", "must be at least 1"));
        }
        if self.buckets.len() > 64 || self.buckets.iter().any(|bound| !bound.is_finite()) {
            return Err(Invalid::new("statsd.buckets", "must be at most 64 finite numbers"));
        }
        Ok(())
    }
}

/// Opens the sockets and starts the tasks behind them.
pub(crate) fn listen(cx: &Context, section: &StatsdSection, storage: &Arc<Storage>) -> anyhow::Result<()> {
    let mut passed = cx.inherited_udp("statsd").context("the socket statsd")?.into_iter();
    for address in &section.udp {
        let socket = open(passed.next(), *address)
            .with_context(|| format!("cannot listen on udp {address}; see statsd.udp"))
            .or_exit(Code::Unavailable)?;
        let aggregate = Aggregate::new(section);
        let interval = Duration::from_millis(section.interval_ms);
        let (storage, shutdown) = (Arc::clone(storage), cx.shutdown());
        cx.spawn("statsd", async move {
            run(socket, aggregate, interval, storage, shutdown).await;
            Ok(())
        });
    }
    Ok(())
}

fn open(passed: Option<std::net::UdpSocket>, address: SocketAddr) -> std::io::Result<UdpSocket> {
    let socket = match passed {
        Some(socket) => socket,
        None => std::net::UdpSocket::bind(address)?,
    };
    socket.set_nonblocking(true)?;
    // The kernel gives less where it allows less.
    let _ = rustix::net::sockopt::set_socket_recv_buffer_size(&socket, DATAGRAM_BUFFER);
    UdpSocket::from_std(socket)
}

async fn run(
    socket: UdpSocket,
    mut aggregate: Aggregate,
    interval: Duration,
    storage: Arc<Storage>,
    shutdown: CancellationToken,
) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut buffer = vec![0; MAX_DATAGRAM];
    loop {
        tokio::select! {
            biased;
            () = shutdown.cancelled() => break,
            _ = ticks.tick() => flush(&mut aggregate, &storage).await,
            received = socket.recv_from(&mut buffer) => {
                // An error here is an ICMP answer to nobody; the socket goes on.
                let length = received.map_or(0, |(length, _)| length);
                aggregate.take(buffer.get(..length).unwrap_or_default());
            }
        }
    }
    flush(&mut aggregate, &storage).await;
}

async fn flush(aggregate: &mut Aggregate, storage: &Arc<Storage>) {
    let batch = aggregate.flush(storage.clock().now());
    if batch.samples.is_empty() {
        return;
    }
    let storage = Arc::clone(storage);
    let stored = tokio::task::spawn_blocking(move || storage.append_metrics(&batch)).await;
    // Totals go on, so that the next interval has what this one lost.
    if let Ok(Err(error)) = stored {
        metrics::counter!("quintet_sink_statsd_flushes_lost_total").increment(1);
        tracing::debug!(%error, "statsd's values were not stored");
    }
}

#[cfg(test)]
mod tests;
