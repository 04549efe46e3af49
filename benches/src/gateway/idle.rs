//! Memory of idle connections: TLS clients that have had one answer and stay.
//!
//! The figure is the growth of the proportional set size of all of the proxy's processes divided by the
//! connections. The kernel's share of a socket is the same for all and not in it.

use std::time::Duration;

use anyhow::Context as _;

use super::client::{Client, Connection};
use super::figures::Sample;
use super::proxy::Running;
use crate::usage::{self, Memory};

/// For what the handshakes allocated to be given back, by collectors too.
const SETTLE: Duration = Duration::from_secs(2);
/// Connections made and closed first, so that what is allocated once is not counted.
const WARM_UP: usize = 100;
/// Numbers of connections and the names of their figures.
const STEPS: [(usize, &str); 2] = [(1_000, EACH_OF_1000), (10_000, EACH_OF_10000)];
pub(super) const EACH_OF_1000: &str = "bytes_each_of_1000";
pub(super) const EACH_OF_10000: &str = "bytes_each_of_10000";
/// In the end every so many-th connection has to answer.
const ASKED_AGAIN: usize = 97;

/// Opens up to `most` connections to a proxy that was just started.
pub(super) fn measure(running: &Running, client: &Client, most: usize) -> anyhow::Result<Sample> {
    let mut buffer = Vec::new();
    for _ in 0..WARM_UP {
        open(running, client, &mut buffer)?.close();
    }
    let before = settled(running)?;
    let mut held = before;
    let mut sample = vec![("resident_mb_before", megabytes(before.resident))];
    let mut connections: Vec<Connection> = Vec::new();
    for (count, name) in STEPS.into_iter().filter(|(count, _)| *count <= most) {
        while connections.len() < count {
            connections.push(open(running, client, &mut buffer)?);
        }
        held = settled(running)?;
        sample.push((name, each(before, held, count)));
    }
    sample.push(("resident_mb_after", megabytes(held.resident)));
    ensure_alive(running, &mut connections, &mut buffer)?;
    Ok(sample)
}

/// A connection that the proxy has closed costs nothing and must not count as a small one.
fn ensure_alive(
    running: &Running,
    connections: &mut [Connection],
    buffer: &mut Vec<u8>,
) -> anyhow::Result<()> {
    for connection in connections.iter_mut().step_by(ASKED_AGAIN) {
        let answer = connection.get("/small", buffer);
        answer
            .with_context(|| format!("{} closed a connection that was to be idle", running.proxy.name()))?;
    }
    Ok(())
}

fn open(running: &Running, client: &Client, buffer: &mut Vec<u8>) -> anyhow::Result<Connection> {
    let name = running.proxy.name();
    let mut connection = client.connect(running.https).with_context(|| format!("connect to {name}"))?;
    connection.get("/small", buffer).with_context(|| format!("ask {name}"))?;
    Ok(connection)
}

fn settled(running: &Running) -> anyhow::Result<Memory> {
    std::thread::sleep(SETTLE);
    usage::memory(&usage::family(running.pid()))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of processes, far below 2^52")]
fn each(before: Memory, held: Memory, connections: usize) -> f64 {
    held.proportional.saturating_sub(before.proportional) as f64 / connections as f64
}

#[expect(clippy::cast_precision_loss, reason = "sizes of processes, far below 2^52")]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connection_costs_what_the_process_grew_by() {
        let before = Memory { resident: 9_000, proportional: 5_000 };
        let held = Memory { resident: 99_000, proportional: 25_000 };
        assert!((each(before, held, 10) - 2_000.0).abs() < f64::EPSILON);
    }
}
