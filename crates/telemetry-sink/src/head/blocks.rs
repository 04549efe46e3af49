//! Logs and spans in memory: blocks of encoded records with their lookup keys beside them.
//!
//! Records are appended to one open block; a full block is compressed with zstd and becomes
//! immutable and shared, so that a query decodes it without holding any lock. Each block carries
//! the hashes of its trace and request ids, its time range and the resources it mentions: a lookup
//! by id opens only blocks that hold it, and dropping the oldest block drops its part of the index.
//!
//! [`BlockHead::freeze`] sets apart everything there is, to be written out as a part; it stays readable
//! until [`BlockHead::written`] says that the part is there.
//!
//! Invariant: a block holds at most [`ROWS_PER_BLOCK`] records and about [`BYTES_PER_BLOCK`] plain bytes.

use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::sync::Arc;

use super::sieve::Sieve;
use crate::model::Resource;
use crate::model::codec::{Key, Reader, Record};

const ROWS_PER_BLOCK: usize = 2048;
const BYTES_PER_BLOCK: usize = 256 * 1024;

#[derive(Debug, Clone, Copy)]
struct Row {
    time: i64,
    offset: u32,
    resource: u16,
    class: u8,
}

#[derive(Debug, Clone)]
enum Bytes {
    Plain(Vec<u8>),
    Zstd { compressed: Box<[u8]>, plain_length: usize },
}

/// A run of records in arrival order.
#[derive(Debug, Clone)]
pub(crate) struct Block {
    bytes: Bytes,
    rows: Vec<Row>,
    /// Hash of a key and its row; sorted once the block is sealed.
    keys: Vec<(u64, u16)>,
    resources: Vec<Arc<Resource>>,
    resource_bytes: usize,
    first: i64,
    last: i64,
}

impl Block {
    fn empty() -> Self {
        Self {
            bytes: Bytes::Plain(Vec::new()),
            rows: Vec::new(),
            keys: Vec::new(),
            resources: Vec::new(),
            resource_bytes: 0,
            first: i64::MAX,
            last: i64::MIN,
        }
    }

    fn resource_number(&mut self, resource: &Arc<Resource>) -> u16 {
        let known = self.resources.iter().position(|known| Arc::ptr_eq(known, resource) || known == resource);
        let number = known.unwrap_or_else(|| {
            self.resources.push(Arc::clone(resource));
            self.resource_bytes += resource.weight();
            self.resources.len() - 1
        });
        u16::try_from(number).unwrap_or(u16::MAX)
    }

    fn push<R: Record>(&mut self, hasher: &RandomState, resource: &Arc<Resource>, record: &R) {
        let resource = self.resource_number(resource);
        let Bytes::Plain(bytes) = &mut self.bytes else { return };
        let offset = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        record.encode(bytes);
        let time = record.time();
        let row = u16::try_from(self.rows.len()).unwrap_or(u16::MAX);
        record.keys(&mut |key| self.keys.push((hasher.hash_one(key), row)));
        self.rows.push(Row { time, offset, resource, class: record.class() });
        self.first = self.first.min(time);
        self.last = self.last.max(time);
    }

    fn is_full(&self) -> bool {
        let plain = match &self.bytes {
            Bytes::Plain(bytes) => bytes.len(),
            Bytes::Zstd { plain_length, .. } => *plain_length,
        };
        self.rows.len() >= ROWS_PER_BLOCK || plain + self.resource_bytes >= BYTES_PER_BLOCK
    }

    fn seal(mut self) -> Self {
        if let Bytes::Plain(bytes) = &self.bytes
            && let Ok(compressed) = zstd::bulk::compress(bytes, 1)
        {
            self.bytes = Bytes::Zstd { plain_length: bytes.len(), compressed: compressed.into_boxed_slice() };
        }
        self.keys.sort_unstable();
        self.keys.shrink_to_fit();
        self.rows.shrink_to_fit();
        self
    }

    fn memory(&self) -> usize {
        let bytes = match &self.bytes {
            Bytes::Plain(bytes) => bytes.capacity(),
            Bytes::Zstd { compressed, .. } => compressed.len(),
        };
        // A resource is shared between blocks; counting it in each is the safe side.
        bytes
            + self.rows.capacity() * size_of::<Row>()
            + self.keys.capacity() * size_of::<(u64, u16)>()
            + self.resource_bytes
            + size_of::<Self>()
    }

    /// Every record, in the order of arrival.
    pub(crate) fn found<R: Record>(&self) -> Vec<Found<R>> {
        let plain = self.plain().unwrap_or_default();
        self.rows.iter().filter_map(|row| decode(self, &plain, row)).collect()
    }

    /// A row's bytes: rows lie in the order of their offsets.
    fn encoded<'a>(&self, plain: &'a [u8], row: &Row) -> &'a [u8] {
        let next = self.rows.partition_point(|other| other.offset <= row.offset);
        let end = self.rows.get(next).and_then(|next| usize::try_from(next.offset).ok());
        let start = usize::try_from(row.offset).unwrap_or(usize::MAX);
        plain.get(start..end.unwrap_or(plain.len())).unwrap_or_default()
    }

    fn plain(&self) -> Option<std::borrow::Cow<'_, [u8]>> {
        match &self.bytes {
            Bytes::Plain(bytes) => Some(bytes.into()),
            Bytes::Zstd { compressed, plain_length } => {
                zstd::bulk::decompress(compressed, *plain_length).ok().map(Into::into)
            }
        }
    }
}

/// A record with the resource that sent it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Found<R> {
    pub(crate) resource: Arc<Resource>,
    pub(crate) record: R,
}

/// The records of one kind, newest blocks last.
pub(crate) struct BlockHead {
    hasher: RandomState,
    /// What is being written out, then what is not yet.
    frozen: Vec<Arc<Block>>,
    sealed: Vec<Arc<Block>>,
    closed_bytes: usize,
    open: Block,
}

impl BlockHead {
    pub(crate) fn new() -> Self {
        Self {
            hasher: RandomState::new(),
            frozen: Vec::new(),
            sealed: Vec::new(),
            closed_bytes: 0,
            open: Block::empty(),
        }
    }

    /// Memory it takes.
    pub(crate) fn bytes(&self) -> usize {
        self.closed_bytes + self.open.memory()
    }

    pub(crate) fn records(&self) -> usize {
        let closed = self.frozen.iter().chain(&self.sealed);
        closed.map(|block| block.rows.len()).sum::<usize>() + self.open.rows.len()
    }

    pub(crate) fn push<R: Record>(&mut self, resource: &Arc<Resource>, record: &R) {
        self.open.push(&self.hasher, resource, record);
        if self.open.is_full() {
            self.seal();
        }
    }

    fn seal(&mut self) {
        let block = std::mem::replace(&mut self.open, Block::empty()).seal();
        self.closed_bytes += block.memory();
        self.sealed.push(Arc::new(block));
    }

    /// Sets apart everything there is and answers it, oldest block first. What an earlier call set apart
    /// and nobody has [written](BlockHead::written) is part of it.
    pub(crate) fn freeze(&mut self) -> Vec<Arc<Block>> {
        if !self.open.rows.is_empty() {
            self.seal();
        }
        self.frozen.append(&mut self.sealed);
        self.frozen.clone()
    }

    /// Forgets what was set apart.
    pub(crate) fn written(&mut self) {
        let freed: usize = self.frozen.iter().map(|block| block.memory()).sum();
        self.closed_bytes = self.closed_bytes.saturating_sub(freed);
        self.frozen = Vec::new();
    }

    /// Everything there is now, to be read without a lock.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut blocks: Vec<_> = self.frozen.iter().chain(&self.sealed).cloned().collect();
        if !self.open.rows.is_empty() {
            blocks.push(Arc::new(self.open.clone()));
        }
        Snapshot { hasher: self.hasher.clone(), blocks }
    }
}

/// A consistent view of a head.
pub(crate) struct Snapshot {
    hasher: RandomState,
    blocks: Vec<Arc<Block>>,
}

impl Snapshot {
    /// Every record found under `key`, oldest block first. Equal hashes of different keys are told
    /// apart by asking the record.
    #[cfg(test)]
    pub(crate) fn lookup<R: Record>(&self, key: Key<'_>) -> Vec<Found<R>> {
        let mut found = Vec::new();
        self.lookup_up_to(key, usize::MAX, &mut found);
        found
    }

    /// Adds the records under `key`, block by block, until there are `most` or more.
    pub(crate) fn lookup_up_to<R: Record>(&self, key: Key<'_>, most: usize, found: &mut Vec<Found<R>>) {
        let hash = self.hasher.hash_one(key);
        for block in &self.blocks {
            if found.len() >= most {
                return;
            }
            let mut rows: Vec<u16> =
                block.keys.iter().filter(|(known, _)| *known == hash).map(|(_, row)| *row).collect();
            if matches!(block.bytes, Bytes::Zstd { .. }) {
                let start = block.keys.partition_point(|(known, _)| *known < hash);
                let hits = block.keys.iter().skip(start).take_while(|(known, _)| *known == hash);
                rows = hits.map(|(_, row)| *row).collect();
            }
            if rows.is_empty() {
                continue;
            }
            rows.sort_unstable();
            rows.dedup();
            let Some(plain) = block.plain() else { continue };
            let rows = rows.iter().filter_map(|row| block.rows.get(usize::from(*row)));
            for row in rows {
                let Some(hit) = decode::<R>(block, &plain, row) else { continue };
                let mut holds = false;
                hit.record.keys(&mut |own| holds |= own == key);
                if holds {
                    found.push(hit);
                }
            }
        }
    }

    /// Visits, newest block first, the records with `from ≤ time < to` whose resource and class are
    /// wanted. Within a block the order is the order of arrival.
    /// Most of the records that lack one of the sieve's texts are left out.
    pub(crate) fn scan_sieved<R: Record>(
        &self,
        from: i64,
        to: i64,
        wanted: impl Fn(&Resource, u8) -> bool,
        sieve: &Sieve,
        mut visit: impl FnMut(Found<R>) -> ControlFlow<()>,
    ) {
        for block in self.blocks.iter().rev() {
            if block.last < from || block.first >= to {
                continue;
            }
            let asked = |row: &&Row| {
                row.time >= from
                    && row.time < to
                    && block
                        .resources
                        .get(usize::from(row.resource))
                        .is_some_and(|resource| wanted(resource, row.class))
            };
            let mut rows = block.rows.iter().filter(asked).peekable();
            if rows.peek().is_none() {
                continue;
            }
            let Some(plain) = block.plain() else { continue };
            if !sieve.may_pass(&plain) {
                continue;
            }
            for row in rows {
                if !sieve.may_pass(block.encoded(&plain, row)) {
                    continue;
                }
                if let Some(found) = decode::<R>(block, &plain, row)
                    && visit(found).is_break()
                {
                    return;
                }
            }
        }
    }

    /// Visits each pair of resource and class that occurs between two times, often more than once.
    pub(crate) fn streams(&self, from: i64, to: i64, mut visit: impl FnMut(&Arc<Resource>, u8)) {
        for block in self.blocks.iter().filter(|block| block.last >= from && block.first < to) {
            let mut pairs: Vec<(u16, u8)> = block
                .rows
                .iter()
                .filter(|row| row.time >= from && row.time < to)
                .map(|row| (row.resource, row.class))
                .collect();
            pairs.sort_unstable();
            pairs.dedup();
            for (resource, class) in pairs {
                if let Some(resource) = block.resources.get(usize::from(resource)) {
                    visit(resource, class);
                }
            }
        }
    }
}

fn decode<R: Record>(block: &Block, plain: &[u8], row: &Row) -> Option<Found<R>> {
    let bytes = plain.get(usize::try_from(row.offset).ok()?..)?;
    let record = R::decode(&mut Reader::new(bytes)).ok()?;
    let resource = Arc::clone(block.resources.get(usize::from(row.resource))?);
    Some(Found { resource, record })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{LogRecord, Value};

    fn service(name: &str) -> Arc<Resource> {
        Arc::new(Resource { service: name.into(), attributes: Vec::new() })
    }

    fn line(number: u64) -> LogRecord {
        let mut trace_id = [0; 16];
        trace_id[8..].copy_from_slice(&(number % 500).to_be_bytes());
        LogRecord {
            time: i64::try_from(number).unwrap(),
            severity: 9,
            body: format!("order {number} accepted with some text around it"),
            trace_id: Some(trace_id),
            attributes: vec![("request.id".into(), Value::Text(format!("req-{number}")))],
            ..LogRecord::default()
        }
    }

    #[test]
    fn records_are_found_by_trace_and_request_in_open_and_sealed_blocks() {
        let mut head = BlockHead::new();
        let resource = service("core-api");
        for number in 0..5000 {
            head.push(&resource, &line(number));
        }
        let snapshot = head.snapshot();
        let found = snapshot.lookup::<LogRecord>(Key::Trace(line(7).trace_id.unwrap()));
        assert_eq!(found.len(), 10);
        for number in [3, 4999] {
            let found = snapshot.lookup::<LogRecord>(Key::Request(&format!("req-{number}")));
            assert_eq!(found.iter().map(|found| found.record.clone()).collect::<Vec<_>>(), [line(number)]);
        }
        assert!(snapshot.lookup::<LogRecord>(Key::Request("req-x")).is_empty());
    }

    #[test]
    fn a_scan_visits_only_the_asked_range_and_streams() {
        let mut head = BlockHead::new();
        let (core, worker) = (service("core-api"), service("async-worker"));
        for number in 0..5000 {
            head.push(if number % 2 == 0 { &core } else { &worker }, &line(number));
        }
        let mut times = Vec::new();
        let is_core = |resource: &Resource, _| resource.service == "core-api";
        head.snapshot().scan_sieved::<LogRecord>(100, 110, is_core, &Sieve::default(), |found| {
            times.push(found.record.time);
            ControlFlow::Continue(())
        });
        assert_eq!(times, [100, 102, 104, 106, 108]);
    }

    #[test]
    fn a_sieve_passes_every_record_that_holds_its_texts_and_few_others() {
        let mut head = BlockHead::new();
        let resource = service("core-api");
        for number in 0..5000 {
            head.push(&resource, &line(number));
        }
        let passed = |texts: &[&str]| {
            let mut times = Vec::new();
            let sieve = Sieve::new(texts.iter().copied());
            head.snapshot().scan_sieved::<LogRecord>(
                0,
                5000,
                |_, _| true,
                &sieve,
                |found| {
                    times.push(found.record.time);
                    ControlFlow::Continue(())
                },
            );
            times.sort_unstable();
            times
        };
        assert_eq!(passed(&["order 17 "]), [17]);
        assert_eq!(passed(&["order 4999 ", "accepted"]), [4999]);
        assert_eq!(passed(&["accepted"]).len(), 5000);
        assert_eq!(passed(&["order 17 ", "order 18 "]), [0i64; 0]);
    }

    #[test]
    fn what_is_set_apart_stays_readable_until_it_is_written() {
        let mut head = BlockHead::new();
        let resource = service("core-api");
        let there = |head: &BlockHead, number: u64| {
            head.snapshot().lookup::<LogRecord>(Key::Request(&format!("req-{number}"))).len()
        };
        for number in 0..5000 {
            head.push(&resource, &line(number));
        }
        let frozen: Vec<Found<LogRecord>> = head.freeze().iter().flat_map(|block| block.found()).collect();
        assert_eq!(frozen.len(), 5000);
        assert_eq!(frozen[4999].record, line(4999));
        head.push(&resource, &line(6000));
        assert_eq!((there(&head, 0), there(&head, 6000)), (1, 1));
        head.written();
        assert_eq!((there(&head, 0), there(&head, 6000)), (0, 1));
        assert_eq!(head.records(), 1);
        head.freeze();
        head.written();
        assert!(head.bytes() <= Block::empty().memory(), "{}", head.bytes());
    }
}
