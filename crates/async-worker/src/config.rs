//! The worker's configuration file.

mod images;
mod jobs;
mod mail;
mod webhooks;

use std::time::Duration;

use quintet_http::Limits;
use quintet_jobs::{QueueLimits, QueueSettings};
use quintet_service::{Invalid, ListenSection, ServiceSection};
use serde::Deserialize;

pub(crate) use self::images::Images;
pub(crate) use self::mail::{Dkim, Mail, Smtp, Tls};
pub(crate) use self::webhooks::Webhooks;

/// `/etc/quintet/async-worker.toml`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    pub(crate) service: ServiceSection,
    #[serde(default)]
    pub(crate) telemetry: quintet_telemetry::Settings,
    pub(crate) listen: ListenSection,
    #[serde(default)]
    pub(crate) limits: Limits,
    pub(crate) database: quintet_store::Settings,
    pub(crate) auth: quintet_auth::Settings,
    pub(crate) storage: quintet_blobs::Settings,
    #[serde(default)]
    pub(crate) worker: Worker,
    #[serde(default = "default_queues")]
    pub(crate) queues: Vec<Queue>,
    #[serde(default)]
    pub(crate) kinds: Vec<jobs::Kind>,
    #[serde(default)]
    pub(crate) schedules: Vec<jobs::Schedule>,
    #[serde(default)]
    pub(crate) remote: Remote,
    /// Jobs that nobody reads in the database; the same as core-api's.
    pub(crate) sealing: Option<quintet_jobs::Sealing>,
    #[serde(default)]
    pub(crate) images: Images,
    pub(crate) mail: Mail,
    pub(crate) webhooks: Option<Webhooks>,
}

/// How the worker behaves.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Worker {
    /// This node's name in leases.
    name: String,
    /// After this long without a sign of life this worker's jobs are given to others.
    lease_ms: u64,
    /// How often the queue is read when nothing was announced.
    poll_ms: u64,
    /// How long a handler may go on after its job was cancelled.
    cancel_grace_ms: u64,
    /// How long completed jobs can be looked up. With 0 they are not written into the history at all.
    keep_completed_hours: u64,
    /// How long dead letters and cancelled jobs can be looked up and redriven.
    keep_discarded_hours: u64,
}

impl Default for Worker {
    fn default() -> Self {
        Self {
            name: "worker".to_owned(),
            lease_ms: 10_000,
            poll_ms: 500,
            cancel_grace_ms: 5_000,
            keep_completed_hours: 24,
            keep_discarded_hours: 14 * 24,
        }
    }
}

/// One queue to serve.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Queue {
    name: String,
    /// Jobs of it that run at the same time in this process.
    concurrency: usize,
    /// Jobs of it that run at the same time in all processes together.
    global_concurrency: Option<u32>,
    /// How often runs of its jobs may begin, in all processes together.
    rate: Option<jobs::Rate>,
}

impl Queue {
    fn settings(&self) -> Result<QueueSettings, Invalid> {
        if self.concurrency == 0 || self.global_concurrency == Some(0) {
            let text = format!("{}: a concurrency is at least 1; to stop a queue, pause it", self.name);
            return Err(Invalid::new("queues", text));
        }
        let rate = jobs::Rate::build_optional(self.rate)
            .map_err(|text| Invalid::new("queues", format!("{}: {text}", self.name)))?;
        let limits = QueueLimits { global: self.global_concurrency, rate };
        Ok(QueueSettings { limits, ..QueueSettings::new(&self.name, self.concurrency) })
    }
}

/// What programs may do over HTTP with a token for it; nothing unless named here.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Remote {
    /// Kinds that may be enqueued, with the scope `jobs:enqueue`.
    pub(crate) enqueue_kinds: Vec<String>,
    /// Kinds that may be claimed and run elsewhere, with the scope `jobs:work`. Whoever claims a job reads its arguments.
    pub(crate) work_kinds: Vec<String>,
}

fn default_queues() -> Vec<Queue> {
    vec![Queue { name: "default".to_owned(), concurrency: 16, global_concurrency: None, rate: None }]
}

impl Config {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        self.mail.validate()?;
        self.images.validate()?;
        self.webhooks.as_ref().map_or(Ok(()), Webhooks::validate)?;
        if self.queues.is_empty() {
            return Err(Invalid::new("queues", "name at least one queue, such as default"));
        }
        self.queues.iter().try_for_each(|queue| queue.settings().map(|_| ()))?;
        self.sealing.as_ref().map_or(Ok(()), |sealing| sealing.seals().map(|_| ()))?;
        jobs::policies(&self.kinds)?;
        jobs::schedules(&self.schedules)?;
        if self.worker.lease_ms < 1_000 {
            return Err(Invalid::new("worker.lease_ms", "a lease lasts at least 1000 ms"));
        }
        Ok(())
    }

    pub(crate) fn worker_settings(&self) -> Result<quintet_jobs::Settings, Invalid> {
        Ok(quintet_jobs::Settings {
            name: self.worker.name.clone(),
            queues: self.queues.iter().map(Queue::settings).collect::<Result<_, _>>()?,
            lease: Duration::from_millis(self.worker.lease_ms),
            poll: Duration::from_millis(self.worker.poll_ms.max(10)),
            // Within the process's own drain deadline, so that unfinished jobs are given back.
            drain: self.service.drain_timeout().mul_f64(0.7),
            cancel_grace: Duration::from_millis(self.worker.cancel_grace_ms),
            keep_completed: Duration::from_hours(self.worker.keep_completed_hours),
            keep_discarded: Duration::from_hours(self.worker.keep_discarded_hours),
            policies: jobs::policies(&self.kinds)?,
            schedules: jobs::schedules(&self.schedules)?,
        })
    }
}
