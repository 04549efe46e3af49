//! Exports: asking for one, looking at it, and what its job records.

mod table;

use quintet_blobs::{BlobReader, Blobs, Digest};
use quintet_jobs::NewJob;
use quintet_module::Report;
use quintet_module::page::{Slice, Window};
use quintet_module::report::Selection;
use quintet_module::retry::{self, Retryable};
use quintet_store::Store;
use quintet_types::{OrganizationId, SharedClock, SystemEntropy, Timestamp};
use thiserror::Error;

use crate::format::Format;
use crate::job;

quintet_types::define_id!(
    /// Identifies an export.
    ExportId,
    "exp"
);

/// How far an export is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Its job waits or runs.
    Pending,
    /// Its file is there.
    Ready,
    /// Its job gave up.
    Failed,
}

impl State {
    /// As it is stored and shown.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Ready => "ready",
            Self::Failed => "failed",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Pending, Self::Ready, Self::Failed].into_iter().find(|state| state.as_str() == name)
    }
}

/// A file that was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct File {
    pub(crate) digest: Digest,
    pub(crate) rows: i64,
    pub(crate) size_bytes: i64,
}

/// An export as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: ExportId,
    pub(crate) report: String,
    pub(crate) format: Format,
    pub(crate) selection: Selection,
    pub(crate) requested_by: String,
    pub(crate) created_at: Timestamp,
    pub(crate) state: State,
    /// Why it failed.
    pub(crate) failure: Option<String>,
    pub(crate) file: Option<File>,
    pub(crate) finished_at: Option<Timestamp>,
}

/// What to export.
#[derive(Debug)]
pub(crate) struct Wanted {
    pub(crate) report: &'static Report,
    pub(crate) format: Format,
    pub(crate) organization: OrganizationId,
    /// From the first row when absent.
    pub(crate) from: Option<Timestamp>,
    /// Until now when absent.
    pub(crate) until: Option<Timestamp>,
    pub(crate) actor: String,
}

/// Why an export could not be asked for or read.
#[derive(Debug, Error)]
pub enum Error {
    /// The end is not behind the beginning.
    #[error("`until` must be later than `from`")]
    Range,
    /// There is no such export.
    #[error("export {0} does not exist")]
    Unknown(ExportId),
    /// The file that a row names is gone.
    #[error("the file {0} is missing")]
    Lost(Digest),
    /// Its job could not be enqueued.
    #[error("cannot enqueue the job")]
    Jobs(#[from] quintet_jobs::Error),
    /// Its file could not be read or written.
    #[error(transparent)]
    Blob(#[from] quintet_blobs::BlobError),
    /// The database failed.
    #[error("cannot read or write the export")]
    Store(#[from] quintet_store::Error),
}

impl Retryable for Error {
    fn is_retryable(&self) -> bool {
        matches!(self, Self::Store(error) if error.is_retryable())
    }
}

/// The exports; cheap to clone.
#[derive(Clone)]
pub struct Exports {
    pub(crate) store: Store,
    pub(crate) blobs: Blobs,
    clock: SharedClock,
    reports: std::sync::Arc<[&'static Report]>,
}

impl Exports {
    /// The exports in `store` and `blobs`, of these reports.
    pub fn new(
        store: Store,
        blobs: Blobs,
        clock: SharedClock,
        reports: impl IntoIterator<Item = &'static Report>,
    ) -> Self {
        Self { store, blobs, clock, reports: reports.into_iter().collect() }
    }

    pub(crate) fn reports(&self) -> &[&'static Report] {
        &self.reports
    }

    pub(crate) fn report(&self, name: &str) -> Option<&'static Report> {
        self.reports.iter().copied().find(|report| report.name == name)
    }

    /// Asks for an export; its job begins when this is committed.
    pub(crate) async fn ask(&self, wanted: Wanted) -> Result<Record, Error> {
        let now = self.clock.now();
        let selection = Selection {
            organization: wanted.organization,
            from: wanted.from.unwrap_or(Timestamp::UNIX_EPOCH),
            until: wanted.until.unwrap_or(now),
        };
        if selection.until <= selection.from {
            return Err(Error::Range);
        }
        let record = Record {
            id: ExportId::generate(&*self.clock, &SystemEntropy),
            report: wanted.report.name.to_owned(),
            format: wanted.format,
            selection,
            requested_by: wanted.actor,
            created_at: now,
            state: State::Pending,
            failure: None,
            file: None,
            finished_at: None,
        };
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::insert(&mut tx, &record).await?;
            let args = job::Args { export_id: record.id };
            quintet_jobs::enqueue(&mut tx, &*self.clock, NewJob::new(job::KIND, &args)).await?;
            tx.commit().await?;
            Ok(record.clone())
        })
        .await
    }

    /// One export.
    pub(crate) async fn find(&self, organization: OrganizationId, id: ExportId) -> Result<Record, Error> {
        let found = table::find(&self.store, id).await?;
        found.filter(|record| record.selection.organization == organization).ok_or(Error::Unknown(id))
    }

    /// Exports, newest first.
    pub(crate) async fn list(
        &self,
        organization: OrganizationId,
        window: Window<ExportId>,
    ) -> Result<Slice<Record>, Error> {
        let below = window.upper_bound(ExportId::PREFIX);
        Ok(window.slice(table::list(&self.store, organization, below, window.fetch_limit()).await?))
    }

    /// The file of an export that is ready.
    pub(crate) async fn open(&self, file: &File) -> Result<BlobReader, Error> {
        // What a row points at was durable before the row.
        self.blobs.open_read(&file.digest).await?.ok_or_else(|| Error::Lost(file.digest.clone()))
    }

    /// An export without a file. One that failed is among them: its job may have been redriven.
    pub(crate) async fn unfinished(&self, id: ExportId) -> Result<Option<Record>, Error> {
        let found = table::find(&self.store, id).await?;
        Ok(found.filter(|record| record.state != State::Ready))
    }

    /// Records the file, or why there is none, once.
    pub(crate) async fn finish(&self, id: ExportId, ended: Result<&File, &str>) -> Result<(), Error> {
        let now = self.clock.now();
        retry::transaction(async || {
            let mut tx = self.store.begin().await?;
            table::finish(&mut tx, id, ended, now).await?;
            Ok(tx.commit().await?)
        })
        .await
    }
}
