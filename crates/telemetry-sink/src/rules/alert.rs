//! One alert of a rule: when it is pending, firing and over.

use std::collections::BTreeMap;

use super::file::Alerting;
use crate::model::Labels;

/// How long an alert that is over is still told about, milliseconds: who was away for a while hears of it.
pub(super) const RESOLVED_RETENTION: i64 = 15 * 60 * 1000;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// The expression holds, but not yet for as long as `for` says.
    Pending,
    Firing,
    /// It fired and is over.
    Inactive,
}

impl State {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Firing => "firing",
            Self::Inactive => "inactive",
        }
    }
}

/// An alert.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Instance {
    /// The name of the alert included.
    pub(crate) labels: Labels,
    pub(crate) annotations: BTreeMap<String, String>,
    pub(crate) state: State,
    pub(crate) value: f64,
    /// Since when the expression holds, milliseconds.
    pub(crate) active_at: i64,
    pub(crate) fired_at: Option<i64>,
    pub(crate) resolved_at: Option<i64>,
    /// Since when it fires only because of `keep_firing_for`.
    pub(crate) keep_firing_since: Option<i64>,
}

/// What becomes of an alert at an evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Keep,
    Forget,
}

impl Instance {
    pub(super) fn new(labels: Labels, annotations: BTreeMap<String, String>, value: f64, time: i64) -> Self {
        Self {
            labels,
            annotations,
            state: State::Pending,
            value,
            active_at: time,
            fired_at: None,
            resolved_at: None,
            keep_firing_since: None,
        }
    }

    /// The expression holds at `time`.
    pub(super) fn holds(&mut self, alerting: &Alerting, time: i64) {
        self.keep_firing_since = None;
        if self.state == State::Pending && time - self.active_at >= alerting.hold {
            self.state = State::Firing;
            self.fired_at = Some(time);
        }
    }

    /// The expression does not hold at `time`.
    pub(super) fn is_over(&mut self, alerting: &Alerting, time: i64) -> Next {
        if self.state == State::Firing && alerting.keep_firing > 0 {
            let since = *self.keep_firing_since.get_or_insert(time);
            if time - since < alerting.keep_firing {
                return Next::Keep;
            }
        }
        match self.state {
            // Nobody was told of it.
            State::Pending => Next::Forget,
            State::Firing => {
                self.state = State::Inactive;
                self.resolved_at = Some(time);
                self.keep_firing_since = None;
                Next::Keep
            }
            State::Inactive if self.resolved_at.is_none_or(|at| time - at > RESOLVED_RETENTION) => {
                Next::Forget
            }
            State::Inactive => Next::Keep,
        }
    }
}
