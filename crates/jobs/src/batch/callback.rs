//! The jobs that a batch enqueues itself.
//!
//! They are described when the batch is opened, with their ids, so that whoever opens it knows them; a column of the
//! batch keeps them until they are due.

use std::collections::BTreeMap;

use quintet_store::{Row, Tx};
use quintet_types::time::micros;
use quintet_types::{Clock, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::BatchId;
use crate::enqueue::{NewJob, plain};
use crate::error::Error;
use crate::row::Waiting;
use crate::sealing::{self, Seals};

/// When a batch enqueues a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Callback {
    Success,
    Failure,
    End,
}

impl Callback {
    pub(super) const ALL: [Self; 3] = [Self::Success, Self::Failure, Self::End];

    /// Says when it became due, also where there is no job for it.
    pub(super) fn column(self) -> &'static str {
        match self {
            Self::Success => "succeeded_at",
            Self::Failure => "failed_at",
            Self::End => "ended_at",
        }
    }
}

pub(super) type Described = BTreeMap<Callback, Waiting>;

/// The callbacks of a new batch as they are kept.
pub(super) fn describe(
    tx: &Tx,
    clock: &dyn Clock,
    id: BatchId,
    callbacks: Vec<(Callback, NewJob)>,
) -> Result<String, Error> {
    let mut described = Described::new();
    for (callback, job) in callbacks {
        let mut job = plain(clock, job)?;
        let mut args: Value = serde_json::from_str(&job.args)?;
        if let Some(members) = args.as_object_mut() {
            members.entry("batch").or_insert_with(|| Value::from(id.to_string()));
            job.args = args.to_string();
        }
        sealing::seal_args(tx.attached::<Seals>().as_deref(), std::slice::from_mut(&mut job))?;
        described.insert(callback, job);
    }
    Ok(serde_json::to_string(&described)?)
}

pub(super) fn read(row: &Row) -> Result<Described, Error> {
    Ok(serde_json::from_str(&row.get::<String>("callbacks")?)?)
}

/// The job of a callback that is due, if the batch has one.
pub(super) fn take(row: &Row, callback: Callback, now: Timestamp) -> Result<Option<Waiting>, Error> {
    let job = read(row)?.remove(&callback);
    Ok(job.map(|job| {
        let now = micros(now);
        // One that was to run at an instant of its own does so, or at once if that is past.
        Waiting { enqueued_at: now, run_at: job.run_at.max(now), ..job }
    }))
}
