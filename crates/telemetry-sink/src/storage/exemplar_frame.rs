//! The log's form of exemplars, in frames of their own between those of samples.
//!
//! ```text
//! version 2 | series: count, then labels | exemplars: count, then place of the series, time, value,
//! 1 where the time is the sender's own, labels
//! labels: count, then name and value
//! ```
//!
//! A frame needs no other one to be read. The samples' frames begin with version 1 and know nothing of these, so a log
//! that was written before there were exemplars is read as it was.

use std::collections::HashMap;

use crate::model::codec::{Damaged, Reader, put_f64, put_i64, put_len, put_text};
use crate::model::{Exemplar, Labels};

pub(crate) const VERSION: u8 = 2;
/// A frame ends at the exemplar with which it gets larger, bytes.
const FRAME_BYTES: usize = 1 << 20;

/// Frames that hold all the exemplars, in their order.
pub(crate) fn encode<'a>(exemplars: impl IntoIterator<Item = &'a Exemplar>) -> Vec<Vec<u8>> {
    let mut frames = Vec::new();
    let mut frame = Frame::default();
    for exemplar in exemplars {
        frame.add(exemplar);
        if frame.series.len() + frame.body.len() > FRAME_BYTES {
            frames.push(std::mem::take(&mut frame).finish());
        }
    }
    if frame.count > 0 {
        frames.push(frame.finish());
    }
    frames
}

#[derive(Default)]
struct Frame<'a> {
    places: HashMap<&'a Labels, usize>,
    series: Vec<u8>,
    body: Vec<u8>,
    count: usize,
}

impl<'a> Frame<'a> {
    fn add(&mut self, exemplar: &'a Exemplar) {
        let next = self.places.len();
        let place = *self.places.entry(&exemplar.series).or_insert(next);
        if place == next {
            put_labels(&mut self.series, &exemplar.series);
        }
        put_len(&mut self.body, place);
        put_i64(&mut self.body, exemplar.time);
        put_f64(&mut self.body, exemplar.value);
        self.body.push(u8::from(exemplar.timed));
        put_labels(&mut self.body, &exemplar.labels);
        self.count += 1;
    }

    fn finish(mut self) -> Vec<u8> {
        let mut frame = vec![VERSION];
        put_len(&mut frame, self.places.len());
        frame.append(&mut self.series);
        put_len(&mut frame, self.count);
        frame.append(&mut self.body);
        frame
    }
}

/// Visits the exemplars of a frame.
pub(crate) fn decode(body: &[u8], mut visit: impl FnMut(&Exemplar)) -> Result<(), Damaged> {
    let mut reader = Reader::new(body);
    if reader.byte()? != VERSION {
        return Err(Damaged);
    }
    let count = reader.count()?;
    let series = (0..count).map(|_| labels(&mut reader)).collect::<Result<Vec<_>, Damaged>>()?;
    for _ in 0..reader.count()? {
        let place = usize::try_from(reader.u64()?).map_err(|_| Damaged)?;
        let series = series.get(place).ok_or(Damaged)?.clone();
        let (time, value, timed) = (reader.i64()?, reader.f64()?, reader.byte()? != 0);
        visit(&Exemplar { series, time, value, timed, labels: labels(&mut reader)? });
    }
    if reader.is_empty() { Ok(()) } else { Err(Damaged) }
}

fn put_labels(out: &mut Vec<u8>, labels: &Labels) {
    put_len(out, labels.len());
    for (name, value) in labels.iter() {
        put_text(out, name);
        put_text(out, value);
    }
}

fn labels(reader: &mut Reader<'_>) -> Result<Labels, Damaged> {
    let count = reader.count()?;
    let pairs =
        (0..count).map(|_| Ok((reader.str()?, reader.str()?))).collect::<Result<Vec<_>, Damaged>>()?;
    Ok(pairs.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn decoded(frames: &[Vec<u8>]) -> Vec<Exemplar> {
        let mut back = Vec::new();
        for frame in frames {
            decode(frame, |exemplar| back.push(exemplar.clone())).unwrap();
        }
        back
    }

    fn exemplar(series: &str, trace: &str, value: f64, time: i64, timed: bool) -> Exemplar {
        Exemplar {
            series: [("__name__", "a"), ("le", series)].into_iter().collect(),
            labels: [("trace_id", trace)].into_iter().collect(),
            value,
            time,
            timed,
        }
    }

    proptest! {
        #[test]
        fn exemplars_survive(
            sent in prop::collection::vec((0u8..5, "[a-f0-9]{0,32}", any::<i32>(), any::<i64>(), any::<bool>()), 0..40),
        ) {
            let exemplars: Vec<_> = sent
                .iter()
                .map(|(series, trace, value, time, timed)| {
                    exemplar(&series.to_string(), trace, f64::from(*value), *time, *timed)
                })
                .collect();
            prop_assert_eq!(decoded(&encode(&exemplars)), exemplars);
        }

        #[test]
        fn arbitrary_bytes_never_panic(body: Vec<u8>) {
            let mut body = body;
            body.insert(0, VERSION);
            let _ = decode(&body, |_| {});
        }
    }

    #[test]
    fn many_exemplars_are_cut_into_frames_that_the_log_takes() {
        let long = "x".repeat(4000);
        let exemplars: Vec<_> =
            (0..1000).map(|number| exemplar(&format!("{number}{long}"), "a", 1.0, 5, true)).collect();
        let frames = encode(&exemplars);
        assert!(frames.len() > 3 && frames.iter().all(|frame| frame.len() < 2 * FRAME_BYTES));
        assert_eq!(decoded(&frames), exemplars);
    }
}
