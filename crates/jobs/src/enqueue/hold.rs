//! Taking unique keys: which jobs have theirs, and which wait in place of others.
//!
//! A key is an insertion into `jobs_unique`; who comes second waits for the first one's commit and then finds its row.
//! Whether the holder still waits is not written there, because a claim would have to: a second job that cares looks
//! at the holder's row in the queue and locks it, so that it is neither claimed nor gone before this transaction ends.
//! A holder that is past that state loses the key by an update that names it, so of two takers one has it.

use std::collections::{BTreeMap, HashMap};

use quintet_store::{Sql, Tx, args};
use quintet_types::JobId;

use super::unique::{Claim, Held};
use super::{Conflict, UniqueStates, Waiting};
use crate::error::Error;
use crate::sealing::{self, Content, Place, Seals};

/// Looks at a key that changed hands between two statements; each takes another job's end.
const TRIES: usize = 10;

const INSERT: Sql = Sql::per_dialect(
    "INSERT INTO jobs_unique (unique_key, job_id, expires_at)
     SELECT key.value, job.value, expiry.value FROM json_each($1) AS key JOIN json_each($2) AS job ON job.key = key.key
         JOIN json_each($3) AS expiry ON expiry.key = key.key
     WHERE TRUE ON CONFLICT (unique_key) DO NOTHING RETURNING unique_key",
    // In one order in every transaction, so that two of them cannot deadlock.
    "INSERT INTO jobs_unique (unique_key, job_id, expires_at)
     SELECT key, job, expiry FROM unnest($1::text[], $2::text[], $3::bigint[]) AS held (key, job, expiry) ORDER BY key
     ON CONFLICT (unique_key) DO NOTHING RETURNING unique_key",
);

const HOLDERS: Sql = Sql::per_dialect(
    "SELECT unique_key, job_id FROM jobs_unique WHERE unique_key IN (SELECT value FROM json_each($1))",
    "SELECT unique_key, job_id FROM jobs_unique WHERE unique_key = ANY($1)",
);

/// Takes the keys of these jobs, of which no two are the same; what became of each, by key.
pub(super) async fn hold(
    tx: &mut Tx,
    mut wanted: BTreeMap<String, (&Waiting, &Claim)>,
) -> Result<HashMap<String, Held>, Error> {
    let mut held = HashMap::with_capacity(wanted.len());
    for _ in 0..TRIES {
        for row in insert(tx, &wanted).await? {
            wanted.remove(&row);
            held.insert(row, Held::Taken);
        }
        if wanted.is_empty() {
            return Ok(held);
        }
        let keys: Vec<String> = wanted.keys().cloned().collect();
        let holders = tx.fetch_all(&HOLDERS, args![keys]).await?;
        let holders = holders.iter().map(|row| Ok((row.get("unique_key")?, row.parse("job_id")?)));
        let holders: BTreeMap<String, JobId> = holders.collect::<Result<_, Error>>()?;
        // Those that are missing were given up since the insertion: insert them again.
        for (key, holder) in holders {
            let Some((job, claim)) = wanted.get(&key) else { continue };
            if let Some(settled) = settle(tx, job, claim, holder).await? {
                wanted.remove(&key);
                held.insert(key, settled);
            }
        }
        if wanted.is_empty() {
            return Ok(held);
        }
    }
    Err(Error::UniqueContended)
}

async fn insert(tx: &mut Tx, wanted: &BTreeMap<String, (&Waiting, &Claim)>) -> Result<Vec<String>, Error> {
    let keys: Vec<String> = wanted.keys().cloned().collect();
    let ids: Vec<String> = wanted.values().map(|(job, _)| job.id.to_string()).collect();
    let expiries: Vec<i64> = wanted.values().map(|(_, claim)| claim.expires_at).collect();
    let rows = tx.fetch_all(&INSERT, args![keys, ids, expiries]).await?;
    rows.iter().map(|row| Ok(row.get("unique_key")?)).collect()
}

/// What becomes of a job whose key `holder` has; nothing if that changed meanwhile.
async fn settle(tx: &mut Tx, job: &Waiting, claim: &Claim, holder: JobId) -> Result<Option<Held>, Error> {
    let kept = Held::By { id: holder, replaced: false };
    if claim.conflict == Conflict::Keep && claim.states != UniqueStates::Waiting {
        return Ok(Some(kept));
    }
    if let Some(waiting) = tx.fetch_optional(&LOCK, args![holder]).await? {
        // A key may be shared by kinds; the arguments of one are not those of another.
        if claim.conflict == Conflict::Keep || waiting.get::<String>("kind")? != job.kind {
            return Ok(Some(kept));
        }
        replace(tx, job, claim.conflict, holder).await?;
        return Ok(Some(Held::By { id: holder, replaced: true }));
    }
    if claim.states != UniqueStates::Waiting {
        return Ok(Some(kept));
    }
    let taken = tx
        .execute(
            "UPDATE jobs_unique SET job_id = $3, expires_at = $4 WHERE unique_key = $1 AND job_id = $2",
            args![&claim.key, holder, job.id, claim.expires_at],
        )
        .await?;
    Ok((taken > 0).then_some(Held::Taken))
}

/// A claim passes over a row that is locked.
const LOCK: Sql = Sql::per_dialect(
    "SELECT kind FROM jobs_ready WHERE id = $1",
    "SELECT kind FROM jobs_ready WHERE id = $1 FOR UPDATE",
);

async fn replace(tx: &mut Tx, job: &Waiting, conflict: Conflict, holder: JobId) -> Result<(), Error> {
    if conflict.args() {
        // Sealed for the job that gets them.
        let place = Place { content: Content::Args, job: holder, kind: &job.kind };
        let args = sealing::seal(tx.attached::<Seals>().as_deref(), place, job.args.clone())?;
        tx.send("UPDATE jobs_ready SET args = $2 WHERE id = $1", args![holder, args]).await?;
    }
    if conflict.run_at() {
        tx.send("UPDATE jobs_ready SET run_at = $2 WHERE id = $1", args![holder, job.run_at]).await?;
    }
    Ok(())
}
