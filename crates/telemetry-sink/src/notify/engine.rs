//! Runs the dispatcher against the clock: takes alerts in, sends what is due, remembers what was sent.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quintet_service::Invalid;
use quintet_types::SharedClock;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::dispatch::{Dispatcher, Job};
use super::plan::Plan;
use super::relay::Target;
use super::send::SendError;
use super::settings::Settings;
use super::store::Alert;
use crate::rules::group::Group;

const LONGEST_SLEEP: Duration = Duration::from_secs(1);
/// How long notifications under way may take when the process ends.
const DRAIN: Duration = Duration::from_secs(5);
/// An alert of a rule is over when so many evaluations did not confirm it, as in Prometheus.
const UNCONFIRMED: i64 = 4;
const MIN_LIFETIME: i64 = 60_000;

/// Takes alerts in and tells of them.
pub(crate) struct Notifier {
    dispatcher: Mutex<Dispatcher>,
    targets: Mutex<Vec<Arc<Target>>>,
    clock: SharedClock,
    changed: Notify,
}

impl Notifier {
    /// Reads what is remembered below `directory`. Blocking.
    pub(crate) fn open(
        settings: &Settings,
        external_url: &str,
        directory: &Path,
        clock: SharedClock,
    ) -> anyhow::Result<Self> {
        let plan = Arc::new(Plan::new(settings)?);
        let now = clock.now().as_millisecond();
        Ok(Self {
            dispatcher: Mutex::new(Dispatcher::open(directory, plan, external_url, now)?),
            targets: Mutex::new(targets(settings)?),
            clock,
            changed: Notify::new(),
        })
    }

    /// Another configuration; one with a mistake changes nothing. Other Alertmanagers stay those of the start.
    pub(crate) fn replace(&self, settings: &Settings, external_url: &str) -> Result<(), Invalid> {
        let plan = Arc::new(Plan::new(settings)?);
        self.lock().replace(plan, external_url, self.now());
        self.changed.notify_one();
        Ok(())
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Dispatcher> {
        self.dispatcher.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn now(&self) -> i64 {
        self.clock.now().as_millisecond()
    }

    /// Takes in alerts.
    pub(crate) fn post(&self, alerts: Vec<Alert>) {
        let now = self.now();
        let mut dispatcher = self.lock();
        for alert in alerts {
            dispatcher.post(alert, now);
        }
        drop(dispatcher);
        self.changed.notify_one();
    }

    /// Takes in the alerts of a group of rules that was evaluated at `time`.
    pub(crate) fn hear(
        &self,
        group: &Group,
        time: i64,
        external: &BTreeMap<String, String>,
        external_url: &str,
    ) {
        let alerts = alerts_of(group, time, external_url);
        for target in self.targets.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            target.offer(&alerts, external, self.now());
        }
        self.post(alerts);
    }

    /// Where alerts are passed on to.
    pub(crate) fn relayed_to(&self) -> Vec<String> {
        self.targets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .map(|target| target.url())
            .collect()
    }

    /// The tasks that pass alerts on to other Alertmanagers.
    pub(crate) fn relays(
        &self,
        shutdown: &CancellationToken,
    ) -> Vec<impl Future<Output = anyhow::Result<()>> + Send + use<>> {
        let targets = self.targets.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let shutdown = shutdown.clone();
        let relay = move |target: Arc<Target>| {
            let shutdown = shutdown.clone();
            async move {
                target.run(&shutdown).await;
                Ok(())
            }
        };
        targets.into_iter().map(relay).collect()
    }

    /// Sends what is due until `shutdown`.
    pub(crate) async fn run(self: Arc<Self>, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut running = JoinSet::new();
        loop {
            for job in self.blocking(Dispatcher::tick).await? {
                let notifier = Arc::clone(&self);
                running.spawn(async move {
                    let delivered = deliver(&job).await;
                    notifier.blocking(move |dispatcher, _| remember(dispatcher, job, delivered)).await
                });
            }
            tokio::select! {
                () = shutdown.cancelled() => break,
                Some(done) = running.join_next() => done??,
                () = self.changed.notified() => {}
                () = tokio::time::sleep(self.until_due()) => {}
            }
        }
        // What was delivered is remembered, or it would be told twice.
        let drained = tokio::time::timeout(DRAIN, async {
            while let Some(done) = running.join_next().await {
                done??;
            }
            Ok(())
        });
        drained.await.unwrap_or(Ok(()))
    }

    /// Works with the dispatcher on a thread that may wait for the disk.
    pub(crate) async fn blocking<T, F>(self: &Arc<Self>, work: F) -> anyhow::Result<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Dispatcher, i64) -> T + Send + 'static,
    {
        let notifier = Arc::clone(self);
        Ok(tokio::task::spawn_blocking(move || work(&mut notifier.lock(), notifier.now())).await?)
    }

    fn until_due(&self) -> Duration {
        let now = self.now();
        let due = self.lock().next_due();
        let wait =
            due.map_or(LONGEST_SLEEP, |due| Duration::from_millis(u64::try_from(due - now).unwrap_or(0)));
        wait.clamp(Duration::from_millis(10), LONGEST_SLEEP)
    }
}

fn targets(settings: &Settings) -> Result<Vec<Arc<Target>>, Invalid> {
    settings.alertmanager.iter().map(|one| Target::new(one).map(Arc::new)).collect()
}

/// Delivers a notification; the answer is whether it may be remembered as told.
async fn deliver(job: &Job) -> bool {
    let Some(message) = &job.message else { return true };
    let Some(receiver) = job.plan.receivers.get(job.receiver) else { return false };
    let Some(channel) = receiver.channels.get(job.channel) else { return false };
    let (name, kind) = (receiver.name.clone(), channel.kind());
    let sent = channel.deliver(message, job.plan.mailer.as_ref(), job.patience).await;
    metrics::counter!("quintet_sink_notifications_total", "receiver" => name.clone(), "kind" => kind)
        .increment(1);
    match sent {
        Ok(()) => true,
        Err(SendError::Later(error) | SendError::Never(error)) => {
            metrics::counter!("quintet_sink_notifications_failed_total", "receiver" => name.clone(), "kind" => kind)
                .increment(1);
            tracing::warn!(receiver = name, kind, error, "a notification was not delivered");
            false
        }
    }
}

fn remember(dispatcher: &mut Dispatcher, job: Job, delivered: bool) {
    if let Err(error) = dispatcher.finish(job, delivered) {
        tracing::error!(%error, "it cannot be remembered that a notification was sent; it may be repeated");
    }
}

/// What fires and what is over, as of an evaluation. A rule that could not be evaluated confirms nothing, as in Prometheus.
pub(crate) fn alerts_of(group: &Group, time: i64, external_url: &str) -> Vec<Alert> {
    let lifetime = UNCONFIRMED * group.interval.max(MIN_LIFETIME);
    let answered = group.rules.iter().filter(|rule| rule.health.answered);
    answered
        .flat_map(|rule| rule.alerts.values().map(move |alert| (rule, alert)))
        .filter_map(|(rule, alert)| {
            let starts_at = alert.fired_at?;
            Some(Alert {
                labels: alert.labels.clone(),
                annotations: alert.annotations.clone(),
                starts_at,
                ends_at: alert.resolved_at.unwrap_or(time + lifetime),
                updated_at: time,
                generator_url: generator_url(external_url, &rule.spec.text),
            })
        })
        .collect()
}

/// The console's page of an expression.
fn generator_url(external_url: &str, expression: &str) -> String {
    if external_url.is_empty() {
        return String::new();
    }
    let query = serde_urlencoded::to_string([("q", expression)]).unwrap_or_default();
    format!("{external_url}/explore?{query}")
}
