//! Everything that a reload may change, as one immutable value.
//!
//! A request works with the snapshot it began with, whatever is installed meanwhile. What a new snapshot has in
//! common with the one before is the same object in both: an upstream or identity provider whose section
//! did not change keeps its health, keys and connections, and a route that matches the same requests keeps
//! its clients' allowances.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use aws_lc_rs::digest;
use http::HeaderValue;
use quintet_service::{Secret, SecretFile};
use quintet_types::SharedClock;

use crate::access_log;
use crate::client_auth::ClientAuth;
use crate::config::{
    Config, Identity as IdentitySection, Issuer, Limits, Listen, Plan, RouteSection,
    Upstream as UpstreamSection,
};
use crate::identity::{BrowserSignIn, Identity};
use crate::limits::{Access, Quota};
use crate::metrics::{CacheMetrics, RouteMetrics};
use crate::proxy_protocol::Expect;
use crate::router::{Route, Router};
use crate::seal::Sealer;
use crate::tls::Certificates;
use crate::upstream::{Transport, Upstream};

/// One configuration, ready to serve requests.
pub(crate) struct Snapshot {
    pub(crate) config: Config,
    pub(crate) router: Router,
    /// In the order of the configuration; routes name them by index.
    pub(crate) upstreams: Vec<Arc<Upstream>>,
    /// Hosts whose clients are asked for a certificate.
    pub(crate) client_auth: Option<ClientAuth>,
    pub(crate) quota: Option<Quota>,
    /// Where the access log goes.
    pub(crate) access_log: Arc<access_log::Output>,
    pub(crate) access: Option<Box<Access>>,
    pub(crate) identity: Option<Arc<Identity>>,
    pub(crate) hsts: Option<HeaderValue>,
    /// Where HTTP/3 is spoken (RFC 7838), told over TLS.
    pub(crate) alt_svc: Option<HeaderValue>,
    /// Port that plain-HTTP requests are sent to.
    pub(crate) https_port: u16,
    /// Connections that begin with a PROXY header.
    pub(crate) proxy_protocol: Option<Box<Expect>>,
    /// Whether any upstream gets PROXY headers.
    pub(crate) announces: bool,
    /// Whether any route stores answers.
    pub(crate) caches: bool,
    /// By route index.
    routes: Vec<RouteState>,
    /// Digest of the identity section's secrets, which change without the section.
    secrets: Option<[u8; 32]>,
    /// Share of new traces that are recorded, as a bound on random numbers; none without an exporter.
    sample_below: Option<u64>,
    tallies: Mutex<Vec<Arc<Tally>>>,
}

/// What a route has besides its rules.
pub(crate) struct RouteState {
    pub(crate) metrics: RouteMetrics,
    /// Of its rate limit; the same as long as the route matches the same requests.
    pub(crate) bucket: u32,
    /// Where the route stores answers.
    pub(crate) cache: Option<CacheState>,
}

/// What the cache knows of a route.
pub(crate) struct CacheState {
    pub(crate) metrics: CacheMetrics,
    /// Finds the route's answers: the same as long as its section is.
    pub(crate) id: u32,
}

/// What of the process a snapshot is built with.
pub(crate) struct Basis {
    pub(crate) clock: SharedClock,
    pub(crate) epoch: Instant,
    /// The port of the first HTTPS listener.
    pub(crate) bound_https_port: u16,
    /// What is shown under every client authentication policy.
    pub(crate) certificates: Arc<Certificates>,
    /// The next number of a bucket or a cache that no route has had; 0 is the limit over all routes.
    pub(crate) next_bucket: AtomicU32,
}

impl std::fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Snapshot")
            .field("router", &self.router)
            .field("upstreams", &self.upstreams)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    /// Reads the secrets that `config` names and puts everything together, keeping what did not change
    /// since `previous`.
    pub(crate) fn build(config: Config, basis: &Basis, previous: Option<&Self>) -> anyhow::Result<Self> {
        let plan = Plan::new(&config)?;
        let (identity, secrets) = match (&config.identity, plan.issuer) {
            (Some(section), Some(issuer)) => {
                let (identity, secrets) = identity(section, issuer, basis, previous)?;
                (Some(identity), Some(secrets))
            }
            _ => (None, None),
        };
        let https_port = config.listen.public_https_port.unwrap_or(basis.bound_https_port);
        let sections = plan.router.routes().iter().zip(&config.routes);
        let routes = sections.map(|(route, section)| RouteState::new(route, section, basis, previous));
        Ok(Self {
            caches: plan.router.routes().iter().any(|route| route.cache.is_some()),
            proxy_protocol: plan.proxy_protocol,
            announces: config.upstreams.iter().any(|upstream| upstream.proxy_protocol.is_some()),
            routes: routes.collect(),
            router: plan.router,
            upstreams: upstreams(&config, basis, previous)?,
            client_auth: ClientAuth::new(
                &config.client_auth,
                &basis.certificates,
                previous.and_then(|previous| previous.client_auth.as_ref()),
            )?,
            quota: plan.quota,
            access_log: access_log::Output::open(
                &config.access_log,
                previous.map(|previous| &previous.access_log),
            )?,
            access: plan.access,
            identity,
            hsts: plan.hsts,
            https_port,
            alt_svc: alt_svc(&config.listen, https_port),
            secrets,
            sample_below: config.telemetry.otlp.as_ref().map(|_| share_of_u64(config.telemetry.sample_ratio)),
            tallies: Mutex::default(),
            config,
        })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.config.limits
    }

    /// The metrics and bucket of a route.
    pub(crate) fn route_state(&self, route: usize) -> Option<&RouteState> {
        self.routes.get(route)
    }

    fn upstream(&self, name: &str) -> Option<(&UpstreamSection, &Arc<Upstream>)> {
        let mut all = self.config.upstreams.iter().zip(&self.upstreams);
        all.find(|(section, _)| section.name == name)
    }

    /// Whether the gateway decides which new traces are recorded.
    pub(crate) fn traces(&self) -> bool {
        self.sample_below.is_some()
    }

    /// Whether a new trace is recorded, by a random number that is never 0.
    pub(crate) fn samples(&self, random: impl FnOnce() -> u64) -> bool {
        self.sample_below.is_some_and(|below| random() <= below)
    }

    /// A worker's own count of requests under this snapshot.
    pub(crate) fn tally(&self) -> Arc<Tally> {
        let tally = Arc::default();
        self.tallies.lock().unwrap_or_else(PoisonError::into_inner).push(Arc::clone(&tally));
        tally
    }

    /// Requests under this snapshot so far, over all workers.
    pub(crate) fn totals(&self) -> Totals {
        let tallies = self.tallies.lock().unwrap_or_else(PoisonError::into_inner);
        tallies.iter().fold(Totals::default(), |sum, tally| Totals {
            requests: sum.requests + tally.requests.load(Ordering::Relaxed),
            edge_errors: sum.edge_errors + tally.edge_errors.load(Ordering::Relaxed),
        })
    }
}

impl RouteState {
    fn new(route: &Route, section: &RouteSection, basis: &Basis, previous: Option<&Snapshot>) -> Self {
        let matches = route.description();
        let kept = previous.and_then(|previous| {
            let at = previous.router.routes().iter().position(|other| other.description() == matches)?;
            previous.routes.get(at)
        });
        let bucket =
            kept.map_or_else(|| basis.next_bucket.fetch_add(1, Ordering::Relaxed), |kept| kept.bucket);
        let cache = route.cache.is_some().then(|| CacheState::new(route, section, basis, previous));
        Self { metrics: RouteMetrics::new(&route.label()), bucket, cache }
    }
}

impl CacheState {
    fn new(route: &Route, section: &RouteSection, basis: &Basis, previous: Option<&Snapshot>) -> Self {
        let kept = previous.and_then(|previous| {
            let at = previous.config.routes.iter().position(|other| other == section)?;
            previous.routes.get(at)?.cache.as_ref()
        });
        let id = kept.map_or_else(|| basis.next_bucket.fetch_add(1, Ordering::Relaxed), |kept| kept.id);
        Self { metrics: CacheMetrics::new(&route.label()), id }
    }
}

fn alt_svc(listen: &Listen, port: u16) -> Option<HeaderValue> {
    let age = listen.http3_max_age_s;
    let told = match age {
        0 => "clear".to_owned(),
        _ => format!("h3=\":{port}\"; ma={age}"),
    };
    listen.http3.then(|| HeaderValue::try_from(told).ok()).flatten()
}

fn upstreams(
    config: &Config,
    basis: &Basis,
    previous: Option<&Snapshot>,
) -> anyhow::Result<Vec<Arc<Upstream>>> {
    let sections = config.upstreams.iter().enumerate();
    sections
        .map(|(at, section)| {
            let earlier = previous.and_then(|previous| previous.upstream(&section.name));
            if let Some((old, upstream)) = earlier
                && old == section
            {
                return Ok(Arc::clone(upstream));
            }
            let sticky = section.sticky.as_ref().map(|sticky| sticky.open(at)).transpose()?;
            let transport = Transport::new(section.protocol, section.tls().as_ref(), section.proxy_protocol)
                .with_context(|| format!("key `upstreams.{at}.tls`"))?;
            let earlier = earlier.map(|(_, upstream)| &**upstream);
            Ok(Arc::new(Upstream::new(section, sticky, transport, basis.epoch, earlier)))
        })
        .collect()
}

fn identity(
    section: &IdentitySection,
    issuer: Issuer,
    basis: &Basis,
    previous: Option<&Snapshot>,
) -> anyhow::Result<(Arc<Identity>, [u8; 32])> {
    let read = |file: &Option<SecretFile>, key| file.as_ref().map(|file| file.read(key)).transpose();
    let client_secret = read(&section.client_secret_file, "identity.client_secret_file")?;
    let cookie_key = read(&section.cookie_key_file, "identity.cookie_key_file")?;
    let secrets = stamp(&[&client_secret, &cookie_key]);
    if let Some(previous) = previous
        && previous.config.identity.as_ref() == Some(section)
        && previous.secrets == Some(secrets)
        && let Some(identity) = &previous.identity
    {
        return Ok((Arc::clone(identity), secrets));
    }
    let verifier = quintet_auth::Verifier::new(
        quintet_auth::Settings {
            issuer: section.issuer.clone(),
            audience: section.audience.clone(),
            jwks: section.jwks.clone(),
            jwks_path: format!("{}/jwks.json", issuer.path),
        },
        Arc::clone(&basis.clock),
    );
    let browser = match (client_secret, cookie_key) {
        (Some(secret), Some(key)) => {
            let sealer = Sealer::from_text(key.expose()).context("key `identity.cookie_key_file`")?;
            Some(BrowserSignIn::new(section.client_id.clone(), secret, sealer, &section.scopes))
        }
        _ => None,
    };
    Ok((Arc::new(Identity::new(issuer, section.jwks.clone(), verifier, browser)), secrets))
}

fn stamp(secrets: &[&Option<Secret>]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    for secret in secrets {
        let text = secret.as_ref().map_or("", Secret::expose);
        context.update(&text.len().to_be_bytes());
        context.update(text.as_bytes());
    }
    let mut stamp = [0u8; 32];
    stamp.copy_from_slice(context.finish().as_ref());
    stamp
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

/// Requests of one worker under one snapshot. Written by that worker alone, so that counting needs no
/// locked instruction; read by whoever watches a reload.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    requests: AtomicU64,
    edge_errors: AtomicU64,
}

impl Tally {
    /// Counts a request that is over; `edge_error`: the gateway itself answered 502, 503 or 504.
    pub(crate) fn count(&self, edge_error: bool) {
        let add_one = |counter: &AtomicU64| {
            counter.store(counter.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
        };
        add_one(&self.requests);
        if edge_error {
            add_one(&self.edge_errors);
        }
    }
}

/// A sum of tallies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    pub(crate) requests: u64,
    pub(crate) edge_errors: u64,
}

impl Totals {
    /// What came after `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(earlier.requests),
            edge_errors: self.edge_errors.saturating_sub(earlier.edge_errors),
        }
    }

    /// Errors by requests; 0 without requests.
    #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
    pub(crate) fn error_share(self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.edge_errors as f64 / self.requests as f64 }
    }
}
