//! The verifier: cached keys, and the checks of RFC 9068 §4 in order.
//!
//! Keys sit behind an atomic pointer; verification takes no lock. A background task loads them at
//! start (retrying quickly until it has some) and again every few minutes, so that a rotation is
//! noticed before its first token arrives. A token that names an unknown key may trigger one
//! fetch, at most once in [`REFETCH_INTERVAL`] however many such tokens arrive; those that wait
//! share its outcome. A failed fetch changes nothing.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use quintet_http::{Client, ClientError, Origin};
use quintet_types::{SharedClock, Timestamp};
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use crate::claims::Claims;
use crate::dpop::{ProofError, Seen};
use crate::jwk::PublicKey;
use crate::jwks::{JwksError, KeySet};
use crate::jws::Unverified;
use crate::layer::Principal;
use crate::rejection::Rejection;

/// Clocks of two machines may differ by this much, seconds.
const LEEWAY: i64 = 30;
const REFRESH_INTERVAL: Duration = Duration::from_mins(5);
const RETRY_INTERVAL: Duration = Duration::from_secs(30);
const FIRST_RETRY: Duration = Duration::from_millis(50);
const LAST_FIRST_RETRY: Duration = Duration::from_secs(5);
/// Least time between two fetches caused by tokens, seconds.
const REFETCH_INTERVAL: i64 = 10;
const FETCH_TIMEOUT: Duration = Duration::from_secs(5);
const MAX_JWKS: usize = 256 * 1024;

/// The section `[auth]` of a configuration file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The issuer whose tokens are accepted, exactly as it writes itself in `iss`.
    pub issuer: String,
    /// The audience a token must be meant for.
    #[serde(default = "default_audience")]
    pub audience: String,
    /// Where the issuer's keys are fetched, such as `unix:/run/quintet/identity-provider.sock`.
    pub jwks: Origin,
    /// Path of the keys at `jwks`.
    #[serde(default = "default_jwks_path")]
    pub jwks_path: String,
}

fn default_audience() -> String {
    "quintet".to_owned()
}

fn default_jwks_path() -> String {
    "/identity/jwks.json".to_owned()
}

/// Decides whether a token is a valid access token for this service.
pub struct Verifier {
    core: Arc<Core>,
    /// Aborted when the verifier is dropped.
    _refresher: JoinSet<()>,
}

impl Verifier {
    /// A verifier that fetches its keys, now and from then on in the background. Must be called
    /// inside a Tokio runtime.
    pub fn new(settings: Settings, clock: SharedClock) -> Self {
        let client = Client::new(settings.jwks.clone());
        Self::with_client(settings, client, clock)
    }

    /// The same with a client of the caller's making, for an issuer behind a private authority.
    pub fn with_client(settings: Settings, client: Client, clock: SharedClock) -> Self {
        let source = Source {
            client: client.timeout(FETCH_TIMEOUT).max_body(MAX_JWKS),
            path: settings.jwks_path,
            refetched: Mutex::new(None),
        };
        let core = Arc::new(Core::new(settings.issuer, settings.audience, clock, Some(source)));
        let mut refresher = JoinSet::new();
        refresher.spawn(refresh_forever(core.clone()));
        Self { core, _refresher: refresher }
    }

    /// A verifier with fixed keys, given as a JWKS document.
    pub fn with_static_keys(
        issuer: impl Into<String>,
        audience: impl Into<String>,
        jwks: &str,
        clock: SharedClock,
    ) -> Result<Self, JwksError> {
        let core = Core::new(issuer.into(), audience.into(), clock, None);
        core.store(KeySet::parse(jwks.as_bytes())?);
        Ok(Self { core: Arc::new(core), _refresher: JoinSet::new() })
    }

    /// Checks a bearer token completely; one that is bound to a key or a certificate is refused.
    pub async fn verify(&self, token: &str) -> Result<Principal, Rejection> {
        let principal = self.verify_bound(token).await?;
        match &principal.claims.cnf {
            None => Ok(principal),
            Some(_) => Err(Rejection::Proof(ProofError::Missing)),
        }
    }

    /// Checks a token, but not that its sender is its holder, which [`Verifier::confirm`] does. Waits only where the
    /// token names an unknown key and a fetch is due, and then no longer than that fetch may take.
    pub async fn verify_bound(&self, token: &str) -> Result<Principal, Rejection> {
        let outcome = self.core.verify(token).await;
        if let Err(rejection) = &outcome {
            metrics::counter!("quintet_auth_rejections_total", "code" => rejection.code()).increment(1);
        }
        outcome.map(|claims| Principal { claims: Arc::new(claims) })
    }

    /// Seconds since the Unix epoch.
    pub(crate) fn now(&self) -> i64 {
        self.core.clock.now().as_second()
    }

    pub(crate) fn seen(&self) -> &Seen {
        &self.core.seen
    }

    /// Whether keys have been loaded, so that tokens can be verified.
    pub fn ready(&self) -> bool {
        *self.core.loaded.borrow()
    }

    /// Waits until [`Verifier::ready`].
    pub async fn loaded(&self) {
        // The sender lives as long as `self`, so waiting cannot fail.
        let _ = self.core.loaded.subscribe().wait_for(|loaded| *loaded).await;
    }
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("issuer", &self.core.issuer)
            .field("ready", &self.ready())
            .finish_non_exhaustive()
    }
}

struct Core {
    issuer: String,
    audience: String,
    clock: SharedClock,
    keys: ArcSwapOption<KeySet>,
    loaded: watch::Sender<bool>,
    source: Option<Source>,
    seen: Seen,
}

struct Source {
    client: Client,
    path: String,
    /// When a token last caused a fetch; held during that fetch, so that there is only one.
    refetched: Mutex<Option<Timestamp>>,
}

/// Why the keys could not be refreshed.
#[derive(Debug, Error)]
enum FetchError {
    #[error("cannot fetch the issuer's keys")]
    Client(#[source] ClientError),
    #[error("cannot use the issuer's keys")]
    Jwks(#[source] JwksError),
}

impl Core {
    fn new(issuer: String, audience: String, clock: SharedClock, source: Option<Source>) -> Self {
        let keys = ArcSwapOption::empty();
        let loaded = watch::Sender::new(false);
        Self { issuer, audience, clock, keys, loaded, source, seen: Seen::default() }
    }

    fn store(&self, keys: KeySet) {
        self.keys.store(Some(Arc::new(keys)));
        self.loaded.send_replace(true);
    }

    async fn verify(&self, token: &str) -> Result<Claims, Rejection> {
        let token = Unverified::parse(token)?;
        let keys = match self.keys.load_full() {
            Some(keys) if keys.find(&token.key_id).is_some() => keys,
            _ => self.refetch(&token.key_id).await?,
        };
        let key = keys.find(&token.key_id).ok_or(Rejection::UnknownKey)?;
        check_signature(&token, key)?;
        let claims = token.claims()?;
        self.check(&claims)?;
        Ok(claims)
    }

    fn check(&self, claims: &Claims) -> Result<(), Rejection> {
        let now = self.clock.now().as_second();
        if claims.iss != self.issuer {
            return Err(Rejection::WrongIssuer);
        }
        if !claims.aud.contains(&self.audience) {
            return Err(Rejection::WrongAudience);
        }
        if claims.exp.saturating_add(LEEWAY) <= now {
            return Err(Rejection::Expired);
        }
        if claims.nbf.is_some_and(|start| start > now.saturating_add(LEEWAY)) {
            return Err(Rejection::NotYetValid);
        }
        Ok(())
    }

    /// The keys after a fetch, if one is due; else the keys as they are.
    async fn refetch(&self, key_id: &str) -> Result<Arc<KeySet>, Rejection> {
        if let Some(source) = &self.source {
            let mut refetched = source.refetched.lock().await;
            // Another request may have fetched while this one waited for the lock.
            let known = self.keys.load_full().filter(|keys| keys.find(key_id).is_some());
            if let Some(keys) = known {
                return Ok(keys);
            }
            let now = self.clock.now();
            if refetched.is_none_or(|last| is_due(last, now)) {
                *refetched = Some(now);
                self.refresh(source).await;
            }
        }
        self.keys.load_full().ok_or(Rejection::Unavailable)
    }

    async fn refresh(&self, source: &Source) -> bool {
        let fetched = match source.client.get(&source.path).await {
            Ok(response) => KeySet::parse(response.body()).map_err(FetchError::Jwks),
            Err(error) => Err(FetchError::Client(error)),
        };
        let outcome = if fetched.is_ok() { "ok" } else { "error" };
        metrics::counter!("quintet_auth_jwks_fetches_total", "outcome" => outcome).increment(1);
        match fetched {
            Ok(keys) => {
                tracing::debug!(keys = keys.len(), "issuer keys loaded");
                self.store(keys);
                true
            }
            Err(error) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(%error, cause, origin = %source.client.origin(), "issuer keys not refreshed");
                false
            }
        }
    }
}

fn check_signature(token: &Unverified<'_>, key: &PublicKey) -> Result<(), Rejection> {
    if key.algorithm() != Some(token.algorithm()) {
        return Err(Rejection::Malformed("its algorithm is not that of its key"));
    }
    if token.is_signed_by(key) { Ok(()) } else { Err(Rejection::Signature) }
}

/// A clock that was set back must not silence refetching until it has caught up.
fn is_due(last: Timestamp, now: Timestamp) -> bool {
    let passed = now.as_second() - last.as_second();
    !(0..REFETCH_INTERVAL).contains(&passed)
}

async fn refresh_forever(core: Arc<Core>) {
    let Some(source) = &core.source else { return };
    let mut first_retry = FIRST_RETRY;
    loop {
        let pause = if core.refresh(source).await {
            REFRESH_INTERVAL
        } else if *core.loaded.borrow() {
            RETRY_INTERVAL
        } else {
            // At start the provider may be seconds behind; readiness waits for this.
            first_retry = (first_retry * 2).min(LAST_FIRST_RETRY);
            first_retry
        };
        tokio::time::sleep(pause).await;
    }
}
