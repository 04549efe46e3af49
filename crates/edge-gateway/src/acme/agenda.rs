//! What is to be done next for each certificate.
//!
//! Each round looks at every certificate's file, orders what is due, one after the other, and says when the next round
//! is. A failure concerns one certificate: the others go on, and the old one stays until a new one is whole.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use instant_acme::{Account, Error};
use quintet_types::{Entropy as _, SystemEntropy};

use super::client::Http;
use super::held::{self, Held};
use super::order::{Wanted, issue};
use super::renewal::{Failure, Suggestion, back_off, millis, poll_after};
use super::status::{Condition, Moment, Status, failures};
use super::{AcmeError, account, storage};
use crate::config::{AcmeSection, CertificateSource};
use crate::gateway::Gateway;

/// While another process orders, as during an upgrade in place.
const LOCKED_RETRY: Duration = Duration::from_secs(10);
/// After a suggestion could not be had.
const SUGGESTION_RETRY: Duration = Duration::from_hours(1);
/// For authorities that suggest nothing: they may learn it.
const UNSUPPORTED_RETRY: Duration = Duration::from_hours(24);

/// What of all certificates is in no file.
#[derive(Default)]
pub(super) struct Agenda {
    /// Under which the rest came about.
    section: Option<AcmeSection>,
    entries: HashMap<PathBuf, Entry>,
    session: Option<Session>,
}

/// A connection to the authority.
struct Session {
    http: Http,
    account: Option<Account>,
}

/// All times are milliseconds since the Unix epoch.
#[derive(Default)]
struct Entry {
    failures: u32,
    error: Option<String>,
    /// Ordered not before this.
    retry_at: i64,
    suggestion: Option<Suggestion>,
    /// When to ask for the suggestion.
    ask_at: i64,
}

/// What came of a look at a certificate.
struct Look {
    /// When to look again.
    again: i64,
    ordered: bool,
}

/// One certificate and what it is dealt with.
#[derive(Clone, Copy)]
struct Task<'a> {
    gateway: &'a Gateway,
    section: &'a AcmeSection,
    source: &'a CertificateSource,
}

impl Agenda {
    /// Does what is due and returns how long nothing else is.
    pub(super) async fn work(
        &mut self,
        gateway: &Gateway,
        section: &AcmeSection,
        sources: &[CertificateSource],
    ) -> Duration {
        let managed: Vec<Task<'_>> = sources
            .iter()
            .filter(|source| !source.managed.is_empty())
            .map(|source| Task { gateway, section, source })
            .collect();
        self.entries.retain(|file, _| managed.iter().any(|task| task.source.cert == *file));
        if self.section.as_ref() != Some(section) {
            // What was refused under another section may be granted under this one.
            *self = Self { section: Some(section.clone()), ..Self::default() };
        }
        self.show(gateway, &managed);
        let mut next = i64::MAX;
        for task in &managed {
            let look = self.look_after(*task).await;
            next = next.min(look.again);
            // Reads every certificate: after an order that is little, but not after each look.
            if look.ordered {
                self.show(gateway, &managed);
            }
        }
        self.show(gateway, &managed);
        Duration::from_millis(u64::try_from(next.saturating_sub(gateway.now_millis())).unwrap_or(0))
    }

    fn show(&self, gateway: &Gateway, managed: &[Task<'_>]) {
        let status = |task: &Task<'_>| task.status(self.entries.get(&task.source.cert));
        gateway.acme.statuses.set(managed.iter().map(status).collect());
    }

    /// Brings one certificate up to date.
    async fn look_after(&mut self, task: Task<'_>) -> Look {
        if task.section.renewal_info {
            self.ask_for_suggestion(task).await;
        }
        let held = Held::read(task.source);
        let entry = self.entries.entry(task.source.cert.clone()).or_default();
        let now = task.gateway.now_millis();
        let Some(why) = task.wanting(held.as_ref(), entry.suggestion) else {
            let due = held.map_or(now, |held| held.due(task.section, entry.suggestion));
            let again = if task.section.renewal_info { due.min(entry.ask_at) } else { due };
            return Look { again, ordered: false };
        };
        if now < entry.retry_at {
            return Look { again: entry.retry_at, ordered: false };
        }
        tracing::info!(names = ?task.source.managed, why, directory = task.section.directory, "ordering a certificate");
        let again = match Box::pin(self.obtain(task)).await {
            Ok(()) => {
                self.entries.insert(task.source.cert.clone(), Entry::default());
                now
            }
            Err(error) => self.failed(task, &error),
        };
        Look { again, ordered: true }
    }

    /// Asks the authority when it wants a certificate to be renewed. Without an answer the last one holds, and without
    /// any the lifetime decides.
    async fn ask_for_suggestion(&mut self, task: Task<'_>) {
        let now = task.gateway.now_millis();
        let Some(held) = Held::read(task.source).filter(|held| held.is_from(task.section)) else { return };
        let entry = self.entries.entry(task.source.cert.clone()).or_default();
        if now < entry.ask_at {
            return;
        }
        let Some(identifier) = held.identifier() else {
            entry.ask_at = i64::MAX;
            return;
        };
        let answer = match self.account(task).await {
            Ok(account) => account.renewal_info(&identifier).await.map_err(AcmeError::from),
            Err(error) => Err(error),
        };
        let entry = self.entries.entry(task.source.cert.clone()).or_default();
        let wait = match answer {
            Ok((info, asked)) => {
                let before = entry.suggestion;
                entry.suggestion = Suggestion::new(&info, before, random());
                if entry.suggestion != before {
                    let why = info.explanation_url.as_deref().unwrap_or("none given");
                    let renewal = Moment(held.due(task.section, entry.suggestion));
                    tracing::info!(names = ?task.source.managed, %renewal, why, "the authority suggests when to renew");
                }
                poll_after(asked)
            }
            Err(AcmeError::Authority(Error::Unsupported(_))) => UNSUPPORTED_RETRY,
            Err(error) => {
                let error = crate::proxy::chain(&error);
                tracing::warn!(names = ?task.source.managed, error, "cannot ask when to renew");
                self.close_account();
                SUGGESTION_RETRY
            }
        };
        if let Some(entry) = self.entries.get_mut(&task.source.cert) {
            entry.ask_at = now.saturating_add(millis(wait));
        }
    }

    /// Books a failure; returns when to try again.
    fn failed(&mut self, task: Task<'_>, error: &AcmeError) -> i64 {
        let Task { gateway, section, source } = task;
        let now = gateway.now_millis();
        let retry_after = self.session.as_ref().and_then(|session| session.http.take_retry_after());
        // Whatever went wrong, the next try begins with the directory.
        self.close_account();
        let entry = self.entries.entry(source.cert.clone()).or_default();
        if matches!(error, AcmeError::Locked(_)) {
            tracing::info!(names = ?source.managed, %error, "waiting with the certificate");
            entry.retry_at = now.saturating_add(millis(LOCKED_RETRY));
            return entry.retry_at;
        }
        entry.failures = entry.failures.saturating_add(1);
        let failure = Failure { count: entry.failures, outage: error.is_outage(), retry_after };
        let (min, max) = (section.retry_min_ms, section.retry_max_ms);
        let wait = back_off(failure, Duration::from_millis(min), Duration::from_millis(max), random());
        entry.retry_at = now.saturating_add(millis(wait));
        let text = crate::proxy::chain(error);
        tracing::error!(
            names = ?source.managed,
            error = text,
            failures = entry.failures,
            next_try = %Moment(entry.retry_at),
            "no new certificate; what is shown stays as it is"
        );
        entry.error = Some(text);
        if let Some(first) = source.managed.first() {
            failures(first).increment(1);
        }
        if error.problem() == Some("accountDoesNotExist") {
            account::forget(section);
        }
        entry.retry_at
    }

    /// Orders a certificate, stores it and shows it.
    async fn obtain(&mut self, task: Task<'_>) -> Result<(), AcmeError> {
        let Task { gateway, section, source } = task;
        let _lock = storage::Lock::take(&section.storage)?;
        // A file that cannot be read could not be replaced either: nothing is ordered that cannot be kept.
        storage::read(&source.cert)?;
        let held = Held::read(source);
        let suggestion = self.entries.get(&source.cert).and_then(|entry| entry.suggestion);
        if task.wanting(held.as_ref(), suggestion).is_none() {
            // Whoever had the lock before has ordered it.
            gateway.certificates.reload()?;
            return Ok(());
        }
        let account = self.account(task).await?;
        let replaces = match (&held, suggestion) {
            (Some(held), Some(_)) if held.is_from(section) => held.identifier(),
            _ => None,
        };
        let wanted = |replaces| Wanted { names: &source.managed, challenge: section.challenge, replaces };
        let challenges = &gateway.acme.challenges;
        let issued = match issue(account, wanted(replaces), challenges).await {
            // An earlier order that came to nothing here took its place already.
            Err(error) if error.problem() == Some("alreadyReplaced") => {
                issue(account, wanted(None), challenges).await?
            }
            other => other?,
        };
        let bundle = held::bundle(&issued, section, source, gateway.clock().now())?;
        storage::replace(&source.cert, bundle.as_bytes())?;
        gateway.certificates.reload()?;
        tracing::info!(names = ?source.managed, "certificate issued and shown");
        Ok(())
    }

    /// The account with the authority, opened once.
    async fn account(&mut self, task: Task<'_>) -> Result<&Account, AcmeError> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session { http: Http::new(task.section, task.gateway.clock())?, account: None },
        };
        let session = self.session.insert(session);
        let account = match session.account.take() {
            Some(account) => account,
            None => account::open(task.section, session.http.clone()).await?,
        };
        Ok(session.account.insert(account))
    }

    fn close_account(&mut self) {
        if let Some(session) = &mut self.session {
            session.account = None;
        }
    }
}

impl Task<'_> {
    /// Why a certificate is to be ordered now, if it is.
    fn wanting(&self, held: Option<&Held>, suggestion: Option<Suggestion>) -> Option<&'static str> {
        Held::wanting(held, self.section, self.source, suggestion, self.gateway.now_millis())
    }

    fn status(&self, entry: Option<&Entry>) -> Status {
        let held = Held::read(self.source);
        let expires = held.as_ref().map(|held| held.details.not_after.saturating_mul(1_000));
        let suggestion = entry.and_then(|entry| entry.suggestion);
        Status {
            names: self.source.managed.clone(),
            state: match expires {
                None => Condition::Awaited,
                Some(expires) if expires <= self.gateway.now_millis() => Condition::Expired,
                Some(_) => Condition::Current,
            },
            expires: expires.map(Moment),
            renewal: held.as_ref().map(|held| Moment(held.due(self.section, suggestion))),
            stored: held.map(|held| Moment(held.stored)),
            failures: entry.map_or(0, |entry| entry.failures),
            error: entry.and_then(|entry| entry.error.clone()),
            next_try: entry.filter(|entry| entry.failures > 0).map(|entry| Moment(entry.retry_at)),
        }
    }
}

/// From 0 to 1.
fn random() -> f64 {
    let mut bytes = [0u8; 4];
    SystemEntropy.fill(&mut bytes);
    f64::from(u32::from_ne_bytes(bytes)) / f64::from(u32::MAX)
}
