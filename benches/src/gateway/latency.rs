//! Latency under a constant rate that does not wait for answers.
//!
//! Each connection has its own timetable. A request counts from the moment it was due, not from when it could
//! be sent: a proxy that stalls makes every request due meanwhile late, and none is left out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::client::{Client, Connection};
use super::figures::Sample;
use super::proxy::Running;

const CONNECTIONS: u32 = 64;
/// Between connecting and the first request, so that all threads are waiting by then.
const LEAD: Duration = Duration::from_millis(300);

/// A constant rate over a time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub(super) per_second: f64,
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
}

pub(super) fn measure(running: &Running, client: &Client, rate: Rate) -> anyhow::Result<Sample> {
    let connections: Vec<Connection> = (0..CONNECTIONS)
        .map(|_| client.connect(running.https))
        .collect::<Result<_, _>>()
        .with_context(|| format!("connect to {}", running.proxy.name()))?;
    let timetable = Arc::new(Timetable::new(rate, Instant::now() + LEAD));
    let threads: Vec<_> = (0u32..)
        .zip(connections)
        .map(|(number, connection)| {
            let timetable = Arc::clone(&timetable);
            std::thread::spawn(move || ask(connection, number, &timetable))
        })
        .collect();
    let mut latencies = Vec::new();
    let mut failed = 0.0;
    for thread in threads {
        let asked = thread.join().ok().context("a client thread panicked")?;
        latencies.extend(asked.latencies);
        failed += f64::from(u8::from(asked.failed));
    }
    ensure!(!latencies.is_empty(), "{} answered nothing", running.proxy.name());
    latencies.sort_unstable();
    let quantile = |of: f64| micros(latencies.get(rank(of, latencies.len())).copied().unwrap_or_default());
    Ok(vec![
        ("p50_us", quantile(0.5)),
        ("p99_us", quantile(0.99)),
        ("p99_9_us", quantile(0.999)),
        ("max_us", quantile(1.0)),
        ("requests", f64::from(u32::try_from(latencies.len()).unwrap_or(u32::MAX))),
        ("failed_connections", failed),
    ])
}

#[derive(Debug)]
struct Timetable {
    /// From one request of a connection to its next.
    interval: Duration,
    begin: Instant,
    counted_from: Instant,
    end: Instant,
}

impl Timetable {
    fn new(rate: Rate, begin: Instant) -> Self {
        let interval = Duration::from_secs_f64(f64::from(CONNECTIONS) / rate.per_second);
        let counted_from = begin + rate.warm_up;
        Self { interval, begin, counted_from, end: counted_from + rate.window }
    }

    /// When a connection's request is due; `None` when time is up.
    fn due(&self, connection: u32, request: u32) -> Option<Instant> {
        // Connections take turns, so that the whole is as even as each.
        let due = self.begin + self.interval * request + self.interval * connection / CONNECTIONS;
        (due < self.end).then_some(due)
    }
}

#[derive(Debug, Default)]
struct Asked {
    latencies: Vec<Duration>,
    failed: bool,
}

fn ask(mut connection: Connection, number: u32, timetable: &Timetable) -> Asked {
    let mut asked = Asked::default();
    let mut buffer = Vec::new();
    for request in 0.. {
        let Some(due) = timetable.due(number, request) else { break };
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        if connection.get("/small", &mut buffer).is_err() {
            asked.failed = true;
            break;
        }
        if due >= timetable.counted_from {
            asked.latencies.push(due.elapsed());
        }
    }
    connection.close();
    asked
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank among at most a few million"
)]
fn rank(quantile: f64, count: usize) -> usize {
    ((count as f64 * quantile).ceil() as usize).saturating_sub(1)
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timetable() -> Timetable {
        let rate = Rate {
            per_second: f64::from(CONNECTIONS) * 10.0,
            warm_up: Duration::from_millis(200),
            window: Duration::from_secs(1),
        };
        Timetable::new(rate, Instant::now())
    }

    #[test]
    fn connections_share_the_rate_and_take_turns() {
        let timetable = timetable();
        assert_eq!(timetable.interval, Duration::from_millis(100));
        let half_way = timetable.due(CONNECTIONS / 2, 3).unwrap();
        assert_eq!(half_way - timetable.begin, Duration::from_millis(350));
    }

    #[test]
    fn timetable_ends_with_the_window() {
        let timetable = timetable();
        assert!(timetable.due(0, 11).is_some());
        assert!(timetable.due(0, 12).is_none());
    }

    #[test]
    fn rank_of_a_quantile_is_the_first_value_that_covers_it() {
        assert_eq!((rank(0.5, 100), rank(0.99, 100), rank(0.999, 100), rank(1.0, 100)), (49, 98, 99, 99));
    }
}
