//! The queue's tables.

use quintet_store::{Migration, Module, Sql};

/// The queue's tables, for [`quintet_store::Store::migrate`].
pub static MODULE: Module = Module {
    name: "jobs",
    migrations: &[Migration { version: 1, name: "queue", sql: Sql::one(QUEUE), oldest_reader: 1 }],
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
