//! What a sink measured of a range aggregation, as it is given to another.
//!
//! ```text
//! version 1 | count of series | each: labels, 0 or 1, count,
//!   0 cells  each: number, count, sum, mean, spread, min, max, time and value of the first and of the last
//!   1 values each: time, value
//! ```

use std::collections::{BTreeMap, HashMap};

use super::cells::{Cell, Measured};
use super::range::MAX_SERIES;
use crate::model::Labels;
use crate::model::codec::{Damaged, Reader, put_f64, put_i64, put_len};
use crate::peers::wire::{labels, put_labels};

const VERSION: u8 = 1;
const CELLS: u8 = 0;
const VALUES: u8 = 1;

/// Series with what was measured of them between the edges of all windows.
#[derive(Debug, Default)]
pub(crate) struct Measures(pub(super) Vec<(Labels, Measured)>);

impl Measures {
    /// Adds those of other sinks; nothing where that are more series than a query may have.
    pub(super) fn joined(self, others: Vec<Self>) -> Option<Self> {
        let Self(mut all) = self;
        let mut places: HashMap<Labels, usize> =
            all.iter().enumerate().map(|(place, (labels, _))| (labels.clone(), place)).collect();
        for (labels, measured) in others.into_iter().flat_map(|other| other.0) {
            if let Some((_, known)) = places.get(&labels).and_then(|place| all.get_mut(*place)) {
                known.merge(measured);
            } else {
                places.insert(labels.clone(), all.len());
                all.push((labels, measured));
            }
        }
        (all.len() <= MAX_SERIES).then_some(Self(all))
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION];
        put_len(&mut out, self.0.len());
        for (labels, measured) in &self.0 {
            put_labels(&mut out, labels);
            match measured {
                Measured::Cells(cells) => {
                    out.push(CELLS);
                    put_len(&mut out, cells.len());
                    for (number, cell) in cells {
                        put_len(&mut out, *number);
                        for value in [cell.count, cell.sum, cell.mean, cell.spread, cell.min, cell.max] {
                            put_f64(&mut out, value);
                        }
                        for (time, value) in [cell.first, cell.last] {
                            put_i64(&mut out, time);
                            put_f64(&mut out, value);
                        }
                    }
                }
                Measured::Values(values) => {
                    out.push(VALUES);
                    put_len(&mut out, values.len());
                    for (time, value) in values {
                        put_i64(&mut out, *time);
                        put_f64(&mut out, *value);
                    }
                }
            }
        }
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Damaged> {
        let mut reader = Reader::new(bytes);
        if reader.byte()? != VERSION {
            return Err(Damaged);
        }
        let count = reader.count()?;
        if count > MAX_SERIES {
            return Err(Damaged);
        }
        let mut series = Vec::with_capacity(count);
        for _ in 0..count {
            let labels = labels(&mut reader)?;
            let kind = reader.byte()?;
            let count = reader.count()?;
            let measured = match kind {
                CELLS => {
                    let cells =
                        (0..count).map(|_| cell(&mut reader)).collect::<Result<BTreeMap<_, _>, _>>()?;
                    Measured::Cells(cells)
                }
                VALUES => {
                    let values = (0..count).map(|_| Ok((reader.i64()?, reader.f64()?)));
                    Measured::Values(values.collect::<Result<_, Damaged>>()?)
                }
                _ => return Err(Damaged),
            };
            series.push((labels, measured));
        }
        if reader.is_empty() { Ok(Self(series)) } else { Err(Damaged) }
    }
}

fn cell(reader: &mut Reader<'_>) -> Result<(usize, Cell), Damaged> {
    let number = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
    let (count, sum, mean) = (reader.f64()?, reader.f64()?, reader.f64()?);
    let (spread, min, max) = (reader.f64()?, reader.f64()?, reader.f64()?);
    let (first, last) = ((reader.i64()?, reader.f64()?), (reader.i64()?, reader.f64()?));
    Ok((number, Cell { count, sum, mean, spread, min, max, first, last }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn measures_survive(values in prop::collection::vec((any::<i64>(), any::<f64>(), 0usize..9), 0..40)) {
            let labels = |n: &str| -> Labels { [("n", n)].into_iter().collect() };
            let mut cells = Measured::Cells(BTreeMap::new());
            let mut held = Measured::Values(Vec::new());
            for (time, value, cell) in values {
                cells.add(cell, time, value);
                held.add(cell, time, value);
            }
            let bytes = Measures(vec![(labels("1"), cells), (labels("2"), held)]).encode();
            prop_assert_eq!(Measures::decode(&bytes).unwrap().encode(), bytes);
        }

        #[test]
        fn arbitrary_bytes_never_panic(mut bytes: Vec<u8>) {
            bytes.insert(0, VERSION);
            if let Ok(measures) = Measures::decode(&bytes) {
                let _ = Measures::default().joined(vec![measures]);
            }
        }
    }
}
