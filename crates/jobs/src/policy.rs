//! How a kind of job is tried and remembered: when again, how often, how long a run may take, how long it can be looked
//! up. A handler states its kind's policy; the configuration may replace any part of it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::handler::Handler;
use crate::limits::{Limits, QueueLimits};
use crate::worker::QueueSettings;

/// The policy of a kind; what is not set is as for any kind.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Policy {
    /// When a failed job is tried again; unless set, [`Backoff::default`].
    pub backoff: Option<Backoff>,
    /// How often a job is tried, in place of what it was enqueued with.
    pub max_attempts: Option<u16>,
    /// How long a run may take; unless set, [`Handler::timeout`].
    pub timeout: Option<Duration>,
    /// How long completed jobs stay in the history; zero: they are never written there.
    pub keep_completed: Option<Duration>,
    /// How long dead letters and cancelled jobs stay in the history.
    pub keep_discarded: Option<Duration>,
    /// How many jobs may run at once, and how often one may begin.
    pub limits: Limits,
}

impl Policy {
    /// This policy with whatever `other` sets in place of its own.
    fn replaced_by(self, other: &Self) -> Self {
        Self {
            backoff: other.backoff.clone().or(self.backoff),
            max_attempts: other.max_attempts.or(self.max_attempts),
            timeout: other.timeout.or(self.timeout),
            keep_completed: other.keep_completed.or(self.keep_completed),
            keep_discarded: other.keep_discarded.or(self.keep_discarded),
            limits: self.limits.replaced_by(&other.limits),
        }
    }
}

/// The policies in force in a worker.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    kinds: HashMap<String, Policy>,
    /// Those queues that have limits.
    queues: HashMap<String, QueueLimits>,
}

impl Policies {
    /// Those of the handlers, with what is `configured` in their place; kinds without a handler here are run elsewhere,
    /// but a node rescues and forgets their jobs too.
    pub(crate) fn new(
        handlers: &[Arc<dyn Handler>],
        configured: &HashMap<String, Policy>,
        queues: &[QueueSettings],
    ) -> Self {
        let mut kinds = configured.clone();
        for handler in handlers {
            let stated = handler.policy();
            let policy = kinds.entry(handler.kind().to_owned()).or_default();
            *policy = stated.replaced_by(policy);
        }
        let limited = queues.iter().filter(|queue| queue.limits.any());
        let queues = limited.map(|queue| (queue.name.clone(), queue.limits.clone())).collect();
        Self { kinds, queues }
    }

    pub(crate) fn timeout(&self, handler: &dyn Handler) -> Duration {
        self.kinds.get(handler.kind()).and_then(|policy| policy.timeout).unwrap_or_else(|| handler.timeout())
    }

    /// How often a job of `kind` is tried that was enqueued with `asked`.
    pub(crate) fn max_attempts(&self, kind: &str, asked: i64) -> i64 {
        self.kinds
            .get(kind)
            .and_then(|policy| policy.max_attempts)
            .map_or(asked, |most| i64::from(most.max(1)))
    }

    pub(crate) fn backoff(&self, kind: &str) -> Backoff {
        self.kinds.get(kind).and_then(|policy| policy.backoff.clone()).unwrap_or_default()
    }

    /// The limits of `kind`, if it has any.
    pub(crate) fn limits(&self, kind: &str) -> Option<&Limits> {
        self.kinds.get(kind).map(|policy| &policy.limits).filter(|limits| limits.any())
    }

    /// The kinds with limits.
    pub(crate) fn limited(&self) -> impl Iterator<Item = (&str, &Limits)> {
        self.kinds
            .iter()
            .map(|(kind, policy)| (kind.as_str(), &policy.limits))
            .filter(|(_, limits)| limits.any())
    }

    /// The limits of `queue`, if it has any.
    pub(crate) fn queue_limits(&self, queue: &str) -> Option<&QueueLimits> {
        self.queues.get(queue)
    }

    /// The queues with limits.
    pub(crate) fn limited_queues(&self) -> impl Iterator<Item = (&str, &QueueLimits)> {
        self.queues.iter().map(|(queue, limits)| (queue.as_str(), limits))
    }

    /// How long completed jobs of `kind` are kept, where that is not as for any kind.
    pub(crate) fn keep_completed(&self, kind: &str) -> Option<Duration> {
        self.kinds.get(kind).and_then(|policy| policy.keep_completed)
    }

    /// The kinds that keep their jobs of an end for a time of their own.
    pub(crate) fn kept(&self, completed: bool) -> impl Iterator<Item = (&str, Duration)> {
        self.kinds.iter().filter_map(move |(kind, policy)| {
            let keep = if completed { policy.keep_completed } else { policy.keep_discarded };
            keep.map(|keep| (kind.as_str(), keep))
        })
    }
}
