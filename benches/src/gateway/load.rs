//! Closed-loop load from wrk, h2load and a generator of our own for HTTP/3, and a window cut out of the middle of it.
//!
//! The generators count from their first connection to their last answer; a window must not hold the
//! handshakes before it. So requests are counted where they arrive, at the upstream, over the same time as
//! the proxy's processor time.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use quinn::ClientConfig;
use quinn::crypto::rustls::QuicClientConfig;

use super::certificate::Certificate;
use super::client::{self, HOST, KeyExchange};
use super::figures::Sample;
use super::http3;
use super::proxy::Running;
use super::upstream::Upstream;
use crate::usage::{self, Cpu};

/// Kept connections of an HTTP/1.1 load.
const H1_CONNECTIONS: u32 = 64;
/// Connections of a load over HTTP/2 or HTTP/3, and streams at a time on each.
const MULTIPLEXED: (u32, u32) = (8, 16);

/// The version and the transport of the client's side; the upstream's is always plain HTTP/1.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    PlainHttp1,
    TlsHttp1,
    TlsHttp2,
    Http3,
}

/// A load.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) protocol: Protocol,
    pub(super) path: &'static str,
}

/// How long a load runs before it counts, and how long it counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) warm_up: Duration,
    pub(super) window: Duration,
}

/// What went through a proxy in a window.
#[derive(Debug, Clone, Copy)]
pub(super) struct Passed {
    pub(super) requests: f64,
    cpu: Cpu,
    elapsed: Duration,
    failed: f64,
}

/// Puts proxies under load.
#[derive(Debug)]
pub(super) struct Generator<'a> {
    pub(super) upstream: &'a Upstream,
    openssl: PathBuf,
    quic: ClientConfig,
}

/// A load on its way.
enum Begun {
    Program(Child),
    Http3(http3::Run),
}

impl<'a> Generator<'a> {
    /// Writes the settings of the generators' TLS into `directory`: as in [`super::client`], the same key
    /// exchange and cipher suite for every proxy.
    pub(super) fn new(
        directory: &Path,
        certificate: &Certificate,
        upstream: &'a Upstream,
    ) -> anyhow::Result<Self> {
        let openssl = directory.join("openssl.cnf");
        let text = "openssl_conf = library\n[library]\nssl_conf = tls\n[tls]\nsystem_default = offered\n\
                    [offered]\nMinProtocol = TLSv1.3\nCiphersuites = TLS_AES_128_GCM_SHA256\nGroups = X25519\n";
        std::fs::write(&openssl, text).with_context(|| format!("write {}", openssl.display()))?;
        let tls = client::tls(certificate.der.clone(), KeyExchange::X25519, b"h3")?;
        let quic = QuicClientConfig::try_from(tls).context("offer TLS over QUIC")?;
        Ok(Self { upstream, openssl, quic: ClientConfig::new(Arc::new(quic)) })
    }

    /// Runs a load and `during` in its window.
    pub(super) fn pass<T>(
        &self,
        running: &Running,
        load: Load,
        timing: Timing,
        during: impl FnOnce(&[u32], Duration) -> anyhow::Result<T>,
    ) -> anyhow::Result<(Passed, T)> {
        let generator = self.begin(running, load, timing)?;
        std::thread::sleep(timing.warm_up);
        let pids = usage::family(running.pid());
        let (begun, cpu, served) = (Instant::now(), usage::cpu(&pids)?, self.upstream.served());
        let made = during(&pids, timing.window);
        let (elapsed, cpu) = (begun.elapsed(), usage::cpu(&pids)?.since(cpu));
        let served = self.upstream.served() - served;
        let failed = end(generator, load)?;
        ensure!(served > 0, "no request passed {} in {elapsed:?}", running.proxy.name());
        #[expect(clippy::cast_precision_loss, reason = "requests of seconds, far below 2^52")]
        let requests = served as f64;
        Ok((Passed { requests, cpu, elapsed, failed }, made?))
    }

    fn begin(&self, running: &Running, load: Load, timing: Timing) -> anyhow::Result<Begun> {
        // Both take whole seconds; the load must outlast its window.
        let seconds = (timing.warm_up + timing.window + Duration::from_millis(300)).as_secs() + 1;
        let (connections, streams) = MULTIPLEXED;
        let mut command = match load.protocol {
            Protocol::PlainHttp1 | Protocol::TlsHttp1 => {
                let mut wrk = Command::new("wrk");
                wrk.args(["-t1", &format!("-c{H1_CONNECTIONS}"), &format!("-d{seconds}s")]);
                wrk
            }
            Protocol::TlsHttp2 => {
                let mut h2load = Command::new("h2load");
                h2load.args(["-t1", &format!("-c{connections}"), &format!("-m{streams}")]);
                h2load.arg(format!("-D{seconds}"));
                h2load
            }
            Protocol::Http3 => {
                return http3::Run::start(self.quic.clone(), MULTIPLEXED, running.https, load.path)
                    .map(Begun::Http3);
            }
        };
        let (scheme, port) = match load.protocol {
            Protocol::PlainHttp1 => ("http", running.http),
            _ => ("https", running.https),
        };
        command
            .arg(format!("{scheme}://{HOST}:{port}{}", load.path))
            .env("OPENSSL_CONF", &self.openssl)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map(Begun::Program)
            .context("start the load generator")
    }
}

/// Waits for the generator; how many of its requests failed.
#[expect(clippy::cast_precision_loss, reason = "requests of seconds, far below 2^52")]
fn end(begun: Begun, load: Load) -> anyhow::Result<f64> {
    let child = match begun {
        Begun::Program(child) => child,
        Begun::Http3(run) => return Ok(run.end()? as f64),
    };
    let output = child.wait_with_output().context("wait for the load generator")?;
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "the load generator failed: {said}{complaint}");
    let failed = match load.protocol {
        Protocol::PlainHttp1 | Protocol::TlsHttp1 => wrk_failures(&said),
        _ => h2load_failures(&said),
    };
    failed.with_context(|| format!("cannot read what the load generator said: {said}{complaint}"))
}

/// Both lines are missing where nothing failed.
fn wrk_failures(said: &str) -> Option<f64> {
    said.contains("requests in").then_some(())?;
    let failures = ["Socket errors:", "Non-2xx or 3xx responses:"];
    let lines = said.lines().filter(|line| failures.iter().any(|it| line.contains(it)));
    let counts = lines.flat_map(|line| line.split([' ', ','])).filter_map(|word| word.parse::<u32>().ok());
    Some(counts.map(f64::from).fold(0.0, |sum, count| sum + count))
}

/// Requests that were under way when time was up are counted as neither.
fn h2load_failures(said: &str) -> Option<f64> {
    let line = said.lines().find(|line| line.starts_with("status codes:"))?;
    let of = |status: &str| -> Option<f64> {
        line.split(',').find(|part| part.contains(status))?.split_whitespace().rev().nth(1)?.parse().ok()
    };
    Some(of("3xx")? + of("4xx")? + of("5xx")?)
}

impl Passed {
    pub(super) fn sample(&self) -> Sample {
        let micros = |time: Duration| time.as_secs_f64() * 1e6 / self.requests;
        vec![
            ("cpu_us_per_request", micros(self.cpu.total())),
            ("user_us_per_request", micros(self.cpu.user)),
            ("system_us_per_request", micros(self.cpu.system)),
            ("requests_per_second", self.requests / self.elapsed.as_secs_f64()),
            // Near 1 the proxy was the limit, else its load was.
            ("core_busy", self.cpu.total().as_secs_f64() / self.elapsed.as_secs_f64()),
            ("failed_requests", self.failed),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_wrk_are_socket_errors_and_error_pages() {
        let clean = "  100 requests in 1.00s, 5KB read\nRequests/sec: 100.0\n";
        assert_eq!(wrk_failures(clean), Some(0.0));
        let failed = format!(
            "{clean}  Socket errors: connect 1, read 2, write 0, timeout 3\n  Non-2xx or 3xx responses: 40\n"
        );
        assert_eq!(wrk_failures(&failed), Some(46.0));
        assert_eq!(wrk_failures("unable to connect"), None);
    }

    #[test]
    fn failures_of_h2load_are_answers_other_than_success() {
        let said = "requests: 9 total\nstatus codes: 900 2xx, 1 3xx, 2 4xx, 3 5xx\n";
        assert_eq!(h2load_failures(said), Some(6.0));
    }
}
