//! Reading objects from threads that may wait, through the cache.
//!
//! A query runs off the runtime's threads and cannot await; it hands its request to [`serve`], which runs on the runtime, and
//! waits for the answer at most [`WAIT`]. After a failure no request is made for [`PAUSE`], so that a query over many parts does not
//! wait for each of them while the bucket is out of reach.

use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use quintet_s3::Bucket;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::cache::Cache;

/// The kind of the error that says that the bucket did not answer.
pub(crate) const AWAY: io::ErrorKind = io::ErrorKind::HostUnreachable;
/// What is asked of the bucket at once: a round trip each, and the unit of the cache.
const PIECE: u64 = 1024 * 1024;
const WAIT: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_secs(10);
/// Requests at once, and those that wait for their turn.
const AT_ONCE: usize = 8;
const WAITING: usize = 64;

/// A request for bytes of an object.
pub(crate) struct Request {
    key: String,
    range: Range<u64>,
    answer: SyncSender<Result<Bytes, String>>,
}

/// What reads objects; without a bucket every read fails.
pub(crate) struct Reader {
    requests: Option<mpsc::Sender<Request>>,
    cache: Option<Cache>,
    /// No request is made before.
    paused: Mutex<Option<Instant>>,
    away: AtomicBool,
}

impl Reader {
    /// Without a bucket: parts that are in one cannot be read.
    pub(crate) fn absent() -> Arc<Self> {
        Arc::new(Self { requests: None, cache: None, paused: Mutex::new(None), away: AtomicBool::new(false) })
    }

    /// With the other end for [`serve`]. The cache is below the directory of the storage.
    pub(crate) fn open(
        directory: &Path,
        cache_bytes: u64,
    ) -> io::Result<(Arc<Self>, mpsc::Receiver<Request>)> {
        let cache = Cache::open(&directory.join("offload").join("cache"), cache_bytes)?;
        let (requests, served) = mpsc::channel(WAITING);
        let reader = Self {
            requests: Some(requests),
            cache: Some(cache),
            paused: Mutex::new(None),
            away: AtomicBool::new(false),
        };
        Ok((Arc::new(reader), served))
    }

    /// An object of known size.
    pub(crate) fn object(self: &Arc<Self>, key: String, size: u64) -> Object {
        Object { reader: Arc::clone(self), key, size }
    }

    pub(crate) fn cached_bytes(&self) -> u64 {
        self.cache.as_ref().map_or(0, Cache::bytes)
    }

    /// Whether the last read that had to ask the bucket failed.
    pub(crate) fn is_away(&self) -> bool {
        self.away.load(Ordering::Acquire)
    }

    fn fetch(&self, key: &str, range: Range<u64>) -> io::Result<Bytes> {
        let away = |reason: String| io::Error::new(AWAY, reason);
        let Some(requests) = &self.requests else {
            return Err(away("the part is in object storage, and no storage.s3 is configured".to_owned()));
        };
        let paused = *self.paused.lock().unwrap_or_else(PoisonError::into_inner);
        if paused.is_some_and(|until| Instant::now() < until) {
            return Err(away("the object storage did not answer a moment ago".to_owned()));
        }
        let length = range.end - range.start;
        let (answer, answered) = sync_channel(1);
        let request = Request { key: key.to_owned(), range, answer };
        if requests.try_send(request).is_err() {
            return Err(away("too many reads of object storage are waiting".to_owned()));
        }
        let read = match answered.recv_timeout(WAIT) {
            Ok(Ok(bytes)) if u64::try_from(bytes.len()) == Ok(length) => Ok(bytes),
            Ok(Ok(_)) => Err(format!("the object {key} is not there or too short")),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err("the object storage did not answer in time".to_owned()),
        };
        self.away.store(read.is_err(), Ordering::Release);
        read.map_err(|reason| {
            metrics::counter!("quintet_sink_offload_read_failures_total").increment(1);
            tracing::warn!(key, reason, "cannot read from the bucket; answers lack what is there");
            *self.paused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now() + PAUSE);
            away(reason)
        })
    }
}

/// Answers requests until the drain.
pub(crate) async fn serve(
    bucket: Bucket,
    mut requests: mpsc::Receiver<Request>,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let mut running = JoinSet::new();
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return Ok(()),
            Some(_) = running.join_next() => {}
            request = requests.recv(), if running.len() < AT_ONCE => {
                let Some(request) = request else { return Ok(()) };
                let bucket = bucket.clone();
                running.spawn(async move {
                    let read = bucket.read(&request.key, request.range).await;
                    let read = read.map(Option::unwrap_or_default).map_err(|error| error.to_string());
                    // Who asked may have given up.
                    let _ = request.answer.send(read);
                });
            }
        }
    }
}

/// An object that is read in pieces.
pub(crate) struct Object {
    reader: Arc<Reader>,
    key: String,
    size: u64,
}

impl Object {
    /// Bytes of the object, all or none.
    pub(crate) fn read(&self, range: Range<u64>) -> io::Result<Bytes> {
        let mut read = BytesMut::with_capacity(usize::try_from(range.end - range.start).unwrap_or(0));
        for index in pieces(&range) {
            let piece = self.piece(index)?;
            let start = index * PIECE;
            let within = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let wanted = within(range.start)..within(range.end).min(piece.len());
            let bytes = piece.get(wanted).ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
            read.extend_from_slice(bytes);
        }
        Ok(read.freeze())
    }

    fn piece(&self, index: u64) -> io::Result<Bytes> {
        let name = self.name(index);
        if let Some(cache) = &self.reader.cache
            && let Some(piece) = cache.get(&name)
        {
            metrics::counter!("quintet_sink_offload_reads_total", "from" => "cache").increment(1);
            return Ok(piece);
        }
        let range = index * PIECE..((index + 1) * PIECE).min(self.size);
        let piece = self.reader.fetch(&self.key, range)?;
        metrics::counter!("quintet_sink_offload_reads_total", "from" => "bucket").increment(1);
        if let Some(cache) = &self.reader.cache {
            cache.put(&name, &piece);
        }
        Ok(piece)
    }

    /// Removes what the cache has of a range.
    pub(crate) fn forget(&self, range: Range<u64>) {
        if let Some(cache) = &self.reader.cache {
            for index in pieces(&range) {
                cache.forget(&self.name(index));
            }
        }
    }

    /// A name for a file.
    fn name(&self, index: u64) -> String {
        format!("{}.{index}", self.key.replace('/', "+"))
    }
}

/// The pieces that a range touches.
fn pieces(range: &Range<u64>) -> Range<u64> {
    range.start / PIECE..range.end.div_ceil(PIECE)
}
