//! Reads a signal's log behind those who write it.
//!
//! A log segment is read up to the length that the log says is whole, so that nobody sees half a frame. The dictionary of a
//! metrics segment is learnt from its beginning when reading resumes in its middle.
//!
//! Invariants: items come in the order in which they were stored; what a batch holds is bounded by [`ENOUGH_ITEMS`] and
//! [`ENOUGH_BYTES`] beyond its last frame, and a frame holds one request; damage costs the rest of what its segment holds by
//! then and is counted.

use std::fs::File;
use std::io::{self, BufReader, Seek as _, SeekFrom};
use std::sync::Arc;

use super::cursor::Cursor;
use crate::model::codec::{Damaged, Record};
use crate::model::{Batch, LogRecord, Sample, Span};
use crate::storage::exemplar_frame;
use crate::storage::metrics_frame::MetricsDecoder;
use crate::storage::segment::{HEADER_LENGTH, read_frame, read_header};
use crate::storage::wal::SegmentInfo;
use crate::storage::{Signal, Storage, decode_records};

const ENOUGH_ITEMS: usize = 5_000;
const ENOUGH_BYTES: u64 = 512 * 1024;
const BUFFER: usize = 64 * 1024;
/// What buffers keep between frames.
const KEPT: usize = 1024 * 1024;
const HEADER: u64 = HEADER_LENGTH as u64;

/// What was read.
#[derive(Debug)]
pub(super) enum Items {
    Metrics(Vec<Sample>),
    Logs(Batch<LogRecord>),
    Spans(Batch<Span>),
}

impl Items {
    fn none(signal: Signal) -> Self {
        match signal {
            Signal::Metrics => Self::Metrics(Vec::new()),
            Signal::Logs => Self::Logs(Batch::default()),
            Signal::Spans => Self::Spans(Batch::default()),
        }
    }

    pub(super) fn len(&self) -> usize {
        match self {
            Self::Metrics(samples) => samples.len(),
            Self::Logs(batch) => batch.len(),
            Self::Spans(batch) => batch.len(),
        }
    }
}

/// Some of the log and where reading goes on once it is delivered.
#[derive(Debug)]
pub(super) struct Taken {
    pub(super) items: Items,
    pub(super) next: Cursor,
    /// Bytes of the log after it.
    pub(super) behind: u64,
}

struct Open {
    number: u64,
    file: BufReader<File>,
    offset: u64,
    decoder: MetricsDecoder,
}

pub(super) struct LogReader {
    storage: Arc<Storage>,
    target: String,
    signal: Signal,
    open: Option<Open>,
    payload: Vec<u8>,
    plain: Vec<u8>,
}

impl LogReader {
    pub(super) fn new(storage: Arc<Storage>, target: &str, signal: Signal) -> Self {
        Self {
            storage,
            target: target.to_owned(),
            signal,
            open: None,
            payload: Vec::new(),
            plain: Vec::new(),
        }
    }

    /// The next items after a cursor; none where that is the end of the log. Blocking.
    pub(super) fn take(&mut self, mut at: Cursor) -> io::Result<Taken> {
        let mut items = Items::none(self.signal);
        let mut bytes = 0;
        loop {
            let view = self.storage.log_from(self.signal, at.segment);
            if at.segment >= view.next {
                // The log began anew, without what the cursor knew.
                at = Cursor::default();
                self.count("quintet_sink_forward_gaps_total");
                continue;
            }
            let Some(segment) = view.segments.first() else {
                return Ok(Taken { items, next: at, behind: 0 });
            };
            if segment.number != at.segment {
                if at.segment != 0 {
                    // What stood there was given up, or set aside as damaged.
                    self.count("quintet_sink_forward_gaps_total");
                }
                at = Cursor { segment: segment.number, offset: HEADER };
            }
            let read =
                self.frames(segment, &mut at, &mut items, &mut bytes).inspect_err(|_| self.open = None)?;
            let later: u64 = view.segments.iter().skip(1).map(|info| info.bytes).sum();
            let behind = segment.bytes.saturating_sub(at.offset) + later;
            if read.is_break() {
                return Ok(Taken { items, next: at, behind });
            }
            match view.segments.get(1) {
                Some(following) => at = Cursor { segment: following.number, offset: HEADER },
                None => return Ok(Taken { items, next: at, behind }),
            }
        }
    }

    /// Reads one segment on, until it ends or enough is there.
    fn frames(
        &mut self,
        segment: &SegmentInfo,
        at: &mut Cursor,
        items: &mut Items,
        bytes: &mut u64,
    ) -> io::Result<std::ops::ControlFlow<()>> {
        use std::ops::ControlFlow::{Break, Continue};
        if at.offset >= segment.bytes {
            return Ok(Continue(()));
        }
        if !self.reach(segment, at.offset)? {
            self.skip(segment, at);
            return Ok(Continue(()));
        }
        let Some(open) = &mut self.open else { return Ok(Continue(())) };
        while at.offset < segment.bytes {
            if items.len() >= ENOUGH_ITEMS || *bytes >= ENOUGH_BYTES {
                return Ok(Break(()));
            }
            let left = segment.bytes - at.offset;
            let frame = read_frame(&mut open.file, left, &mut self.payload, &mut self.plain)?;
            let decoded = frame.map(|(size, body)| decode(items, &mut open.decoder, body).map(|()| size));
            let Some(Ok(size)) = decoded else {
                self.skip(segment, at);
                return Ok(Continue(()));
            };
            at.offset += size;
            open.offset = at.offset;
            *bytes += size;
            self.payload.shrink_to(KEPT);
            self.plain.shrink_to(KEPT);
        }
        Ok(Continue(()))
    }

    /// Opens a segment at an offset, unless it is there already; false where it cannot be read up to there.
    fn reach(&mut self, segment: &SegmentInfo, offset: u64) -> io::Result<bool> {
        if self.open.as_ref().is_some_and(|open| open.number == segment.number && open.offset == offset) {
            return Ok(true);
        }
        self.open = None;
        let mut file = BufReader::with_capacity(BUFFER, File::open(&segment.path)?);
        if !read_header(&mut file, self.signal)? {
            return Ok(false);
        }
        let mut open =
            Open { number: segment.number, file, offset: HEADER, decoder: MetricsDecoder::default() };
        if self.signal == Signal::Metrics {
            let mut ignored = Items::none(self.signal);
            while open.offset < offset {
                let left = segment.bytes.saturating_sub(open.offset);
                let frame = read_frame(&mut open.file, left, &mut self.payload, &mut self.plain)?;
                let Some((size, body)) = frame else { return Ok(false) };
                if decode(&mut ignored, &mut open.decoder, body).is_err() {
                    return Ok(false);
                }
                if let Items::Metrics(samples) = &mut ignored {
                    samples.clear();
                }
                open.offset += size;
            }
        } else {
            open.file.seek(SeekFrom::Start(offset))?;
            open.offset = offset;
        }
        let reached = open.offset == offset;
        self.open = Some(open);
        Ok(reached)
    }

    fn skip(&mut self, segment: &SegmentInfo, at: &mut Cursor) {
        self.open = None;
        self.count("quintet_sink_forward_damaged_total");
        tracing::warn!(segment = %segment.path.display(), offset = at.offset, "a damaged log segment is not handed over to its end");
        at.offset = segment.bytes;
    }

    fn count(&self, name: &'static str) {
        metrics::counter!(name, "target" => self.target.clone(), "signal" => self.signal.as_str())
            .increment(1);
    }
}

fn decode(items: &mut Items, decoder: &mut MetricsDecoder, body: &[u8]) -> Result<(), Damaged> {
    fn add<R: Record>(batch: &mut Batch<R>, body: &[u8]) -> Result<(), Damaged> {
        batch.groups.extend(decode_records::<R>(body)?.groups);
        Ok(())
    }
    match items {
        // Exemplars stand in frames of their own, and are not passed on.
        Items::Metrics(_) if body.first() == Some(&exemplar_frame::VERSION) => Ok(()),
        Items::Metrics(samples) => decoder.decode(body, |labels, time, value| {
            samples.push(Sample { labels: labels.clone(), time, value });
        }),
        Items::Logs(batch) => add(batch, body),
        Items::Spans(batch) => add(batch, body),
    }
}
