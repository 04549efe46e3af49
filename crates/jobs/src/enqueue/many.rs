//! Many jobs in one statement.

use std::collections::{BTreeMap, HashMap};

use quintet_store::Tx;
use quintet_types::Clock;

use super::hold::hold;
use super::{Claim, Enqueued, Held, NewJob, Waiting};
use crate::batch;
use crate::error::Error;
use crate::lease::CHANNEL;
use crate::row;
use crate::sealing::Seals;

/// Jobs of one statement: it holds them all in memory, here and in the database.
const AT_ONCE: usize = 1_000;

/// Enqueues jobs in the caller's transaction, a thousand in a statement; they exist if and when that commits. The
/// answers are in the order of the jobs. Jobs that are the same, also within `jobs`, are treated as if they were
/// enqueued one after the other.
///
/// # Errors
/// As [`enqueue`](super::enqueue()), before anything is written when a job's arguments are not acceptable.
pub async fn enqueue_many(tx: &mut Tx, clock: &dyn Clock, jobs: Vec<NewJob>) -> Result<Vec<Enqueued>, Error> {
    let traceparent = quintet_telemetry::trace::current_traceparent();
    let seals = tx.attached::<Seals>();
    let waiting = jobs
        .into_iter()
        .map(|job| Waiting::new(clock, job, traceparent.as_deref(), seals.as_deref()))
        .collect::<Result<Vec<_>, Error>>()?;
    let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
    let mut batches: BTreeMap<String, i64> = BTreeMap::new();
    let mut answers = Vec::with_capacity(waiting.len());
    let mut waiting = waiting.into_iter().peekable();
    while waiting.peek().is_some() {
        let some = waiting.by_ref().take(AT_ONCE).collect();
        let some = settle(tx, some, &mut answers).await?;
        for job in &some {
            *counts.entry((job.queue.clone(), job.kind.clone())).or_default() += 1;
        }
        if !some.is_empty() {
            for job in some.iter().filter_map(|job| job.member_of.as_ref()) {
                *batches.entry(job.clone()).or_default() += 1;
            }
            row::insert_ready(tx, some).await?;
        }
    }
    batch::add(tx, &batches).await?;
    if !answers.is_empty() {
        tx.notify(CHANNEL).await?;
    }
    for ((queue, kind), count) in counts {
        metrics::counter!("quintet_jobs_enqueued_total", "queue" => queue, "kind" => kind).increment(count);
    }
    Ok(answers)
}

/// Takes the unique keys of these jobs; the jobs that are to be written, and an answer for each.
async fn settle(
    tx: &mut Tx,
    jobs: Vec<(Waiting, Option<Claim>)>,
    answers: &mut Vec<Enqueued>,
) -> Result<Vec<Waiting>, Error> {
    let (jobs, followers) = part(jobs);
    let wanted: BTreeMap<String, (&Waiting, &Claim)> = jobs
        .iter()
        .filter_map(|(_, job, claim)| claim.as_ref().map(|claim| (claim.key.clone(), (job, claim))))
        .collect();
    let held = if wanted.is_empty() { HashMap::new() } else { hold(tx, wanted).await? };
    let mut answered: Vec<(usize, Enqueued)> = Vec::with_capacity(jobs.len() + followers.len());
    let mut by_key: HashMap<String, Enqueued> = HashMap::with_capacity(held.len());
    let mut new = Vec::with_capacity(jobs.len());
    for (place, job, claim) in jobs {
        let answer = match claim.as_ref().and_then(|claim| held.get(&claim.key)) {
            Some(&Held::By { id, replaced }) => Enqueued { id, duplicate: true, replaced },
            Some(Held::Taken) | None => Enqueued { id: job.id, duplicate: false, replaced: false },
        };
        if let Some(claim) = claim {
            by_key.insert(claim.key, answer);
        }
        answered.push((place, answer));
        if !answer.duplicate {
            new.push(job);
        }
    }
    for (place, key, replaced) in followers {
        if let Some(first) = by_key.get(&key) {
            let replaced = replaced && (first.replaced || !first.duplicate);
            answered.push((place, Enqueued { duplicate: true, replaced, ..*first }));
        }
    }
    answered.sort_unstable_by_key(|(place, _)| *place);
    answers.extend(answered.into_iter().map(|(_, answer)| answer));
    Ok(new)
}

type First = (usize, Waiting, Option<Claim>);
type Follower = (usize, String, bool);

/// The jobs of which no two have one key, with their places, and those that follow one of them: its place, its key,
/// and whether it replaced something of the first one, as it would have done in the queue.
fn part(jobs: Vec<(Waiting, Option<Claim>)>) -> (Vec<First>, Vec<Follower>) {
    let mut firsts: Vec<First> = Vec::with_capacity(jobs.len());
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut followers = Vec::new();
    for (place, (job, claim)) in jobs.into_iter().enumerate() {
        let first = claim.as_ref().and_then(|claim| index.get(&claim.key)).copied();
        match (claim, first.and_then(|first| firsts.get_mut(first))) {
            (Some(claim), Some((_, first, _))) => {
                let replaces = first.kind == job.kind && (claim.conflict.args() || claim.conflict.run_at());
                if replaces && claim.conflict.args() {
                    first.args = job.args;
                }
                if replaces && claim.conflict.run_at() {
                    first.run_at = job.run_at;
                }
                followers.push((place, claim.key, replaces));
            }
            (claim, _) => {
                if let Some(claim) = &claim {
                    index.insert(claim.key.clone(), firsts.len());
                }
                firsts.push((place, job, claim));
            }
        }
    }
    (firsts, followers)
}
