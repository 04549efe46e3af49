//! What a body will take in memory once it is decoded, before it is.
//!
//! A record that is two bytes on the wire is some hundred in memory, so that the length of a body says little of one that
//! was made to be large: 16 MiB of empty points would be more than a gigabyte. Ordinary bodies cost a few times their length,
//! which is what the budget charges; this finds the others.

use crate::model::{LogRecord, Span, SpanEvent, SpanLink, Value};
use crate::storage::Signal;

use super::otlp_metrics::{Observation, Point};
use super::wire::{Field, Fields, Malformed};

/// A message that becomes something in memory, the number of its field and what is in it.
struct Kind {
    field: u64,
    bytes: usize,
    inner: &'static [Kind],
}

const fn kind(field: u64, bytes: usize, inner: &'static [Kind]) -> Kind {
    Kind { field, bytes, inner }
}

const ATTRIBUTE: usize = size_of::<(String, Value)>();
/// Resources, scopes and metrics: their names and tables.
const GROUP: usize = 128;

const LOGS: &[Kind] = &[kind(
    1,
    GROUP,
    &[
        kind(1, 0, &[kind(1, ATTRIBUTE, &[])]),
        kind(2, GROUP, &[kind(2, size_of::<LogRecord>(), &[kind(6, ATTRIBUTE, &[])])]),
    ],
)];

const SPANS: &[Kind] = &[kind(
    1,
    GROUP,
    &[
        kind(1, 0, &[kind(1, ATTRIBUTE, &[])]),
        kind(
            2,
            GROUP,
            &[kind(
                2,
                size_of::<Span>(),
                &[
                    kind(9, ATTRIBUTE, &[]),
                    kind(11, size_of::<SpanEvent>(), &[kind(3, ATTRIBUTE, &[])]),
                    kind(13, size_of::<SpanLink>(), &[]),
                ],
            )],
        ),
    ],
)];

const EXEMPLAR: usize = size_of::<Observation>();
const POINTS: &[Kind] = &[kind(
    1,
    size_of::<Point>(),
    &[
        kind(7, ATTRIBUTE, &[]),
        kind(9, ATTRIBUTE, &[]),
        kind(5, EXEMPLAR, &[kind(7, ATTRIBUTE, &[])]),
        kind(8, EXEMPLAR, &[kind(7, ATTRIBUTE, &[])]),
    ],
)];

const METRICS: &[Kind] = &[kind(
    1,
    GROUP,
    &[
        kind(1, 0, &[kind(1, ATTRIBUTE, &[])]),
        kind(
            2,
            GROUP,
            &[kind(
                2,
                GROUP,
                &[
                    kind(5, 0, POINTS),
                    kind(7, 0, POINTS),
                    kind(9, 0, POINTS),
                    kind(10, 0, POINTS),
                    kind(11, 0, POINTS),
                ],
            )],
        ),
    ],
)];

/// Bytes of memory that a protobuf body becomes.
pub(super) fn of_protobuf(signal: Signal, body: &[u8]) -> Result<usize, Malformed> {
    let kinds = match signal {
        Signal::Logs => LOGS,
        Signal::Spans => SPANS,
        Signal::Metrics => METRICS,
    };
    Ok(body.len().saturating_add(weigh(body, kinds)?))
}

fn weigh(body: &[u8], kinds: &'static [Kind]) -> Result<usize, Malformed> {
    let mut sum = 0usize;
    for field in Fields::new(body) {
        let (number, Field::Bytes(bytes)) = field? else { continue };
        let Some(kind) = kinds.iter().find(|kind| kind.field == number) else { continue };
        let inner = if kind.inner.is_empty() { 0 } else { weigh(bytes, kind.inner)? };
        sum = sum.saturating_add(kind.bytes).saturating_add(inner);
    }
    Ok(sum)
}

/// The same for JSON, whose every object and element becomes a value before it becomes a record. Those within texts count, too: a
/// line that is JSON itself has some, and far from enough to matter.
pub(super) fn of_json(body: &[u8]) -> usize {
    let objects = memchr::memchr_iter(b'{', body).count();
    let elements = memchr::memchr_iter(b',', body).count();
    let per_object = size_of::<Point>().max(size_of::<Span>()).max(size_of::<LogRecord>());
    body.len()
        + objects.saturating_mul(per_object / 2)
        + elements.saturating_mul(size_of::<serde_json::Value>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::message;

    /// A request with so many empty items, each of which is two bytes.
    fn empty_items(count: usize, path: &[u64]) -> Vec<u8> {
        let (last, groups) = path.split_last().unwrap();
        let mut body = Vec::new();
        for _ in 0..count {
            message(&mut body, (*last).try_into().unwrap(), &[]);
        }
        for field in groups.iter().rev() {
            let mut outer = Vec::new();
            message(&mut outer, (*field).try_into().unwrap(), &body);
            body = outer;
        }
        body
    }

    #[test]
    fn items_without_content_weigh_what_they_become() {
        for (signal, path, each) in [
            (Signal::Logs, &[1, 2, 2][..], size_of::<LogRecord>()),
            (Signal::Logs, &[1, 2, 2, 6], ATTRIBUTE),
            (Signal::Spans, &[1, 2, 2], size_of::<Span>()),
            (Signal::Spans, &[1, 2, 2, 11], size_of::<SpanEvent>()),
            (Signal::Metrics, &[1, 2, 2, 5, 1], size_of::<Point>()),
            (Signal::Metrics, &[1, 2, 2, 9, 1, 8], EXEMPLAR),
            (Signal::Metrics, &[1, 1, 1], ATTRIBUTE),
        ] {
            let body = empty_items(1000, path);
            let weight = of_protobuf(signal, &body).unwrap();
            assert!(weight >= body.len() + 1000 * each, "{signal:?} {path:?}: {weight}");
            assert!(weight < body.len() + 1010 * each + 2000, "{signal:?} {path:?}: {weight}");
        }
        assert!(of_protobuf(Signal::Logs, &[10, 200]).is_err(), "a length beyond the body");
    }

    #[test]
    fn empty_objects_weigh_and_plain_text_does_not() {
        let many = format!("[{}]", vec!["{}"; 1000].join(","));
        assert!(of_json(many.as_bytes()) > 1000 * 64);
        let text = format!("{{\"body\":\"{}\"}}", "a line ".repeat(1000));
        assert!(of_json(text.as_bytes()) < text.len() + 500);
    }
}
