//! What the fleet looks like right now, asked from each process's admin socket and from the kernel.

use std::io::IsTerminal as _;
use std::io::Write as _;
use std::sync::Arc;
use std::time::Duration;

use quintet_http::Origin;
use quintet_http::client::Client;

use super::layout::Layout;
use super::supervisor::Program;

/// An answer that takes longer counts as none.
const PATIENCE: Duration = Duration::from_secs(1);

/// The admin listeners of the five.
#[derive(Debug)]
pub(crate) struct Probes {
    probes: Vec<(Arc<Program>, Client)>,
}

/// One process at one moment.
#[derive(Debug)]
struct Reading {
    name: &'static str,
    ready: bool,
    resident_bytes: u64,
    requests: u64,
    restarts: u32,
}

impl Probes {
    pub(crate) fn new(layout: &Layout, programs: &[Arc<Program>]) -> Self {
        let probe = |program: &Arc<Program>| {
            let admin = layout.socket(&format!("{}.admin", program.name));
            (Arc::clone(program), Client::new(Origin::Unix(admin)))
        };
        Self { probes: programs.iter().map(probe).collect() }
    }

    /// The names of those that are not ready; those that are will be restarted if they die.
    pub(crate) async fn not_ready(&self) -> Vec<&'static str> {
        let mut waiting = Vec::new();
        for (program, client) in &self.probes {
            if get(client, "/readyz").await.is_some() {
                program.note_ready();
            } else {
                waiting.push(program.name);
            }
        }
        waiting
    }

    async fn readings(&self) -> Vec<Reading> {
        let mut readings = Vec::new();
        for (program, client) in &self.probes {
            let metrics = get(client, "/metrics").await.unwrap_or_default();
            readings.push(Reading {
                name: program.name,
                ready: get(client, "/readyz").await.is_some(),
                resident_bytes: program.pid().map(resident_bytes).unwrap_or_default(),
                requests: total(&metrics, "quintet_gateway_requests_total"),
                restarts: program.restarts(),
            });
        }
        readings
    }
}

/// The body of a 200 answer in time.
async fn get(client: &Client, path: &str) -> Option<String> {
    let response = tokio::time::timeout(PATIENCE, client.get(path)).await.ok()?.ok()?;
    response.status().is_success().then(|| String::from_utf8_lossy(response.body()).into_owned())
}

/// Redraws one line on a terminal each second; elsewhere prints a line now and then. Never returns.
pub(crate) async fn stream(probes: &Probes) {
    const QUIET_EVERY: u32 = 30;
    let terminal = std::io::stdout().is_terminal();
    let mut ticks = 0u32;
    let mut previous = 0;
    let mut every = tokio::time::interval(Duration::from_secs(1));
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let quiet = !terminal && !ticks.is_multiple_of(QUIET_EVERY);
        ticks = ticks.wrapping_add(1);
        if quiet {
            continue;
        }
        let readings = probes.readings().await;
        let requests =
            readings.iter().find(|reading| reading.name == "edge-gateway").map_or(0, |it| it.requests);
        let line = render(&readings, requests, requests.saturating_sub(previous));
        previous = requests;
        if terminal {
            print!("\r\x1b[2K{line}");
            let _ = std::io::stdout().flush();
        } else {
            println!("{line}");
        }
    }
}

fn render(readings: &[Reading], requests: u64, latest: u64) -> String {
    let ready = readings.iter().filter(|reading| reading.ready).count();
    let memory: u64 = readings.iter().map(|reading| reading.resident_bytes).sum();
    let each: Vec<String> = readings
        .iter()
        .map(|reading| {
            let state = if reading.ready { "" } else { " NOT READY" };
            let restarts =
                if reading.restarts == 0 { String::new() } else { format!(" ↻{}", reading.restarts) };
            format!("{} {} MB{restarts}{state}", reading.name, reading.resident_bytes / 1_000_000)
        })
        .collect();
    format!(
        "{ready}/{} ready · {} MB · {requests} requests (+{latest}) · {}",
        readings.len(),
        memory / 1_000_000,
        each.join(" · ")
    )
}

/// Resident memory as the kernel counts it, 0 for a process that is gone.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kilobytes = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|value| value.split_whitespace().next())
        .and_then(|value| value.parse::<u64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

/// The sum of a counter over all its labels.
fn total(metrics: &str, name: &str) -> u64 {
    let samples = metrics.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        (rest.starts_with('{') || rest.starts_with(' ')).then_some(rest)
    });
    samples.filter_map(|rest| rest.rsplit(' ').next()).filter_map(|value| value.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::total;

    #[test]
    fn counter_is_summed_over_labels_and_not_mixed_with_longer_names() {
        let metrics = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\na_created{x=\"1\"} 99\na 1\n";
        assert_eq!(total(metrics, "a"), 6);
    }
}
