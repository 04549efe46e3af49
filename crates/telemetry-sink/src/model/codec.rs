//! The binary form of records, used both in the write-ahead log and in the memory blocks.
//!
//! Numbers are LEB128 varints, signed ones zigzag-coded, floats eight little-endian bytes, text is
//! length-prefixed UTF-8. There are no field tags: the log frame carries a version byte, and a new
//! field means a new version whose decoder stands beside the old one.
//!
//! Decoding never panics and never allocates more than the input's own length.

use std::sync::Arc;

use super::{Batch, LogRecord, Resource, Span, SpanEvent, SpanKind, SpanLink, SpanStatus, Value};

/// The bytes do not hold what they should.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the encoded record is damaged")]
pub(crate) struct Damaged;

type Decoded<T> = Result<T, Damaged>;

pub(crate) fn put_u64(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or(0));
}

pub(crate) fn put_len(out: &mut Vec<u8>, value: usize) {
    put_u64(out, u64::try_from(value).unwrap_or(u64::MAX));
}

pub(crate) fn put_i64(out: &mut Vec<u8>, value: i64) {
    put_u64(out, ((value << 1) ^ (value >> 63)).cast_unsigned());
}

pub(crate) fn put_f64(out: &mut Vec<u8>, value: f64) {
    out.extend_from_slice(&value.to_bits().to_le_bytes());
}

pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Reads what the `put_` functions wrote.
#[derive(Debug, Clone)]
pub(crate) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    pub(crate) fn take(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(count).ok_or(Damaged)?;
        self.rest = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.take(N)?.try_into().map_err(|_| Damaged)
    }

    pub(crate) fn byte(&mut self) -> Decoded<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u64(&mut self) -> Decoded<u64> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Damaged)
    }

    /// A count of things that take at least one byte each, so that it can be trusted for allocation.
    pub(crate) fn count(&mut self) -> Decoded<usize> {
        let count = usize::try_from(self.u64()?).map_err(|_| Damaged)?;
        if count > self.rest.len() { Err(Damaged) } else { Ok(count) }
    }

    pub(crate) fn i64(&mut self) -> Decoded<i64> {
        let raw = self.u64()?;
        Ok((raw >> 1).cast_signed() ^ -(raw & 1).cast_signed())
    }

    pub(crate) fn f64(&mut self) -> Decoded<f64> {
        self.array::<8>().map(|bytes| f64::from_bits(u64::from_le_bytes(bytes)))
    }

    pub(crate) fn str(&mut self) -> Decoded<&'a str> {
        let length = self.count()?;
        std::str::from_utf8(self.take(length)?).map_err(|_| Damaged)
    }

    pub(crate) fn text(&mut self) -> Decoded<String> {
        self.str().map(str::to_owned)
    }
}

/// A record that can live in the log and in memory blocks.
pub(crate) trait Record: Sized + Clone + Send + Sync + 'static {
    fn encode(&self, out: &mut Vec<u8>);
    fn decode(reader: &mut Reader<'_>) -> Decoded<Self>;
    /// When it happened, in nanoseconds since the Unix epoch.
    fn time(&self) -> i64;
    /// The texts and ids by which this record can be found without a scan.
    fn keys(&self, visit: &mut dyn FnMut(Key<'_>));
    /// The second half of the stream's name beside the service; the level of a log, 0 for spans.
    fn class(&self) -> u8 {
        0
    }
}

/// What a record can be looked up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Key<'a> {
    Trace([u8; 16]),
    Request(&'a str),
}

/// The attribute names under which the fleet's binaries carry the request id.
pub(crate) const REQUEST_ID_NAMES: [&str; 2] = ["request.id", "request_id"];

/// The request id among a record's attributes.
pub(crate) fn request_id(attributes: &[(String, Value)]) -> Option<&str> {
    attributes.iter().find_map(|(name, value)| match value {
        Value::Text(text) if REQUEST_ID_NAMES.contains(&name.as_str()) => Some(text.as_str()),
        _ => None,
    })
}

fn put_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        Value::Text(text) => {
            out.push(0);
            put_text(out, text);
        }
        Value::Bool(value) => out.push(if *value { 2 } else { 1 }),
        Value::Int(value) => {
            out.push(3);
            put_i64(out, *value);
        }
        Value::Double(value) => {
            out.push(4);
            put_f64(out, *value);
        }
    }
}

fn value(reader: &mut Reader<'_>) -> Decoded<Value> {
    Ok(match reader.byte()? {
        0 => Value::Text(reader.text()?),
        1 => Value::Bool(false),
        2 => Value::Bool(true),
        3 => Value::Int(reader.i64()?),
        4 => Value::Double(reader.f64()?),
        _ => return Err(Damaged),
    })
}

fn put_attributes(out: &mut Vec<u8>, attributes: &[(String, Value)]) {
    put_len(out, attributes.len());
    for (name, value) in attributes {
        put_text(out, name);
        put_value(out, value);
    }
}

fn attributes(reader: &mut Reader<'_>) -> Decoded<Vec<(String, Value)>> {
    let count = reader.count()?;
    (0..count).map(|_| Ok((reader.text()?, value(reader)?))).collect()
}

fn put_optional<const N: usize>(out: &mut Vec<u8>, id: Option<[u8; N]>) {
    out.push(u8::from(id.is_some()));
    if let Some(id) = id {
        out.extend_from_slice(&id);
    }
}

fn optional<const N: usize>(reader: &mut Reader<'_>) -> Decoded<Option<[u8; N]>> {
    match reader.byte()? {
        0 => Ok(None),
        1 => reader.array().map(Some),
        _ => Err(Damaged),
    }
}

impl Record for LogRecord {
    fn encode(&self, out: &mut Vec<u8>) {
        put_i64(out, self.time);
        out.push(self.severity);
        put_text(out, &self.body);
        put_text(out, &self.scope);
        put_optional(out, self.trace_id);
        put_optional(out, self.span_id);
        put_attributes(out, &self.attributes);
    }

    fn decode(reader: &mut Reader<'_>) -> Decoded<Self> {
        Ok(Self {
            time: reader.i64()?,
            severity: reader.byte()?,
            body: reader.text()?,
            scope: reader.text()?,
            trace_id: optional(reader)?,
            span_id: optional(reader)?,
            attributes: attributes(reader)?,
        })
    }

    fn time(&self) -> i64 {
        self.time
    }

    fn keys(&self, visit: &mut dyn FnMut(Key<'_>)) {
        if let Some(trace_id) = self.trace_id {
            visit(Key::Trace(trace_id));
        }
        if let Some(id) = request_id(&self.attributes) {
            visit(Key::Request(id));
        }
    }

    fn class(&self) -> u8 {
        self.severity
    }
}

impl Record for Span {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.trace_id);
        out.extend_from_slice(&self.span_id);
        put_optional(out, self.parent);
        put_text(out, &self.name);
        out.push(self.kind.number());
        put_i64(out, self.start);
        put_i64(out, self.end.wrapping_sub(self.start));
        out.push(self.status.number());
        put_text(out, &self.status_message);
        put_text(out, &self.scope);
        put_attributes(out, &self.attributes);
        put_len(out, self.events.len());
        for event in &self.events {
            put_i64(out, event.time);
            put_text(out, &event.name);
            put_attributes(out, &event.attributes);
        }
        put_len(out, self.links.len());
        for link in &self.links {
            out.extend_from_slice(&link.trace_id);
            out.extend_from_slice(&link.span_id);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Decoded<Self> {
        let trace_id = reader.array()?;
        let span_id = reader.array()?;
        let parent = optional(reader)?;
        let name = reader.text()?;
        let kind = SpanKind::from_number(reader.byte()?.into());
        let start = reader.i64()?;
        let end = start.wrapping_add(reader.i64()?);
        let status = SpanStatus::from_number(reader.byte()?.into());
        let status_message = reader.text()?;
        let scope = reader.text()?;
        let attributes_ = attributes(reader)?;
        let events = reader.count()?;
        let events = (0..events)
            .map(|_| {
                Ok(SpanEvent { time: reader.i64()?, name: reader.text()?, attributes: attributes(reader)? })
            })
            .collect::<Decoded<_>>()?;
        let links = reader.count()?;
        let links = (0..links)
            .map(|_| Ok(SpanLink { trace_id: reader.array()?, span_id: reader.array()? }))
            .collect::<Decoded<_>>()?;
        Ok(Self {
            trace_id,
            span_id,
            parent,
            name,
            kind,
            start,
            end,
            status,
            status_message,
            scope,
            attributes: attributes_,
            events,
            links,
        })
    }

    fn time(&self) -> i64 {
        self.start
    }

    fn keys(&self, visit: &mut dyn FnMut(Key<'_>)) {
        visit(Key::Trace(self.trace_id));
        if let Some(id) = request_id(&self.attributes) {
            visit(Key::Request(id));
        }
    }
}

/// Encodes a whole batch: each resource once, its records after it.
pub(crate) fn encode_batch<R: Record>(batch: &Batch<R>, out: &mut Vec<u8>) {
    put_len(out, batch.groups.len());
    for (resource, records) in &batch.groups {
        put_text(out, &resource.service);
        put_attributes(out, &resource.attributes);
        put_len(out, records.len());
        for record in records {
            record.encode(out);
        }
    }
}

/// Decodes what [`encode_batch`] wrote; trailing bytes are damage.
pub(crate) fn decode_batch<R: Record>(bytes: &[u8]) -> Decoded<Batch<R>> {
    let mut reader = Reader::new(bytes);
    let groups = reader.count()?;
    let mut batch = Batch::default();
    for _ in 0..groups {
        let resource = Resource { service: reader.text()?, attributes: attributes(&mut reader)? };
        let records = reader.count()?;
        let records = (0..records).map(|_| R::decode(&mut reader)).collect::<Decoded<_>>()?;
        batch.groups.push((Arc::new(resource), records));
    }
    if reader.is_empty() { Ok(batch) } else { Err(Damaged) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn any_value() -> impl Strategy<Value = Value> {
        prop_oneof![
            ".{0,12}".prop_map(Value::Text),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            (-1e9..1e9f64).prop_map(Value::Double),
        ]
    }

    fn any_attributes() -> impl Strategy<Value = Vec<(String, Value)>> {
        prop::collection::vec(("[a-z.]{1,8}", any_value()), 0..4)
    }

    prop_compose! {
        fn any_log()(time: i64, severity in 0u8..24, body in ".{0,40}", trace: Option<[u8; 16]>,
                     span: Option<[u8; 8]>, attributes in any_attributes()) -> LogRecord {
            LogRecord { time, severity, body, scope: "s".into(), trace_id: trace, span_id: span, attributes }
        }
    }

    prop_compose! {
        fn any_span()(trace_id: [u8; 16], span_id: [u8; 8], parent: Option<[u8; 8]>, name in ".{0,20}",
                      start: i64, end: i64, kind in 0u64..6, status in 0u64..3,
                      attributes in any_attributes(), events in prop::collection::vec(any_attributes(), 0..3),
                      links: Vec<([u8; 16], [u8; 8])>) -> Span {
            Span {
                trace_id, span_id, parent, name, start, end, attributes,
                kind: SpanKind::from_number(kind),
                status: SpanStatus::from_number(status),
                status_message: "m".into(),
                scope: "t".into(),
                events: events.into_iter()
                    .map(|attributes| SpanEvent { time: start, name: "e".into(), attributes }).collect(),
                links: links.into_iter().map(|(trace_id, span_id)| SpanLink { trace_id, span_id }).collect(),
            }
        }
    }

    proptest! {
        #[test]
        fn logs_survive_encoding(records in prop::collection::vec(any_log(), 0..6), attributes in any_attributes()) {
            let resource = Arc::new(Resource { service: "core-api".into(), attributes });
            let batch = Batch { groups: vec![(resource, records)] };
            let mut bytes = Vec::new();
            encode_batch(&batch, &mut bytes);
            prop_assert_eq!(decode_batch::<LogRecord>(&bytes), Ok(batch));
        }

        #[test]
        fn spans_survive_encoding(records in prop::collection::vec(any_span(), 0..4)) {
            let batch = Batch { groups: vec![(Arc::new(Resource::default()), records)] };
            let mut bytes = Vec::new();
            encode_batch(&batch, &mut bytes);
            prop_assert_eq!(decode_batch::<Span>(&bytes), Ok(batch));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            let _ = decode_batch::<LogRecord>(&bytes);
            let _ = decode_batch::<Span>(&bytes);
        }
    }
}
