//! The gateway as a whole: what all workers share, and the life of the process.
//!
//! Start order: certificates and secrets are read, ports are bound, workers run. Keys of the identity
//! provider are fetched in the background; until they arrive routes that need a token answer 503.
//!
//! What a reload may change is in the [`Snapshot`], swapped whole; the rest of what a worker shares here
//! (limits' counters, connections, certificates, process metrics) stays for the life of the process.

mod assemble;
mod reload;
mod snapshot;

use std::io::Write;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use arc_swap::ArcSwap;
use clap::ArgMatches;
use quintet_service::{Binary, Code, Common, Context, Invalid};
use quintet_types::SharedClock;
use rustls::ServerConfig;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub(crate) use self::assemble::Giver;
#[cfg(test)]
pub(crate) use self::assemble::assemble;
#[cfg(all(test, feature = "http3"))]
pub(crate) use self::assemble::http3::open as open_http3;
use self::assemble::{HTTP, HTTPS};
use self::reload::Reloads;
pub(crate) use self::reload::Verdict;
#[cfg(test)]
pub(crate) use self::reload::{Changes, ReloadError};
use self::snapshot::Basis;
pub(crate) use self::snapshot::{Snapshot, Tally};
use crate::acme::{self, Acme};
use crate::cache::{self, Cache};
use crate::command;
use crate::config::{Config, Plan};
use crate::limits::{Connections, RateLimiter};
use crate::metrics::Metrics;
use crate::tls::Certificates;
use crate::top;
use crate::upstream::{SystemResolver, Upstream, upkeep};
use crate::why::{self, Recent};

/// How often certificate files are looked at for changes.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
const OBSERVE_EVERY: Duration = Duration::from_secs(1);

/// What all workers share.
pub(crate) struct Gateway {
    current: ArcSwap<Snapshot>,
    /// Counts installed snapshots, so that workers notice a new one by reading one number.
    generation: AtomicU64,
    /// Wakes who looks after upstreams.
    installed: Notify,
    reloads: Mutex<Reloads>,
    basis: Basis,
    /// What workers refused or failed lately.
    pub(crate) recent: Recent,
    pub(crate) rate_limiter: RateLimiter,
    /// Stored answers of all routes; what a reload keeps of it is what routes still ask for.
    pub(crate) cache: Arc<Cache>,
    pub(crate) connections: Connections,
    /// Idle connections that hold no buffers.
    pub(crate) parked: AtomicUsize,
    pub(crate) metrics: Metrics,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) acme: Acme,
    pub(crate) tls: Arc<ServerConfig>,
    #[cfg(feature = "http3")]
    pub(crate) quic_tls: Arc<ServerConfig>,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("current", &self.snapshot()).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.basis.clock.now().as_second()
    }

    pub(crate) fn clock(&self) -> SharedClock {
        Arc::clone(&self.basis.clock)
    }

    pub(crate) fn now_millis(&self) -> i64 {
        self.basis.clock.now().as_millisecond()
    }

    /// The running configuration.
    pub(crate) fn snapshot(&self) -> Arc<Snapshot> {
        self.current.load_full()
    }

    /// Changes with every installed snapshot.
    pub(crate) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    fn install(&self, snapshot: Arc<Snapshot>) {
        let limits = snapshot.limits();
        self.connections.resize(limits.connections, limits.connections_per_ip, limits.memory_per_ip);
        self.cache.resize(snapshot.config.cache.max_bytes);
        self.current.store(snapshot);
        // After the store: who sees the new number finds the new snapshot.
        self.generation.fetch_add(1, Ordering::Release);
        self.installed.notify_one();
        self.acme.wake();
    }

    /// Waits for the next installed snapshot; for one caller.
    pub(crate) async fn installed(&self) {
        self.installed.notified().await;
    }

    fn lock_reloads(&self) -> MutexGuard<'_, Reloads> {
        self.reloads.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The binary.
pub(crate) struct EdgeGateway;

impl Binary for EdgeGateway {
    const NAME: &'static str = "edge-gateway";
    const ABOUT: &'static str = "TLS termination, rate limiting, request routing and load balancing";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const UPGRADES: bool = true;
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        Plan::new(config).map(drop)
    }

    fn commands(command: clap::Command) -> clap::Command {
        command::add(command)
    }

    fn run_command(config: Config, matches: &ArgMatches, output: &mut dyn Write) -> anyhow::Result<Code> {
        command::run(&config, matches, output)
    }

    fn run_alone(matches: &ArgMatches, output: &mut dyn Write) -> Option<anyhow::Result<Code>> {
        command::run_alone(matches, output)
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        let inherited = |name: &str| cx.inherited(name);
        let from = if cx.is_successor() { Giver::Predecessor } else { Giver::Systemd };
        #[cfg_attr(not(feature = "http3"), expect(unused_mut, reason = "HTTP/3 adds sockets"))]
        let mut assembled = assemble::assemble(config, cx.clock(), inherited, from)?;
        #[cfg(feature = "http3")]
        assemble::http3::open_from(&mut assembled, cx, from)?;
        for sockets in &assembled.sockets {
            for (name, listeners) in [(HTTPS, &sockets.https), (HTTP, &sockets.http)] {
                listeners.iter().try_for_each(|socket| cx.pass_on(name, &socket.listener))?;
            }
        }
        let gateway = Arc::clone(&assembled.gateway);
        let (reloaded, reload_cx) = (Arc::clone(&gateway), cx.clone());
        cx.on_reload("configuration", move || {
            let (gateway, cx) = (Arc::clone(&reloaded), reload_cx.clone());
            async move {
                gateway.apply(cx.reload_config::<Self>()?, Instant::now())?.log();
                Ok(())
            }
        });
        let admin = why::routes(Arc::clone(&gateway)).merge(cache::routes(Arc::clone(&gateway)));
        cx.serve_admin(admin.merge(top::routes(Arc::clone(&gateway))));
        cx.serve_admin(acme::routes(Arc::clone(&gateway)));
        cx.spawn("certificates", watch_certificates(Arc::clone(&gateway), cx.shutdown()));
        cx.spawn("acme", acme::run(Arc::clone(&gateway), cx.shutdown()));
        cx.spawn("upkeep", upkeep(Arc::clone(&gateway), SystemResolver, cx.shutdown()));
        cx.spawn("observer", observe(gateway, cx.shutdown()));
        for (number, running) in
            assembled.run(cx.shutdown(), || Some(cx.pulse("worker")))?.into_iter().enumerate()
        {
            cx.spawn("worker", async move {
                running.await.with_context(|| format!("worker {number} died"))?.context("cannot serve")
            });
        }
        Ok(())
    }
}

/// Replaces certificates when their files change, as ACME clients and deployments do it.
async fn watch_certificates(gateway: Arc<Gateway>, shutdown: CancellationToken) -> anyhow::Result<()> {
    let certificates = &gateway.certificates;
    let mut seen = certificates.fingerprint();
    while shutdown.run_until_cancelled(tokio::time::sleep(CERTIFICATE_POLL)).await.is_some() {
        for upstream in &gateway.snapshot().upstreams {
            refresh(upstream);
        }
        let errors = gateway.snapshot().client_auth.as_ref().map(|auth| auth.refresh(certificates));
        for error in errors.into_iter().flatten() {
            tracing::error!(
                error = %crate::proxy::chain(&error),
                "changed authorities of client certificates are not usable; the old ones stay"
            );
        }
        let now = certificates.fingerprint();
        if now == seen {
            continue;
        }
        match certificates.reload() {
            Ok(()) => tracing::info!("certificates replaced"),
            // A certificate and its key change one after the other: the next look may find them whole.
            Err(error) => {
                tracing::error!(error = %crate::proxy::chain(&error), "changed certificates are not usable; the old ones stay");
            }
        }
        seen = now;
    }
    Ok(())
}

/// Reads an upstream's own certificates again if their files changed.
fn refresh(upstream: &Upstream) {
    match upstream.transport.refresh() {
        Ok(false) => {}
        Ok(true) => tracing::info!(upstream = upstream.name, "certificates of the upstream replaced"),
        Err(error) => tracing::error!(
            upstream = upstream.name,
            error = %crate::proxy::chain(&error),
            "changed certificates of the upstream are not usable; the old ones stay"
        ),
    }
}

/// Sets gauges and judges a new configuration, once a second.
async fn observe(gateway: Arc<Gateway>, shutdown: CancellationToken) -> anyhow::Result<()> {
    loop {
        let snapshot = gateway.snapshot();
        let open = gateway.connections.count();
        gateway.metrics.parked(gateway.parked.load(Ordering::Relaxed));
        gateway.metrics.observe(open, &snapshot.upstreams, gateway.certificates.not_after());
        gateway.cache.observe();
        gateway.metrics.client_memory(gateway.connections.memory());
        match gateway.judge(Instant::now()) {
            Verdict::Open => {}
            Verdict::Kept => tracing::info!("the new configuration has proved itself"),
            Verdict::RolledBack { share, before } => tracing::error!(
                error_share = share,
                error_share_before = before,
                "the new configuration made more requests fail and was taken back; the configuration from \
                 before it runs again, while the file still holds the new one: correct it and reload"
            ),
        }
        if shutdown.run_until_cancelled(tokio::time::sleep(OBSERVE_EVERY)).await.is_none() {
            return Ok(());
        }
    }
}
