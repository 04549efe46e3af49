//! Which jobs of a limited kind are next: round robin over the partition keys, those with the fewest runs first.
//!
//! One tenant's backlog must cost the others nothing, so it is not read: the statement steps through the keys by the
//! index `jobs_ready_keyed` and looks at no more jobs of each than could be claimed. Within a key priority, due time
//! and id decide as ever. Jobs without a key share among keyed ones like one more key, which has no limits of its own.

use quintet_store::{Sql, Tx, args};
use quintet_types::time::micros;

use super::{Limits, Runs};
use crate::claim::Claimant;
use crate::error::Error;

macro_rules! choose {
    ($jobs_of_keys:literal, $runs:literal, $later:literal) => {
        concat!(
            "WITH RECURSIVE keys (key) AS (
                 SELECT min(partition_key) FROM jobs_ready
                 WHERE queue = $1 AND kind = $2 AND partition_key IS NOT NULL
                 UNION ALL
                 SELECT (SELECT min(partition_key) FROM jobs_ready
                         WHERE queue = $1 AND kind = $2 AND partition_key > keys.key)
                 FROM keys WHERE keys.key IS NOT NULL),
             waiting (id, key, priority, run_at, turn) AS (",
            $jobs_of_keys,
            " UNION ALL
                 SELECT * FROM (
                     SELECT id, '', priority, run_at, row_number() OVER (ORDER BY priority, run_at, id)
                     FROM (SELECT id, kind, partition_key, priority, run_at FROM jobs_ready
                           WHERE queue = $1 AND run_at <= $3
                           ORDER BY priority, run_at, id LIMIT 10000) AS next
                     WHERE kind = $2 AND partition_key IS NULL
                     ORDER BY priority, run_at, id LIMIT $4) AS unkeyed)
             SELECT waiting.id FROM waiting
             LEFT JOIN ",
            $runs,
            " ON runs.key = waiting.key
             LEFT JOIN jobs_limits AS served ON served.kind = $2 AND served.partition_key = waiting.key
             WHERE waiting.key = ''
                OR (coalesce(runs.runs, 0) + waiting.turn <= $7
                    AND waiting.turn <= ($3 + $8 - ",
            $later,
            "(coalesce(served.next_at, 0), $3)) / $9)
             ORDER BY coalesce(runs.runs, 0) + waiting.turn, coalesce(served.served_at, 0), waiting.priority,
                      waiting.run_at, waiting.id
             LIMIT $4"
        )
    };
}

/// Ten thousand keys are looked at: a step through the index each. Jobs without a key have no index of their own, which
/// every job would pay for: they are looked for among the ten thousand that are next in the queue.
const CHOOSE: Sql = Sql::per_dialect(
    choose!(
        "SELECT job.id, keys.key, job.priority, job.run_at,
                row_number() OVER (PARTITION BY keys.key ORDER BY job.priority, job.run_at, job.id)
         FROM (SELECT key FROM keys WHERE key IS NOT NULL LIMIT 10000) AS keys CROSS JOIN jobs_ready AS job
         WHERE job.rowid IN (
             SELECT other.rowid FROM jobs_ready AS other
             WHERE other.queue = $1 AND other.kind = $2 AND other.partition_key = keys.key AND other.run_at <= $3
             ORDER BY other.priority, other.run_at, other.id LIMIT $4)",
        "(SELECT key.value AS key, runs.value AS runs
          FROM json_each($5) AS key JOIN json_each($6) AS runs ON runs.key = key.key) AS runs",
        "max"
    ),
    choose!(
        "SELECT job.id, keys.key, job.priority, job.run_at, job.turn
         FROM (SELECT key FROM keys WHERE key IS NOT NULL LIMIT 10000) AS keys
         CROSS JOIN LATERAL (
             SELECT id, priority, run_at, row_number() OVER (ORDER BY priority, run_at, id) AS turn
             FROM jobs_ready
             WHERE queue = $1 AND kind = $2 AND partition_key = keys.key AND run_at <= $3
             ORDER BY priority, run_at, id LIMIT $4) AS job",
        "unnest($5::text[], $6::bigint[]) AS runs (key, runs)",
        "greatest"
    ),
);

/// Runs that a key may begin where its rate is not limited: more than are ever claimed.
const UNLIMITED: i64 = 1 << 32;

/// The ids of up to `free` jobs that are due and within the limits of their keys.
pub(super) async fn choose(
    tx: &mut Tx,
    claimant: Claimant<'_>,
    kind: &str,
    limits: &Limits,
    runs: &Runs,
    free: i64,
) -> Result<Vec<String>, Error> {
    let (keys, counts): (Vec<String>, Vec<i64>) =
        runs.by_key.iter().map(|(key, runs)| (key.clone(), *runs)).unzip();
    let per_key = limits.per_key.map_or(UNLIMITED, i64::from);
    let (reach, interval) =
        limits.rate_per_key.map_or((UNLIMITED, 1), |rate| (rate.reach(), rate.interval()));
    let arguments =
        args![claimant.queue, kind, micros(claimant.now), free, keys, counts, per_key, reach, interval];
    let rows = tx.fetch_all(&CHOOSE, arguments).await?;
    rows.iter().map(|row| Ok(row.get("id")?)).collect()
}
