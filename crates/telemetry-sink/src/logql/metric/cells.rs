//! What is known of the measured values of one series between two neighbouring window edges.
//!
//! Every window of every step is a run of cells, so each line is looked at once, however many windows it is in.

use std::collections::BTreeMap;

/// The moments of some values, and the first and the last of them.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cell {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) mean: f64,
    /// The sum of squared distances from the mean.
    pub(super) spread: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) first: (i64, f64),
    pub(super) last: (i64, f64),
}

impl Cell {
    pub(super) fn of(time: i64, value: f64) -> Self {
        Self {
            count: 1.0,
            sum: value,
            mean: value,
            spread: 0.0,
            min: value,
            max: value,
            first: (time, value),
            last: (time, value),
        }
    }

    /// Adds other values (Chan's parallel form of Welford's variance).
    pub(super) fn merge(&mut self, other: &Self) {
        let count = self.count + other.count;
        let delta = other.mean - self.mean;
        self.spread += other.spread + delta * delta * self.count * other.count / count;
        self.mean += delta * other.count / count;
        self.count = count;
        self.sum += other.sum;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
        if other.first.0 < self.first.0 {
            self.first = other.first;
        }
        if other.last.0 >= self.last.0 {
            self.last = other.last;
        }
    }

    pub(super) fn mean(&self) -> f64 {
        self.mean
    }

    pub(super) fn variance(&self) -> f64 {
        self.spread / self.count
    }
}

/// The edges of all windows; values lie between them, the later edge included.
#[derive(Debug)]
pub(super) struct Edges {
    times: Vec<i64>,
}

impl Edges {
    pub(super) fn new(windows: impl Iterator<Item = (i64, i64)>) -> Self {
        let mut times: Vec<i64> = windows.flat_map(|(start, end)| [start, end]).collect();
        times.sort_unstable();
        times.dedup();
        Self { times }
    }

    /// The cell that a time belongs to.
    pub(super) fn cell(&self, time: i64) -> usize {
        self.times.partition_point(|edge| *edge < time)
    }

    /// The cells of a window: from the one after its start to the one that ends with it.
    pub(super) fn window(&self, start: i64, end: i64) -> std::ops::RangeInclusive<usize> {
        self.cell(start) + 1..=self.cell(end)
    }
}

/// A series: its cells, or its values where their order or each of them matters.
#[derive(Debug)]
pub(super) enum Measured {
    Cells(BTreeMap<usize, Cell>),
    Values(Vec<(i64, f64)>),
}

impl Measured {
    /// Adds what another sink measured between the same edges.
    pub(super) fn merge(&mut self, other: Self) {
        match (self, other) {
            (Self::Values(values), Self::Values(more)) => values.extend(more),
            (Self::Cells(cells), Self::Cells(more)) => {
                for (cell, new) in more {
                    cells.entry(cell).and_modify(|known| known.merge(&new)).or_insert(new);
                }
            }
            // One query is measured in one way; this is not what was asked for.
            (Self::Values(_), Self::Cells(_)) | (Self::Cells(_), Self::Values(_)) => {}
        }
    }

    /// Cells or values.
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Cells(cells) => cells.len(),
            Self::Values(values) => values.len(),
        }
    }

    /// Whether this took more memory.
    pub(super) fn add(&mut self, cell: usize, time: i64, value: f64) -> bool {
        match self {
            Self::Values(values) => {
                values.push((time, value));
                true
            }
            Self::Cells(cells) => {
                let before = cells.len();
                let new = Cell::of(time, value);
                cells.entry(cell).and_modify(|known| known.merge(&new)).or_insert(new);
                cells.len() > before
            }
        }
    }
}
