//! Passes the alerts of the rules on to other Alertmanagers, as Prometheus does: each that fires once a minute, and its end.
//!
//! Each target has its own queue of the newest state of each alert. A target that is away costs the others nothing; what its
//! queue cannot hold is dropped and counted, and told again with the next evaluation.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderValue, Uri};
use quintet_http::Client;
use quintet_service::Invalid;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::fingerprint;
use super::message::time;
use super::send::{bearer, client, post};
use super::settings::Alertmanager;
use super::store::Alert;

const MAX_QUEUED: usize = 10_000;
const BATCH: usize = 64;
/// How soon an alert that goes on is told again, milliseconds.
const RESEND: i64 = 60_000;
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_mins(1);

/// Another Alertmanager and what it is still to be told.
pub(super) struct Target {
    client: Client,
    path: Uri,
    authorization: Option<HeaderValue>,
    queue: Mutex<Queue>,
    waiting: Notify,
}

#[derive(Default)]
struct Queue {
    /// By fingerprint.
    alerts: BTreeMap<u64, Alert>,
    /// When each alert was queued last, and whether it fired.
    told: HashMap<u64, (i64, bool)>,
}

impl Target {
    pub(super) fn new(settings: &Alertmanager) -> Result<Self, Invalid> {
        let key = "notify.alertmanager";
        let path = format!("{}/api/v2/alerts", settings.path_prefix.trim_end_matches('/'));
        let path = path
            .parse()
            .map_err(|_| Invalid::new(key, "`path_prefix` must be a path such as /alertmanager"))?;
        Ok(Self {
            client: client(settings.target.clone()),
            path,
            authorization: bearer(settings.token_file.as_ref(), key)?,
            queue: Mutex::default(),
            waiting: Notify::new(),
        })
    }

    pub(super) fn url(&self) -> String {
        format!("{}{}", self.client.origin(), self.path)
    }

    /// Queues what the target does not know yet.
    pub(super) fn offer(&self, alerts: &[Alert], external: &BTreeMap<String, String>, now: i64) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.told.retain(|_, (at, _)| now - *at < 15 * RESEND);
        for alert in alerts {
            let fires = !alert.is_resolved(now);
            let print = fingerprint(&alert.labels);
            let is_known = queue
                .told
                .get(&print)
                .is_some_and(|(at, fired)| *fired == fires && (now - *at < RESEND || !fires));
            if is_known {
                continue;
            }
            if queue.alerts.len() >= MAX_QUEUED && !queue.alerts.contains_key(&print) {
                metrics::counter!("quintet_sink_relayed_alerts_dropped_total").increment(1);
                continue;
            }
            let mut labels = alert.labels.to_builder();
            for (name, value) in external.iter().filter(|(name, _)| alert.labels.get(name).is_none()) {
                labels.set(name, value);
            }
            queue.told.insert(print, (now, fires));
            queue.alerts.insert(print, Alert { labels: labels.build(), ..alert.clone() });
        }
        drop(queue);
        self.waiting.notify_one();
    }

    fn batch(&self) -> Vec<(u64, Alert)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        std::iter::from_fn(|| queue.alerts.pop_first()).take(BATCH).collect()
    }

    /// Puts alerts back unless something newer is known of them.
    fn put_back(&self, batch: Vec<(u64, Alert)>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        for (print, alert) in batch {
            queue.alerts.entry(print).or_insert(alert);
        }
    }

    /// Tells the target until `shutdown`.
    pub(super) async fn run(&self, shutdown: &CancellationToken) {
        let mut pause = FIRST_PAUSE;
        loop {
            let batch = self.batch();
            let wait = if batch.is_empty() {
                tokio::select! {
                    () = shutdown.cancelled() => return,
                    () = self.waiting.notified() => continue,
                }
            } else if self.tell(&batch).await {
                pause = FIRST_PAUSE;
                continue;
            } else {
                self.put_back(batch);
                let longer = (pause * 2).min(LONGEST_PAUSE);
                std::mem::replace(&mut pause, longer)
            };
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
    }

    async fn tell(&self, batch: &[(u64, Alert)]) -> bool {
        let body = batch.iter().map(|(_, alert)| {
            json!({
                "labels": alert.labels.iter().collect::<BTreeMap<_, _>>(),
                "annotations": alert.annotations,
                "startsAt": time(Some(alert.starts_at)),
                "endsAt": time(Some(alert.ends_at)),
                "generatorURL": alert.generator_url,
            })
        });
        let sent = post(&self.client, &self.path, self.authorization.as_ref(), &body.collect()).await;
        let outcome = if sent.is_ok() { "sent" } else { "failed" };
        metrics::counter!("quintet_sink_relayed_alerts_total", "outcome" => outcome)
            .increment(u64::try_from(batch.len()).unwrap_or(0));
        match sent {
            Ok(()) => true,
            // What is refused for good is not put back: it would block the rest for ever.
            Err(super::send::SendError::Never(error)) => {
                tracing::warn!(target = %self.client.origin(), error, "an Alertmanager refuses alerts");
                true
            }
            Err(super::send::SendError::Later(error)) => {
                tracing::debug!(target = %self.client.origin(), error, "an Alertmanager is away");
                false
            }
        }
    }
}
