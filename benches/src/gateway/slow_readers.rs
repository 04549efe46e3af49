//! Memory under clients that take a large answer slowly: what a proxy reads ahead for each is what it holds.
//!
//! Each client asks for 1 GB over TLS and takes a little of it at a time, so that every buffer on the way is full: the
//! kernel's, which are not counted, and the proxy's, which are. The figure is the largest growth of the proportional
//! set size that was seen, divided by the clients.

use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::client::{Client, Connection};
use super::figures::Sample;
use super::proxy::{Proxy, Running};
use crate::usage::{self, Memory};

pub(super) const EACH: &str = "bytes_each_at_most";
/// Passes over all clients, and what each takes in one.
const PASSES: usize = 20;
const BITE: usize = 1024;
/// Between two passes, for the proxy to fill what was emptied.
const PAUSE: Duration = Duration::from_millis(250);

/// nginx is not asked: it writes what a client does not take to a file, 1 GB for each.
pub(super) fn can_take_part(running: &Running) -> bool {
    running.proxy != Proxy::Nginx
}

/// Lets so many slow readers come to a proxy that was just started.
pub(super) fn measure(running: &Running, client: &Client, readers: usize) -> anyhow::Result<Sample> {
    let name = running.proxy.name();
    let mut buffer = Vec::new();
    client.connect(running.https)?.get("/small", &mut buffer)?;
    let before = memory(running)?;
    let mut all: Vec<Connection> = Vec::with_capacity(readers);
    for _ in 0..readers {
        let mut reader =
            client.connect_narrowly(running.https).with_context(|| format!("connect to {name}"))?;
        reader.ask("/huge")?;
        all.push(reader);
    }
    let mut peak = Memory::default();
    for _ in 0..PASSES {
        for reader in &mut all {
            reader.take(BITE).with_context(|| format!("{name} gave up a client that reads"))?;
        }
        std::thread::sleep(PAUSE);
        let now = memory(running)?;
        peak.resident = peak.resident.max(now.resident);
        peak.proportional = peak.proportional.max(now.proportional);
    }
    let served = client.connect(running.https)?.get("/small", &mut buffer);
    ensure!(served.is_ok(), "{name} serves nobody beside slow readers: {served:?}");
    Ok(vec![
        (EACH, number(peak.proportional.saturating_sub(before.proportional)) / number(readers as u64)),
        ("resident_mb_before", number(before.resident) / 1e6),
        ("resident_mb_at_most", number(peak.resident) / 1e6),
    ])
}

fn memory(running: &Running) -> anyhow::Result<Memory> {
    usage::memory(&usage::family(running.pid()))
}

#[expect(clippy::cast_precision_loss, reason = "sizes of processes, far below 2^52")]
fn number(value: u64) -> f64 {
    value as f64
}
