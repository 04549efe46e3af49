//! Puts a gateway together at the start of the process: files, ports, workers.

#[cfg(feature = "http3")]
pub(super) mod http3;

use std::net::{SocketAddr, TcpListener};
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use quintet_http::listen::{Address, Listener};
use quintet_service::{Code, OrExit as _, Pulse};
use quintet_types::SharedClock;
use tokio_util::sync::CancellationToken;

use super::Gateway;
use super::snapshot::{Basis, Snapshot};
use crate::acme::Acme;
use crate::cache::Cache;
use crate::config::Config;
use crate::limits::{Connections, RateLimiter};
use crate::metrics::Metrics;
use crate::tls::{self, Certificates};
use crate::why::Recent;
use crate::worker::{self, OwnSocket, Sockets};

/// The names of the public sockets, as systemd and an upgrade pass them.
pub(crate) const HTTPS: &str = "https";
pub(crate) const HTTP: &str = "http";

/// Left of the drain time for telemetry to leave.
const DRAIN_RESERVE: Duration = Duration::from_millis(500);

/// A gateway that has been put together but does not serve yet.
pub(crate) struct Assembled {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) sockets: Vec<Sockets>,
    drain: Duration,
}

/// Reads files, binds ports and puts the shared state together.
pub(crate) fn assemble(
    config: Config,
    clock: SharedClock,
    inherited: impl Fn(&str) -> anyhow::Result<Option<Listener>>,
    from: Giver,
) -> anyhow::Result<Assembled> {
    let certificates = Arc::new(Certificates::load(config.certificate_sources()).or_exit(Code::Config)?);
    let workers = config.listen.workers.map_or_else(default_workers, NonZeroUsize::get);
    let mut sockets: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
    let bound_https_port =
        bind_all(HTTPS, config.listen.https.addresses(), &mut sockets, |s| &mut s.https, &inherited, from)?;
    bind_all(HTTP, config.listen.http.addresses(), &mut sockets, |s| &mut s.http, &inherited, from)?;
    let drain = config.service.drain_timeout().saturating_sub(DRAIN_RESERVE);
    let epoch = Instant::now();
    let basis = Basis {
        clock,
        epoch,
        bound_https_port,
        certificates: Arc::clone(&certificates),
        next_bucket: AtomicU32::new(1),
    };
    let snapshot = Snapshot::build(config, &basis, None).or_exit(Code::Config)?;
    let limits = snapshot.limits();
    let gateway = Gateway {
        recent: Recent::default(),
        rate_limiter: RateLimiter::new(epoch),
        cache: Arc::new(Cache::new(snapshot.config.cache.max_bytes)),
        connections: Connections::new(limits.connections, limits.connections_per_ip, limits.memory_per_ip),
        parked: AtomicUsize::new(0),
        current: ArcSwap::from_pointee(snapshot),
        generation: AtomicU64::new(0),
        installed: tokio::sync::Notify::new(),
        reloads: Mutex::default(),
        basis,
        metrics: Metrics::new(),
        acme: Acme::default(),
        tls: tls::server_config(Arc::clone(&certificates), None)?,
        #[cfg(feature = "http3")]
        quic_tls: tls::quic_config(Arc::clone(&certificates))?,
        certificates,
    };
    Ok(Assembled { gateway: Arc::new(gateway), sockets, drain })
}

/// One worker per core this process may use.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

/// Gives each worker its socket for each address; returns the first port.
fn bind_all(
    name: &str,
    addresses: &[SocketAddr],
    sockets: &mut [Sockets],
    of: impl Fn(&mut Sockets) -> &mut Vec<OwnSocket>,
    inherited: &impl Fn(&str) -> anyhow::Result<Option<Listener>>,
    from: Giver,
) -> anyhow::Result<u16> {
    let mut first_port = None;
    let mut passed = passed(name, inherited)?;
    let beside_v4 = |port: u16| addresses.iter().any(|other| other.is_ipv4() && other.port() == port);
    for address in addresses {
        let of_address = from.choose(&mut passed, *address, TcpListener::local_addr);
        let listeners = if of_address.is_empty() {
            match crate::listener::bind(*address, beside_v4(address.port()), sockets.len()) {
                // What is meant by the wildcards of both families is "everywhere", which is IPv4 alone on such a kernel.
                Err(error) if beside_v4(address.port()) && error.lacks_ipv6(*address) => {
                    tracing::warn!(listener = name, %address, "this kernel has no IPv6; listening on IPv4 alone");
                    continue;
                }
                bound => bound.or_exit(Code::Unavailable)?,
            }
        } else {
            crate::listener::share(of_address, sockets.len())?
        };
        let local = listeners.first().map(TcpListener::local_addr).transpose()?;
        if let Some(local) = local {
            first_port.get_or_insert(local.port());
            tracing::info!(listener = name, address = %Address::Tcp(local), "listening");
        }
        let workers = sockets.len();
        for (at, listener) in listeners.into_iter().enumerate() {
            if let Some(worker) = sockets.get_mut(at % workers) {
                of(worker).push(OwnSocket { configured: *address, listener });
            }
        }
    }
    Ok(first_port.unwrap_or(443))
}

/// The sockets that were passed to this process under one name.
fn passed(
    name: &str,
    inherited: &impl Fn(&str) -> anyhow::Result<Option<Listener>>,
) -> anyhow::Result<Vec<TcpListener>> {
    let mut all = Vec::new();
    while let Some(listener) = inherited(name)? {
        match listener {
            Listener::Tcp(listener) => all.push(listener.into_std()?),
            Listener::Unix(_) => anyhow::bail!("the inherited socket `{name}` must be a TCP socket"),
        }
    }
    Ok(all)
}

/// Who passed sockets to this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Giver {
    /// One socket for each address, in their order; where it listens is in the unit, not in our configuration.
    Systemd,
    /// As many for an address as it had workers. An address that is no longer configured is given up.
    Predecessor,
}

impl Giver {
    /// Takes those out of `passed` that are for `address`; `local` is where one was bound.
    fn choose<S>(
        self,
        passed: &mut Vec<S>,
        address: SocketAddr,
        local: impl Fn(&S) -> std::io::Result<SocketAddr>,
    ) -> Vec<S> {
        match self {
            Self::Systemd if passed.is_empty() => Vec::new(),
            Self::Systemd => vec![passed.remove(0)],
            Self::Predecessor => passed
                .extract_if(.., |socket| local(socket).is_ok_and(|local| is_same(local, address)))
                .collect(),
        }
    }
}

/// Whether a socket at `local` was bound for `configured`, whose port may have been left to the kernel.
fn is_same(local: SocketAddr, configured: SocketAddr) -> bool {
    local.ip() == configured.ip() && (configured.port() == 0 || local.port() == configured.port())
}

type Running = tokio::sync::oneshot::Receiver<std::io::Result<()>>;

impl Assembled {
    /// Starts the workers' threads; each answers when its thread is over.
    /// With a pulse from `pulse` each, which beats while its event loop runs.
    pub(crate) fn run(
        self,
        shutdown: CancellationToken,
        pulse: impl Fn() -> Option<Pulse>,
    ) -> anyhow::Result<Vec<Running>> {
        let mut running = Vec::with_capacity(self.sockets.len());
        for (number, sockets) in self.sockets.into_iter().enumerate() {
            let (done, waiting) = tokio::sync::oneshot::channel();
            let (gateway, shutdown, drain) = (Arc::clone(&self.gateway), shutdown.clone(), self.drain);
            let pulse = pulse();
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    // Nobody waits any more when the process is aborted.
                    let _ = done.send(worker::run(gateway, sockets, shutdown, drain, pulse));
                })
                .context("cannot start a worker thread")?;
            running.push(waiting);
        }
        Ok(running)
    }
}
