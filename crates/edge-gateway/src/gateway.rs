//! The gateway as a whole: everything that workers share, and its start.
//!
//! Start order: certificates and secrets are read, ports are bound, workers run. Keys of the identity
//! provider are fetched in the background; until they arrive routes that need a token answer 503. Nothing
//! a worker shares here changes after start but atomics, rate limits and the certificates.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::HeaderValue;
use quintet_http::listen::{Address, Listener};
use quintet_service::{Binary, Code, Common, Context, Invalid, OrExit as _};
use quintet_types::SharedClock;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::config::{Config, Identity as IdentitySection, Issuer, Limits, Plan};
use crate::identity::{BrowserSignIn, Identity};
use crate::limits::{Connections, Quota, RateLimiter};
use crate::metrics::Metrics;
use crate::router::Router;
use crate::seal::Sealer;
use crate::tls::{self, Certificates};
use crate::upstream::Upstream;
use crate::worker::{self, Sockets};

/// How often certificate files are looked at for changes.
const CERTIFICATE_POLL: Duration = Duration::from_secs(10);
const OBSERVE_EVERY: Duration = Duration::from_secs(1);
/// Left of the drain time for telemetry to leave.
const DRAIN_RESERVE: Duration = Duration::from_millis(500);

/// What all workers share.
pub(crate) struct Gateway {
    pub(crate) router: Router,
    pub(crate) upstreams: Vec<Upstream>,
    pub(crate) limits: Limits,
    pub(crate) quota: Option<Quota>,
    pub(crate) rate_limiter: RateLimiter,
    pub(crate) connections: Connections,
    pub(crate) identity: Option<Identity>,
    pub(crate) metrics: Metrics,
    pub(crate) tls: Arc<ServerConfig>,
    pub(crate) hsts: Option<HeaderValue>,
    /// Port that plain-HTTP requests are sent to.
    pub(crate) https_port: u16,
    clock: SharedClock,
    /// Share of new traces that are recorded, as a bound on random numbers.
    sample_below: u64,
}

impl std::fmt::Debug for Gateway {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Gateway").field("router", &self.router).finish_non_exhaustive()
    }
}

impl Gateway {
    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_second()
    }

    pub(crate) fn now_millis(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Whether a new trace is recorded, given a random number.
    pub(crate) fn samples(&self, random: u64) -> bool {
        random <= self.sample_below
    }
}

/// A gateway that has been put together but does not serve yet.
pub(crate) struct Assembled {
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) certificates: Arc<Certificates>,
    pub(crate) sockets: Vec<Sockets>,
    drain: Duration,
}

/// The binary.
pub(crate) struct EdgeGateway;

impl Binary for EdgeGateway {
    const NAME: &'static str = "edge-gateway";
    const ABOUT: &'static str = "TLS termination, rate limiting, request routing and load balancing";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    type Config = Config;

    fn common(config: &Config) -> Common<'_> {
        Common { service: &config.service, telemetry: &config.telemetry }
    }

    fn validate(config: &Config) -> Result<(), Invalid> {
        Plan::new(config).map(drop)
    }

    async fn start(config: Config, cx: &Context) -> anyhow::Result<()> {
        let inherited = |name: &str| cx.inherited(name);
        let assembled = assemble(&config, cx.clock(), inherited)?;
        let certificates = Arc::clone(&assembled.certificates);
        let reloaded = Arc::clone(&certificates);
        cx.on_reload("certificates", move || {
            let certificates = Arc::clone(&reloaded);
            async move { Ok(certificates.reload()?) }
        });
        cx.spawn("certificates", watch_certificates(certificates.clone(), cx.shutdown()));
        cx.spawn("gauges", observe(Arc::clone(&assembled.gateway), certificates, cx.shutdown()));
        for (number, running) in assembled.run(cx.shutdown())?.into_iter().enumerate() {
            cx.spawn("worker", async move {
                running.await.with_context(|| format!("worker {number} died"))?.context("cannot serve")
            });
        }
        Ok(())
    }
}

/// Reads files, binds ports and puts the shared state together.
pub(crate) fn assemble(
    config: &Config,
    clock: SharedClock,
    inherited: impl Fn(&str) -> anyhow::Result<Option<Listener>>,
) -> anyhow::Result<Assembled> {
    let plan = Plan::new(config)?;
    let certificates = Arc::new(Certificates::load(config.certificates.clone()).or_exit(Code::Config)?);
    let tls = tls::server_config(Arc::clone(&certificates))?;
    let identity = match (&config.identity, plan.issuer) {
        (Some(section), Some(issuer)) => {
            Some(identity(section, issuer, Arc::clone(&clock)).or_exit(Code::Config)?)
        }
        _ => None,
    };
    let workers = config.listen.workers.map_or_else(default_workers, NonZeroUsize::get);
    let mut sockets: Vec<Sockets> = (0..workers).map(|_| Sockets::default()).collect();
    let https_port =
        bind_all("https", config.listen.https.addresses(), &mut sockets, |s| &mut s.https, &inherited)?;
    bind_all("http", config.listen.http.addresses(), &mut sockets, |s| &mut s.http, &inherited)?;
    let epoch = Instant::now();
    let upstreams: Vec<Upstream> =
        config.upstreams.iter().map(|section| Upstream::new(section, epoch)).collect();
    let gateway = Gateway {
        metrics: Metrics::new(&plan.router, &upstreams),
        router: plan.router,
        upstreams,
        limits: config.limits.clone(),
        quota: plan.quota,
        rate_limiter: RateLimiter::new(epoch),
        connections: Connections::new(config.limits.connections, config.limits.connections_per_ip),
        identity,
        tls,
        hsts: plan.hsts,
        https_port: config.listen.public_https_port.unwrap_or(https_port),
        clock,
        sample_below: share_of_u64(config.telemetry.sample_ratio),
    };
    Ok(Assembled {
        gateway: Arc::new(gateway),
        certificates,
        sockets,
        drain: config.service.drain_timeout().saturating_sub(DRAIN_RESERVE),
    })
}

/// One worker per core this process may use.
fn default_workers() -> usize {
    std::thread::available_parallelism().map_or(1, NonZeroUsize::get)
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a ratio from 0 to 1 of the number range; float casts saturate"
)]
fn share_of_u64(ratio: f64) -> u64 {
    (ratio * u64::MAX as f64) as u64
}

fn identity(section: &IdentitySection, issuer: Issuer, clock: SharedClock) -> anyhow::Result<Identity> {
    let verifier = quintet_auth::Verifier::new(
        quintet_auth::Settings {
            issuer: section.issuer.clone(),
            audience: section.audience.clone(),
            jwks: section.jwks.clone(),
            jwks_path: format!("{}/jwks.json", issuer.path),
        },
        clock,
    );
    let browser = match (&section.client_secret_file, &section.cookie_key_file) {
        (Some(secret), Some(key)) => {
            let secret = secret.read("identity.client_secret_file")?;
            let key = key.read("identity.cookie_key_file")?;
            let sealer = Sealer::from_text(key.expose()).context("key `identity.cookie_key_file`")?;
            Some(BrowserSignIn::new(section.client_id.clone(), secret, sealer, &section.scopes))
        }
        _ => None,
    };
    Ok(Identity::new(issuer, section.jwks.clone(), verifier, browser))
}

/// Gives each worker its socket for each address; returns the first port.
fn bind_all(
    name: &str,
    addresses: &[std::net::SocketAddr],
    sockets: &mut [Sockets],
    of: impl Fn(&mut Sockets) -> &mut Vec<std::net::TcpListener>,
    inherited: &impl Fn(&str) -> anyhow::Result<Option<Listener>>,
) -> anyhow::Result<u16> {
    let mut first_port = None;
    let beside_v4 = |port: u16| addresses.iter().any(|other| other.is_ipv4() && other.port() == port);
    for address in addresses {
        let listeners = match inherited(name)? {
            Some(Listener::Tcp(listener)) => crate::listener::share(listener.into_std()?, sockets.len())?,
            Some(Listener::Unix(_)) => anyhow::bail!("the inherited socket `{name}` must be a TCP socket"),
            None => crate::listener::bind(*address, beside_v4(address.port()), sockets.len())
                .or_exit(Code::Unavailable)?,
        };
        let local = listeners.first().map(std::net::TcpListener::local_addr).transpose()?;
        if let Some(local) = local {
            first_port.get_or_insert(local.port());
            tracing::info!(listener = name, address = %Address::Tcp(local), "listening");
        }
        for (worker, listener) in sockets.iter_mut().zip(listeners) {
            of(worker).push(listener);
        }
    }
    Ok(first_port.unwrap_or(443))
}

type Running = tokio::sync::oneshot::Receiver<std::io::Result<()>>;

impl Assembled {
    /// Starts the workers' threads; each answers when its thread is over.
    pub(crate) fn run(self, shutdown: CancellationToken) -> anyhow::Result<Vec<Running>> {
        let mut running = Vec::with_capacity(self.sockets.len());
        for (number, sockets) in self.sockets.into_iter().enumerate() {
            let (done, waiting) = tokio::sync::oneshot::channel();
            let (gateway, shutdown, drain) = (Arc::clone(&self.gateway), shutdown.clone(), self.drain);
            std::thread::Builder::new()
                .name(format!("worker-{number}"))
                .spawn(move || {
                    // Nobody waits any more when the process is aborted.
                    let _ = done.send(worker::run(gateway, sockets, shutdown, drain));
                })
                .context("cannot start a worker thread")?;
            running.push(waiting);
        }
        Ok(running)
    }
}

/// Replaces certificates when their files change, as ACME clients and deployments do it.
async fn watch_certificates(
    certificates: Arc<Certificates>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut seen = certificates.fingerprint();
    while shutdown.run_until_cancelled(tokio::time::sleep(CERTIFICATE_POLL)).await.is_some() {
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

async fn observe(
    gateway: Arc<Gateway>,
    certificates: Arc<Certificates>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        gateway.metrics.observe(gateway.connections.count(), &gateway.upstreams, certificates.not_after());
        if shutdown.run_until_cancelled(tokio::time::sleep(OBSERVE_EVERY)).await.is_none() {
            return Ok(());
        }
    }
}
