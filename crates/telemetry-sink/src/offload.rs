//! Parts in a bucket of S3-compatible object storage: copies of them, and the only place of old ones.
//!
//! ```text
//! PREFIXparts/signal=logs/date=2026-11-23/0000000000000012-1a2b-00c0ffee.parquet    as below the directory
//! PREFIXmanifest.json                                                              what is there, see [`manifest`]
//! DIR/offload/manifest.json                                                        the same, and what is on its way
//! DIR/offload/cache/                                                               pieces that queries read, bounded
//! ```
//!
//! # Protocol
//!
//! A part is written down as being sent, sent, and written down as stored; then the bucket's manifest is replaced. Data is
//! dropped here only after the object was read back and had the SHA-256 of the file: then a stub with the part's tail
//! ([`crate::parts::stub`]) is made durable, queries are pointed at it, and the file is removed. An object leaves the bucket when its
//! part was merged into one that is stored, or is older than the retention: first the manifest without it, then the object. So at
//! every moment the bucket's manifest names objects that are all there, and the list of a bucket is never asked for.
//!
//! A part that is stored and missing here (its file was set aside as damaged) is pointed at in the bucket again.
//!
//! # What does not happen
//!
//! The storage never waits for the bucket: taking in, writing out and queries over what is here go on without it. A query that
//! needs what is there and cannot be read gets the rest, and says so ([`missed`]). Two stores never share a prefix: the manifest names its
//! store, and one that finds another's refuses to write.

pub(crate) mod cache;
pub(crate) mod command;
mod copy;
pub(crate) mod manifest;
pub(crate) mod missed;
pub(crate) mod reader;
mod restore;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use parquet::errors::ParquetError;
use quintet_s3::Bucket;
use quintet_service::{Code, Context, Invalid, OrExit as _};
use quintet_types::{Entropy, SystemEntropy};
use serde::Deserialize;
use thiserror::Error;
use tokio_util::sync::CancellationToken;

use self::manifest::Manifest;
use self::reader::Reader;
use crate::config::StorageSection;
use crate::storage::Storage;

/// How often it is looked what is to be copied or dropped.
const INTERVAL: Duration = Duration::from_mins(1);
const MIN_CACHE: u64 = 16 * 1024 * 1024;

/// What goes to the bucket of `[storage.s3]`, and when it is dropped here.
#[derive(Debug, Clone, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct OffloadSection {
    /// Whether every part is copied as soon as it is written. Without it, only what is dropped here is.
    pub(crate) backup: bool,
    /// Parts whose newest row is this old are kept in the bucket alone, and so are the oldest ones when `max_bytes` is
    /// nearly used. Nothing is dropped here without it.
    pub(crate) keep_local_days: Option<u32>,
    /// What of the bucket's parts is kept here between queries, bytes, besides `max_bytes`.
    pub(crate) cache_bytes: u64,
}

impl Default for OffloadSection {
    fn default() -> Self {
        Self { backup: true, keep_local_days: None, cache_bytes: 256 * 1024 * 1024 }
    }
}

impl OffloadSection {
    pub(crate) fn validate(&self) -> Result<(), Invalid> {
        if self.keep_local_days == Some(0) {
            let why = "must be at least 1, because the parts of a day are merged before they are sent";
            return Err(Invalid::new("storage.offload.keep_local_days", why));
        }
        if self.cache_bytes < MIN_CACHE {
            let why = format!("must be at least {MIN_CACHE} bytes");
            return Err(Invalid::new("storage.offload.cache_bytes", why));
        }
        Ok(())
    }

    fn writes(&self) -> bool {
        self.backup || self.keep_local_days.is_some()
    }

    /// How long parts stay here, microseconds; nothing where they stay for good.
    fn keep_micros(&self) -> Option<i64> {
        self.keep_local_days.map(|days| i64::from(days) * 24 * 3600 * 1_000_000)
    }
}

/// What the bucket is known to hold.
#[derive(Debug, Clone, Default)]
pub(crate) struct Copies {
    pub(crate) parts: usize,
    pub(crate) bytes: u64,
    /// When everything that was due was done last, microseconds.
    pub(crate) last_success: Option<i64>,
    /// Why the last pass failed, if it did.
    pub(crate) error: Option<String>,
}

/// Why something was not copied, dropped or restored.
#[derive(Debug, Error)]
pub(crate) enum Error {
    #[error(transparent)]
    Bucket(#[from] quintet_s3::Error),
    #[error("cannot read or write {path}")]
    File {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    #[error("cannot open the part {path}")]
    Part {
        path: PathBuf,
        #[source]
        source: ParquetError,
    },
    #[error("the manifest {place} cannot be understood: {reason}")]
    Manifest { place: String, reason: String },
    #[error(
        "the bucket holds the telemetry of another store, or of this one restored elsewhere; set another storage.s3.prefix, \
         or restore it with `telemetry-sink backup restore`"
    )]
    Foreign,
    #[error("the bucket holds no telemetry: there is no {0}; look at storage.s3.prefix")]
    Nothing(String),
    #[error("the object {0} is not what was written; it is not used")]
    Corrupt(String),
    #[error("the directory {0} holds telemetry of its own; restore into an empty one")]
    Occupied(PathBuf),
    #[error("a step was cut short")]
    Stopped,
}

impl From<tokio::task::JoinError> for Error {
    fn from(_: tokio::task::JoinError) -> Self {
        Self::Stopped
    }
}

/// What copies and drops.
pub(crate) struct Offload {
    storage: Arc<Storage>,
    bucket: Bucket,
    settings: OffloadSection,
    entropy: Arc<dyn Entropy>,
    /// Known once the bucket's was compared with the one here.
    manifest: tokio::sync::Mutex<Option<Manifest>>,
}

impl Offload {
    pub(crate) fn new(
        storage: Arc<Storage>,
        bucket: Bucket,
        settings: OffloadSection,
        entropy: Arc<dyn Entropy>,
    ) -> Self {
        Self { storage, bucket, settings, entropy, manifest: tokio::sync::Mutex::new(None) }
    }

    /// Copies and drops what is due until the drain. A pass that is cut short is taken up by the next start.
    pub(crate) async fn run(self, shutdown: CancellationToken) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(INTERVAL);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut failing = false;
        loop {
            tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                _ = ticks.tick() => {}
            }
            let passed = tokio::select! {
                () = shutdown.cancelled() => return Ok(()),
                passed = self.pass() => passed,
            };
            match passed {
                Ok(()) if failing => tracing::info!("parts are copied to the bucket again"),
                Ok(()) => {}
                Err(error) => {
                    self.storage.note_copies(|copies| copies.error = Some(chain(&error)));
                    metrics::counter!("quintet_sink_offload_failures_total").increment(1);
                    // Once for each time it begins; the counter has the rest.
                    if !failing {
                        let error = &error as &dyn std::error::Error;
                        tracing::error!(
                            error,
                            "cannot copy parts to the bucket; they stay here and are tried again"
                        );
                    }
                    failing = true;
                    continue;
                }
            }
            failing = false;
        }
    }
}

/// An error with what caused it.
fn chain(error: &Error) -> String {
    let causes = std::iter::successors(std::error::Error::source(error), |error| error.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}

/// The bucket, if one is configured, and what reads from it.
pub(crate) fn connect(
    cx: &Context,
    settings: &StorageSection,
) -> anyhow::Result<Option<(Bucket, Arc<Reader>)>> {
    let Some(s3) = &settings.s3 else { return Ok(None) };
    let bucket = Bucket::open(s3, "storage.s3").or_exit(Code::Config)?;
    let (reader, requests) = Reader::open(&settings.directory, settings.offload.cache_bytes)
        .with_context(|| format!("cannot open the cache below {}", settings.directory.display()))
        .or_exit(Code::CannotCreate)?;
    cx.spawn("offload-reads", reader::serve(bucket.clone(), requests, cx.shutdown()));
    Ok(Some((bucket, reader)))
}

/// Copies parts to the bucket from now on, if one is configured.
pub(crate) fn start(cx: &Context, settings: &StorageSection, bucket: Option<Bucket>, storage: &Arc<Storage>) {
    if let Some(bucket) = bucket.filter(|_| settings.offload.writes()) {
        let storage = Arc::clone(storage);
        let offload = Offload::new(storage, bucket, settings.offload.clone(), Arc::new(SystemEntropy));
        offload.storage.note_copies(|_| ());
        cx.spawn("offload", offload.run(cx.shutdown()));
    }
}
