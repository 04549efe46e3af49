//! slowhttptest's four modes: many clients that are slow on purpose, while another client is served throughout and the
//! gateway's memory stays bounded.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};

use super::edge::Edge;
use crate::process;

/// Slow clients at once; the gateway takes 1,024 of one address unless told otherwise.
const CLIENTS: usize = 400;
/// How long each mode lasts at most.
const SECONDS: &str = "10";
/// What a slow client may make the gateway hold: TLS, a buffer for each direction on both sides, and a head that never
/// ends. Measured are 20 to 35 KB.
const EACH: u64 = 128 << 10;

struct Mode {
    what: &'static str,
    path: &'static str,
    arguments: &'static [&'static str],
    /// Whether its clients stay for the whole time; the others leave with their answer.
    stays: bool,
}

const MODES: [Mode; 4] = [
    Mode { what: "slow heads", path: "/", arguments: &["-H", "-i", "2", "-x", "24"], stays: true },
    Mode {
        what: "slow bodies",
        path: "/",
        arguments: &["-B", "-i", "2", "-s", "8192", "-x", "10"],
        stays: true,
    },
    Mode { what: "many ranges", path: "/", arguments: &["-R", "-a", "10", "-b", "3000"], stays: false },
    Mode {
        what: "slow readers",
        path: "/large",
        arguments: &["-X", "-w", "512", "-y", "1024", "-n", "2", "-z", "32"],
        stays: true,
    },
];

/// What was seen while a mode ran.
struct Seen {
    served: u64,
    slowest: Duration,
    connections: usize,
    resident: u64,
}

pub(super) fn run(edge: &Edge) -> anyhow::Result<u64> {
    ensure!(
        process::find("slowhttptest").is_some(),
        "install it with `apt-get install --no-install-recommends slowhttptest`"
    );
    let before = edge.resident()?;
    for mode in &MODES {
        let files = edge.open_files()?;
        let mut attack = Command::new("slowhttptest")
            .args(["-c", &CLIENTS.to_string(), "-r", "200", "-l", SECONDS, "-p", "3"])
            .args(mode.arguments)
            .args(["-u", &format!("https://127.0.0.1:{}{}", edge.port, mode.path)])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("start slowhttptest")?;
        let mut seen = Seen { served: 0, slowest: Duration::ZERO, connections: 0, resident: 0 };
        while attack.try_wait()?.is_none() {
            let asked = Instant::now();
            edge.get().with_context(|| format!("{}: another client was not served", mode.what))?;
            seen.slowest = seen.slowest.max(asked.elapsed());
            seen.served += 1;
            seen.connections = seen.connections.max(edge.open_files()?.saturating_sub(files));
            seen.resident = seen.resident.max(edge.resident()?.saturating_sub(before));
            std::thread::sleep(Duration::from_millis(50));
        }
        judge(mode, &seen)?;
    }
    Ok(MODES.len() as u64)
}

fn judge(mode: &Mode, seen: &Seen) -> anyhow::Result<()> {
    println!(
        "slowhttptest, {}: up to {} connections, {} KB more memory; another client was served {} times, at the \
         slowest in {} ms",
        mode.what,
        seen.connections,
        seen.resident >> 10,
        seen.served,
        seen.slowest.as_millis(),
    );
    ensure!(
        !mode.stays || seen.connections >= CLIENTS / 2,
        "{}: of {CLIENTS} clients only {} were there",
        mode.what,
        seen.connections
    );
    let most = EACH * CLIENTS as u64;
    ensure!(
        seen.resident <= most,
        "{}: {} KB of memory, more than {} KB",
        mode.what,
        seen.resident >> 10,
        most >> 10
    );
    Ok(())
}
