//! A durable job queue inside the application's own database.
//!
//! A job is enqueued in the transaction whose side effect it is ([`enqueue()`]): both happen or
//! neither. [`Worker`] claims jobs in batches, runs their [`Handler`]s and acknowledges them in
//! batches. Delivery is at least once; a handler whose effect must happen once completes its job
//! inside its own transaction ([`Job::complete_in`]).
//!
//! Data layout (all tables `jobs_*`):
//! - `jobs_ready`: jobs that wait, indexed by queue, priority, due time.
//! - `jobs_lease`: one row for each claimed batch, with the jobs in it and a mark for each that
//!   has ended. A claim deletes from `ready` and inserts the lease in one transaction, so a busy
//!   queue costs two row changes a batch and not two a job.
//! - `jobs_unique`: keys of jobs that must not be queued twice, held until the job ends or the key expires.
//! - `jobs_history`: jobs that ended, for a while. The dead letters are those `discarded`.
//! - `jobs_paused`: queues from which nothing is claimed.
//! - `jobs_schedules`: when each schedule runs next.
//! - `jobs_failures`: the failed runs of jobs, each with its error.
//! - `jobs_batches`, `jobs_batch_additions`: jobs that are counted together, and what is enqueued at their end.
//! - `jobs_workflows`, `jobs_workflow_jobs`, `jobs_workflow_edges`: jobs that wait for others, and what for.
//! - `jobs_blocked`: jobs that wait for others, as they go into `ready` afterwards.
//! - `jobs_notes`: what the runs of jobs wrote down: results, checkpoints, progress.
//! - `jobs_limits`: when the next run of a limited kind, or of a partition key of it, is on time.
//! - `jobs_queue_limits`: the same for a limited queue, and its lock.
//! - `jobs_figures`: the last count of the jobs in each queue, for metrics.
//! - `jobs_sealed_kinds`: kinds whose jobs no program may write in the clear.
//! - `jobs_cancel`: requests to stop jobs that run, each until its job has ended.
//!
//! Protocol and crash recovery: the lease id is the fencing token. Its holder raises the lease's
//! `beat` regularly; whoever sees a beat stand still for a lease's duration of its *own* monotonic
//! time takes the lease away and puts unfinished jobs back (no node compares its wall clock with
//! another's). Every acknowledgement names the lease and finds it gone if it was taken away. An
//! attempt counts when the job is claimed, so a job that kills its worker runs out of attempts.
//! A worker keeps alive the leases that it knows of: one whose claim was committed and never answered runs out.
//!
//! What jobs of some kinds say is sealed before it is written ([`Sealing`]): the tables hold boxes then, and the protocol moves
//! them about as it does any text.
//!
//! `model` explores all of this and compares it with the statements.

mod admin;
mod backoff;
mod batch;
mod bulk;
mod cancel;
mod claim;
mod count;
mod cron;
mod enqueue;
mod error;
mod failures;
mod figures;
mod handler;
mod job;
mod lease;
mod limits;
#[cfg(test)]
mod model;
mod notes;
mod pause;
mod policy;
mod remote;
mod row;
mod schema;
mod sealing;
mod search;
mod worker;
mod workflow;

pub use admin::{JobView, QueueView, State, lookup, queues};
pub use backoff::Backoff;
pub use batch::{
    BatchCancelled, BatchId, BatchPage, BatchState, BatchView, CallbackView, NewBatch, batch, batches,
    cancel_batch, open_batch, seal_batch,
};
pub use bulk::{Changed, MOST_CHANGED, cancel_waiting, delete_dead, redrive, redrive_dead};
pub use cancel::{Cancelled, cancel};
pub use count::{Count, count};
pub use cron::{
    Expression, ExpressionError, Missed, Schedule, ScheduleError, ScheduleView, fire_due, register, run_now,
    schedules,
};
pub use enqueue::{Conflict, Enqueued, NewJob, Unique, UniqueStates, enqueue, enqueue_many};
pub use error::Error;
pub use failures::{Failure, failures};
pub use handler::{Handler, HandlerError};
pub use job::Job;
pub use limits::{KeyRuns, LimitView, Limits, QueueLimitView, QueueLimits, Rate, limits, queue_limits};
pub use notes::{MOST_NOTE_BYTES, Notes, Progress};
pub use pause::{Pause, pause, paused, resume};
pub use policy::{Policies, Policy};
pub use remote::{
    Claimed, RemoteNote, RemoteOutcome, RemoteWorker, Wanted, acknowledge, claim, extend, note,
};
pub use schema::MODULE;
pub use sealing::{SealError, Sealing, Seals, attach_seals};
pub use search::{Filter, MOST_IDS, Page, search};
pub use worker::{QueueSettings, Settings, Worker};
pub use workflow::{
    After, Dependency, EdgeView, EnqueuedWorkflow, MOST_DEPENDENCIES, MOST_WORKFLOW_JOBS, NewWorkflow,
    WorkflowCancelled, WorkflowError, WorkflowId, WorkflowJobView, WorkflowPage, WorkflowState, WorkflowView,
    cancel_workflow, enqueue_workflow, remote_dependencies, workflow, workflows,
};
