//! What the configuration says of kinds and schedules.

use std::collections::HashMap;
use std::time::Duration;

use quintet_jobs::{Backoff, Limits, Missed, Policy, Schedule as JobSchedule};
use quintet_service::Invalid;
use serde::Deserialize;

/// How jobs of one kind are tried and remembered; what is left out is as the kind's handler says.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kind {
    /// The kind, such as `email.send`.
    name: String,
    /// How often a job is tried, in place of what it was enqueued with.
    max_attempts: Option<u16>,
    /// How long a run may take.
    timeout_ms: Option<u64>,
    /// The delays before the second attempt, the third, and so on; the last one stays.
    retry_delays_ms: Option<Vec<u64>>,
    /// Instead of listed delays: evenly drawn up to this, doubled with each attempt.
    retry_base_ms: Option<u64>,
    /// The ceiling of doubled delays; six hours unless set.
    retry_cap_ms: Option<u64>,
    /// How long completed jobs can be looked up. With 0 they are not written into the history at all.
    keep_completed_hours: Option<u64>,
    /// How long dead letters and cancelled jobs can be looked up.
    keep_discarded_hours: Option<u64>,
    /// Jobs that run at the same time in one process.
    concurrency: Option<u32>,
    /// Jobs that run at the same time in all processes together.
    global_concurrency: Option<u32>,
    /// Jobs with the same partition key that run at the same time, in all processes together.
    concurrency_per_key: Option<u32>,
    /// How often runs may begin, in all processes together.
    rate: Option<Rate>,
    /// How often runs of jobs with the same partition key may begin.
    rate_per_key: Option<Rate>,
}

/// A rate that is kept on average.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rate {
    /// Runs that may begin in each period.
    runs: u32,
    /// The length of a period.
    per_ms: u64,
    /// Runs that may begin at once after a pause; as many as `runs` unless set.
    burst: Option<u32>,
}

impl Rate {
    fn build(self) -> Option<quintet_jobs::Rate> {
        if self.runs == 0 || self.per_ms == 0 || self.burst == Some(0) {
            return None;
        }
        let rate = quintet_jobs::Rate::new(self.runs, Duration::from_millis(self.per_ms));
        Some(self.burst.map_or(rate, |burst| rate.burst(burst)))
    }

    /// The rate, if there is one; what is wrong with it otherwise.
    pub(super) fn build_optional(rate: Option<Self>) -> Result<Option<quintet_jobs::Rate>, &'static str> {
        match rate.map(Self::build) {
            Some(None) => Err("runs, per_ms and burst of a rate are at least 1"),
            built => Ok(built.flatten()),
        }
    }
}

const DEFAULT_CAP: Duration = Duration::from_hours(6);

impl Kind {
    fn backoff(&self) -> Result<Option<Backoff>, Invalid> {
        let wrong = |text: &str| Invalid::new("kinds", format!("{}: {text}", self.name));
        match (&self.retry_delays_ms, self.retry_base_ms, self.retry_cap_ms) {
            (None, None, None) => Ok(None),
            (Some(delays), None, None) if !delays.is_empty() => {
                Ok(Some(Backoff::Delays(delays.iter().copied().map(Duration::from_millis).collect())))
            }
            (None, Some(base), cap) if base > 0 && cap != Some(0) => Ok(Some(Backoff::FullJitter {
                base: Duration::from_millis(base),
                cap: cap.map_or(DEFAULT_CAP, Duration::from_millis),
            })),
            _ => Err(wrong(
                "set retry_delays_ms with one delay at least, or retry_base_ms, perhaps with retry_cap_ms",
            )),
        }
    }

    fn limits(&self) -> Result<Limits, Invalid> {
        let most = [self.concurrency, self.global_concurrency, self.concurrency_per_key];
        let rate = |rate| {
            Rate::build_optional(rate).map_err(|text| Invalid::new("kinds", format!("{}: {text}", self.name)))
        };
        if most.contains(&Some(0)) {
            let text = format!("{}: a concurrency is at least 1; to stop a queue, pause it", self.name);
            return Err(Invalid::new("kinds", text));
        }
        Ok(Limits {
            local: self.concurrency,
            global: self.global_concurrency,
            per_key: self.concurrency_per_key,
            rate: rate(self.rate)?,
            rate_per_key: rate(self.rate_per_key)?,
        })
    }

    fn policy(&self) -> Result<Policy, Invalid> {
        if self.max_attempts == Some(0) || self.timeout_ms == Some(0) {
            let text = format!("{}: max_attempts and timeout_ms are at least 1", self.name);
            return Err(Invalid::new("kinds", text));
        }
        Ok(Policy {
            backoff: self.backoff()?,
            max_attempts: self.max_attempts,
            timeout: self.timeout_ms.map(Duration::from_millis),
            keep_completed: self.keep_completed_hours.map(Duration::from_hours),
            keep_discarded: self.keep_discarded_hours.map(Duration::from_hours),
            limits: self.limits()?,
        })
    }
}

/// The policies of all kinds that are named.
pub(crate) fn policies(kinds: &[Kind]) -> Result<HashMap<String, Policy>, Invalid> {
    let mut policies = HashMap::with_capacity(kinds.len());
    for kind in kinds {
        if policies.insert(kind.name.clone(), kind.policy()?).is_some() {
            return Err(Invalid::new("kinds", format!("{} is there twice", kind.name)));
        }
    }
    Ok(policies)
}

/// A job that is enqueued by the calendar.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Schedule {
    /// Its name in lists and metrics; there is one schedule of a name in the whole fleet.
    name: String,
    /// Minute, hour, day of month, month and weekday as in crontab(5), or `@daily` and the like.
    cron: String,
    /// The zone in which `cron` is read, such as `Europe/Berlin`.
    #[serde(default = "default_time_zone")]
    time_zone: String,
    /// The kind of its jobs.
    kind: String,
    /// Their arguments.
    #[serde(default)]
    args: serde_json::Value,
    /// Their queue; `default` unless set.
    queue: Option<String>,
    /// What becomes of runs that no worker was there for: `skip` or `once`.
    #[serde(default)]
    missed: Missed,
}

fn default_time_zone() -> String {
    "UTC".to_owned()
}

/// The schedules as the queue takes them.
pub(crate) fn schedules(schedules: &[Schedule]) -> Result<Vec<JobSchedule>, Invalid> {
    let mut built: Vec<JobSchedule> = Vec::with_capacity(schedules.len());
    for schedule in schedules {
        let name = &schedule.name;
        let wrong = |text: String| Invalid::new("schedules", format!("{name}: {text}"));
        if built.iter().any(|other| other.name() == name) {
            return Err(wrong("is there twice".to_owned()));
        }
        let (kind, args) = (&schedule.kind, schedule.args.clone());
        let made = JobSchedule::new(name, &schedule.cron, &schedule.time_zone, kind, args);
        let made = made.map_err(|error| wrong(error.to_string()))?.missed(schedule.missed);
        built.push(match &schedule.queue {
            Some(queue) => made.queue(queue),
            None => made,
        });
    }
    Ok(built)
}
