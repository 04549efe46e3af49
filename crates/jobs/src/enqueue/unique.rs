//! What makes a job one of a kind: which jobs are the same, which of them count, and what becomes of a second one.
//!
//! Sameness is a key, and a key is a row of `jobs_unique`, whose primary key lets one transaction of any number of
//! processes have it. A job without a key touches none of this.

use std::time::Duration;

use quintet_types::JobId;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::error::Error;
use crate::sealing::{Seals, to_hex};

/// A job of which there is one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    by: By,
    period: Option<Duration>,
    states: UniqueStates,
    conflict: Conflict,
}

/// Which jobs are the same.
#[derive(Debug, Clone, PartialEq, Eq)]
enum By {
    Key(String),
    Kind,
    Args,
    ArgKeys(Vec<String>),
}

/// In which states a job keeps others from being enqueued.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum UniqueStates {
    /// Until a worker has it. Whoever changes something and enqueues the job that looks at it can rely on a run that
    /// begins after the change: the job that waits is not claimed before the caller's transaction has ended.
    Waiting,
    /// Until it has ended.
    #[default]
    Unfinished,
    /// Also when it has ended, whatever way, until its period is over.
    All,
}

/// What becomes of the job that waits when a second one comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Conflict {
    /// It stays as it is.
    #[default]
    Keep,
    /// It gets the arguments of the second one, and keeps its time.
    ReplaceArgs,
    /// It gets the time of the second one (a debounce), and keeps its arguments.
    Reschedule,
    /// It gets the arguments and the time of the second one.
    Replace,
}

impl Conflict {
    pub(super) fn args(self) -> bool {
        matches!(self, Self::ReplaceArgs | Self::Replace)
    }

    pub(super) fn run_at(self) -> bool {
        matches!(self, Self::Reschedule | Self::Replace)
    }
}

impl Unique {
    fn by(by: By) -> Self {
        Self { by, period: None, states: UniqueStates::default(), conflict: Conflict::default() }
    }

    /// Jobs with this key are the same, whatever their kind.
    pub fn by_key(key: impl Into<String>) -> Self {
        Self::by(By::Key(key.into()))
    }

    /// Jobs of one kind are the same.
    pub fn by_kind() -> Self {
        Self::by(By::Kind)
    }

    /// Jobs of one kind with equal arguments are the same, in whatever order their members were written.
    pub fn by_args() -> Self {
        Self::by(By::Args)
    }

    /// Jobs of one kind whose arguments have equal members of these names are the same.
    pub fn by_arg_keys<K: Into<String>>(keys: impl IntoIterator<Item = K>) -> Self {
        let mut keys: Vec<String> = keys.into_iter().map(Into::into).collect();
        keys.sort_unstable();
        keys.dedup();
        Self::by(By::ArgKeys(keys))
    }

    /// Only jobs enqueued in the same period are the same: the time since the Unix epoch is cut into such periods.
    #[must_use]
    pub fn period(self, period: Duration) -> Self {
        Self { period: Some(period), ..self }
    }

    /// Which jobs count.
    #[must_use]
    pub fn states(self, states: UniqueStates) -> Self {
        Self { states, ..self }
    }

    /// What becomes of the job that waits when a second one comes.
    #[must_use]
    pub fn on_conflict(self, conflict: Conflict) -> Self {
        Self { conflict, ..self }
    }

    /// The key of a job of `kind` with `args`, enqueued at `now` (microseconds).
    pub(super) fn claim(
        &self,
        kind: &str,
        args: &str,
        now: i64,
        seals: Option<&Seals>,
    ) -> Result<Claim, Error> {
        let period = self.period.map(|period| i64::try_from(period.as_micros()).unwrap_or(i64::MAX));
        let bucket = match period {
            Some(0) => return Err(Error::UniquePeriod),
            Some(period) => Some(now.div_euclid(period)),
            None => None,
        };
        let expires_at = match (self.states, period, bucket) {
            (UniqueStates::All, Some(period), Some(bucket)) => {
                bucket.saturating_add(1).saturating_mul(period)
            }
            (UniqueStates::All, ..) => return Err(Error::UniquePeriod),
            _ => NEVER,
        };
        let key = match (&self.by, period.zip(bucket)) {
            (By::Key(key), None) => key.clone(),
            (by, bucket) => digest(by, kind, args, bucket, seals)?,
        };
        Ok(Claim { key, expires_at, states: self.states, conflict: self.conflict })
    }
}

/// A key that is given up when its job has ended.
const NEVER: i64 = 0;

/// A key that a job wants to have.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    pub(super) key: String,
    /// When the key is given up, in microseconds, or [`NEVER`].
    pub(super) expires_at: i64,
    pub(super) states: UniqueStates,
    pub(super) conflict: Conflict,
}

/// What became of a job that wants a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Held {
    /// It has the key.
    Taken,
    /// Another job has it.
    By { id: JobId, replaced: bool },
}

/// A key of fixed length for what may be long, or personal: arguments hold addresses.
fn digest(
    by: &By,
    kind: &str,
    args: &str,
    bucket: Option<(i64, i64)>,
    seals: Option<&Seals>,
) -> Result<String, Error> {
    let same = match by {
        By::Key(key) => serde_json::json!({ "key": key, "bucket": bucket }),
        By::Kind => serde_json::json!({ "kind": kind, "bucket": bucket }),
        By::Args => {
            let args: Value = serde_json::from_str(args)?;
            serde_json::json!({ "kind": kind, "args": args, "bucket": bucket })
        }
        By::ArgKeys(keys) => {
            let args: Value = serde_json::from_str(args)?;
            let chosen: Vec<(&String, Option<&Value>)> =
                keys.iter().map(|key| (key, args.get(key))).collect();
            serde_json::json!({ "kind": kind, "chosen": chosen, "bucket": bucket })
        }
    };
    let mut text = String::new();
    write_canonical(&same, &mut text);
    // Whoever can guess sealed arguments must not be able to tell. A key is not of one kind, and not sealed.
    if let (By::Args | By::ArgKeys(_), Some(seals)) = (by, seals.filter(|seals| seals.seals(kind))) {
        return Ok(seals.unique(&text));
    }
    Ok(format!("sha256:{}", to_hex(&Sha256::digest(text))))
}

/// JSON with the members of each object in one order, whatever order serde_json's map was built to keep.
fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(name, _)| *name);
            out.push('{');
            for (name, member) in members {
                out.push_str(&Value::from(name.as_str()).to_string());
                out.push(':');
                write_canonical(member, out);
                out.push(',');
            }
            out.push('}');
        }
        Value::Array(items) => {
            out.push('[');
            for item in items {
                write_canonical(item, out);
                out.push(',');
            }
            out.push(']');
        }
        plain => out.push_str(&plain.to_string()),
    }
}
