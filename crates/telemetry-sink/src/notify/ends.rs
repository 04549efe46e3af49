//! Which alerts are over, kept in a journal: a restart takes up what was told as firing, and what ended since is not to be told
//! again as if it fired.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::store::Alert;

/// The end of an alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct End {
    /// When it was seen to be over, milliseconds: the alert's own time of its end may lie before it was last told as firing.
    pub(super) at: i64,
    /// Whether nobody is to be told any more.
    pub(super) settled: bool,
}

/// Ends by the alerts' fingerprints.
pub(super) struct Ends {
    journal: Journal<End>,
    known: HashMap<u64, End>,
    /// Those that nobody is to be told of any more, which the journal does not say yet.
    settled: BTreeSet<u64>,
}

fn key(fingerprint: u64) -> String {
    format!("{fingerprint:016x}")
}

impl Ends {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let journal: Journal<End> = Journal::open(path)?;
        let known = journal.entries().iter();
        let known = known.filter_map(|(key, end)| Some((u64::from_str_radix(key, 16).ok()?, *end))).collect();
        Ok(Self { journal, known, settled: BTreeSet::new() })
    }

    pub(super) fn get(&self, fingerprint: u64) -> Option<End> {
        self.known.get(&fingerprint).copied()
    }

    /// Nobody is to be told of an end any more.
    pub(super) fn settle(&mut self, fingerprint: u64) {
        self.settled.insert(fingerprint);
    }

    pub(super) fn is_settled(&self, fingerprint: u64) -> bool {
        self.settled.contains(&fingerprint) || self.get(fingerprint).is_some_and(|end| end.settled)
    }

    /// Writes down which alerts are over, and which fire again.
    pub(super) fn note<'a>(
        &mut self,
        alerts: impl Iterator<Item = (u64, &'a Alert)>,
        now: i64,
    ) -> io::Result<()> {
        let mut changes = Vec::new();
        for (fingerprint, alert) in alerts {
            let known = self.get(fingerprint);
            let settled = self.is_settled(fingerprint);
            let end = alert.is_resolved(now).then_some(End { at: now, settled });
            if known.map(|known| known.settled) != end.map(|end| end.settled) {
                changes.push((fingerprint, end));
            }
        }
        self.journal.change(changes.iter().map(|(fingerprint, end)| (key(*fingerprint), *end)))?;
        for (fingerprint, end) in changes {
            match end {
                Some(end) => self.known.insert(fingerprint, end),
                None => self.known.remove(&fingerprint),
            };
        }
        self.settled.clear();
        Ok(())
    }

    /// Forgets the ends that no restart asks for.
    pub(super) fn forget(&mut self, is_needed: impl Fn(u64) -> bool) -> io::Result<()> {
        let gone: Vec<u64> = self.known.keys().copied().filter(|print| !is_needed(*print)).collect();
        self.journal.change(gone.iter().map(|print| (key(*print), None)))?;
        for print in gone {
            self.known.remove(&print);
        }
        Ok(())
    }
}
