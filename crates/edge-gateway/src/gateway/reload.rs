//! Replacing the configuration of a running gateway, and taking a bad one back.
//!
//! A new snapshot is built beside the running one and installed whole, or not at all. It is then on probation:
//! the share of requests that the gateway itself fails (502, 503, 504) is compared with the share under the
//! last snapshot that had proved itself, and when it is worse by the configured margin, that one returns. A
//! reload during a probation starts a new one against the same trusted snapshot, so that two bad
//! files in a row lead back to the last good one.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quintet_service::ServiceSection;

use super::Gateway;
use super::snapshot::{Snapshot, Totals};
use crate::config::{Config, Listen};
use crate::tls::{self, TlsError};

/// Why a configuration is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReloadError {
    #[error(
        "`{0}` cannot change while the gateway runs; it needs a restart or an upgrade. Put the old value \
         back to reload the rest"
    )]
    NeedsRestart(&'static str),
    #[error(transparent)]
    Certificates(#[from] TlsError),
    #[error("the configuration cannot be put together")]
    Build(#[source] anyhow::Error),
}

/// What a reload changed, by name.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Changes {
    pub(crate) routes_added: Vec<String>,
    pub(crate) routes_removed: Vec<String>,
    pub(crate) routes_changed: Vec<String>,
    pub(crate) upstreams_kept: Vec<String>,
    pub(crate) upstreams_new: Vec<String>,
    pub(crate) upstreams_removed: Vec<String>,
}

/// What a look at the probation found.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Nothing is on probation, or it goes on.
    Open,
    /// The new snapshot has proved itself.
    Kept,
    /// The trusted snapshot is back.
    RolledBack { share: f64, before: f64 },
}

/// The state of reloads; changed only by reloads and by the observer, never by requests.
#[derive(Default)]
pub(crate) struct Reloads {
    /// Totals of the running snapshot over the last window, oldest first.
    history: VecDeque<(Instant, Totals)>,
    probation: Option<Probation>,
}

struct Probation {
    /// The snapshot to return to, and its share of errors.
    trusted: Arc<Snapshot>,
    before: f64,
    until: Instant,
}

impl Reloads {
    fn remember(&mut self, now: Instant, totals: Totals, window: Duration) {
        while self.history.len() > 1
            && self.history.front().is_some_and(|(at, _)| now.saturating_duration_since(*at) > window)
        {
            self.history.pop_front();
        }
        self.history.push_back((now, totals));
    }

    /// The running snapshot's share of errors in the last window, or over its life where that saw too
    /// few requests to tell.
    fn share_before(&self, totals: Totals, min_requests: u64) -> f64 {
        let earlier = self.history.front().map(|(_, totals)| *totals).unwrap_or_default();
        let recent = totals.since(earlier);
        if recent.requests >= min_requests { recent.error_share() } else { totals.error_share() }
    }
}

impl Gateway {
    /// Puts `config` in place of the running configuration. On an error nothing has changed.
    pub(crate) fn apply(&self, config: Config, now: Instant) -> Result<Changes, ReloadError> {
        let applied = self.try_apply(config, now);
        match &applied {
            Ok(_) => self.metrics.reloads_applied.increment(1),
            Err(_) => self.metrics.reloads_refused.increment(1),
        }
        applied
    }

    fn try_apply(&self, config: Config, now: Instant) -> Result<Changes, ReloadError> {
        let mut reloads = self.lock_reloads();
        let running = self.snapshot();
        needs_restart(&running.config.listen, &config.listen)?;
        service_needs_restart(&running.config.service, &config.service)?;
        let certificates = tls::load_set(config.certificate_sources())?;
        let next = Snapshot::build(config, &self.basis, Some(&running)).map_err(ReloadError::Build)?;
        let changes = Changes::between(&running, &next);
        let reload = next.config.reload;
        let (trusted, before) = if let Some(probation) = reloads.probation.take() {
            (probation.trusted, probation.before)
        } else {
            let before = reloads.share_before(running.totals(), reload.min_requests);
            (running, before)
        };
        if reload.watch_ms > 0 {
            let until = now + Duration::from_millis(reload.watch_ms);
            reloads.probation = Some(Probation { trusted, before, until });
        }
        reloads.history.clear();
        self.certificates.install(certificates);
        self.install(Arc::new(next));
        Ok(changes)
    }

    /// Judges a snapshot on probation by what happened until now.
    pub(crate) fn judge(&self, now: Instant) -> Verdict {
        let mut reloads = self.lock_reloads();
        let running = self.snapshot();
        let totals = running.totals();
        let reload = running.config.reload;
        reloads.remember(now, totals, Duration::from_millis(reload.watch_ms));
        let Some(probation) = &reloads.probation else { return Verdict::Open };
        let (share, before) = (totals.error_share(), probation.before);
        if totals.requests >= reload.min_requests && share > before + reload.max_error_increase {
            let trusted = Arc::clone(&probation.trusted);
            reloads.probation = None;
            reloads.history.clear();
            self.restore_certificates(&running, &trusted);
            self.install(trusted);
            self.metrics.reloads_rolled_back.increment(1);
            return Verdict::RolledBack { share, before };
        }
        if now < probation.until {
            return Verdict::Open;
        }
        reloads.probation = None;
        Verdict::Kept
    }

    fn restore_certificates(&self, running: &Snapshot, trusted: &Snapshot) {
        let sources = trusted.config.certificate_sources();
        if running.config.certificate_sources() == sources {
            return;
        }
        match tls::load_set(sources) {
            Ok(set) => self.certificates.install(set),
            Err(error) => tracing::error!(
                error = %crate::proxy::chain(&error),
                "the previous certificates cannot be read any more; those of the new configuration stay"
            ),
        }
    }
}

/// Sockets and threads are made once, at the start.
fn needs_restart(running: &Listen, next: &Listen) -> Result<(), ReloadError> {
    match () {
        () if running.https != next.https => Err(ReloadError::NeedsRestart("listen.https")),
        () if running.http != next.http => Err(ReloadError::NeedsRestart("listen.http")),
        () if running.http3 != next.http3 => Err(ReloadError::NeedsRestart("listen.http3")),
        () if running.workers != next.workers => Err(ReloadError::NeedsRestart("listen.workers")),
        () => Ok(()),
    }
}

fn service_needs_restart(running: &ServiceSection, next: &ServiceSection) -> Result<(), ReloadError> {
    match () {
        () if running.admin != next.admin => Err(ReloadError::NeedsRestart("service.admin")),
        () if running.drain_timeout_ms != next.drain_timeout_ms => {
            Err(ReloadError::NeedsRestart("service.drain_timeout_ms"))
        }
        () if running.worker_threads != next.worker_threads => {
            Err(ReloadError::NeedsRestart("service.worker_threads"))
        }
        () => Ok(()),
    }
}

impl Changes {
    fn between(before: &Snapshot, after: &Snapshot) -> Self {
        let labels = |snapshot: &Snapshot| -> BTreeSet<String> {
            snapshot.router.routes().iter().map(crate::router::Route::label).collect()
        };
        let (old_routes, new_routes) = (labels(before), labels(after));
        let same = |label: &String| sections(before, label) == sections(after, label);
        let kept = |upstream: &&Arc<crate::upstream::Upstream>| {
            before.upstreams.iter().any(|other| Arc::ptr_eq(other, upstream))
        };
        let name = |upstream: &Arc<crate::upstream::Upstream>| upstream.name.clone();
        Self {
            routes_added: new_routes.difference(&old_routes).cloned().collect(),
            routes_removed: old_routes.difference(&new_routes).cloned().collect(),
            routes_changed: new_routes.intersection(&old_routes).filter(|at| !same(at)).cloned().collect(),
            upstreams_kept: after.upstreams.iter().filter(kept).map(name).collect(),
            upstreams_new: after.upstreams.iter().filter(|upstream| !kept(upstream)).map(name).collect(),
            upstreams_removed: before
                .upstreams
                .iter()
                .filter(|old| after.upstreams.iter().all(|new| new.name != old.name))
                .map(name)
                .collect(),
        }
    }

    /// Writes the one line that says what a reload did.
    pub(crate) fn log(&self) {
        tracing::info!(
            routes_added = ?self.routes_added,
            routes_removed = ?self.routes_removed,
            routes_changed = ?self.routes_changed,
            upstreams_kept = ?self.upstreams_kept,
            upstreams_new = ?self.upstreams_new,
            upstreams_removed = ?self.upstreams_removed,
            "configuration replaced"
        );
    }
}

/// The sections of the routes with this label.
fn sections<'s>(snapshot: &'s Snapshot, label: &str) -> Vec<&'s crate::config::RouteSection> {
    let routes = snapshot.router.routes().iter().zip(&snapshot.config.routes);
    routes.filter(|(route, _)| route.label() == label).map(|(_, section)| section).collect()
}
