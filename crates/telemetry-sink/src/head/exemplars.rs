//! Exemplars in memory: one queue for all series, from which the oldest leave when it is full.
//!
//! A series takes an exemplar that is newer than its newest one; one that says the same is a repeat, and an older
//! one is refused, as Prometheus does. Memory is bounded in bytes and in number.
//!
//! Invariants: `kept` is in the order of arrival, and the exemplar with number `n` stands at `n - first`;
//! `by_series` has the numbers of each series' exemplars, ascending, and no series without any.

use std::collections::{HashMap, VecDeque};

use crate::model::{Exemplar, Labels};

/// As many as Prometheus keeps when its feature is on.
const MAX_EXEMPLARS: usize = 100_000;
/// An exemplar in the queue and its number in the index; both grow by doubling.
const ENTRY_BYTES: usize = 2 * (size_of::<Exemplar>() + size_of::<u64>());
const SERIES_BYTES: usize = 2 * size_of::<(Labels, VecDeque<u64>)>();

/// What became of an exemplar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Noted {
    New,
    /// The series' newest one says the same.
    Repeat,
    /// Its series has a newer one.
    OutOfOrder,
    /// Its labels have more characters than OpenMetrics allows.
    TooLong,
}

/// The exemplars of all series.
pub(crate) struct Exemplars {
    share: usize,
    bytes: usize,
    first: u64,
    kept: VecDeque<Exemplar>,
    by_series: HashMap<Labels, VecDeque<u64>>,
}

impl Exemplars {
    /// A queue that keeps itself within `share` bytes.
    pub(crate) fn new(share: usize) -> Self {
        Self { share, bytes: 0, first: 0, kept: VecDeque::new(), by_series: HashMap::new() }
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn len(&self) -> usize {
        self.kept.len()
    }

    /// What would become of an exemplar.
    pub(crate) fn judge(&self, exemplar: &Exemplar) -> Noted {
        if exemplar.is_too_long() {
            return Noted::TooLong;
        }
        match self.newest(&exemplar.series) {
            Some(newest) if exemplar.repeats(newest) => Noted::Repeat,
            Some(newest) if exemplar.order(newest).is_le() => Noted::OutOfOrder,
            _ => Noted::New,
        }
    }

    fn newest(&self, series: &Labels) -> Option<&Exemplar> {
        self.numbered(*self.by_series.get(series)?.back()?)
    }

    fn numbered(&self, number: u64) -> Option<&Exemplar> {
        self.kept.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// Keeps an exemplar if it is new, and lets the oldest go for it.
    pub(crate) fn push(&mut self, exemplar: &Exemplar) -> Noted {
        let noted = self.judge(exemplar);
        if noted != Noted::New {
            return noted;
        }
        let number = self.first + u64::try_from(self.kept.len()).unwrap_or(0);
        let mut exemplar = exemplar.clone();
        if let Some((known, _)) = self.by_series.get_key_value(&exemplar.series) {
            exemplar.series = known.clone();
        } else {
            self.bytes += series_bytes(&exemplar.series);
        }
        self.by_series.entry(exemplar.series.clone()).or_default().push_back(number);
        self.bytes += entry_bytes(&exemplar);
        self.kept.push_back(exemplar);
        while self.bytes > self.share || self.kept.len() > MAX_EXEMPLARS {
            self.drop_oldest();
        }
        noted
    }

    /// Drops those that arrived before anything as new as `time`, milliseconds.
    pub(crate) fn forget_before(&mut self, time: i64) {
        while self.kept.front().is_some_and(|oldest| oldest.time < time) {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let Some(gone) = self.kept.pop_front() else {
            self.bytes = 0;
            return;
        };
        self.first += 1;
        self.bytes = self.bytes.saturating_sub(entry_bytes(&gone));
        if let Some(numbers) = self.by_series.get_mut(&gone.series) {
            numbers.pop_front();
            if numbers.is_empty() {
                self.by_series.remove(&gone.series);
                self.bytes = self.bytes.saturating_sub(series_bytes(&gone.series));
            }
        }
    }

    /// All of them, in the order of arrival.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Exemplar> {
        self.kept.iter()
    }

    /// The series that have any.
    pub(crate) fn series(&self) -> Vec<Labels> {
        self.by_series.keys().cloned().collect()
    }

    /// Those of a series with `from ≤ time ≤ to`, oldest first.
    pub(crate) fn of(&self, series: &Labels, from: i64, to: i64) -> Vec<Exemplar> {
        let numbers = self.by_series.get(series).into_iter().flatten();
        let found = numbers.filter_map(|number| self.numbered(*number));
        found.filter(|exemplar| from <= exemplar.time && exemplar.time <= to).cloned().collect()
    }
}

fn text_bytes(labels: &Labels) -> usize {
    // Two counted texts of two words each, and their pointers.
    labels.iter().map(|(name, value)| name.len() + value.len() + 64).sum()
}

fn entry_bytes(exemplar: &Exemplar) -> usize {
    ENTRY_BYTES + text_bytes(&exemplar.labels)
}

fn series_bytes(series: &Labels) -> usize {
    SERIES_BYTES + text_bytes(series)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exemplar(series: &str, trace: &str, value: f64, time: i64) -> Exemplar {
        Exemplar {
            series: [("__name__", "seconds_bucket"), ("le", series)].into_iter().collect(),
            labels: [("trace_id", trace)].into_iter().collect(),
            value,
            time,
            timed: true,
        }
    }

    #[test]
    fn a_series_takes_newer_exemplars_and_refuses_older_ones_and_repeats() {
        let mut exemplars = Exemplars::new(1 << 20);
        let mut push =
            |trace: &str, value: f64, time: i64| exemplars.push(&exemplar("1", trace, value, time));
        assert_eq!(push("a", 0.5, 10), Noted::New);
        assert_eq!(push("a", 0.5, 10), Noted::Repeat);
        assert_eq!(push("b", 0.4, 10), Noted::OutOfOrder, "a smaller value at the same time");
        assert_eq!(push("b", 0.6, 10), Noted::New);
        assert_eq!(push("a", 0.5, 10), Noted::OutOfOrder, "no longer the newest");
        assert_eq!(push("c", 0.6, 9), Noted::OutOfOrder);
        assert_eq!(push("c", 0.6, 11), Noted::New);
        assert_eq!(push(&"x".repeat(121), 0.6, 12), Noted::TooLong);
        assert_eq!(push(&"é".repeat(120), 0.6, 12), Noted::New, "characters count, not bytes");
        assert_eq!(exemplars.push(&exemplar("2", "a", 0.5, 1)), Noted::New, "each series for itself");
    }

    #[test]
    fn one_without_a_time_of_its_own_is_the_same_at_each_scrape() {
        let mut exemplars = Exemplars::new(1 << 20);
        let untimed = |time| Exemplar { timed: false, ..exemplar("1", "a", 0.5, time) };
        assert_eq!(exemplars.push(&untimed(10)), Noted::New);
        assert_eq!(exemplars.push(&untimed(20)), Noted::Repeat);
        assert_eq!(exemplars.push(&exemplar("1", "a", 0.5, 20)), Noted::New);
        assert_eq!(exemplars.of(&exemplar("1", "", 0.0, 0).series, 10, 20).len(), 2);
        assert_eq!(exemplars.of(&exemplar("1", "", 0.0, 0).series, 11, 20).len(), 1);
    }

    #[test]
    fn the_oldest_of_all_series_leave_when_the_share_is_used() {
        let mut exemplars = Exemplars::new(8 * 1024);
        for time in 0..1000 {
            let series = (time % 7).to_string();
            assert_eq!(exemplars.push(&exemplar(&series, "a", 0.5, time)), Noted::New);
            assert!(exemplars.bytes() <= 8 * 1024, "{}", exemplars.bytes());
        }
        let times: Vec<_> = exemplars.iter().map(|exemplar| exemplar.time).collect();
        assert!(times.len() > 10 && times.len() < 50, "{}", times.len());
        assert!(times.iter().rev().zip((0..1000).rev()).all(|(kept, newest)| *kept == newest), "{times:?}");
        let found: usize = exemplars.series().iter().map(|series| exemplars.of(series, 0, 1000).len()).sum();
        assert_eq!(found, times.len());
        exemplars.forget_before(999);
        assert_eq!(exemplars.len(), 1);
        exemplars.forget_before(1000);
        assert_eq!((exemplars.len(), exemplars.bytes(), exemplars.series().len()), (0, 0, 0));
    }
}
