//! Lines that wait for others which are older and come later.
//!
//! Invariants: a line waits no longer than the delay after it came; those that wait are bounded in number and in bytes, and one
//! that finds no room counts as dropped.

use std::collections::BTreeMap;

use super::{Dropped, Entry, MAX_BYTES};

/// Lines that wait at once.
const MAX_LINES: usize = 10_000;

/// What waits, in the order in which it goes.
#[derive(Debug, Default)]
pub(super) struct Held {
    /// By when they are due, their time and the order in which they came.
    lines: BTreeMap<(i64, i64, u64), Entry>,
    bytes: usize,
    came: u64,
    /// What there was no room for, and what the tail missed.
    pub(super) dropped: Dropped,
}

impl Held {
    /// Takes a line in; times are nanoseconds.
    pub(super) fn push(&mut self, entry: Entry, now: i64, delay: i64) {
        if self.lines.len() >= MAX_LINES || self.bytes > MAX_BYTES {
            self.dropped.line(entry.time, || entry.labels);
            return;
        }
        self.came += 1;
        self.bytes += entry.bytes;
        // Clocks that are ahead would hold their lines back for as long.
        let due = entry.time.min(now).saturating_add(delay);
        self.lines.insert((due, entry.time, self.came), entry);
    }

    /// When the first is due.
    pub(super) fn due(&self) -> Option<i64> {
        self.lines.first_key_value().map(|((due, ..), _)| *due)
    }

    /// Takes out what is due, ordered by time.
    pub(super) fn take(&mut self, now: i64) -> Vec<Entry> {
        let later = self.lines.split_off(&(now.saturating_add(1), i64::MIN, 0));
        let mut due: Vec<Entry> = std::mem::replace(&mut self.lines, later).into_values().collect();
        self.bytes = self.bytes.saturating_sub(due.iter().map(|entry| entry.bytes).sum());
        due.sort_by_key(|entry| entry.time);
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(time: i64, bytes: usize) -> Entry {
        Entry {
            time,
            labels: BTreeMap::from([("n".to_owned(), time.to_string())]),
            value: time.into(),
            bytes,
        }
    }

    fn times(entries: &[Entry]) -> Vec<i64> {
        entries.iter().map(|entry| entry.time).collect()
    }

    #[test]
    fn lines_wait_for_older_ones_and_none_longer_than_the_delay() {
        let mut held = Held::default();
        held.push(entry(100, 1), 100, 10);
        held.push(entry(95, 1), 101, 10);
        held.push(entry(5000, 1), 101, 10);
        assert_eq!(held.due(), Some(105));
        assert_eq!(times(&held.take(104)), [0; 0]);
        assert_eq!(times(&held.take(110)), [95, 100]);
        assert_eq!(held.due(), Some(111), "a line of the future waits no longer than others");
        assert_eq!(times(&held.take(111)), [5000]);
        assert_eq!((held.due(), held.bytes), (None, 0));
    }

    #[test]
    fn what_finds_no_room_is_listed_as_dropped() {
        let mut held = Held::default();
        for time in 0..12_000 {
            held.push(entry(time, 1), 0, 0);
        }
        assert_eq!((held.dropped.count, held.dropped.listed.len()), (2000, 1000));
        assert_eq!(held.dropped.listed[0].0, 10_000);
        let mut large = Held::default();
        large.push(entry(1, MAX_BYTES + 1), 0, 0);
        large.push(entry(2, 1), 0, 0);
        assert_eq!(large.dropped.count, 1);
        assert_eq!(times(&large.take(i64::MAX - 1)), [1]);
    }
}
