//! What was really done, written down by those who did it and not by the queue: runs, acknowledgements, deliveries.
//!
//! Append-only, in memory for the judgement and as lines of JSON for whoever wants to know what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use anyhow::Context as _;
use serde::Serialize;

/// Something that happened.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub(super) enum Entry {
    /// A client was told that its job exists. `event` is what a webhook's job was to tell.
    Enqueued { job: String, kind: String, event: Option<u64> },
    /// A worker elsewhere was given a job.
    Claimed { job: String, kind: String, lease: String, attempt: i64, schedule: Option<u64> },
    /// It told how the run ended; `accepted` unless the answer was lost.
    Acknowledged { job: String, lease: String, completed: bool, stale: bool, accepted: Option<bool> },
    /// A webhook came in.
    Delivered { event: u64, message: String },
    /// A process was made to fail.
    Fault { name: &'static str },
}

#[derive(Default)]
struct Book {
    enqueued: BTreeMap<String, (String, Option<u64>)>,
    /// The newest claim of each job.
    newest: BTreeMap<String, String>,
    claims: u64,
    claimed_again: u64,
    /// Accepted acknowledgements of completion, by job.
    completed: BTreeMap<String, u32>,
    stale_sent: u64,
    stale_accepted: Vec<String>,
    refused: u64,
    unanswered: u64,
    /// How often each message came, by the event that it tells.
    deliveries: BTreeMap<u64, BTreeMap<String, u32>>,
    schedules: BTreeMap<String, u64>,
}

pub(super) struct Ledger {
    book: Mutex<(Book, File)>,
    begun: Instant,
}

/// What came of a run.
#[derive(Debug, Clone, Default, Serialize)]
pub(super) struct Account {
    pub(super) enqueued: u64,
    pub(super) runs: u64,
    pub(super) runs_again: u64,
    pub(super) acknowledged_twice: Vec<String>,
    pub(super) stale_sent: u64,
    pub(super) stale_accepted: Vec<String>,
    pub(super) refused: u64,
    pub(super) unanswered: u64,
    pub(super) events: u64,
    /// Deliveries of a message that came before: what a receiver tells by its id.
    pub(super) repeated: u64,
    /// Events that were told by two messages.
    pub(super) doubled: Vec<u64>,
}

impl Ledger {
    pub(super) fn create(path: &Path) -> anyhow::Result<Self> {
        let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
        Ok(Self { book: Mutex::new((Book::default(), file)), begun: Instant::now() })
    }

    fn book(&self) -> MutexGuard<'_, (Book, File)> {
        // Each entry is added whole.
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add(&self, entry: Entry) {
        let line = serde_json::json!({ "ms": self.begun.elapsed().as_millis(), "entry": &entry });
        let mut guard = self.book();
        let (book, file) = &mut *guard;
        // The judgement does not need the file.
        let _ = writeln!(file, "{line}");
        book.add(entry);
    }

    /// Whether the job was given to somebody else since.
    pub(super) fn is_stale(&self, job: &str, lease: &str) -> bool {
        self.book().0.newest.get(job).is_some_and(|newest| newest != lease)
    }

    pub(super) fn is_completed(&self, job: &str) -> bool {
        self.book().0.completed.contains_key(job)
    }

    /// Jobs that clients were told of, with what they were to tell.
    pub(super) fn promised(&self) -> Vec<(String, String, Option<u64>)> {
        let guard = self.book();
        guard.0.enqueued.iter().map(|(job, (kind, event))| (job.clone(), kind.clone(), *event)).collect()
    }

    pub(super) fn told(&self, event: u64) -> bool {
        self.book().0.deliveries.contains_key(&event)
    }

    /// The jobs that the calendar enqueued, with the number of their schedule.
    pub(super) fn scheduled(&self) -> Vec<(String, u64)> {
        self.book().0.schedules.iter().map(|(job, schedule)| (job.clone(), *schedule)).collect()
    }

    /// Jobs enqueued, completions accepted.
    pub(super) fn counts(&self) -> (usize, usize) {
        let guard = self.book();
        (guard.0.enqueued.len(), guard.0.completed.len() + guard.0.deliveries.len())
    }

    pub(super) fn account(&self) -> Account {
        let guard = self.book();
        let book = &guard.0;
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        let twice = book.completed.iter().filter(|(_, count)| **count > 1);
        let again =
            |messages: &BTreeMap<String, u32>| messages.values().map(|n| u64::from(n - 1)).sum::<u64>();
        Account {
            enqueued: number(book.enqueued.len()),
            runs: book.claims,
            runs_again: book.claimed_again,
            acknowledged_twice: twice.map(|(job, _)| job.clone()).collect(),
            stale_sent: book.stale_sent,
            stale_accepted: book.stale_accepted.clone(),
            refused: book.refused,
            unanswered: book.unanswered,
            events: number(book.deliveries.len()),
            repeated: book.deliveries.values().map(again).sum(),
            doubled: book.deliveries.iter().filter(|(_, m)| m.len() > 1).map(|(event, _)| *event).collect(),
        }
    }
}

impl Book {
    fn add(&mut self, entry: Entry) {
        match entry {
            Entry::Enqueued { job, kind, event } => {
                self.enqueued.insert(job, (kind, event));
            }
            Entry::Claimed { job, lease, schedule, .. } => {
                self.claims += 1;
                if let Some(schedule) = schedule {
                    self.schedules.insert(job.clone(), schedule);
                }
                self.claimed_again += u64::from(self.newest.insert(job, lease).is_some());
            }
            Entry::Acknowledged { job, completed, stale, accepted, .. } => {
                self.stale_sent += u64::from(stale);
                match accepted {
                    Some(true) => {
                        if completed {
                            *self.completed.entry(job.clone()).or_default() += 1;
                        }
                        if stale {
                            self.stale_accepted.push(job);
                        }
                    }
                    Some(false) => self.refused += 1,
                    None => self.unanswered += 1,
                }
            }
            Entry::Delivered { event, message } => {
                *self.deliveries.entry(event).or_default().entry(message).or_default() += 1;
            }
            Entry::Fault { .. } => {}
        }
    }
}

/// Instants of a schedule at which more than one job was enqueued.
pub(super) fn fired_twice(ticks: &[(u64, String)]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    ticks
        .iter()
        .filter(|tick| !seen.insert(*tick))
        .map(|(schedule, at)| format!("{schedule} at {at}"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ledger(entries: Vec<Entry>) -> Account {
        let directory = tempfile::tempdir().unwrap();
        let ledger = Ledger::create(&directory.path().join("ledger")).unwrap();
        for entry in entries {
            ledger.add(entry);
        }
        ledger.account()
    }

    fn claimed(lease: &str) -> Entry {
        let (job, kind) = ("job".to_owned(), "kind".to_owned());
        Entry::Claimed { job, kind, lease: lease.to_owned(), attempt: 1, schedule: None }
    }

    fn said(lease: &str, stale: bool, accepted: Option<bool>) -> Entry {
        let (job, lease) = ("job".to_owned(), lease.to_owned());
        Entry::Acknowledged { job, lease, completed: true, stale, accepted }
    }

    #[test]
    fn a_job_that_two_runs_completed_and_an_old_lease_that_was_believed_are_found() {
        let right = ledger(vec![
            claimed("a"),
            claimed("b"),
            said("a", true, Some(false)),
            said("b", false, None),
            said("b", false, Some(true)),
        ]);
        assert!(right.acknowledged_twice.is_empty() && right.stale_accepted.is_empty(), "{right:?}");
        assert_eq!((right.runs, right.runs_again, right.refused, right.unanswered), (2, 1, 1, 1));
        let wrong = ledger(vec![
            claimed("a"),
            claimed("b"),
            said("a", true, Some(true)),
            said("b", false, Some(true)),
        ]);
        assert_eq!(wrong.acknowledged_twice, ["job"]);
        assert_eq!(wrong.stale_accepted, ["job"]);
    }

    #[test]
    fn a_message_that_comes_again_is_no_second_message() {
        let delivered = |message: &str| Entry::Delivered { event: 7, message: message.to_owned() };
        let once = ledger(vec![delivered("a"), delivered("a")]);
        assert_eq!((once.repeated, once.doubled.len()), (1, 0));
        assert_eq!(ledger(vec![delivered("a"), delivered("b")]).doubled, [7]);
    }

    #[test]
    fn a_schedule_that_fires_twice_for_one_instant_is_found() {
        let tick = |schedule: u64, at: &str| (schedule, at.to_owned());
        assert!(fired_twice(&[tick(1, "12:00"), tick(2, "12:00"), tick(1, "12:01")]).is_empty());
        assert_eq!(fired_twice(&[tick(1, "12:00"), tick(1, "12:00")]).len(), 1);
    }
}
