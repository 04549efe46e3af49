//! The queue's tables.

use quintet_store::{Migration, Module, Sql};

/// The queue's tables, for [`quintet_store::Store::migrate`].
pub static MODULE: Module = Module {
    name: "jobs",
    migrations: &[
        Migration { version: 1, name: "queue", sql: Sql::one(QUEUE), oldest_reader: 1 },
        Migration { version: 2, name: "cancel", sql: CANCEL, oldest_reader: 1 },
        Migration { version: 3, name: "pause", sql: Sql::one(PAUSE), oldest_reader: 1 },
        Migration { version: 4, name: "schedules", sql: Sql::one(SCHEDULES), oldest_reader: 1 },
        Migration { version: 5, name: "remote", sql: Sql::one(REMOTE), oldest_reader: 1 },
        Migration {
            version: 6,
            name: "claim_in_one_statement",
            sql: Sql::per_dialect(TAKES, STORAGE),
            oldest_reader: 1,
        },
        Migration { version: 7, name: "unique_for_a_period", sql: Sql::one(UNIQUE), oldest_reader: 1 },
        Migration { version: 8, name: "failures", sql: Sql::one(FAILURES), oldest_reader: 1 },
        Migration { version: 9, name: "limits", sql: Sql::one(LIMITS), oldest_reader: 1 },
        Migration { version: 10, name: "figures", sql: Sql::one(FIGURES), oldest_reader: 1 },
        Migration { version: 11, name: "notes", sql: Sql::one(NOTES), oldest_reader: 1 },
        Migration { version: 12, name: "batches", sql: Sql::one(BATCHES), oldest_reader: 1 },
        Migration { version: 13, name: "workflows", sql: Sql::one(WORKFLOWS), oldest_reader: 1 },
        Migration { version: 14, name: "ended_batches", sql: Sql::one(ENDED_BATCHES), oldest_reader: 1 },
        Migration { version: 15, name: "queue_limits", sql: Sql::one(QUEUE_LIMITS), oldest_reader: 1 },
        Migration { version: 16, name: "sealed_kinds", sql: Sql::one(SEALED_KINDS), oldest_reader: 1 },
        Migration { version: 17, name: "members", sql: Sql::one(MEMBERS), oldest_reader: 1 },
    ],
};

const QUEUE: &str = "
CREATE TABLE jobs_ready (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    args TEXT NOT NULL,
    priority BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    traceparent TEXT,
    unique_key TEXT,
    last_error TEXT
);
CREATE INDEX jobs_ready_due ON jobs_ready (queue, priority, run_at, id);

CREATE TABLE jobs_lease (
    id TEXT NOT NULL PRIMARY KEY,
    worker TEXT NOT NULL,
    queue TEXT NOT NULL,
    beat BIGINT NOT NULL,
    claimed_at BIGINT NOT NULL,
    jobs TEXT NOT NULL,
    ended TEXT NOT NULL
);

CREATE TABLE jobs_unique (
    unique_key TEXT NOT NULL PRIMARY KEY,
    job_id TEXT NOT NULL
);

CREATE TABLE jobs_history (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    args TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('completed', 'discarded')),
    priority BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    traceparent TEXT,
    last_error TEXT
);
CREATE INDEX jobs_history_finished ON jobs_history (finished_at);
";

/// Jobs may end as cancelled. SQLite changes a CHECK by making the table anew. The partial index serves what operators
/// do with dead letters and costs nothing for a job that completes.
const CANCEL: Sql = Sql::per_dialect(
    "
CREATE TABLE jobs_history_new (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    args TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('completed', 'discarded', 'cancelled')),
    priority BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    started_at BIGINT NOT NULL,
    finished_at BIGINT NOT NULL,
    traceparent TEXT,
    last_error TEXT
);
INSERT INTO jobs_history_new (id, queue, kind, args, state, priority, attempt, max_attempts, enqueued_at, started_at,
                              finished_at, traceparent, last_error)
    SELECT id, queue, kind, args, state, priority, attempt, max_attempts, enqueued_at, started_at, finished_at,
           traceparent, last_error
    FROM jobs_history;
DROP TABLE jobs_history;
ALTER TABLE jobs_history_new RENAME TO jobs_history;
CREATE INDEX jobs_history_finished ON jobs_history (finished_at);
CREATE INDEX jobs_history_not_completed ON jobs_history (id) WHERE state <> 'completed';
CREATE TABLE jobs_cancel (
    job_id TEXT NOT NULL PRIMARY KEY,
    requested_at BIGINT NOT NULL
);
",
    "
ALTER TABLE jobs_history DROP CONSTRAINT jobs_history_state_check;
ALTER TABLE jobs_history ADD CONSTRAINT jobs_history_state_check
    CHECK (state IN ('completed', 'discarded', 'cancelled'));
CREATE INDEX jobs_history_not_completed ON jobs_history (id) WHERE state <> 'completed';
CREATE TABLE jobs_cancel (
    job_id TEXT NOT NULL PRIMARY KEY,
    requested_at BIGINT NOT NULL
);
",
);

const PAUSE: &str = "
CREATE TABLE jobs_paused (
    queue TEXT NOT NULL PRIMARY KEY,
    paused_at BIGINT NOT NULL,
    paused_by TEXT NOT NULL
)";

const SCHEDULES: &str = "
CREATE TABLE jobs_schedules (
    name TEXT NOT NULL PRIMARY KEY,
    definition TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    last_at BIGINT,
    last_job TEXT
)";

/// A run begins once, so its beginning tells it from the other runs of its job.
const FAILURES: &str = "
CREATE TABLE jobs_failures (
    job_id TEXT NOT NULL,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    worker TEXT NOT NULL,
    error TEXT NOT NULL,
    PRIMARY KEY (job_id, started_at)
);
CREATE INDEX jobs_failures_ended ON jobs_failures (ended_at);
";

/// A worker elsewhere may ask for a lease that is given to others later.
const REMOTE: &str = "ALTER TABLE jobs_lease ADD COLUMN hold_ms BIGINT NOT NULL DEFAULT 0";

/// A claim on SQLite is one statement, which inserts the lease; this takes its jobs out of the queue. A release that
/// deletes them itself finds nothing left to do here.
const TAKES: &str = "
CREATE TRIGGER jobs_lease_takes AFTER INSERT ON jobs_lease BEGIN
    DELETE FROM jobs_ready WHERE id IN (SELECT value ->> 'id' FROM json_each(NEW.jobs));
END;
";

/// A key may outlive its job until the end of a period. Zero: it does not.
const UNIQUE: &str = "
ALTER TABLE jobs_unique ADD COLUMN expires_at BIGINT NOT NULL DEFAULT 0;
CREATE INDEX jobs_unique_expiring ON jobs_unique (expires_at) WHERE expires_at > 0;
";

/// A lease with jobs of a limited kind names the kind, and the partition key of each of its places. The partial index
/// costs nothing for jobs without a key.
const LIMITS: &str = "
ALTER TABLE jobs_ready ADD COLUMN partition_key TEXT;
ALTER TABLE jobs_history ADD COLUMN partition_key TEXT;
ALTER TABLE jobs_lease ADD COLUMN limited TEXT;
ALTER TABLE jobs_lease ADD COLUMN partition_keys TEXT;
CREATE INDEX jobs_ready_keyed ON jobs_ready (queue, kind, partition_key, priority, run_at, id)
    WHERE partition_key IS NOT NULL;
CREATE TABLE jobs_limits (
    kind TEXT NOT NULL,
    partition_key TEXT NOT NULL,
    next_at BIGINT NOT NULL,
    served_at BIGINT NOT NULL,
    PRIMARY KEY (kind, partition_key)
);
";

const FIGURES: &str = "
CREATE TABLE jobs_figures (
    id BIGINT NOT NULL PRIMARY KEY,
    counted_at BIGINT NOT NULL,
    figures TEXT NOT NULL
)";

const NOTES: &str = "
CREATE TABLE jobs_notes (
    job_id TEXT NOT NULL PRIMARY KEY,
    result TEXT,
    checkpoint TEXT,
    progress TEXT
)";

/// A job that is a member of a group names it. `jobs` of a batch is known when it is sealed; what is added before is in rows of
/// its own.
const BATCHES: &str = "
ALTER TABLE jobs_ready ADD COLUMN member_of TEXT;
ALTER TABLE jobs_history ADD COLUMN member_of TEXT;
CREATE TABLE jobs_batches (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    opened_at BIGINT NOT NULL,
    sealed_at BIGINT,
    jobs BIGINT,
    completed BIGINT NOT NULL,
    discarded BIGINT NOT NULL,
    cancelled BIGINT NOT NULL,
    callbacks TEXT NOT NULL,
    succeeded_at BIGINT,
    failed_at BIGINT,
    ended_at BIGINT
);
CREATE TABLE jobs_batch_additions (
    batch_id TEXT NOT NULL,
    id TEXT NOT NULL,
    jobs BIGINT NOT NULL,
    PRIMARY KEY (batch_id, id)
);
";

/// For forgetting them. A batch that runs is in no index that its counters would have to change.
const ENDED_BATCHES: &str =
    "CREATE INDEX jobs_batches_ended ON jobs_batches (ended_at) WHERE ended_at IS NOT NULL";

/// A queue's lease is marked as of the limited kind without a name: releases that know no limits of queues tell the others
/// when its jobs end, all the same.
const QUEUE_LIMITS: &str = "
CREATE TABLE jobs_queue_limits (
    queue TEXT NOT NULL PRIMARY KEY,
    next_at BIGINT NOT NULL
)";

const SEALED_KINDS: &str = "CREATE TABLE jobs_sealed_kinds (kind TEXT NOT NULL PRIMARY KEY)";

/// For cancelling a batch. It costs nothing for jobs that are in no group.
const MEMBERS: &str =
    "CREATE INDEX jobs_ready_members ON jobs_ready (member_of, id) WHERE member_of IS NOT NULL";

/// A blocked job has the columns of one that is ready, in a table that no claim reads.
const WORKFLOWS: &str = "
CREATE TABLE jobs_blocked (
    id TEXT NOT NULL PRIMARY KEY,
    queue TEXT NOT NULL,
    kind TEXT NOT NULL,
    args TEXT NOT NULL,
    priority BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    max_attempts BIGINT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    traceparent TEXT,
    unique_key TEXT,
    last_error TEXT,
    partition_key TEXT,
    member_of TEXT
);
CREATE TABLE jobs_workflows (
    id TEXT NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    enqueued_at BIGINT NOT NULL,
    jobs BIGINT NOT NULL,
    open BIGINT NOT NULL,
    ended_at BIGINT
);
CREATE INDEX jobs_workflows_ended ON jobs_workflows (ended_at) WHERE ended_at IS NOT NULL;
CREATE TABLE jobs_workflow_jobs (
    job_id TEXT NOT NULL PRIMARY KEY,
    workflow_id TEXT NOT NULL,
    name TEXT NOT NULL,
    kind TEXT NOT NULL,
    level BIGINT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('blocked', 'released', 'completed', 'discarded', 'cancelled')),
    cancelled_for TEXT
);
CREATE UNIQUE INDEX jobs_workflow_jobs_named ON jobs_workflow_jobs (workflow_id, name);
CREATE TABLE jobs_workflow_edges (
    job_id TEXT NOT NULL,
    dependency TEXT NOT NULL,
    ignore_failure BIGINT NOT NULL,
    PRIMARY KEY (job_id, dependency)
);
CREATE INDEX jobs_workflow_edges_dependency ON jobs_workflow_edges (dependency);
";

/// A lease lives for milliseconds: compressing its jobs costs more than writing them. Rows of the queue die as fast
/// as they come, and an index full of dead ones makes every claim slower: they are vacuumed early and without pauses.
const STORAGE: &str = "
ALTER TABLE jobs_lease ALTER COLUMN jobs SET STORAGE EXTERNAL;
ALTER TABLE jobs_ready SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0);
ALTER TABLE jobs_lease SET (autovacuum_vacuum_scale_factor = 0.05, autovacuum_vacuum_cost_delay = 0,
                            toast.autovacuum_vacuum_scale_factor = 0.05, toast.autovacuum_vacuum_cost_delay = 0);
";
