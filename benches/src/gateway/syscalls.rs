//! System calls per request, counted by the kernel's tracepoints.
//!
//! `perf stat` counts in the kernel and slows the proxy by little. `strace` stops it at each call: requests
//! then queue up, one `epoll_wait` fetches many of them, and the count per request comes out too low.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, ensure};

use super::figures::Sample;
use super::load::{Generator, Load, Timing};
use super::proxy::Running;
use super::upstream::Upstream;

pub(super) const PER_REQUEST: &str = "syscalls_per_request";
const ALL: &str = "raw_syscalls:sys_enter";

/// Calls that a proxy makes for a request, by the names of their figures.
const CALLS: [(&str, &str); 17] = [
    ("read", "syscalls:sys_enter_read"),
    ("readv", "syscalls:sys_enter_readv"),
    ("recvfrom", "syscalls:sys_enter_recvfrom"),
    ("recvmsg", "syscalls:sys_enter_recvmsg"),
    ("write", "syscalls:sys_enter_write"),
    ("writev", "syscalls:sys_enter_writev"),
    ("sendto", "syscalls:sys_enter_sendto"),
    ("sendmsg", "syscalls:sys_enter_sendmsg"),
    ("epoll_wait", "syscalls:sys_enter_epoll_wait"),
    ("epoll_pwait", "syscalls:sys_enter_epoll_pwait"),
    ("epoll_ctl", "syscalls:sys_enter_epoll_ctl"),
    ("getpid", "syscalls:sys_enter_getpid"),
    ("getsockopt", "syscalls:sys_enter_getsockopt"),
    ("futex", "syscalls:sys_enter_futex"),
    ("nanosleep", "syscalls:sys_enter_nanosleep"),
    ("sched_yield", "syscalls:sys_enter_sched_yield"),
    ("madvise", "syscalls:sys_enter_madvise"),
];

pub(super) fn measure(
    generator: &Generator<'_>,
    running: &Running,
    load: Load,
    timing: Timing,
) -> anyhow::Result<Sample> {
    let count = |pids: &[u32], window| count(generator.upstream, pids, window);
    let (_, counted) = generator.pass(running, load, timing, count)?;
    let per_request = |event: &str| counts(&counted.calls, event).map(|count| count / counted.requests);
    let all = per_request(ALL).with_context(|| format!("perf did not count {ALL}: {}", counted.calls))?;
    let mut sample = vec![(PER_REQUEST, all)];
    let mut named = 0.0;
    for (name, event) in CALLS {
        if let Some(each) = per_request(event) {
            sample.push((name, each));
            named += each;
        }
    }
    sample.push(("other", (all - named).max(0.0)));
    Ok(sample)
}

#[derive(Debug)]
struct Counted {
    /// perf's lines.
    calls: String,
    requests: f64,
}

/// Counts the calls of these processes, all of their threads, for a while, and the requests of the same while.
fn count(upstream: &Upstream, pids: &[u32], window: Duration) -> anyhow::Result<Counted> {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let events: Vec<&str> = [ALL].into_iter().chain(CALLS.map(|(_, event)| event)).collect();
    let mut perf = Command::new("perf")
        .args(["stat", "--field-separator", ",", "--event", &events.join(","), "--pid", &pids.join(",")])
        // perf counts while this runs; the two lines say when that is.
        .args(["--", "sh", "-c", &format!("echo; sleep {}; echo", window.as_secs_f64())])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("run perf")?;
    let mut lines = BufReader::new(perf.stdout.take().context("perf has no output")?).lines();
    let mut served_at_next_line = || lines.next().transpose().map(|_| upstream.served());
    let (begun, ended) = (served_at_next_line()?, served_at_next_line()?);
    let output = perf.wait_with_output().context("wait for perf")?;
    let calls = String::from_utf8_lossy(&output.stderr).into_owned();
    ensure!(
        output.status.success() && ended > begun,
        "perf cannot count system calls (run as root, or set kernel.perf_event_paranoid to -1): {calls}"
    );
    #[expect(clippy::cast_precision_loss, reason = "requests of seconds, far below 2^52")]
    Ok(Counted { calls, requests: (ended - begun) as f64 })
}

/// The count of an event in perf's lines, `count,unit,event,…`.
fn counts(said: &str, event: &str) -> Option<f64> {
    said.lines().find_map(|line| {
        let mut fields = line.split(',');
        let count = fields.next()?;
        (fields.nth(1)? == event).then(|| count.parse().ok())?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAID: &str = "4000,,raw_syscalls:sys_enter,100,100.00,,\n\
                        1000,,syscalls:sys_enter_writev,100,100.00,,\n\
                        <not supported>,,syscalls:sys_enter_read,0,0.00,,\n";

    #[test]
    fn counts_are_found_by_event() {
        assert_eq!(counts(SAID, ALL), Some(4000.0));
        assert_eq!(counts(SAID, "syscalls:sys_enter_writev"), Some(1000.0));
    }

    #[test]
    fn event_that_was_not_counted_has_no_count() {
        assert_eq!(counts(SAID, "syscalls:sys_enter_read"), None);
        assert_eq!(counts(SAID, "syscalls:sys_enter_futex"), None);
    }
}
