//! Full TLS 1.3 handshakes: how many a proxy makes in a second of its processor time.
//!
//! The client's half costs about as much, so the proxy need not be saturated; its own time is what counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::ensure;

use super::client::Client;
use super::figures::Sample;
use super::load::Timing;
use super::proxy::Running;
use crate::usage;

/// Connections that are being made at a time.
const THREADS: usize = 8;

#[derive(Debug, Default)]
struct Progress {
    stop: AtomicBool,
    made: AtomicU64,
    failed: AtomicU64,
}

pub(super) fn measure(running: &Running, client: &Client, timing: Timing) -> anyhow::Result<Sample> {
    let progress = Arc::new(Progress::default());
    let threads: Vec<JoinHandle<()>> = (0..THREADS)
        .map(|_| {
            let (client, progress, port) = (client.clone(), Arc::clone(&progress), running.https);
            std::thread::spawn(move || connect_again_and_again(&client, port, &progress))
        })
        .collect();
    let counted = count(running, &progress, timing);
    progress.stop.store(true, Ordering::Relaxed);
    for thread in threads {
        ensure!(thread.join().is_ok(), "a client thread panicked");
    }
    counted
}

fn connect_again_and_again(client: &Client, port: u16, progress: &Progress) {
    while !progress.stop.load(Ordering::Relaxed) {
        if let Ok(connection) = client.connect(port) {
            connection.close();
            progress.made.fetch_add(1, Ordering::Relaxed);
        } else {
            progress.failed.fetch_add(1, Ordering::Relaxed);
            // A port that refuses would be asked a million times.
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

#[expect(clippy::cast_precision_loss, reason = "handshakes of seconds, far below 2^52")]
fn count(running: &Running, progress: &Progress, timing: Timing) -> anyhow::Result<Sample> {
    let pids = usage::family(running.pid());
    std::thread::sleep(timing.warm_up);
    let (cpu, made) = (usage::cpu(&pids)?, progress.made.load(Ordering::Relaxed));
    std::thread::sleep(timing.window);
    let cpu = usage::cpu(&pids)?.since(cpu);
    let made = (progress.made.load(Ordering::Relaxed) - made) as f64;
    ensure!(made > 0.0, "{} completed no handshake", running.proxy.name());
    let micros = |time: Duration| time.as_secs_f64() * 1e6 / made;
    Ok(vec![
        ("handshakes_per_cpu_second", made / cpu.total().as_secs_f64()),
        ("cpu_us_per_handshake", micros(cpu.total())),
        ("user_us_per_handshake", micros(cpu.user)),
        ("system_us_per_handshake", micros(cpu.system)),
        ("failed_handshakes", progress.failed.load(Ordering::Relaxed) as f64),
    ])
}
