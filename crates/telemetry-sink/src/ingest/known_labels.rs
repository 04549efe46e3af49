//! Label sets that were read before, so that a sender's next request needs no copy of them.
//!
//! A series is sent every few seconds with the same labels in the same order. What it was read from finds the labels
//! that its series in the head holds; they are compared byte by byte, so that a hash that two sets share costs time
//! and nothing else. Sets in another order than that of their names, or with empty values, are never found.
//!
//! Invariant: at most [`MOST`] sets are known, of 32 bytes each beside what the head holds anyway.

use std::hash::{BuildHasher, RandomState};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};

use rustc_hash::FxHashMap;
use twox_hash::XxHash64;

use crate::model::Labels;
use crate::storage::Storage;

const MOST: usize = 1 << 18;
/// Sets that one request may teach; the next teaches more.
const MOST_NEW: usize = 1 << 14;

pub(crate) struct KnownLabels {
    seed: u64,
    sets: RwLock<FxHashMap<u64, Labels>>,
}

/// Labels by the hash of what they were read from.
pub(crate) type New = Vec<(u64, Labels)>;

impl KnownLabels {
    pub(crate) fn new() -> Self {
        Self { seed: RandomState::new().hash_one(0), sets: RwLock::default() }
    }

    /// A look at the sets while one request is decoded.
    pub(crate) fn reading(&self) -> Reading<'_> {
        let sets = self.sets.read().unwrap_or_else(PoisonError::into_inner);
        Reading { seed: self.seed, sets, plain: Vec::new(), new: Vec::new() }
    }

    /// Remembers those sets that have become series.
    pub(super) fn learn(&self, new: New, storage: &Storage) {
        let new: New = new
            .into_iter()
            .filter_map(|(hash, labels)| Some((hash, storage.shared_labels(&labels)?)))
            .collect();
        if new.is_empty() {
            return;
        }
        let mut sets = self.sets.write().unwrap_or_else(PoisonError::into_inner);
        if sets.len() + new.len() > MOST {
            // The head has let go of some; if that is not enough, all are learned afresh.
            sets.retain(|_, labels| !labels.is_alone());
            if sets.len() + new.len() > MOST {
                sets.clear();
            }
        }
        sets.extend(new);
    }
}

/// A label's name and value as they were sent.
type Pair<'a> = (&'a [u8], &'a [u8]);

pub(crate) struct Reading<'a> {
    seed: u64,
    sets: RwLockReadGuard<'a, FxHashMap<u64, Labels>>,
    plain: Vec<u8>,
    new: New,
}

impl Reading<'_> {
    /// The labels of these pairs: known ones, or those that `make` makes of them.
    pub(super) fn labels(
        &mut self,
        pairs: &[Pair<'_>],
        make: impl FnOnce(&[Pair<'_>]) -> Option<Labels>,
    ) -> Option<Labels> {
        self.plain.clear();
        for (name, value) in pairs {
            self.plain.extend_from_slice(name);
            self.plain.push(0xff);
            self.plain.extend_from_slice(value);
            self.plain.push(0xff);
        }
        let hash = XxHash64::oneshot(self.seed, &self.plain);
        if let Some(known) = self.sets.get(&hash).filter(|known| is(known, pairs)) {
            return Some(known.clone());
        }
        let labels = make(pairs)?;
        if self.new.len() < MOST_NEW {
            self.new.push((hash, labels.clone()));
        }
        Some(labels)
    }

    /// What was not known.
    pub(super) fn end(self) -> New {
        self.new
    }
}

/// Whether the set is just these pairs, in this order.
fn is(labels: &Labels, pairs: &[Pair<'_>]) -> bool {
    labels.len() == pairs.len()
        && labels.iter().zip(pairs).all(|((own_name, own_value), (name, value))| {
            own_name.as_bytes() == *name && own_value.as_bytes() == *value
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn made(pairs: &[Pair<'_>]) -> Labels {
        let text = |bytes| std::str::from_utf8(bytes).unwrap();
        pairs.iter().map(|(name, value)| (text(name), text(value))).collect()
    }

    #[test]
    fn a_set_that_shares_its_hash_with_another_is_not_taken_for_it() {
        let known = KnownLabels::new();
        let asked: [Pair<'_>; 2] = [(b"__name__", b"up"), (b"job", b"a")];
        let mut reading = known.reading();
        reading.labels(&asked, |pairs| Some(made(pairs)));
        let [(hash, _)] = reading.end().try_into().unwrap();
        let other: Labels = [("__name__", "up"), ("job", "b")].into_iter().collect();
        known.sets.write().unwrap().insert(hash, other);
        let found = known.reading().labels(&asked, |pairs| Some(made(pairs))).unwrap();
        assert_eq!(found.get("job"), Some("a"));
    }

    #[test]
    fn a_known_set_is_shared_and_not_made_again() {
        let known = KnownLabels::new();
        let asked: [Pair<'_>; 1] = [(b"__name__", b"up")];
        let mut reading = known.reading();
        let first = reading.labels(&asked, |pairs| Some(made(pairs))).unwrap();
        let new = reading.end();
        known.sets.write().unwrap().extend(new);
        let again = known.reading().labels(&asked, |_| None).unwrap();
        assert_eq!(again.address(), first.address());
    }
}
